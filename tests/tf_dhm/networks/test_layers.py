"""Every layer through one shared test case, and Eq. 7 by hand."""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from tf_dhm.networks import fast_dhm, layers
from tf_dhm.networks.fast_dhm import Evolution, FastRecurrentCell
from tf_dhm.networks.keras_compat import KERAS_3
from tf_dhm.networks.layers import DiffusionHeatMap, InitialState, SeparableBlock, StemConvolution

POLICIES = ("float32", "mixed_float16", "mixed_bfloat16")
BATCH, STEPS = 3, 2
STATE = (4, 4, 6)


@dataclass(frozen=True)
class LayerCase:
    """A layer and its inputs.

    Attributes:
        make: creates a new layer.
        inputs: shapes of its inputs without the batch; a cell takes a sequence and its states.
        high: inputs are uniform in [0, high).
        integer: whether the first input is uint8.
        ignored: the inputs that the output does not depend on.
    """

    make: Callable[[], Any]
    inputs: tuple[tuple[int, ...], ...]
    high: float = 1.0
    integer: bool = False
    ignored: tuple[int, ...] = ()

    def model(self) -> Any:
        """A functional model of the layer alone, with random weights, the same at every call."""
        inputs = [
            tf.keras.Input(shape, dtype="uint8" if self.integer and i == 0 else "float32")
            for i, shape in enumerate(self.inputs)
        ]
        layer = self.make()
        if isinstance(layer, FastRecurrentCell):
            # Keras casts the sequence of an RNN to half precision, not its initial state.
            cast = tf.keras.layers.Activation("linear", dtype=layer.compute_dtype)
            states = [cast(state) for state in inputs[1:]]
            if not KERAS_3:  # its RNN takes no states of several axes
                outputs = tf.keras.layers.RNN(layer)(inputs[0], initial_state=states)
            else:
                for step in range(STEPS):
                    outputs, states = layer(inputs[0][:, step], states)
        else:
            outputs = layer(inputs if len(inputs) > 1 else inputs[0])
        model = tf.keras.Model(inputs, outputs)
        rng = np.random.default_rng(1)
        # Positive: a moving variance is among them.
        model.set_weights([rng.uniform(0.05, 0.3, weight.shape) for weight in model.get_weights()])
        return model

    def values(self, batch: int = BATCH) -> list[Any]:
        rng = np.random.default_rng(2)
        arrays = [rng.uniform(0, self.high, (batch, *shape)).astype(np.float32) for shape in self.inputs]
        if self.integer:
            arrays[0] = arrays[0].astype(np.uint8)
        return [tf.constant(array) for array in arrays]


CASES = {
    "heat_map": LayerCase(lambda: DiffusionHeatMap(16), ((68, 3),), high=16.0),
    "stem": LayerCase(lambda: StemConvolution(4), ((8, 8, 3), (8, 8, 3)), high=255.0, integer=True),
    "stem_without_map": LayerCase(
        lambda: StemConvolution(4, False), ((8, 8, 3), (8, 8, 3)), high=255.0, ignored=(1,)
    ),
    "stem_of_hourglasses": LayerCase(
        lambda: StemConvolution(4, kernel_size=7), ((8, 8, 3), (8, 8, 3)), high=255.0, integer=True
    ),
    "stem_without_stride": LayerCase(
        lambda: StemConvolution(4, strides=1), ((7, 8, 3), (7, 8, 3)), high=255.0, integer=True
    ),
    "initial_state": LayerCase(lambda: InitialState([0.0, 0.5, -2.0]), ((8, 8, 3),), ignored=(0,)),
    "separable_block": LayerCase(lambda: SeparableBlock(4), ((6, 6, 4),)),
    "separable_block_strided": LayerCase(lambda: SeparableBlock(8, stride=2), ((6, 6, 4),)),
    "fast_recurrent_cell": LayerCase(
        # Eq. 7 has no input at a step.
        lambda: FastRecurrentCell(*STATE),
        ((STEPS, 1), STATE, STATE),
        ignored=(0,),
    ),
    "evolution": LayerCase(lambda: Evolution(FastRecurrentCell(*STATE), STEPS), (STATE, STATE)),
}


@pytest.fixture(autouse=True)
def float32_policy() -> Iterator[None]:
    """Leave no policy behind for the next test."""
    yield
    tf.keras.mixed_precision.set_global_policy("float32")


def test_every_layer_has_a_case() -> None:
    own = {
        item
        for module in (layers, fast_dhm)
        for _, item in inspect.getmembers(module, inspect.isclass)
        if issubclass(item, tf.keras.layers.Layer) and item.__module__ == module.__name__
    }
    assert own == {type(case.make()) for case in CASES.values()}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
class TestEveryLayer:
    def test_config_round_trip(self, case: LayerCase) -> None:
        layer = case.make()
        config = layer.get_config()
        text = json.dumps(config)
        for _ in range(2):  # a layer takes nothing out of the configuration that it is given
            assert json.dumps(type(layer).from_config(config).get_config()) == text
        again = tf.keras.layers.deserialize(json.loads(json.dumps(tf.keras.layers.serialize(layer))))
        assert type(again) is type(layer)
        assert json.dumps(again.get_config()) == text

    def test_output_shape_is_the_one_announced(self, case: LayerCase) -> None:
        outputs = case.model()(case.values())
        assert outputs.shape[0] == BATCH
        layer = case.make()
        if isinstance(layer, FastRecurrentCell):
            announced = layer.output_size
            outputs = outputs[0]
        else:
            shapes = [(BATCH, *shape) for shape in case.inputs]
            announced = layer.compute_output_shape(shapes if len(shapes) > 1 else shapes[0])
        assert tuple(announced) == tuple(outputs.shape)

    @pytest.mark.parametrize("policy", POLICIES)
    def test_a_saved_model_file_gives_the_same_under_any_policy(
        self, case: LayerCase, policy: str, tmp_path: Path
    ) -> None:
        tf.keras.mixed_precision.set_global_policy(policy)
        model = case.model()
        expected = model(case.values())
        model.save(tmp_path / "model.keras")
        tf.keras.mixed_precision.set_global_policy("float32")
        loaded = tf.keras.models.load_model(tmp_path / "model.keras")
        found = loaded(case.values())
        assert found.dtype == expected.dtype
        np.testing.assert_array_equal(tf.cast(found, tf.float32), tf.cast(expected, tf.float32))

    def test_exported_with_any_batch(self, case: LayerCase, tmp_path: Path) -> None:
        model = case.model()
        names = [f"input_{i}" for i in range(len(model.inputs))]
        specs = [tf.TensorSpec(x.shape, x.dtype, name) for x, name in zip(model.inputs, names, strict=True)]
        module = tf.Module()
        module.variables_of_model = model.variables
        module.run = tf.function(lambda *inputs: model(list(inputs), training=False), input_signature=specs)
        tf.saved_model.save(module, str(tmp_path), signatures=module.run)
        loaded = tf.saved_model.load(str(tmp_path)).signatures["serving_default"]
        for batch in (1, BATCH):
            values = case.values(batch)
            (found,) = loaded(**dict(zip(names, values, strict=True))).values()
            np.testing.assert_allclose(found, model(values), rtol=1e-4, atol=1e-5)

    @pytest.mark.parametrize("policy", POLICIES[1:])
    def test_mixed_precision(self, case: LayerCase, policy: str) -> None:
        expected = case.model()(case.values()).numpy()
        tf.keras.mixed_precision.set_global_policy(policy)
        model = case.model()
        outputs = model(case.values())
        assert outputs.dtype == tf.keras.mixed_precision.global_policy().compute_dtype
        assert {tf.as_dtype(variable.dtype) for variable in model.variables} <= {tf.float32}
        error = np.abs(tf.cast(outputs, tf.float32).numpy() - expected).max()
        assert error <= 0.03 * np.abs(expected).max()

    @pytest.mark.parametrize("policy", POLICIES)
    def test_gradient_reaches_inputs_and_weights(self, case: LayerCase, policy: str) -> None:
        tf.keras.mixed_precision.set_global_policy(policy)
        model = case.model()
        values = case.values()
        floating = [i for i, value in enumerate(values) if value.dtype.is_floating]
        with tf.GradientTape() as tape:
            tape.watch([values[i] for i in floating])
            outputs = tf.cast(model(values, training=True), tf.float32)
            # A plain sum has no gradient through a normalisation.
            weights = np.random.default_rng(3).normal(size=outputs.shape).astype(np.float32)
            loss = tf.reduce_sum(outputs * weights)
        to_inputs, to_weights = tape.gradient(
            loss, [[values[i] for i in floating], model.trainable_variables], unconnected_gradients="zero"
        )
        assert all(np.isfinite(gradient).all() for gradient in [*to_inputs, *to_weights])
        assert all(np.any(gradient) for gradient in to_weights)
        reached = [i for i, gradient in zip(floating, to_inputs, strict=True) if np.any(gradient)]
        assert reached == [i for i in floating if i not in case.ignored]


# The heat map


@pytest.mark.parametrize("policy", POLICIES[1:])
def test_mixed_precision_does_not_move_landmarks(policy: str) -> None:
    # Half precision knows 150.3 to 0.06 or to a whole pixel: only the drawn map may be rounded.
    landmarks = np.random.default_rng(0).uniform(0, 224, (1, 68, 3)).astype(np.float32)
    expected = DiffusionHeatMap(224)(landmarks)
    tf.keras.mixed_precision.set_global_policy(policy)
    drawn = DiffusionHeatMap(224)(landmarks)
    np.testing.assert_array_equal(drawn, tf.cast(expected, drawn.dtype))


# The stem


def test_the_stem_is_the_convolution_of_the_stacked_channels() -> None:
    rng = np.random.default_rng(0)
    image = rng.uniform(0, 255, (2, 8, 8, 3)).astype(np.float32)
    drawn = rng.uniform(0, 1, (1, 8, 8, 3)).astype(np.float32)
    stem = StemConvolution(5)
    outputs = stem([image, drawn])
    stacked = np.concatenate([image / 127.5 - 1.0, np.repeat(drawn, 2, 0)], -1)
    expected = tf.nn.conv2d(stacked, stem.kernel, 2, "SAME")
    np.testing.assert_allclose(outputs, expected, atol=1e-4)


# The separable block


def test_the_residual_is_added_where_shapes_agree() -> None:
    inputs = tf.random.stateless_uniform((2, 6, 6, 4), (0, 1), -1.0, 1.0)
    blocks = {residual: SeparableBlock(4, residual=residual) for residual in (True, False)}
    for block in blocks.values():
        block(inputs)
    blocks[False].set_weights(blocks[True].get_weights())
    inner = blocks[True].normalization(blocks[True].convolution(inputs))
    np.testing.assert_allclose(blocks[True](inputs), tf.nn.relu(inner + inputs), atol=1e-6)
    np.testing.assert_allclose(blocks[False](inputs), tf.nn.relu(inner), atol=1e-6)


# The fast recurrent cell (Eq. 7)


def test_the_initial_state_is_the_same_for_every_face() -> None:
    states = InitialState([1.0, -2.0])(tf.zeros((3, 5, 5, 3)))
    np.testing.assert_array_equal(states, [[1.0, -2.0]] * 3)
