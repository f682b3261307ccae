"""Standardised parameters against Eq. 1 and 2 in the parameters of the model."""

from __future__ import annotations

import numpy as np
import pytest

from tests.morphables import toy_model
from tf_dhm.face import standardised
from tf_dhm.face.geometry import unit_to_pixels
from tf_dhm.face.mean_face import mean_shape
from tf_dhm.face.parameters import NUM_PARAMETERS
from tf_dhm.face.standardised import standardise

MODEL = toy_model()


def radius(points: np.ndarray) -> float:
    return float(np.sqrt(((points - points.mean(0)) ** 2).sum(-1).mean()))


@pytest.mark.parametrize("size", [112, 224])
def test_a_state_draws_what_its_parameters_draw(size: int) -> None:
    """p of the documented formulas, projected by Eq. 2 about the centre of the mean face."""
    u = np.random.default_rng(1).normal(size=(4, NUM_PARAMETERS))
    drawn = standardise(MODEL).project(u, size)
    mean = mean_shape()
    p = np.empty_like(u)
    f_0 = radius(mean) / radius(MODEL.landmark_mean) * size / 2.0
    p[:, 0] = f_0 * (1.0 + standardised.SCALE_STD * u[:, 0])
    p[:, 1:4] = standardised.ANGLE_STD * u[:, 1:4]
    p[:, 4:6] = 0.0
    p[:, 6:] = MODEL.std * u[:, 6:]
    origin = p.copy()
    origin[:, 6:] = 0.0
    # The centre of the mean landmarks, turned as the face is, goes to its place in the crop.
    centre = MODEL.project(origin).mean(1, keepdims=True)
    place = mean.mean(0)[:2] * [1.0, -1.0] + standardised.TRANSLATION_STD * u[:, 4:6]
    points = MODEL.project(p) - centre
    points[..., :2] += place[:, None] * size / 2.0
    points[..., 1] *= -1.0
    points[..., :2] += (size - 1) / 2.0
    np.testing.assert_allclose(drawn, points, atol=1e-3)


def test_the_zero_state_is_the_mean_face_in_its_crop() -> None:
    landmarks = standardise(MODEL).project(np.zeros(NUM_PARAMETERS), 128)
    mean = unit_to_pixels(mean_shape(), 128)
    np.testing.assert_allclose(landmarks.mean(0)[:2], mean.mean(0)[:2], atol=1e-4)
    assert radius(landmarks) == pytest.approx(radius(mean), rel=1e-5)
