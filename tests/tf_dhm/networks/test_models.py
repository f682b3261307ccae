"""Networks of the family: shapes, the start at the mean face, and what the heat map does."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import tensorflow as tf

from tests.faces import TINY_MODEL
from tf_dhm.face.heatmap import diffusion_heatmap
from tf_dhm.face.mean_face import mean_landmarks, mean_shape
from tf_dhm.networks import models
from tf_dhm.networks.models import build_model, constant_heatmap

SIZE = TINY_MODEL.input_size


def inputs(count: int = 2, size: int = SIZE) -> dict[str, np.ndarray]:
    image = np.random.default_rng(0).integers(0, 256, (count, size, size, 3)).astype(np.float32)
    return {"image": image, "heatmap": constant_heatmap(size)}


def randomize(model: tf.keras.Model) -> tf.keras.Model:
    """Weights as of a trained network: the head does not nearly vanish."""
    rng = np.random.default_rng(0)
    model.set_weights([rng.uniform(0.05, 0.3, weight.shape) for weight in model.get_weights()])
    return model


def test_shapes_of_the_stages() -> None:
    config = dataclasses.replace(TINY_MODEL, cnn_multiplier=2.0, rnn_multiplier=1.5)
    model = build_model(config)
    shapes = {layer.name: tuple(layer.output.shape)[1:] for layer in model.layers[2:]}
    assert shapes["stem"] == (16, 16, 16)
    assert shapes["stage1_down"] == (8, 8, 16)
    assert shapes["stage2_down"] == shapes["stage2_block1"] == (4, 4, 32)
    assert shapes["pointwise"] == shapes["features"] == shapes["evolution"] == (4, 4, 24)
    assert shapes["global_depthwise"] == (1, 1, 24)
    assert shapes["hidden"] == (16,)
    assert shapes["output"] == (68, 3)
    outputs = model(inputs(3))
    assert (outputs.shape, outputs.dtype) == ((3, 68, 3), tf.float32)


def test_summary_names_every_layer() -> None:
    lines: list[str] = []
    build_model(TINY_MODEL).summary(print_fn=lines.append)
    text = "\n".join(lines)
    assert all(name in text for name in ("stem", "stage1_down", "stage2_block1", "evolution", "landmarks"))


def test_bytes_are_four_for_each_weight() -> None:
    model = build_model(TINY_MODEL)
    assert models.weight_bytes(model) == 4 * model.count_params()


def test_an_untrained_network_answers_the_mean_face() -> None:
    outputs = build_model(TINY_MODEL)(inputs(), training=False)
    np.testing.assert_allclose(outputs, np.broadcast_to(mean_shape(), (2, 68, 3)), atol=0.02)


def test_the_heat_map_changes_the_answer() -> None:
    model = randomize(build_model(TINY_MODEL))
    given = inputs()
    moved = diffusion_heatmap(mean_landmarks(SIZE) + [3.0, 0.0, 0.0], SIZE)[None]
    first = model(given, training=False).numpy()
    second = model({**given, "heatmap": moved}, training=False).numpy()
    assert np.abs(first - second).max() > 1e-3

    blind = randomize(build_model(dataclasses.replace(TINY_MODEL, heatmap_input=False)))
    answers = [blind({**given, "heatmap": drawn}, training=False) for drawn in (given["heatmap"], moved)]
    np.testing.assert_array_equal(*answers)


def test_one_heat_map_serves_a_batch() -> None:
    model = randomize(build_model(TINY_MODEL))
    given = inputs()
    each = {**given, "heatmap": np.repeat(given["heatmap"], 2, 0)}
    np.testing.assert_allclose(model(given, training=False), model(each, training=False), rtol=1e-5)


def test_steps_of_the_recurrent_module_share_weights_and_change_the_answer() -> None:
    answers, counts = [], []
    for steps in (1, 3):
        model = randomize(build_model(dataclasses.replace(TINY_MODEL, recurrent_steps=steps)))
        answers.append(model(inputs(), training=False).numpy())
        counts.append(model.count_params())
    assert counts[0] == counts[1]
    assert np.abs(answers[0] - answers[1]).max() > 1e-3


def test_parts_that_may_be_left_out() -> None:
    smaller = build_model(dataclasses.replace(TINY_MODEL, recurrent_steps=0, hidden_units=0))
    assert smaller(inputs()).shape == (2, 68, 3)
    assert not {layer.name for layer in smaller.layers} & {"evolution", "hidden"}


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
def test_landmarks_are_float32_under_mixed_precision(policy: str) -> None:
    before = tf.keras.mixed_precision.global_policy()
    with models.precision_policy(policy):
        model = build_model(TINY_MODEL)
        assert tf.keras.mixed_precision.global_policy().name == policy
    assert tf.keras.mixed_precision.global_policy().name == before.name
    outputs = model(inputs(), training=False)
    assert outputs.dtype == tf.float32
    # bfloat16 landmarks would be multiples of 2**-9 or coarser; the bias alone is finer.
    np.testing.assert_allclose(outputs[0], mean_shape(), atol=0.02)
    assert np.any(outputs.numpy() != tf.cast(tf.cast(outputs, tf.bfloat16), tf.float32).numpy())
    assert {tf.as_dtype(weight.dtype) for weight in model.weights} == {tf.float32}


def test_the_policy_is_put_back_after_an_error() -> None:
    with pytest.raises(RuntimeError, match="stop"), models.precision_policy("mixed_bfloat16"):
        raise RuntimeError("stop")
    assert tf.keras.mixed_precision.global_policy().name == "float32"


def test_config_round_trip_of_the_network() -> None:
    model = randomize(build_model(TINY_MODEL))
    again = tf.keras.Model.from_config(model.get_config())
    again.set_weights(model.get_weights())
    np.testing.assert_array_equal(again(inputs(), training=False), model(inputs(), training=False))
