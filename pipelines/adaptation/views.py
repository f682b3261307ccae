"""Features of labelled faces: the inputs of a network's output layer, for several crops of each face."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from tf_dhm.core.errors import InputError
from tf_dhm.core.types import Array, Image
from tf_dhm.export.description import Description, read_description
from tf_dhm.export.saved_model import read_weights
from tf_dhm.face import geometry
from tf_dhm.face.heatmap import diffusion_heatmap
from tf_dhm.networks.models import build_model, constant_heatmap, precision_policy
from tf_dhm.runtime.crops import cut_crops, upright_boxes, upright_roll
from tf_dhm.training.output_layer import OutputLayer

OUTPUT_LAYER = "landmarks"
BATCH = 64


@dataclass(frozen=True)
class Views:
    """Faces as a network sees them: N faces, V views.

    features (N, V, F) inputs of the output layer; mirrored (N, V, F), those of the mirrored crops;
    matrices (N, V, 2, 3), crop pixels to photo pixels.
    """

    features: Array
    mirrored: Array
    matrices: Array

    @classmethod
    def join(cls, parts: Sequence[Views]) -> Views:
        """The views of several batches of faces as one."""
        names = [field.name for field in fields(cls)]
        return cls(*(np.concatenate([getattr(part, name) for part in parts]) for name in names))


class OutputFeatures:
    """A Fast DHM of this project, up to its output layer.

    Attributes:
        description: of the model.
        network: of Keras, with its weights.
        size: side of its crops in pixels.
        layer: its output layer.
    """

    def __init__(self, model: str | Path) -> None:
        """Load a model.

        Raises:
            InputError: no model of this project, or one of another family, whose output is no layer of
                its own.
        """
        self.description: Description = read_description(Path(model))
        if self.description.model.family != "fast_dhm":
            raise InputError(
                f"model {model}: found the family {self.description.model.family}, expected fast_dhm: only "
                "its landmarks come from one layer"
            )
        with precision_policy("float32"):
            self.network = build_model(self.description.model)
        self.network.set_weights(read_weights(Path(model)))
        self.size = self.description.model.input_size
        last = self.network.get_layer(OUTPUT_LAYER)
        self._model = tf.keras.Model(self.network.input, last.input)
        kernel, bias = (weights.astype(np.float64) for weights in last.get_weights())
        self.layer = OutputLayer(kernel.reshape(len(kernel), -1, 3), bias.reshape(-1, 3))

    def features(self, crops: Image, heatmaps: NDArray[np.float32]) -> Array:
        """(B, S, S, 3) uint8 and (B or 1, S, S, 3) -> (B, F) float64."""
        parts = []
        for start in range(0, len(crops), BATCH):
            images = crops[start : start + BATCH].astype(np.float32)
            maps = np.broadcast_to(heatmaps, crops.shape)[start : start + BATCH]
            inputs = {"image": images, "heatmap": maps}
            parts.append(self._model(inputs, training=False).numpy())
        return np.concatenate(parts).astype(np.float64)

    def landmarks(self, features: Array, matrices: Array) -> Array:
        """Landmarks (B, 68, 3) in photo pixels, of features and matrices of crops."""
        return from_unit(self.layer(features), matrices, self.size)

    def views(self, images: Sequence[Image], boxes: Array, second: bool = True) -> Views:
        """Look at one face in each of some photos: as first and, if the network can, as second pass.

        Args:
            images: N photos (H, W, 3) uint8 RGB.
            boxes: (N, 4) landmark boxes.
            second: whether to look as a second pass too.
        """
        cut = [cut_crops(image, box, self.size) for image, box in zip(images, boxes, strict=True)]
        crops, matrices = (np.concatenate(parts) for parts in zip(*cut, strict=True))
        mean = constant_heatmap(self.size)  # the mean face is its own mirror image
        looks = [(self.features(crops, mean), self.features(crops[:, :, ::-1], mean), matrices)]
        if second and self.description.model.heatmap_input:
            found = self.landmarks(looks[0][0], matrices)
            roll = upright_roll(found)
            upright = upright_boxes(found, roll)
            cut = [cut_crops(image, upright[i], self.size, roll[i]) for i, image in enumerate(images)]
            crops, matrices = (np.concatenate(parts) for parts in zip(*cut, strict=True))
            initial = geometry.transform_landmarks(geometry.invert_affine(matrices), found)
            maps = self._draw(initial)
            mirrored = self._draw(geometry.mirror_landmarks(initial, self.size))
            features = self.features(crops, maps), self.features(crops[:, :, ::-1], mirrored)
            looks.append((*features, matrices))
        return Views(*(np.stack(parts, 1) for parts in zip(*looks, strict=True)))

    def _draw(self, landmarks: Array) -> NDArray[np.float32]:
        return np.stack([diffusion_heatmap(points, self.size) for points in landmarks])


def to_unit(points: Array, matrices: Array, size: int) -> Array:
    """Points (..., P, 3) of photos in the network's unit, for matrices (..., 2, 3) of crops."""
    moved = geometry.transform_landmarks(geometry.invert_affine(matrices), points)
    return (moved - [(size - 1) / 2.0, (size - 1) / 2.0, 0.0]) / (size / 2.0)


def from_unit(points: Array, matrices: Array, size: int) -> Array:
    """The inverse of `to_unit`."""
    pixels = points * (size / 2.0) + [(size - 1) / 2.0, (size - 1) / 2.0, 0.0]
    return geometry.transform_landmarks(matrices, pixels)


def mirror_unit(points: Array, pairs: NDArray[np.intp]) -> Array:
    """Points (..., P, 3) in the network's unit as the mirrored crop shows them.

    Args:
        points: of the crop.
        pairs: (P,) for each point the one that takes its place.
    """
    return points[..., pairs, :] * [-1.0, 1.0, 1.0]
