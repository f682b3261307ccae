"""Eq. 2 in TensorFlow against NumPy, and its gradients."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import tensorflow as tf

from tests.morphables import toy_model
from tf_dhm.face import geometry
from tf_dhm.face.parameters import NUM_PARAMETERS
from tf_dhm.face.standardised import standardise
from tf_dhm.networks.projection import Projection, projection_layer, rotation_matrix

STANDARD = standardise(toy_model())
SIZE = 112


def states(count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(count, NUM_PARAMETERS)).astype(np.float32)


def test_rotation_matrix_is_that_of_numpy() -> None:
    angles = np.random.default_rng(0).uniform(-3.0, 3.0, (5, 4, 3))
    expected = geometry.rotation_matrix(*np.moveaxis(angles, -1, 0))
    np.testing.assert_allclose(rotation_matrix(tf.constant(angles)), expected, atol=1e-12)


def test_projection_draws_what_the_standardised_model_draws() -> None:
    layer = projection_layer(STANDARD, SIZE)
    got = layer(states(4))
    assert got.dtype == tf.float32
    np.testing.assert_allclose(got, STANDARD.project(states(4), SIZE), atol=1e-3)
    assert layer.weights == []


def test_gradients_of_projection() -> None:
    """Against central differences of the NumPy version, in random directions."""
    rng = np.random.default_rng(1)
    weights = rng.normal(size=(68, 3))
    variable = tf.Variable(states(1))
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(projection_layer(STANDARD, SIZE)(variable) * weights)
    gradient = tape.gradient(loss, variable)[0].numpy()
    for part in (slice(0, 1), slice(1, 4), slice(4, 6), slice(6, 205), slice(205, 234)):
        step = np.zeros(NUM_PARAMETERS)
        step[part] = rng.normal(size=len(step[part])) * 1e-4
        ahead, behind = (
            (STANDARD.project(states(1)[0] + sign * step, SIZE) * weights).sum() for sign in (1.0, -1.0)
        )
        np.testing.assert_allclose(gradient @ step, (ahead - behind) / 2.0, rtol=1e-3, atol=1e-7)


def test_the_first_gradients_are_of_one_size() -> None:
    """Pose fields move the landmarks by pixels, not by thousandths or thousands, per unit."""
    variable = tf.Variable(tf.zeros([1, NUM_PARAMETERS]))
    with tf.GradientTape(persistent=True) as tape:
        landmarks = projection_layer(STANDARD, SIZE)(variable)
    # Vectorized, TensorFlow 2.21 crashes on some processors with AVX-512.
    jacobian = tape.jacobian(landmarks, variable, experimental_use_pfor=False)
    jacobian = jacobian[0, :, :, 0].numpy()  # (68, 3, 234)
    motion = np.sqrt((jacobian**2).sum(1).mean(0))[:6]
    assert 2.0 < motion.min() < motion.max() < 40.0


def test_config_save_and_mixed_precision(tmp_path: Path) -> None:
    layer = projection_layer(STANDARD, SIZE, name="draw")
    clone = Projection.from_config(layer.get_config())
    np.testing.assert_array_equal(clone(states(2)), layer(states(2)))
    assert layer.compute_output_shape((None, NUM_PARAMETERS)) == (None, 68, 3)

    inputs = tf.keras.Input([NUM_PARAMETERS])
    model = tf.keras.Model(inputs, layer(inputs))
    model.save(tmp_path / "model.keras")
    # Registered, so no custom_objects are needed.
    restored = tf.keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(restored(states(2)), layer(states(2)))
    spec = tf.TensorSpec([None, NUM_PARAMETERS], tf.float32)
    module = tf.Module()
    module.serve = tf.function(model, input_signature=[spec])
    tf.saved_model.save(module, str(tmp_path / "saved"))
    served = tf.saved_model.load(str(tmp_path / "saved")).serve(states(2))
    np.testing.assert_allclose(served, layer(states(2)), atol=1e-4)

    half = projection_layer(STANDARD, SIZE, dtype="mixed_bfloat16")
    np.testing.assert_array_equal(half(states(2)), layer(states(2)))
