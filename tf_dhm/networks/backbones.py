"""The CNNs of the DHM family: functions that add layers to a Keras graph."""

from __future__ import annotations

from collections.abc import Callable

from tf_dhm.core.types import Tensor
from tf_dhm.networks.config import ModelConfig, scaled_width, stages
from tf_dhm.networks.layers import SeparableBlock, StemConvolution
from tf_dhm.networks.tensorflow import tf

Backbone = Callable[[ModelConfig, Tensor, Tensor], Tensor]
"""(config, image, heatmap) -> features (B, H, W, C)."""

layers = tf.keras.layers


def stem(config: ModelConfig, image: Tensor, heatmap: Tensor, kernel_size: int, strides: int) -> Tensor:
    """The first convolution with its normalisation and ReLU: (B, S / strides, S / strides, C)."""
    convolution = StemConvolution(
        scaled_width(config.stem_channels, config.cnn_multiplier),
        config.heatmap_input,
        kernel_size,
        strides,
        name="stem",
    )
    x = convolution([image, heatmap])
    x = layers.BatchNormalization(momentum=0.9, name="stem_normalization")(x)
    return layers.ReLU(name="stem_relu")(x)


def separable(config: ModelConfig, image: Tensor, heatmap: Tensor) -> Tensor:
    """The depthwise-separable CNN of Fast DHM (Fig. 2b)."""
    x = stem(config, image, heatmap, 3, 2)
    for stage, (channels, blocks) in enumerate(stages(config), start=1):
        x = SeparableBlock(channels, stride=2, name=f"stage{stage}_down")(x)
        for block in range(1, blocks + 1):
            x = SeparableBlock(channels, name=f"stage{stage}_block{block}")(x)
    return x


def reduced_vgg(config: ModelConfig, image: Tensor, heatmap: Tensor) -> Tensor:
    """VGG without its dense layers: 3 x 3 convolutions, max pooling after the stem and each stage.

    Unlike VGG it is normalised after every convolution, as the other CNNs here: the paper trains from
    random weights and does not say.
    """
    x = stem(config, image, heatmap, 3, 1)
    x = layers.MaxPooling2D(name="stem_pooling")(x)
    for stage, (channels, blocks) in enumerate(stages(config), start=1):
        for block in range(1, blocks + 2):
            name = f"stage{stage}_convolution{block}"
            x = layers.Conv2D(
                channels, 3, padding="same", use_bias=False, kernel_initializer="he_normal", name=name
            )(x)
            x = layers.BatchNormalization(momentum=0.9, name=f"{name}_normalization")(x)
            x = layers.ReLU(name=f"{name}_relu")(x)
        x = layers.MaxPooling2D(name=f"stage{stage}_pooling")(x)
    return x


def stacked_hourglasses(config: ModelConfig, image: Tensor, heatmap: Tensor) -> Tensor:
    """Stacked hourglasses (Newell et al., ECCV 2016), and pooling down to the size of their waist.

    7 x 7 convolution with stride 2, residual modules, max pooling: a quarter of the image's side.
    Each hourglass adds its output to its input. There is no prediction between them: the shape is that
    of the whole network.
    """
    (first, first_blocks), (channels, blocks) = stages(config)

    def residuals(x: Tensor, name: str) -> Tensor:
        for block in range(1, blocks + 2):
            x = residual_module(x, channels, f"{name}_residual{block}")
        return x

    def hourglass(x: Tensor, depth: int, name: str) -> Tensor:
        if depth == 0:
            return residuals(x, f"{name}_waist")
        skip = residuals(x, f"{name}_skip{depth}")
        x = layers.MaxPooling2D(name=f"{name}_pooling{depth}")(x)
        x = residuals(x, f"{name}_down{depth}")
        x = hourglass(x, depth - 1, name)
        x = residuals(x, f"{name}_up{depth}")
        x = layers.UpSampling2D(name=f"{name}_upsampling{depth}")(x)
        return layers.Add(name=f"{name}_add{depth}")([skip, x])

    x = stem(config, image, heatmap, 7, 2)
    for block in range(1, first_blocks + 2):
        x = residual_module(x, first, f"stem_residual{block}")
    x = layers.MaxPooling2D(name="stem_pooling")(x)
    x = residuals(x, "stem_widening")
    for number in range(1, config.hourglasses + 1):
        name = f"hourglass{number}"
        found = hourglass(x, config.hourglass_depth, name)
        found = layers.Conv2D(channels, 1, name=f"{name}_output")(found)
        x = layers.Add(name=name)([x, found])
    for number in range(1, config.hourglass_depth + 1):
        x = layers.MaxPooling2D(name=f"head_pooling{number}")(x)
        x = residuals(x, f"head{number}")
    x = layers.BatchNormalization(momentum=0.9, name="head_normalization")(x)
    return layers.ReLU(name="head_relu")(x)


def residual_module(x: Tensor, channels: int, name: str) -> Tensor:
    """A bottleneck that normalises first (He et al., ECCV 2016): (B, H, W, C) -> (B, H, W, channels)."""
    skip = x if x.shape[-1] == channels else layers.Conv2D(channels, 1, name=f"{name}_skip")(x)
    narrow = channels // 2
    for part, (width, size) in enumerate(((narrow, 1), (narrow, 3), (channels, 1)), start=1):
        x = layers.BatchNormalization(momentum=0.9, name=f"{name}_normalization{part}")(x)
        x = layers.ReLU(name=f"{name}_relu{part}")(x)
        convolution = layers.Conv2D(
            width,
            size,
            padding="same",
            use_bias=False,
            kernel_initializer="he_normal",
            name=f"{name}_convolution{part}",
        )
        x = convolution(x)
    return layers.Add(name=f"{name}_add")([skip, x])


BACKBONES: dict[str, Backbone] = {
    "separable": separable,
    "vgg": reduced_vgg,
    "hourglass": stacked_hourglasses,
}
