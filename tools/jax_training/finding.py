"""The landmarks that networks find in stored faces, in JAX."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from tf_dhm.core.types import Floats, Ints
from tf_dhm.face import metrics
from tf_dhm.face.mean_face import mean_landmarks
from tf_dhm.networks.config import ModelConfig
from tools.jax_training.crops import from_crop, plain_matrix, to_pixels
from tools.jax_training.image_ops import cut_crops, draw_heatmaps
from tools.jax_training.network import Weights, forward

FACES_AT_ONCE = 1024


def find_landmarks(
    config: ModelConfig,
    weights: Weights,
    images: jax.Array,
    landmarks: NDArray[np.float32],
    rows: Ints | None = None,
    mirrored: bool = False,
) -> NDArray[np.float32]:
    """The landmarks that a network finds in the crops of the boxes of labels.

    Args:
        config, weights: the network.
        images: (N, C, C) uint32, see `image_ops.cut_crops`.
        landmarks: (N, 68, 3) pixels of the stored images, the labels.
        rows: numbers of the faces to find, by default all.
        mirrored: average with what is found in the mirror images.

    Returns:
        (len(rows), 68, 3) float32 pixels of the stored images.
    """
    chosen = np.arange(len(landmarks)) if rows is None else np.asarray(rows)
    at_once = min(FACES_AT_ONCE, len(chosen))
    padded = np.concatenate([chosen, np.resize(chosen, -len(chosen) % at_once)])
    device_weights = [jnp.asarray(weight) for weight in weights]
    found = []
    for index in padded.reshape(-1, at_once):
        arguments = (device_weights, images, jnp.asarray(landmarks[index]), jnp.asarray(index))
        views = [_find(config, mirror, *arguments) for mirror in ((False, True) if mirrored else (False,))]
        found.append(np.mean([np.asarray(view) for view in views], 0))
    return np.concatenate(found)[: len(chosen)]


@partial(jax.jit, static_argnums=(0, 1))
def _find(
    config: ModelConfig,
    mirror: bool,
    weights: Sequence[jax.Array],
    images: jax.Array,
    landmarks: jax.Array,
    index: jax.Array,
) -> jax.Array:
    size = config.input_size
    matrix = plain_matrix(landmarks, mirror, size)
    crops = jnp.round(cut_crops(images, index, matrix, size))
    heatmap = draw_heatmaps(jnp.asarray(mean_landmarks(size))[None], size)
    found, _ = forward(config, weights, crops, heatmap, training=False)
    return from_crop(to_pixels(found, size), matrix)


@dataclass(frozen=True, eq=False)
class HeldOut:
    """Faces of `val`: images on the GPU, labels (N, 68, 3) in their pixels, yaw (N,) in degrees."""

    images: jax.Array
    landmarks: NDArray[np.float32]
    yaw: Floats

    def measure(self, config: ModelConfig, weights: Weights, mirrored: bool = False) -> dict[str, Any]:
        """The `metrics.summarize` of a network; for `mirrored` see `find_landmarks`."""
        found = find_landmarks(config, weights, self.images, self.landmarks, mirrored=mirrored)
        return metrics.summarize(metrics.nme(found, self.landmarks), self.yaw)
