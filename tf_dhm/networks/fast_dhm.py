"""Fast DHM: features that evolve by the fast recurrent module (Eq. 7), and its network (Fig. 2b, Fig. 4).

    F_{t+1} = F_t + tanh(D_i * F_t + D_h * W_hh * h_t)        (Eq. 7)
    h_{t+1} = D_h * W_hh * h_t

D are depthwise 3 x 3 convolutions, W_hh is a pointwise one; all are the same at every step. F_0 are the
features of the CNN and h_0 the output of its pointwise convolution. The heat map is that of the mean
face, or of a first pass's landmarks.
"""

from __future__ import annotations

from typing import Any

from tf_dhm.core.types import Tensor
from tf_dhm.face.mean_face import mean_shape
from tf_dhm.networks.backbones import separable
from tf_dhm.networks.config import ModelConfig, scaled_width
from tf_dhm.networks.layers import Shape, register
from tf_dhm.networks.tensorflow import tf

layers = tf.keras.layers

POOLED_NORMALIZATION = "global_normalization"
"""Name of the layer that normalises the features after the global depthwise convolution."""


def build_fast_dhm(config: ModelConfig) -> tf.keras.Model:
    """Build Fast DHM x n; inputs and output are those of `models.build_model`."""
    size = config.input_size
    image = tf.keras.Input((size, size, 3), name="image")
    heatmap = tf.keras.Input((size, size, 3), name="heatmap")

    x = separable(config, image, heatmap)
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


@register
class FastRecurrentCell(tf.keras.layers.Layer):
    """The fast recurrent cell of Eq. 7.

    The state is [F, h], both (B, H, W, C); the output is F_{t+1}. The input of a step is ignored, as
    in Eq. 7: everything that the cell sees is in its initial state.
    """

    def __init__(self, height: int, width: int, channels: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.height, self.width, self.channels = height, width, channels
        shape = tf.TensorShape([height, width, channels])
        self.state_size = [shape, shape]
        self.output_size = shape
        self.input_depthwise = tf.keras.layers.DepthwiseConv2D(
            3, padding="same", use_bias=False, dtype=self.dtype_policy, name="input_depthwise"
        )
        self.hidden_pointwise = tf.keras.layers.Conv2D(
            channels, 1, use_bias=False, dtype=self.dtype_policy, name="hidden_pointwise"
        )
        self.hidden_depthwise = tf.keras.layers.DepthwiseConv2D(
            3, padding="same", use_bias=False, dtype=self.dtype_policy, name="hidden_depthwise"
        )

    def build(self, input_shape: Any) -> None:
        state = [None, self.height, self.width, self.channels]
        for layer in (self.input_depthwise, self.hidden_pointwise, self.hidden_depthwise):
            layer.build(state)
        super().build(input_shape)

    def call(self, inputs: Tensor, states: list[Tensor]) -> tuple[Tensor, list[Tensor]]:
        features, hidden = states
        hidden = self.hidden_depthwise(self.hidden_pointwise(hidden))
        features = features + tf.tanh(self.input_depthwise(features) + hidden)  # Eq. 7
        return features, [features, hidden]

    def get_config(self) -> dict[str, Any]:
        own = {"height": self.height, "width": self.width, "channels": self.channels}
        return {**super().get_config(), **own}


@register
class Evolution(tf.keras.layers.Layer):
    """Run a recurrent cell for a fixed number of steps from an initial state, unrolled.

    What `tf.keras.layers.RNN` does over a sequence of equal inputs, without the sequence and
    without a loop in the graph, so that it converts to TFLite. [F_0, h_0] -> F_steps.
    """

    def __init__(self, cell: tf.keras.layers.Layer, steps: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.cell = cell
        self.steps = steps

    def build(self, input_shape: Any) -> None:
        if not self.cell.built:  # a cell used elsewhere or loaded keeps its weights
            self.cell.build(input_shape[0])
        super().build(input_shape)

    def call(self, states: list[Tensor]) -> Tensor:
        output = states[0]
        states = list(states)
        for _ in range(self.steps):
            output, states = self.cell(output, states)
        return output

    def compute_output_shape(self, input_shape: Any) -> Shape:
        return tuple(input_shape[0])

    def get_config(self) -> dict[str, Any]:
        cell = tf.keras.layers.serialize(self.cell)
        return {**super().get_config(), "cell": cell, "steps": self.steps}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Evolution:
        cell = tf.keras.layers.deserialize(config["cell"])
        return cls(**{**config, "cell": cell})
