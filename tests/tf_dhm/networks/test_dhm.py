"""DHM (Algorithm 1): the recurrence in NumPy, its gradients, and the options of the family."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from tests.morphables import toy_model
from tf_dhm.core.errors import InputError
from tf_dhm.core.types import Array
from tf_dhm.face import geometry
from tf_dhm.face.heatmap import diffusion_heatmap
from tf_dhm.face.mean_face import mean_landmarks, mean_shape
from tf_dhm.face.standardised import standardise
from tf_dhm.networks import dhm, models
from tf_dhm.networks.config import ModelConfig
from tf_dhm.networks.dhm import build_dhm, find_morphable, trace_states
from tf_dhm.networks.models import constant_heatmap

SIZE = 32
UNITS = 8
VANILLA = ModelConfig(
    family="dhm",
    input_size=SIZE,
    backbone="vgg",
    stem_channels=8,
    stage_channels=(8, 16),
    stage_blocks=(0, 1),
    cell="vanilla",
    recurrent_channels=UNITS,
    recurrent_steps=2,
    hidden_units=0,
)
LSTM = replace(VANILLA, cell="lstm")
RNN_2D = replace(VANILLA, state="landmarks", heatmap_input=False, landmarks_input=True)
ONE_PASS = replace(VANILLA, recurrent_steps=0, hidden_units=UNITS)
FASTER = replace(VANILLA, backbone="separable")
HOURGLASS = replace(
    LSTM, backbone="hourglass", stage_channels=(8, 8), stage_blocks=(0, 0), hourglasses=1, hourglass_depth=1
)
LANDMARKS_BY_MAPS = replace(VANILLA, state="landmarks")
CONFIGS = {
    "vanilla": VANILLA,
    "lstm": LSTM,
    "rnn_2d": RNN_2D,
    "cnn_3d": ONE_PASS,
    "fast_cnn": FASTER,
    "hourglass": HOURGLASS,
    "landmarks_by_maps": LANDMARKS_BY_MAPS,
    "both_inputs": replace(VANILLA, landmarks_input=True),
}
QUICK = ("vanilla", "hourglass", "rnn_2d", "cnn_3d")
"""Both cells and states, with and without maps, and no recurrence; the others combine these otherwise."""


def inputs(count: int = 2) -> dict[str, Any]:
    image = np.random.default_rng(0).uniform(0, 255, (count, SIZE, SIZE, 3)).astype(np.float32)
    return {"image": image, "heatmap": constant_heatmap(SIZE)}


def lively(config: ModelConfig, seed: int = 0) -> tf.keras.Model:
    """A network as of some training: its increments do not nearly vanish."""
    tf.keras.utils.set_random_seed(seed)
    model = build_dhm(config)
    increment = model.get_layer("increment")
    (kernel,) = increment.get_weights()
    scale = 0.15 if config.state == "parameters" else 0.02
    increment.set_weights([np.random.default_rng(seed).normal(0.0, scale, kernel.shape)])
    return model


@pytest.fixture(
    scope="module",
    params=[
        pytest.param(config, id=name, marks=[pytest.mark.slow] * (name not in QUICK))
        for name, config in CONFIGS.items()
    ],
)
def network(request: pytest.FixtureRequest) -> tuple[ModelConfig, tf.keras.Model]:
    return request.param, lively(request.param)


def sigmoid(x: Array) -> Array:
    return 1.0 / (1.0 + np.exp(-x))


def run_cell(config: ModelConfig, weights: list[Array], x: Array, memory: list[Array]) -> list[Array]:
    """[h] of Eq. 4, or [h, c] of the LSTM in Keras' order of gates: input, forget, cell, output."""
    if config.cell == "vanilla":
        return [np.tanh(x @ weights[0] + memory[0] @ weights[1])]
    gates = x @ weights[0] + memory[0] @ weights[1] + weights[2]
    i, f, g, o = np.split(gates, 4, -1)
    c = sigmoid(f) * memory[1] + sigmoid(i) * np.tanh(g)
    return [sigmoid(o) * np.tanh(c), c]


def algorithm_1(model: tf.keras.Model, config: ModelConfig, given: dict[str, Any]) -> list[Array]:
    """The landmarks of every state in pixels, with all but the CNN in NumPy."""
    count = len(given["image"])
    standard = find_morphable(config.morphable)
    state = (
        np.zeros((count, 234)) if config.state == "parameters" else np.tile(mean_shape().ravel(), (count, 1))
    )

    def project(state: Array) -> Array:
        if config.state == "parameters":
            return standard.project(state, SIZE)
        return geometry.unit_to_pixels(state.reshape(count, 68, 3), SIZE)

    cnn = model.get_layer("cnn")
    increment = model.get_layer("increment").get_weights()[0]
    memory = [np.zeros((count, UNITS))] * (2 if config.cell == "lstm" else 1)
    drawn = np.repeat(given["heatmap"], count, 0)
    states = [project(state)]
    for step in range(max(config.recurrent_steps, 1)):
        if step and config.heatmap_input:
            drawn = np.stack([diffusion_heatmap(face, SIZE) for face in states[-1]])
        x = cnn([given["image"], drawn], training=False).numpy()
        if config.landmarks_input:
            unit = (states[-1][..., :2] + 0.5) * 2 / SIZE - 1
            x = np.concatenate([x, unit.reshape(count, -1)], -1)
        if config.recurrent_steps:
            memory = run_cell(config, model.get_layer("cell").get_weights(), x, memory)
            x = memory[0]
        if config.hidden_units:
            kernel, bias = model.get_layer("hidden").get_weights()
            x = np.maximum(x @ kernel + bias, 0.0)
        state = state + x @ increment
        states.append(project(state))
    return states


def test_algorithm_1_in_numpy(network: tuple[ModelConfig, tf.keras.Model]) -> None:
    config, model = network
    given = inputs()
    expected = algorithm_1(model, config, given)
    assert np.abs(expected[-1] - expected[0]).max() > 0.2, "the face does not move"
    traced = trace_states(model)(given, training=False)
    assert len(traced["landmarks"]) == len(expected) == max(config.recurrent_steps, 1) + 1
    for found, landmarks in zip(traced["landmarks"], expected, strict=True):
        np.testing.assert_allclose(found, landmarks, atol=5e-3)
    seen = config.recurrent_steps if config.heatmap_input and config.recurrent_steps else 1
    assert len(traced["heatmaps"]) == seen
    for found, landmarks in zip(traced["heatmaps"][1:], expected[1:], strict=False):
        drawn = np.stack([diffusion_heatmap(face, SIZE) for face in landmarks])
        np.testing.assert_allclose(found, drawn, atol=5e-3)
    outputs = model(given, training=False)
    assert (outputs.shape, outputs.dtype) == ((2, 68, 3), tf.float32)
    np.testing.assert_allclose(geometry.unit_to_pixels(outputs, SIZE), expected[-1], atol=5e-3)


def test_equation_4_by_hand() -> None:
    cell = dhm.CELLS["vanilla"](2, use_bias=False)
    cell.build((1, 3))
    assert len(cell.get_weights()) == 2
    w_ih, w_hh = np.array([[0.1, 0.2], [0.0, -0.3], [0.5, 0.0]]), np.array([[0.0, 1.0], [-0.5, 0.25]])
    cell.set_weights([w_ih, w_hh])
    features, hidden = tf.constant([[1.0, 2.0, -1.0]]), tf.constant([[0.4, 0.2]])
    # W_ih x = (0.1 - 0.5, 0.2 - 0.6) = (-0.4, -0.4); W_hh h = (-0.1, 0.4 + 0.05) = (-0.1, 0.45)
    output, (state,) = cell(features, [hidden])
    np.testing.assert_allclose(output, [[np.tanh(-0.5), np.tanh(0.05)]], rtol=1e-6)
    np.testing.assert_array_equal(state, output)


@pytest.mark.parametrize("config", [VANILLA, RNN_2D], ids=["parameters", "landmarks"])
def test_an_untrained_network_answers_the_mean_face(config: ModelConfig) -> None:
    tf.keras.utils.set_random_seed(0)
    states = trace_states(build_dhm(config))(inputs(), training=False)["landmarks"]
    # Random increments move a landmark by 0.1 to 0.9 pixels of the crop (six seeds), by less with this one.
    assert np.abs(states[-1] - states[0]).mean() < 0.7
    # The open face's mean is not quite the mean of the datasets.
    tolerance = 1.0 if config.state == "parameters" else 1e-4
    first = states[0][0, :, :2]
    np.testing.assert_allclose(first, mean_landmarks(SIZE)[:, :2], atol=tolerance)


def test_widths_of_the_outputs() -> None:
    assert build_dhm(VANILLA).get_layer("increment").units == 234
    model = build_dhm(RNN_2D)
    assert model.get_layer("increment").units == 68 * 3
    # The 2-D landmarks stand beside the features of the CNN.
    features = model.get_layer("cnn").outputs[0].shape[-1]
    assert model.get_layer("cell").weights[0].shape == (features + 68 * 2, UNITS)


@pytest.mark.parametrize("config", [LSTM, RNN_2D], ids=["lstm", "rnn_2d"])
def test_config_round_trip_of_the_network(config: ModelConfig) -> None:
    model = lively(config)
    again = tf.keras.Model.from_config(model.get_config())
    again.set_weights(model.get_weights())
    np.testing.assert_array_equal(again(inputs(), training=False), model(inputs(), training=False))


def test_the_given_map_is_the_first_that_the_cnn_sees() -> None:
    model = lively(VANILLA)
    moved = diffusion_heatmap(mean_landmarks(SIZE) + [3.0, 0.0, 0.0], SIZE)[None]
    given = inputs()
    states = trace_states(model)({**given, "heatmap": moved}, training=False)
    np.testing.assert_array_equal(states["heatmaps"][0], moved)
    # The mean face is p_0 whatever the map.
    expected = trace_states(model)(given, training=False)
    np.testing.assert_array_equal(states["landmarks"][0], expected["landmarks"][0])
    assert np.abs(states["landmarks"][1] - expected["landmarks"][1]).max() > 0.05


@pytest.mark.parametrize("config", [VANILLA, LSTM, RNN_2D], ids=["vanilla", "lstm", "rnn_2d"])
def test_states_are_float32_under_mixed_precision(config: ModelConfig) -> None:
    with models.precision_policy("mixed_float16"):
        model = build_dhm(config)
    assert {tf.as_dtype(weight.dtype) for weight in model.weights} == {tf.float32}
    assert tf.as_dtype(model.get_layer("cnn").output.dtype) == tf.float16
    for name in ("initial_state", "increment", "state1", "output"):
        assert model.get_layer(name).compute_dtype == "float32"
    assert {landmarks.dtype for landmarks in trace_states(model)(inputs())["landmarks"]} == {tf.float32}
    assert model(inputs(), training=False).dtype == tf.float32


# Gradients


def later_steps(model: tf.keras.Model, output: Any) -> Any:
    """The same network from p_1 on: [image, map_0, p_1] -> output."""
    given = [model.input["image"], model.input["heatmap"], model.get_layer("state1").output]
    return tf.keras.Model(given, output)


def loss_of(outputs: Any) -> Any:
    truth = mean_shape() + np.random.default_rng(5).normal(0.0, 0.1, (68, 3))
    return tf.reduce_sum((outputs - truth.astype(np.float32)) ** 2)


def test_gradient_of_the_loss_against_differences() -> None:
    rng = np.random.default_rng(1)
    model = lively(VANILLA)
    later = later_steps(model, model.output)
    image, heatmap = (tf.constant(value) for value in inputs(1).values())
    state = tf.constant(rng.normal(0.0, 0.3, (1, 234)), tf.float32)
    with tf.GradientTape() as tape:
        tape.watch(state)
        loss = loss_of(later([image, heatmap, state], training=False))
    gradient = tape.gradient(loss, state)
    assert np.isfinite(gradient).all()
    errors = []
    for _ in range(8):
        # Of the pose and the first shapes, which move points most.
        direction = np.zeros((1, 234), np.float32)
        direction[0, :20] = rng.normal(size=20)
        moved = (state + step * direction for step in (2e-4, -2e-4))
        ahead, behind = (float(loss_of(later([image, heatmap, m], training=False))) for m in moved)
        slope = float(tf.reduce_sum(gradient * direction))
        errors.append(abs((ahead - behind) / 4e-4 - slope) / (1.0 + abs(slope)))
    # A point that crosses the middle between two pixels makes a kink.
    assert np.median(errors) < 0.02


@pytest.mark.parametrize(
    "config", [VANILLA, LSTM, LANDMARKS_BY_MAPS], ids=["vanilla", "lstm", "landmarks_by_maps"]
)
def test_gradient_flows_through_projection_and_heat_map(config: ModelConfig) -> None:
    # What the later steps add depends on p_1 by its heat map alone.
    model = lively(config)
    last = model.get_layer(f"state{config.recurrent_steps}").output
    later = later_steps(model, last)
    image, heatmap = (tf.constant(value) for value in inputs(1).values())
    state = model.get_layer("initial_state")(image)
    with tf.GradientTape() as tape:
        tape.watch(state)
        added = tf.reduce_sum((later([image, heatmap, state], training=False) - state) ** 2)
    gradient = tape.gradient(added, state)
    assert np.isfinite(gradient).all()
    assert np.abs(gradient).max() > 1e-4


def test_gradient_reaches_every_weight_and_the_first_step(
    network: tuple[ModelConfig, tf.keras.Model],
) -> None:
    config, model = network
    given = {key: tf.constant(value) for key, value in inputs(4).items()}
    with tf.GradientTape() as tape:
        tape.watch(given["heatmap"])
        loss = loss_of(model(given, training=True))
    to_map, to_weights = tape.gradient(
        loss, [given["heatmap"], model.trainable_variables], unconnected_gradients="zero"
    )
    # map_0 is seen by the first step alone.
    assert bool(np.any(to_map)) == config.heatmap_input
    assert all(np.isfinite(gradient).all() and np.any(gradient) for gradient in to_weights)


# Options


def test_a_face_model_of_the_user(tmp_path: Path) -> None:
    path = tmp_path / "face.npz"
    model = toy_model()
    model.save(path)
    np.testing.assert_allclose(find_morphable(str(path)).basis, standardise(model).basis, rtol=1e-5)
    network = build_dhm(replace(VANILLA, morphable=str(path)))
    assert network.count_params() == build_dhm(VANILLA).count_params()
    with pytest.raises(InputError, match=r"none.npz: found no file, expected a morphable model"):
        build_dhm(replace(VANILLA, morphable=str(tmp_path / "none.npz")))
    with pytest.raises(InputError, match=str(tmp_path)):
        build_dhm(replace(VANILLA, morphable=str(tmp_path)))  # a folder without a Basel Face Model


@pytest.mark.parametrize(
    ("base", "options", "message"),
    [
        (ModelConfig(), {"cell": "vanilla"}, "cell: found vanilla, expected fast in the family fast_dhm"),
        (ModelConfig(), {"backbone": "vgg"}, "backbone: found vgg, expected separable in the family"),
        (ModelConfig(), {"landmarks_input": True}, "landmarks_input: found True, expected False in"),
        (ModelConfig(), {"family": "dhm"}, "cell: found fast, expected vanilla or lstm in the family dhm"),
        (VANILLA, {"backbone": "hourglass", "stage_channels": (8,), "stage_blocks": (0,)}, "stage_channels"),
        (HOURGLASS, {"hourglass_depth": 4}, "input_size: found 32, expected a multiple of 64"),
        (HOURGLASS, {"hourglasses": 0}, "hourglasses: found 0"),
        (VANILLA, {"input_size": 36}, "input_size: found 36, expected a multiple of 8"),
    ],
)
def test_options_that_do_not_fit(base: ModelConfig, options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        replace(base, **options)
