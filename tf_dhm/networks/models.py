"""The networks of the DHM family, built from a `ModelConfig`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from tf_dhm.face.heatmap import diffusion_heatmap
from tf_dhm.face.mean_face import mean_landmarks, mean_shape
from tf_dhm.networks import backbones
from tf_dhm.networks.backbones import scaled_width
from tf_dhm.networks.config import ModelConfig
from tf_dhm.networks.dhm import build_dhm
from tf_dhm.networks.layers import Evolution, FastRecurrentCell

POOLED_NORMALIZATION = "global_normalization"
"""Layer of Fast DHM that normalises the features behind the global depthwise convolution."""


@contextmanager
def precision_policy(name: str) -> Iterator[None]:
    """Give the layers that are built inside the Keras precision policy `name`."""
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


def build_fast_dhm(config: ModelConfig) -> tf.keras.Model:
    """Build Fast DHM x n; see `build_model`."""
    layers = tf.keras.layers
    size = config.input_size
    image = tf.keras.Input((size, size, 3), name="image")
    heatmap = tf.keras.Input((size, size, 3), name="heatmap")

    x = backbones.separable(config, image, heatmap)
    width = scaled_width(config.recurrent_channels, config.rnn_multiplier)
    hidden = layers.Conv2D(width, 1, use_bias=False, name="pointwise")(x)
    hidden = layers.BatchNormalization(momentum=0.9, name="pointwise_normalization")(hidden)  # h_0
    features = layers.ReLU(name="features")(hidden)  # F_0
    side = features.shape[1]
    if config.recurrent_steps:
        cell = FastRecurrentCell(side, side, width, name="cell")
        features = Evolution(cell, config.recurrent_steps, name="evolution")([features, hidden])

    x = layers.DepthwiseConv2D(side, use_bias=False, name="global_depthwise")(features)
    x = layers.BatchNormalization(momentum=0.9, name=POOLED_NORMALIZATION)(x)
    x = layers.Flatten(name="flatten")(x)
    if config.hidden_units:
        x = layers.Dense(config.hidden_units, activation="relu", name="hidden")(x)
    mean = mean_shape().ravel()
    x = layers.Dense(
        mean.size,
        kernel_initializer=tf.keras.initializers.VarianceScaling(0.01),
        bias_initializer=tf.keras.initializers.Constant(mean.tolist()),
        dtype="float32",  # half precision would round the landmarks to a fifth of a pixel
        name="landmarks",
    )(x)
    landmarks = layers.Reshape((-1, 3), dtype="float32", name="output")(x)
    return tf.keras.Model({"image": image, "heatmap": heatmap}, landmarks, name="fast_dhm")


BUILDERS: dict[str, Callable[[ModelConfig], tf.keras.Model]] = {"fast_dhm": build_fast_dhm, "dhm": build_dhm}
"""Family -> what builds its networks."""


def weight_bytes(model: tf.keras.Model) -> int:
    """Bytes of all weights as float32."""
    return 4 * sum(int(np.prod(weight.shape)) for weight in model.weights)


def constant_heatmap(size: int) -> NDArray[np.float32]:
    """The DHM of the mean shape, (1, size, size, 3) float32: the map that inference uses."""
    return diffusion_heatmap(mean_landmarks(size), size)[None]
