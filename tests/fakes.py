"""Stand-ins for trained models: tiny SavedModels whose answers a test can compute by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from tf_dhm import geometry
from tf_dhm.predictor import mean_shape


class MeanShapeModel(tf.Module):
    """Answers the mean shape in every crop, or the landmarks it was given to start from."""

    def __init__(self, size: int) -> None:
        super().__init__()
        shape = geometry.unit_to_pixels(mean_shape(), size).astype(np.float32)
        self.shape = tf.Variable(shape, trainable=False)

    def serve(self, crops: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"landmarks": tf.tile(self.shape[None], [tf.shape(crops)[0], 1, 1])}

    def refine(self, crops: tf.Tensor, initial_landmarks: tf.Tensor) -> dict[str, tf.Tensor]:
        del crops
        return {"landmarks": tf.identity(initial_landmarks)}


def write_fake_model(folder: Path, size: int = 32, version: int = 1, refine: bool = True) -> Path:
    """Write a SavedModel of `MeanShapeModel` as folder/version; return folder.

    Args:
        folder: the model folder.
        size: side of the crops in pixels.
        version: name of the version folder.
        refine: whether the signature `refine` is there beside `serving_default`.
    """
    model = MeanShapeModel(size)
    crops = tf.TensorSpec([None, size, size, 3], tf.uint8, "crops")
    landmarks = tf.TensorSpec([None, geometry.NUM_LANDMARKS, 3], tf.float32, "initial_landmarks")
    signatures = {"serving_default": tf.function(model.serve).get_concrete_function(crops)}
    if refine:
        signatures["refine"] = tf.function(model.refine).get_concrete_function(crops, landmarks)
    tf.saved_model.save(model, str(folder / str(version)), signatures)
    return folder


def mean_shape_in_box(box: NDArray[np.floating]) -> NDArray[np.floating]:
    """What `MeanShapeModel` finds in a box (x0, y0, x1, y1): (68, 3) photo pixels."""
    x, y, side = geometry.crop_square(box)
    return mean_shape() * (side / 2.0) + np.array([x, y, 0.0])
