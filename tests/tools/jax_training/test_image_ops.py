"""Pixels in JAX against those of the TensorFlow pipeline and of NumPy."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import pytest
import tensorflow as tf

from pipelines.input import image_ops as pipeline_ops
from tests.jax_faces import packed
from tests.made_faces import mean_face, smooth_image
from tf_dhm.face import geometry
from tf_dhm.face.heatmap import diffusion_heatmaps
from tools.jax_training import image_ops

CANVAS, SIZE = 40, 24
IMAGES = np.stack([smooth_image(number, CANVAS, CANVAS) for number in range(3)])


def test_crops_are_those_of_the_pipeline() -> None:
    # The middle, turned, far beyond the border.
    squares = ([20, 19, 30], 0.0), ([18, 22, 36], 0.5), ([-30, 60, 50], -1.0)
    matrix = np.stack([geometry.crop_to_image(square, SIZE, roll) for square, roll in squares])
    matrix[1, :, 0] *= -1.0  # mirrored
    index = np.array([2, 0, 1])
    stored, maps = jnp.asarray(packed(IMAGES)), jnp.asarray(matrix, jnp.float32)
    found = image_ops.cut_crops(stored, jnp.asarray(index), maps, SIZE)
    expected = pipeline_ops.affine_crop(
        tf.constant(IMAGES[index], tf.float32), tf.constant(matrix, tf.float32), SIZE
    )
    np.testing.assert_allclose(found, expected, atol=0.1)


def test_blur_is_that_of_the_pipeline() -> None:
    images = IMAGES.astype(np.float32)
    found = image_ops.gaussian_blur(jnp.asarray(images), jnp.array([1, 0, 1]), (0.5, 1.5))
    expected = pipeline_ops.gaussian_blur(tf.constant(images), tf.constant([2, 1, 2]), (0.5, 1.5))
    np.testing.assert_allclose(found, expected, atol=1e-2)


def test_heat_maps_are_those_of_numpy() -> None:
    # Inside, over the border, and so far away that nothing is seen.
    landmarks = np.stack([mean_face(x, 12.0, 20.0) for x in (12.0, 2.0, 200.0)])
    found = image_ops.draw_heatmaps(jnp.asarray(landmarks), SIZE)
    np.testing.assert_allclose(found, diffusion_heatmaps(landmarks, SIZE), atol=1e-5)
    assert np.asarray(found).max((1, 2, 3)) == pytest.approx([1.0, 1.0, 0.0], abs=0.2)
