"""The networks of the DHM family, built from a `ModelConfig`."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from tf_dhm import geometry
from tf_dhm.config import ModelConfig
from tf_dhm.heatmap import diffusion_heatmap
from tf_dhm.layers import Evolution, FastRecurrentCell, SeparableBlock, StemConvolution

MEAN_SHAPE_FILE = Path(__file__).parent / "assets" / "mean_shape.npy"
WIDTH_MULTIPLE = 8
"""Widths are multiples of this: what the vector units of a CPU like."""


def mean_shape() -> NDArray[np.float32]:
    """The mean face in its own crop: (68, 3) float32 in the network's unit (see `pixels_to_unit`)."""
    return np.load(MEAN_SHAPE_FILE)


def mean_landmarks(size: int) -> NDArray[np.float32]:
    """The mean face in pixels of a `size` x `size` crop, (68, 3) float32: the initial shape."""
    return geometry.unit_to_pixels(mean_shape(), size).astype(np.float32)


def scaled_width(channels: int, multiplier: float) -> int:
    """channels x multiplier, rounded to a multiple of WIDTH_MULTIPLE."""
    return max(WIDTH_MULTIPLE, round(channels * multiplier / WIDTH_MULTIPLE) * WIDTH_MULTIPLE)


def build_model(config: ModelConfig) -> tf.keras.Model:
    """Build Fast DHM x n.

    Inputs: `image` (B, S, S, 3) RGB in [0, 255] and `heatmap` (B or 1, S, S, 3), the DHM of the
    initial shape. Output: landmarks (B, 68, 3) float32 in the network's unit (the crop spans
    [-1, 1]; see `geometry.unit_to_pixels`).
    """
    layers = tf.keras.layers
    size = config.input_size
    image = tf.keras.Input((size, size, 3), name="image")
    heatmap = tf.keras.Input((size, size, 3), name="heatmap")

    stem_width = scaled_width(config.stem_channels, config.cnn_multiplier)
    stem = StemConvolution(stem_width, use_heatmap=config.heatmap_input, name="stem")
    x = stem([image, heatmap])
    x = layers.BatchNormalization(momentum=0.9, name="stem_normalization")(x)
    x = layers.ReLU(name="stem_relu")(x)
    for stage, (channels, blocks) in enumerate(
        zip(config.stage_channels, config.stage_blocks, strict=True), start=1
    ):
        width = scaled_width(channels, config.cnn_multiplier)
        x = SeparableBlock(width, stride=2, name=f"stage{stage}_down")(x)
        for block in range(1, blocks + 1):
            x = SeparableBlock(width, name=f"stage{stage}_block{block}")(x)

    width = scaled_width(config.recurrent_channels, config.rnn_multiplier)
    hidden = layers.Conv2D(width, 1, use_bias=False, name="pointwise")(x)
    hidden = layers.BatchNormalization(momentum=0.9, name="pointwise_normalization")(hidden)  # h_0
    features = layers.ReLU(name="features")(hidden)  # F_0
    side = features.shape[1]
    if config.recurrent_steps:
        cell = FastRecurrentCell(side, side, width, name="cell")
        features = Evolution(cell, config.recurrent_steps, name="evolution")([features, hidden])

    x = layers.DepthwiseConv2D(side, use_bias=False, name="global_depthwise")(features)
    x = layers.BatchNormalization(momentum=0.9, name="global_normalization")(x)
    x = layers.Flatten(name="flatten")(x)
    if config.hidden_units:
        x = layers.Dense(config.hidden_units, activation="relu", name="hidden")(x)
    mean = mean_shape().ravel()
    x = layers.Dense(
        mean.size,
        kernel_initializer=tf.keras.initializers.VarianceScaling(0.01),
        bias_initializer=tf.keras.initializers.Constant(mean.tolist()),
        name="landmarks",
    )(x)
    landmarks = layers.Reshape((-1, 3), dtype="float32", name="output")(x)
    return tf.keras.Model({"image": image, "heatmap": heatmap}, landmarks, name="fast_dhm")


def weight_bytes(model: tf.keras.Model) -> int:
    """Bytes of all weights as float32."""
    return 4 * sum(int(np.prod(weight.shape)) for weight in model.weights)


def constant_heatmap(size: int) -> NDArray[np.float32]:
    """The DHM of the mean shape, (1, size, size, 3) float32: the map that inference uses."""
    return diffusion_heatmap(mean_landmarks(size), size)[None]
