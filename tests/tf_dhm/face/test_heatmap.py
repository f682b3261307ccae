"""The diffusion heat map: a three-point face by hand, and the layer against NumPy."""

from __future__ import annotations

import doctest

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from tf_dhm.face import heatmap
from tf_dhm.face.heatmap import diffusion_heatmap, diffusion_heatmaps
from tf_dhm.networks.layers import DiffusionHeatMap

SIZE = 24
THREE_POINTS = [[1.0, 1.0, 0.0], [3.0, 1.0, 5.0], [2.0, 3.0, 1.0]]


def direct_heatmap(landmarks: np.ndarray, size: int) -> np.ndarray:
    """Eq. 3 word by word: every pixel, every landmark, no cut of the Gaussian."""
    span = np.ptp(landmarks, 0)
    values = (landmarks - landmarks.min(0)) / np.where(span > 0, span, 1.0)
    rows, columns = np.mgrid[:size, :size]
    drawn = np.zeros((size, size, 3))
    for (x, y, _), value in zip(landmarks, values, strict=True):
        gaussian = np.exp(-((columns - x) ** 2 + (rows - y) ** 2) / 2.0)
        drawn = np.maximum(drawn, gaussian[..., None] * value)
    return drawn


def drawn_by_layer(landmarks: np.ndarray, size: int) -> np.ndarray:
    return DiffusionHeatMap(size)(tf.constant(landmarks, tf.float32)).numpy()


def random_faces(count: int, low: float, high: float, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).uniform(low, high, (count, 68, 3)).astype(np.float32)


def test_examples_in_docstrings() -> None:
    assert doctest.testmod(heatmap).failed == 0


@pytest.mark.parametrize("draw", ["numpy", "layer"])
def test_three_point_face_by_hand(draw: str) -> None:
    # x runs from 1 to 3, y from 1 to 3, z from 0 to 5: the values of the points are
    # (0, 0, 0), (1, 0, 1) and (0.5, 1, 0.2).
    if draw == "numpy":
        drawn = diffusion_heatmap(THREE_POINTS, 5)
    else:
        drawn = drawn_by_layer(np.array([THREE_POINTS]), 5)[0]
    expected = {  # (row, column): x, y, z
        (1, 1): (np.exp(-2.0), np.exp(-2.5), np.exp(-2.0)),  # point 0 itself has the value 0
        (1, 3): (1.0, np.exp(-2.5), 1.0),
        (3, 2): (0.5, 1.0, 0.2),
        (2, 2): (np.exp(-1.0), np.exp(-0.5), np.exp(-1.0)),  # exp(-1) is more than 0.5 exp(-0.5)
        (4, 2): (0.5 * np.exp(-0.5), np.exp(-0.5), 0.2 * np.exp(-0.5)),
    }
    for (row, column), value in expected.items():
        np.testing.assert_allclose(drawn[row, column], value, atol=1e-6)


def test_a_landmark_between_pixels_is_not_rounded() -> None:
    # The second landmark lies far outside and gives the first the value 1 on every axis.
    drawn = diffusion_heatmap([[4.5, 4.25, 1.0], [-100.0, -100.0, 0.0]], 9)
    np.testing.assert_allclose(drawn[4, 4], np.exp(-(0.5**2 + 0.25**2) / 2), rtol=1e-6)
    np.testing.assert_allclose(drawn[5, 5], np.exp(-(0.5**2 + 0.75**2) / 2), rtol=1e-6)


def test_landmarks_outside_the_map_leave_it_empty() -> None:
    assert diffusion_heatmap([[-9.0, 2.0, 0.0], [100.0, 3.0, 1.0]], 9).max() == 0.0


def test_shape_type_and_range() -> None:
    drawn = diffusion_heatmap(random_faces(1, 0, SIZE)[0], SIZE)
    assert drawn.shape == (SIZE, SIZE, 3)
    assert drawn.dtype == np.float32
    assert drawn.min() >= 0.0
    assert drawn.max() <= 1.0


def test_an_axis_without_range_is_zero() -> None:
    face = random_faces(1, 0, SIZE)[0]
    face[:, 2] = 7.0
    for drawn in (diffusion_heatmap(face, SIZE), drawn_by_layer(face[None], SIZE)[0]):
        assert drawn[..., 2].max() == 0.0
        assert drawn[..., 0].max() > 0.5


def test_the_cut_of_the_gaussian_does_not_show() -> None:
    for face in random_faces(5, -5, SIZE + 5):
        np.testing.assert_allclose(diffusion_heatmap(face, SIZE), direct_heatmap(face, SIZE), atol=1e-6)


def test_depth_may_be_scaled_and_shifted() -> None:
    face = random_faces(1, 0, SIZE)[0]
    moved = face * [1.0, 1.0, 3.0] + np.array([0.0, 0.0, 40.0])
    np.testing.assert_allclose(diffusion_heatmap(moved, SIZE), diffusion_heatmap(face, SIZE), atol=1e-5)


def test_layer_and_numpy_draw_the_same_batch() -> None:
    faces = np.concatenate([random_faces(8, 0, 64), random_faces(8, -40, 100, 1)])
    faces[3, :, 2] = 5.0
    faces[4, :, :2] += 500.0  # nothing of it is in the map
    expected = np.stack([diffusion_heatmap(face, 64) for face in faces])
    drawn = drawn_by_layer(faces, 64)
    assert np.abs(drawn - expected).max() < 1e-4
    assert expected[4].max() == 0.0


coordinates = st.floats(-15.0, SIZE + 15.0, width=32, allow_subnormal=False)
# Coordinates on pixels, half-way between two and on the border are the cases in which the two could differ.
edges = st.sampled_from([-5.5, -1.0, -0.5, 0.0, 0.5, 11.5, SIZE - 1.0, SIZE - 0.5, SIZE + 4.5])
few_points = st.tuples(st.integers(1, 9), st.just(3))


@settings(max_examples=60)
@given(hnp.arrays(np.float32, few_points, elements=coordinates | edges))
def test_layer_and_numpy_draw_the_same_face(face: np.ndarray) -> None:
    difference = drawn_by_layer(face[None], SIZE)[0] - diffusion_heatmap(face, SIZE)
    assert np.abs(difference).max() < 1e-4


def test_the_gradient_of_the_layer_is_that_of_finite_differences() -> None:
    # Points apart from each other, off the half pixels and with clear extremes, where the map
    # is smooth; one lies outside. In float64 the map by itself gives the differences.
    rng = np.random.default_rng(5)
    face = np.array(
        [[4.2, 5.3, 2.0], [14.7, 4.1, 9.0], [9.1, 16.8, 5.5], [19.3, 17.2, 3.1], [30.0, -8.0, 4.0]]
    )
    weights = rng.normal(size=(SIZE, SIZE, 3))
    landmarks = tf.Variable(face[None], dtype=tf.float32)
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(DiffusionHeatMap(SIZE)(landmarks) * weights[None].astype(np.float32))
    gradient = tape.gradient(loss, landmarks).numpy()[0]

    step = 1e-5
    expected = np.zeros_like(face)
    for index in np.ndindex(*face.shape):
        ends = []
        for sign in (1.0, -1.0):
            moved = face.copy()
            moved[index] += sign * step
            ends.append((direct_heatmap(moved, SIZE) * weights).sum())
        expected[index] = (ends[0] - ends[1]) / (2.0 * step)
    assert np.abs(expected).max() > 0.5
    # The layer cuts Gaussians where they are 3e-7.
    np.testing.assert_allclose(gradient, expected, atol=1e-4, rtol=1e-3)


def test_the_gradient_is_finite_for_a_face_without_range() -> None:
    landmarks = tf.Variable(tf.fill([1, 4, 3], 6.0))
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(DiffusionHeatMap(SIZE)(landmarks))
    assert np.isfinite(tape.gradient(loss, landmarks).numpy()).all()


def test_many_faces_at_once() -> None:
    # Some landmarks lie outside the map, some so far that nothing of them is drawn.
    faces = np.concatenate([random_faces(5, 0, SIZE - 1), random_faces(5, -15, SIZE + 15)])
    drawn = diffusion_heatmaps(faces, SIZE)
    assert drawn.dtype == np.float32
    np.testing.assert_array_equal(drawn, [diffusion_heatmap(face, SIZE) for face in faces])
    assert diffusion_heatmaps(faces[:0], SIZE).shape == (0, SIZE, SIZE, 3)
