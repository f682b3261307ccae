"""Fast DHM as a function of its weights: the twin in JAX of `tf_dhm.networks.fast_dhm`.

The weights are those of `tf_dhm.networks.models.build_model(config).get_weights()`, in the same order.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from numpy.typing import NDArray

from tf_dhm.core.errors import InputError
from tf_dhm.face.geometry import NUM_LANDMARKS
from tf_dhm.face.mean_face import mean_shape
from tf_dhm.networks.config import ModelConfig, scaled_width, stages

PooledStatistics = Literal["batch", "fixed"]
Weights = list[NDArray[np.float32]]
Statistics = list[tuple[jax.Array, jax.Array]]
"""Mean and variance (C,) of a batch at each normalisation that measures them."""

EPSILON = 1e-3
"""Added to a variance, as Keras does."""
CUT_NORMAL_DEVIATION = 0.87962566
"""Standard deviation of the normal distribution cut at two deviations, by which Keras divides."""


@dataclass(frozen=True)
class Part:
    """One of the weight arrays of a network.

    Attributes:
        kind: what the array is.
        shape: of the array.
        fixed: whether it belongs to a normalisation of which nothing is trained: that of the pooled features
            with `pooled_statistics` "fixed".
    """

    kind: Literal["stem", "depthwise", "pointwise", "dense", "landmarks", "bias", "mean_face",
                  "gamma", "beta", "mean", "variance"]  # fmt: skip
    shape: tuple[int, ...]
    fixed: bool = False

    @property
    def trained(self) -> bool:
        return not self.fixed and self.kind not in ("mean", "variance")

    @property
    def decayed(self) -> bool:
        """Whether weight decay shrinks it: kernels alone."""
        return self.kind in ("stem", "depthwise", "pointwise", "dense", "landmarks")


def check_network(name: str, config: ModelConfig) -> None:
    """Reject a network that this module does not have.

    Raises:
        InputError: another family than fast_dhm, or a network without heat maps.
    """
    if config.family != "fast_dhm" or not config.heatmap_input:
        raise InputError(
            f"networks: found {name} of {config.family} with heatmap_input {config.heatmap_input}, "
            "expected fast_dhm with heat maps"
        )


def layout(config: ModelConfig, pooled_statistics: PooledStatistics = "fixed") -> list[Part]:
    """The weight arrays of a network in the order of Keras' `get_weights`."""

    def normalization(channels: int, fixed: bool = False) -> list[Part]:
        kinds: tuple[Literal["gamma", "beta", "mean", "variance"], ...] = (
            "gamma",
            "beta",
            "mean",
            "variance",
        )
        return [Part(kind, (channels,), fixed) for kind in kinds]

    def depthwise(side: int, channels: int) -> Part:
        return Part("depthwise", (side, side, channels, 1))

    def pointwise(channels: int, filters: int) -> Part:
        return Part("pointwise", (1, 1, channels, filters))

    channels = scaled_width(config.stem_channels, config.cnn_multiplier)
    parts = [Part("stem", (3, 3, 6, channels)), *normalization(channels)]
    for filters, blocks in stages(config):
        for _ in range(1 + blocks):
            parts += [depthwise(3, channels), pointwise(channels, filters), *normalization(filters)]
            channels = filters
    width = scaled_width(config.recurrent_channels, config.rnn_multiplier)
    parts += [pointwise(channels, width), *normalization(width)]
    if config.recurrent_steps:
        parts += [depthwise(3, width), pointwise(width, width), depthwise(3, width)]
    side = config.input_size // 2 ** (1 + len(config.stage_channels))
    parts += [depthwise(side, width), *normalization(width, pooled_statistics == "fixed")]
    if config.hidden_units:
        parts += [Part("dense", (width, config.hidden_units)), Part("bias", (config.hidden_units,))]
        width = config.hidden_units
    outputs = 3 * NUM_LANDMARKS
    return [*parts, Part("landmarks", (width, outputs)), Part("mean_face", (outputs,))]


def initial_weights(config: ModelConfig, generator: np.random.Generator) -> Weights:
    """New weights, of the distributions that Keras draws them from."""
    return [_initial(part, generator) for part in layout(config)]


def _initial(part: Part, generator: np.random.Generator) -> NDArray[np.float32]:
    if part.kind in ("gamma", "variance"):
        return np.ones(part.shape, np.float32)
    if part.kind in ("beta", "mean", "bias"):
        return np.zeros(part.shape, np.float32)
    if part.kind == "mean_face":
        return mean_shape().ravel().astype(np.float32)
    pixels = math.prod(part.shape[:-2])
    fan_in, fan_out = pixels * part.shape[-2], pixels * part.shape[-1]
    if part.kind in ("stem", "landmarks"):  # he_normal, and VarianceScaling(0.01)
        deviation = math.sqrt((2.0 if part.kind == "stem" else 0.01) / fan_in) / CUT_NORMAL_DEVIATION
        drawn = generator.normal(size=part.shape)
        while (outside := np.abs(drawn) > 2.0).any():
            drawn[outside] = generator.normal(size=int(outside.sum()))
        return (drawn * deviation).astype(np.float32)
    limit = math.sqrt(6.0 / (fan_in + fan_out))  # glorot_uniform
    return generator.uniform(-limit, limit, part.shape).astype(np.float32)


def forward(
    config: ModelConfig,
    weights: Sequence[jax.Array],
    image: jax.Array,
    heatmap: jax.Array,
    training: bool,
    pooled_statistics: PooledStatistics = "fixed",
) -> tuple[jax.Array, Statistics]:
    """The landmarks that a network finds.

    Args:
        config: the network.
        weights: see `layout`.
        image: (B, S, S, 3) float32 RGB in [0, 255].
        heatmap: (B or 1, S, S, 3) float32, the heat maps of the initial shapes.
        training: normalise by the statistics of the batch, not by those in the weights.
        pooled_statistics: "fixed": the pooled features by those in the weights in training too.

    Returns:
        (B, 68, 3) float32 in the network's unit, and what `training` measured.
    """
    left = iter(weights)
    statistics: Statistics = []

    def normalize(x: jax.Array, fixed: bool = False) -> jax.Array:
        gamma, beta, mean, variance = (next(left) for _ in range(4))
        if training and not fixed:
            axes = tuple(range(x.ndim - 1))
            mean = x.mean(axes)
            variance = jnp.maximum((x * x).mean(axes) - mean * mean, 0.0)
            statistics.append((mean, variance))
        scale = gamma * lax.rsqrt(variance + EPSILON)
        return x * scale + (beta - mean * scale)

    x = image * (1.0 / 127.5) - 1.0
    x = jnp.concatenate([x, jnp.broadcast_to(heatmap, (len(x), *heatmap.shape[1:]))], -1)
    x = lax.conv_general_dilated(
        x, next(left), (2, 2), ((0, 1), (0, 1)), dimension_numbers=("NHWC", "HWIO", "NHWC")
    )
    x = jax.nn.relu(normalize(x))
    for _, blocks in stages(config):
        for block in range(1 + blocks):
            y = normalize(pointwise(depthwise(x, next(left), 1 if block else 2), next(left)))
            x = jax.nn.relu(y + x if block else y)
    hidden = normalize(pointwise(x, next(left)))  # h_0
    features = jax.nn.relu(hidden)  # F_0
    if config.recurrent_steps:
        features = evolve(features, hidden, left, config.recurrent_steps)
    pooled = jnp.einsum("bhwc,hwc->bc", features, next(left)[..., 0], precision="highest")
    x = normalize(pooled, pooled_statistics == "fixed")
    if config.hidden_units:
        x = jax.nn.relu(jnp.matmul(x, next(left), precision="highest") + next(left))
    x = jnp.matmul(x, next(left), precision="highest") + next(left)
    return x.reshape(-1, NUM_LANDMARKS, 3), statistics


def evolve(features: jax.Array, hidden: jax.Array, weights: Iterator[jax.Array], steps: int) -> jax.Array:
    """The fast recurrent module (Eq. 7): F_0 and h_0 (B, H, W, C) -> F_steps."""
    input_depthwise, hidden_pointwise, hidden_depthwise = (next(weights) for _ in range(3))
    for _ in range(steps):
        hidden = depthwise(pointwise(hidden, hidden_pointwise), hidden_depthwise, 1)
        features = features + jnp.tanh(depthwise(features, input_depthwise, 1) + hidden)
    return features


def pointwise(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """A 1 x 1 convolution of (B, H, W, C) with (1, 1, C, D): (B, H, W, D)."""
    return jnp.einsum("bhwc,cd->bhwd", x, kernel[0, 0])


def depthwise(x: jax.Array, kernel: jax.Array, stride: int) -> jax.Array:
    """A 3 x 3 depthwise convolution with padding "same" as a sum of shifted images.

    XLA compiles the sum into one pass over the image, which is faster than its grouped convolutions.

    Args:
        x: (B, H, W, C), H and W multiples of the stride.
        kernel: (3, 3, C, 1).
        stride: 1 or 2.
    """
    before = 1 if stride == 1 else 0  # what TensorFlow pads in front of an even number of pixels
    count, height, width, channels = x.shape
    padded = jnp.pad(x, ((0, 0), (before, 1), (before, 1), (0, 0)))

    def shifted(row: int, column: int) -> jax.Array:
        end = (row + height - stride + 1, column + width - stride + 1)
        return lax.slice(padded, (0, row, column, 0), (count, *end, channels), (1, stride, stride, 1))

    terms = [shifted(row, column) * kernel[row, column, :, 0] for row in range(3) for column in range(3)]
    return sum(terms[1:], terms[0])
