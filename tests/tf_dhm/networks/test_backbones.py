"""The CNNs: shapes, widths, and what an hourglass does."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import tensorflow as tf

from tests.tf_dhm.networks.test_dhm import HOURGLASS, VANILLA
from tf_dhm.networks.backbones import BACKBONES, residual_module, scaled_width
from tf_dhm.networks.config import ModelConfig


def cnn(config: ModelConfig) -> tf.keras.Model:
    shape = (config.input_size, config.input_size, 3)
    image, heatmap = tf.keras.Input(shape), tf.keras.Input(shape)
    return tf.keras.Model([image, heatmap], BACKBONES[config.backbone](config, image, heatmap))


def shape_of(model: tf.keras.Model, name: str) -> tuple[int, ...]:
    return tuple(model.get_layer(name).output.shape[1:])


def test_stages_of_the_reduced_vgg() -> None:
    model = cnn(replace(VANILLA, cnn_multiplier=2.0))
    assert shape_of(model, "stem") == (32, 32, 16)
    assert shape_of(model, "stage1_convolution1") == (16, 16, 16)
    assert shape_of(model, "stage2_convolution1") == shape_of(model, "stage2_convolution2") == (8, 8, 32)
    assert shape_of(model, "stage2_pooling") == (4, 4, 32)
    kinds = [type(layer).__name__ for layer in model.layers]
    assert (kinds.count("Conv2D"), kinds.count("MaxPooling2D")) == (3, 3)


def test_stages_of_the_hourglasses() -> None:
    config = replace(
        HOURGLASS,
        input_size=64,
        stage_channels=(8, 16),
        stage_blocks=(1, 0),
        hourglasses=3,
        hourglass_depth=2,
    )
    model = cnn(config)
    assert model.get_layer("stem").kernel.shape == (7, 7, 6, 8)
    assert shape_of(model, "stem") == shape_of(model, "stem_residual2_add") == (32, 32, 8)
    assert shape_of(model, "stem_pooling") == (16, 16, 8)
    assert shape_of(model, "hourglass1_waist_residual1_add") == (4, 4, 16)
    assert [shape_of(model, f"hourglass{i}") for i in (1, 2, 3)] == [(16, 16, 16)] * 3
    assert not any(layer.name.startswith("hourglass4") for layer in model.layers)
    assert tuple(model.output_shape[1:]) == (4, 4, 16)


def test_the_stem_of_the_paper_s_hourglasses_ends_at_a_quarter_of_the_image() -> None:
    config = replace(HOURGLASS, input_size=256, hourglass_depth=4)
    model = cnn(config)
    assert shape_of(model, "hourglass1")[:2] == (64, 64)
    assert tuple(model.output_shape[1:3]) == (4, 4)


@pytest.mark.parametrize(("channels", "skips"), [(8, False), (16, True)])
def test_the_residual_module_adds_its_input(channels: int, skips: bool) -> None:
    x = tf.keras.Input((4, 4, 8))
    model = tf.keras.Model(x, residual_module(x, channels, "module"))
    assert tuple(model.output_shape[1:]) == (4, 4, channels)
    assert any(layer.name == "module_skip" for layer in model.layers) == skips
    widths = [model.get_layer(f"module_convolution{i}").kernel.shape for i in (1, 2, 3)]
    narrow = channels // 2
    assert widths == [(1, 1, 8, narrow), (3, 3, narrow, narrow), (1, 1, narrow, channels)]
    last = model.get_layer("module_convolution3")
    last.set_weights([np.zeros(last.kernel.shape)])
    image = tf.random.stateless_normal((2, 4, 4, 8), (0, 1))
    expected = model.get_layer("module_skip")(image) if skips else image
    np.testing.assert_array_equal(model(image, training=False), expected)


@pytest.mark.parametrize(
    ("channels", "multiplier", "width"),
    [(32, 1.0, 32), (32, 2.0, 64), (32, 0.5, 16), (16, 0.1, 8), (24, 1.2, 32), (20, 1.0, 16), (30, 1.0, 32)],
)
def test_widths_are_multiples_of_eight(channels: int, multiplier: float, width: int) -> None:
    assert scaled_width(channels, multiplier) == width
