"""The table between MediaPipe's points and the open face: symmetry, anatomy, and shapes."""

from __future__ import annotations

import numpy as np
import pytest

from tf_dhm.core.errors import InputError
from tf_dhm.face.mediapipe import NUM_POINTS, correspondence, to_landmarks, to_mediapipe
from tf_dhm.face.morphable import MorphableModel


def test_points_lie_where_mediapipe_has_them() -> None:
    model = MorphableModel.open_face()
    points = to_mediapipe(model.mean)
    assert points.shape == (NUM_POINTS, 3)
    np.testing.assert_allclose(correspondence().weights.sum(1), 1, atol=1e-5)
    mean = model.landmark_mean
    # MediaPipe's outer and inner corners of the eyes, corners of the mouth, chin and tip of the nose.
    for landmark, point in {36: 33, 39: 133, 42: 362, 45: 263, 48: 61, 54: 291, 8: 152, 30: 4}.items():
        assert np.linalg.norm(points[point] - mean[landmark]) < 0.7, (landmark, point)
    # Points on the middle line, and pairs on both sides of it.
    assert np.abs(points[[1, 4, 10, 152, 168, 0, 17], 0]).max() < 0.3
    for right, left in ((33, 263), (61, 291), (234, 454), (50, 280), (105, 334)):
        assert np.abs(points[right] * [-1, 1, 1] - points[left]).max() < 0.4
    assert points[33, 0] < 0 < points[263, 0]  # the subject's right is on the left of a picture


def test_there_and_back() -> None:
    mean = MorphableModel.open_face().mean
    both = to_landmarks(to_mediapipe(np.stack([mean, mean + 1.0])))
    assert both.shape == (2, 68, 3)
    np.testing.assert_allclose(both[1] - both[0], 1, atol=1e-5)
    gap = np.linalg.norm(both[0] - MorphableModel.open_face().landmark_mean, axis=1)
    assert gap[17:].mean() < 0.35  # centimetres; the jaw lines differ


def test_irises_are_left_out_and_too_few_points_are_an_error() -> None:
    with_irises = np.random.default_rng(0).normal(size=(478, 3))
    np.testing.assert_array_equal(to_landmarks(with_irises), to_landmarks(with_irises[:NUM_POINTS]))
    with pytest.raises(InputError, match="points"):
        to_landmarks(np.zeros((68, 3)))
