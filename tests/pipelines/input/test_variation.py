from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from pipelines.input.variation import blur_sigmas, error_factor
from tf_dhm.training.config import NO_AUGMENTATION


def test_blur_levels() -> None:
    assert blur_sigmas(NO_AUGMENTATION) == ()
    assert blur_sigmas(dataclasses.replace(NO_AUGMENTATION, blur=1.5)) == (0.5, 1.0, 1.5)


def test_errors_of_near_points_are_alike() -> None:
    factor = error_factor()
    correlation = factor @ factor.T
    assert np.diag(correlation) == pytest.approx(np.ones(68), abs=1e-5)
    assert correlation[30, 33] > 0.6  # tip and base of the nose
    assert correlation[0, 16] < 0.1  # the ears
