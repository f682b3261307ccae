"""Keras layers that the families share: heat map (Eq. 3), first convolution, separable block."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tf_dhm.core.types import Tensor
from tf_dhm.face import heatmap
from tf_dhm.networks.tensorflow import tf

Shape = tuple[int | None, ...]

register = tf.keras.utils.register_keras_serializable(package="tf_dhm")


@tf.custom_gradient
def scatter_max(updates: Tensor, indices: Tensor, count: Tensor) -> Any:
    """The maximum of 0 and of the updates (M, C) with each index (M,): (count, C).

    The gradient goes to the largest update, and in full to each of several equal ones. TensorFlow's own
    gradient, which shares it among them, takes three times as long.
    """
    drawn = tf.maximum(tf.math.unsorted_segment_max(updates, indices, count), 0.0)

    def gradient(upstream: Tensor) -> tuple[Tensor, None, None]:
        kept = (updates > 0.0) & (updates >= tf.gather(drawn, indices))
        return tf.where(kept, tf.gather(upstream, indices), 0.0), None, None

    return drawn, gradient


@register
class DiffusionHeatMap(tf.keras.layers.Layer):
    """The DHM of Eq. 3 / Algorithm 1 drawn in the graph, differentiable in the landmarks.

    Landmarks (B, N, 3) in pixels -> maps (B, size, size, 3) in [0, 1]. The values are those of
    `tf_dhm.face.heatmap.diffusion_heatmap`.
    """

    def __init__(self, size: int, **kwargs: Any) -> None:
        # Maps are drawn in float32 under mixed precision too: float16 cannot hold pixel indices,
        # so Keras must not round the landmarks before `call`.
        super().__init__(autocast=False, **kwargs)
        self.size = size

    def call(self, landmarks: Tensor) -> Tensor:
        points = tf.cast(landmarks, tf.float32)  # (B, N, 3)
        low = tf.reduce_min(points, 1, keepdims=True)
        high = tf.reduce_max(points, 1, keepdims=True)
        span = tf.where(high > low, high - low, 1.0)
        values = (points - low) / span
        # A Gaussian is the product of one along each axis: those are drawn, on the axes of the patch.
        axis = tf.range(-heatmap.RADIUS, heatmap.RADIUS + 1, dtype=tf.float32)
        pixels = tf.stop_gradient(tf.round(points[:, :, :2, None])) + axis  # (B, N, 2, 2 RADIUS + 1)
        gaussian = tf.exp(-((pixels - points[:, :, :2, None]) ** 2) / (2.0 * heatmap.SIGMA**2))
        limit = float(self.size - 1)
        gaussian = tf.where((pixels >= 0.0) & (pixels <= limit), gaussian, 0.0)
        pixels = tf.cast(tf.clip_by_value(pixels, 0.0, limit), tf.int32)
        batch = tf.range(tf.shape(points)[0])[:, None, None, None]
        flat = (batch * self.size + pixels[:, :, 1, :, None]) * self.size + pixels[:, :, 0, None, :]
        patches = gaussian[:, :, 1, :, None] * gaussian[:, :, 0, None, :]
        updates = patches[..., None] * values[:, :, None, None, :]  # (B, N, 2 RADIUS + 1, same, 3)
        area = tf.shape(points)[0] * self.size * self.size
        drawn = scatter_max(tf.reshape(updates, [-1, 3]), tf.reshape(flat, [-1]), area)
        drawn = tf.reshape(drawn, [-1, self.size, self.size, 3])
        return tf.cast(drawn, self.compute_dtype)

    def compute_output_shape(self, input_shape: Any) -> Shape:
        return (input_shape[0], self.size, self.size, 3)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "size": self.size}


@register
class StemConvolution(tf.keras.layers.Layer):
    """The first convolution, over the image with the DHM stacked on it.

    [image (B, H, W, 3) in [0, 255], heatmap (B or 1, H, W, 3)] -> (B, H / strides, W / strides,
    filters). Image and map are convolved apart and added, which is the convolution of the six
    stacked channels: the share of a constant map is then a constant that an exporter folds, and
    one map serves a whole batch.
    """

    def __init__(
        self, filters: int, use_heatmap: bool = True, kernel_size: int = 3, strides: int = 2, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.filters = filters
        self.use_heatmap = use_heatmap
        self.kernel_size = kernel_size
        self.strides = strides

    def build(self, input_shape: Any) -> None:
        channels = 6 if self.use_heatmap else 3
        shape = (self.kernel_size, self.kernel_size, channels, self.filters)
        self.kernel = self.add_weight(name="kernel", shape=shape, initializer="he_normal")
        super().build(input_shape)

    def call(self, inputs: list[Tensor]) -> Tensor:
        image, drawn = inputs
        image = tf.cast(image, self.compute_dtype) * (1.0 / 127.5) - 1.0
        outputs = tf.nn.conv2d(image, self.kernel[:, :, :3], self.strides, "SAME")
        if self.use_heatmap:
            drawn = tf.cast(drawn, self.compute_dtype)
            outputs += tf.nn.conv2d(drawn, self.kernel[:, :, 3:], self.strides, "SAME")
        return outputs

    def compute_output_shape(self, input_shape: Any) -> Shape:
        batch, height, width, _ = input_shape[0]
        sides = [None if side is None else -(-side // self.strides) for side in (height, width)]
        return (batch, *sides, self.filters)

    def get_config(self) -> dict[str, Any]:
        own = {"filters": self.filters, "use_heatmap": self.use_heatmap}
        own |= {"kernel_size": self.kernel_size, "strides": self.strides}
        return {**super().get_config(), **own}


@register
class SeparableBlock(tf.keras.layers.Layer):
    """Depthwise-separable convolution, batch normalisation, ReLU (Fig. 2b).

    (B, H, W, C) -> (B, H / stride, W / stride, filters); with `residual` the input is added
    before the ReLU wherever the shapes agree.
    """

    def __init__(self, filters: int, stride: int = 1, residual: bool = True, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.filters = filters
        self.stride = stride
        self.residual = residual
        self.convolution = tf.keras.layers.SeparableConv2D(
            filters, 3, stride, padding="same", use_bias=False, dtype=self.dtype_policy, name="convolution"
        )
        self.normalization = tf.keras.layers.BatchNormalization(
            momentum=0.9, dtype=self.dtype_policy, name="normalization"
        )

    def build(self, input_shape: Any) -> None:
        self.convolution.build(input_shape)
        self.normalization.build(self.convolution.compute_output_shape(input_shape))
        self.add_input = self.residual and self.stride == 1 and input_shape[-1] == self.filters
        super().build(input_shape)

    def call(self, inputs: Tensor, training: bool | None = None) -> Tensor:
        outputs = self.normalization(self.convolution(inputs), training=training)
        return tf.nn.relu(outputs + inputs if self.add_input else outputs)

    def compute_output_shape(self, input_shape: Any) -> Shape:
        return tuple(self.convolution.compute_output_shape(input_shape))

    def get_config(self) -> dict[str, Any]:
        own = {"filters": self.filters, "stride": self.stride, "residual": self.residual}
        return {**super().get_config(), **own}


@register
class InitialState(tf.keras.layers.Layer):
    """The state before the first step, the same for every face: (B, ...) -> (B, N).

    The input gives the size of the batch alone.
    """

    def __init__(self, values: Sequence[float], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.values = [float(value) for value in values]

    def call(self, inputs: Tensor) -> Tensor:
        state = tf.constant(self.values, self.compute_dtype)
        return tf.broadcast_to(state, [tf.shape(inputs)[0], len(self.values)])

    def compute_output_shape(self, input_shape: Any) -> Shape:
        return (input_shape[0], len(self.values))

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "values": self.values}
