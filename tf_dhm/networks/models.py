"""The networks of the DHM family, built from a `ModelConfig`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
from numpy.typing import NDArray

from tf_dhm.face.heatmap import diffusion_heatmap
from tf_dhm.face.mean_face import mean_landmarks
from tf_dhm.networks.config import ModelConfig
from tf_dhm.networks.dhm import build_dhm
from tf_dhm.networks.fast_dhm import build_fast_dhm
from tf_dhm.networks.tensorflow import tf


@contextmanager
def precision_policy(name: str) -> Iterator[None]:
    """Build layers inside with the Keras precision policy `name`."""
    before = tf.keras.mixed_precision.global_policy()
    tf.keras.mixed_precision.set_global_policy(name)
    try:
        yield
    finally:
        tf.keras.mixed_precision.set_global_policy(before)


def build_model(config: ModelConfig) -> tf.keras.Model:
    """Build a network of the DHM family.

    Inputs: `image` (B, S, S, 3) RGB in [0, 255] and `heatmap` (B or 1, S, S, 3), the DHM of the
    initial shape. Output: landmarks (B, 68, 3) float32 in the network's unit (the crop spans
    [-1, 1]; see `geometry.unit_to_pixels`).
    """
    return BUILDERS[config.family](config)


BUILDERS: dict[str, Callable[[ModelConfig], tf.keras.Model]] = {"fast_dhm": build_fast_dhm, "dhm": build_dhm}
"""Family -> the function that builds its networks."""


def weight_bytes(model: tf.keras.Model) -> int:
    """Bytes of all weights as float32."""
    return 4 * sum(int(np.prod(weight.shape)) for weight in model.weights)


def constant_heatmap(size: int) -> NDArray[np.float32]:
    """The DHM of the mean shape, (1, size, size, 3) float32: the map that inference uses."""
    return diffusion_heatmap(mean_landmarks(size), size)[None]
