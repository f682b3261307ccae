"""Weights of uncertain landmarks in the loss."""

from __future__ import annotations

import numpy as np
import pytest

from pipelines.input.label_weights import landmark_weights
from tests.made_faces import made_faces
from tf_dhm.core.errors import InputError


def test_weights_by_hand() -> None:
    landmarks = made_faces(2).landmarks
    extent = np.ptp(landmarks[..., :2], axis=1)
    percent = np.sqrt(extent.prod(-1))[:, None] / 100.0  # pixels
    sigma = np.full((2, 68), np.nan, np.float32)
    sigma[0, :2] = [1.0, 3.0] * percent[0]
    weight = landmark_weights(landmarks, sigma, floor=1.0)
    # 1 / 2 and 1 / 10, whose mean is 0.3.
    np.testing.assert_allclose(weight[0, :2], [0.5 / 0.3, 0.1 / 0.3], rtol=1e-5)
    assert (weight[0, 2:] == 1.0).all()
    assert (weight[1] == 1.0).all()


def test_weights_need_sigma() -> None:
    with pytest.raises(InputError, match="sigma_floor"):
        landmark_weights(made_faces(2).landmarks, np.full((2, 68), np.nan, np.float32), floor=1.0)
