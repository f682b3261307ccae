"""Crops in JAX against those of the TensorFlow pipeline and of the runtime."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import tensorflow as tf

from pipelines.input import augmentation
from tests.made_faces import mean_face
from tf_dhm.face import geometry
from tools.jax_training import crops

SIZE = 32
LANDMARKS = np.stack([mean_face(40.0 + 5 * face, 50.0 - 3 * face, 40.0 + 4 * face) for face in range(4)])
ANGLE = np.array([0.0, 0.3, -1.2, 2.5], np.float32)
MIRROR = np.array([False, True, False, True])
POINTS = jnp.asarray(LANDMARKS)


def matrices() -> jax.Array:
    angle = jnp.asarray(ANGLE)
    low, high = crops.turned_box(POINTS, angle)
    return crops.crop_matrix(angle, (low + high) / 2, crops.crop_side(low, high), jnp.asarray(MIRROR), SIZE)


def test_matrices_and_landmarks_are_those_of_the_pipeline() -> None:
    low, high = augmentation.turned_box(tf.constant(LANDMARKS), tf.constant(ANGLE))
    side = geometry.CROP_SCALE * tf.reduce_max(high - low, -1)
    expected = augmentation.crop_matrix(ANGLE, (low + high) / 2.0, side, tf.constant(MIRROR), SIZE)
    np.testing.assert_allclose(matrices(), expected, atol=1e-4)
    found = crops.to_crop(POINTS, matrices())
    np.testing.assert_allclose(found, augmentation.to_crop(LANDMARKS, expected, SIZE), atol=1e-3)
    np.testing.assert_allclose(crops.from_crop(found, matrices()), LANDMARKS, atol=1e-3)


def test_yaw_bins_are_those_of_the_pipeline() -> None:
    turned = np.stack(
        [LANDMARKS[0] @ geometry.rotation_matrix(0.2, yaw, 0.3).T for yaw in np.linspace(-1.5, 1.5, 31)]
    )
    found = np.asarray(crops.jaw_yaw_bins(jnp.asarray(turned)))
    assert set(found) == {0, 1, 2}
    np.testing.assert_array_equal(found, augmentation.jaw_yaw_bins(turned))


def test_a_plain_crop_is_that_of_the_box() -> None:
    squares = geometry.crop_square(geometry.landmark_box(LANDMARKS))
    expected = [geometry.crop_to_image(square, SIZE) for square in squares]
    np.testing.assert_allclose(crops.plain_matrix(POINTS, False, SIZE), expected, atol=1e-4)
    plain = np.asarray(crops.to_crop(POINTS, crops.plain_matrix(POINTS, False, SIZE)))
    mirrored = crops.to_crop(POINTS, crops.plain_matrix(POINTS, True, SIZE))
    np.testing.assert_allclose(mirrored, geometry.mirror_landmarks(plain, SIZE), atol=1e-3)


def test_the_unit_is_that_of_the_network() -> None:
    unit = crops.to_unit(POINTS, SIZE)
    np.testing.assert_allclose(geometry.unit_to_pixels(unit, SIZE), LANDMARKS, atol=1e-3)
    np.testing.assert_allclose(crops.to_pixels(unit, SIZE), LANDMARKS, atol=1e-3)
