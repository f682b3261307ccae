"""What was found upside down, in the picture as it is."""

from __future__ import annotations

import numpy as np
import pytest

from tests.fakes import mean_shape_in_box
from tf_dhm.runtime.faces import Face
from tf_dhm.runtime.predictor import Prediction
from tf_dhm.runtime.turning import face_back, prediction_back, turn_round


def test_turn_round() -> None:
    picture = np.zeros((4, 6, 3), np.uint8)
    picture[0, 1] = 7
    turned = turn_round(picture)
    assert np.argwhere(turned[..., 0]).tolist() == [[3, 4]]
    assert turned.flags["C_CONTIGUOUS"]
    np.testing.assert_array_equal(turn_round(turned), picture)


def test_landmarks_and_points_of_a_prediction_turn_back() -> None:
    landmarks = np.full((1, 68, 3), [1.0, 2.0, 5.0], np.float32)
    points = np.array([[[0.0, 0.0, 0.0], [9.0, 19.0, -3.0]]], np.float32)
    visibility, confidence = np.ones((1, 68), np.float32), np.ones(1, np.float32)
    back = prediction_back(Prediction(landmarks, visibility, confidence, points), width=10, height=20)
    assert np.unique(back.landmarks.reshape(-1, 3), axis=0).tolist() == [[8, 17, 5]]
    assert back.points is not None
    assert back.points.tolist() == [[[9, 19, 0], [0, 0, -3]]]
    assert back.visibility is visibility
    assert back.confidence is confidence
    assert prediction_back(Prediction(landmarks), 10, 20).points is None


def test_a_face_turns_back() -> None:
    landmarks = mean_shape_in_box(np.array([20.0, 30, 60, 70])).astype(np.float32)
    points = np.array([[1.0, 2.0, 3.0]], np.float32)
    face = Face(landmarks, np.array([20.0, 30, 60, 70]), 0.9, np.zeros(3, np.float32), id=3, points=points)
    back = face_back(face, width=100, height=200)
    assert back.box.tolist() == [39, 129, 79, 169]
    np.testing.assert_allclose(back.landmarks[:, :2], [99, 199] - landmarks[:, :2], atol=1e-5)
    np.testing.assert_array_equal(back.landmarks[:, 2], landmarks[:, 2])
    assert back.points is not None
    assert back.points.tolist() == [[98, 197, 3]]
    assert abs(back.pose[2]) == pytest.approx(180, abs=1e-3)
    assert (back.id, back.score) == (3, 0.9)
