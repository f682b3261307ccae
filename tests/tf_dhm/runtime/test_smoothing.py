"""Tests of tf_dhm.runtime.smoothing."""

from __future__ import annotations

import math

import numpy as np
import pytest

from tf_dhm.core.errors import InputError
from tf_dhm.runtime.settings import SmoothingConfig
from tf_dhm.runtime.smoothing import OneEuroFilter, smoothing_factor

UNIT_CUTOFF = 1 / (2 * math.pi)  # tau = 1 s


def run(
    config: SmoothingConfig, values: list[float], interval: float = 1.0, size: float = 1.0
) -> list[float]:
    smooth = OneEuroFilter(config)
    points = [smooth(interval * k, [[value, 0.0, 0.0]], size) for k, value in enumerate(values)]
    return [float(point[0, 0]) for point in points]


class TestSmoothingFactor:
    def test_by_hand(self) -> None:
        # tau = 1 s: alpha = 1 / (1 + 1 / Te)
        assert smoothing_factor(UNIT_CUTOFF, 1.0) == pytest.approx(1 / 2)
        assert smoothing_factor(UNIT_CUTOFF, 3.0) == pytest.approx(3 / 4)
        assert smoothing_factor(3 * UNIT_CUTOFF, 1.0) == pytest.approx(3 / 4)

    def test_limits(self) -> None:
        assert smoothing_factor(1e-9, 0.04) == pytest.approx(0, abs=1e-8)
        assert smoothing_factor(1e9, 0.04) == pytest.approx(1)


class TestOneEuroFilter:
    def test_without_beta_it_is_exponential(self) -> None:
        config = SmoothingConfig(UNIT_CUTOFF, 0.0, UNIT_CUTOFF)
        assert run(config, [0.0, 8.0, 8.0, 8.0]) == pytest.approx([0, 4, 6, 7])
        # Half a second: alpha = 1 / 3.
        assert run(config, [0.0, 9.0, 9.0], interval=0.5) == pytest.approx([0, 3, 5])

    def test_by_hand(self) -> None:
        """Algorithm 1 with tau = 1 s at rest, and 1 Hz / (2 pi) more for each unit of speed."""
        config = SmoothingConfig(UNIT_CUTOFF, UNIT_CUTOFF, UNIT_CUTOFF)
        # Frame 1: dx = 4, smoothed by 1/2: 2; tau = 1 / (1 + 2): alpha = 3/4; x = 3.
        # Frame 2: dx = 7 - 3 = 4, smoothed: 2 + (4 - 2) / 2 = 3; alpha = 4/5; x = 3 + 0.8 * 4 = 6.2.
        assert run(config, [0.0, 4.0, 7.0]) == pytest.approx([0, 3, 6.2])
        # Speed counts in units of the size: all lengths doubled give the same, doubled.
        assert run(config, [0.0, 8.0, 14.0], size=2.0) == pytest.approx([0, 6, 12.4])

    def test_uneven_times(self) -> None:
        smooth = OneEuroFilter(SmoothingConfig(UNIT_CUTOFF, 0.0))
        values = [smooth(time, [[x, 0.0]], 1.0)[0, 0] for time, x in ((5.0, 0.0), (6.0, 4.0), (9.0, 6.0))]
        assert values == pytest.approx([0, 2, 5])  # alpha 1/2, then 3/4

    def test_each_landmark_has_its_own_cutoff(self) -> None:
        config = SmoothingConfig(UNIT_CUTOFF, UNIT_CUTOFF, UNIT_CUTOFF)
        smooth = OneEuroFilter(config)
        smooth(0.0, np.zeros((2, 3)), 1.0)
        second = smooth(1.0, [[4.0, 0.0, 0.0], [0.0, 0.0, 0.0]], 1.0)
        np.testing.assert_allclose(second, [[3.0, 0.0, 0.0], [0.0, 0.0, 0.0]])

    def test_turned_landmarks_are_smoothed_alike(self) -> None:
        rng = np.random.default_rng(0)
        series = rng.normal(0, 3, (6, 68, 3))
        turn, _ = np.linalg.qr(rng.normal(0, 1, (3, 3)))
        plain, turned = OneEuroFilter(SmoothingConfig()), OneEuroFilter(SmoothingConfig())
        for k, points in enumerate(series):
            a, b = plain(k / 25, points, 100.0), turned(k / 25, points @ turn, 100.0)
            np.testing.assert_allclose(a @ turn, b, atol=1e-9)

    def test_it_steadies_noise_and_keeps_up_with_motion(self) -> None:
        rng = np.random.default_rng(1)
        noise = rng.normal(0, 0.5, (200, 68, 3))
        smooth = OneEuroFilter(SmoothingConfig())
        still = np.array([smooth(k / 30, noise[k], 100.0) for k in range(200)])
        assert still[30:].std() < 0.6 * noise.std()
        smooth = OneEuroFilter(SmoothingConfig())
        moving = [smooth(k / 30, np.full((1, 3), 5.0 * k), 100.0)[0, 0] for k in range(60)]
        # 1.5 faces a second: less than a frame behind.
        assert 0 < 5.0 * 59 - moving[-1] < 5.0

    def test_returned_arrays_are_the_callers(self) -> None:
        smooth = OneEuroFilter(SmoothingConfig(UNIT_CUTOFF, 0.0))
        smooth(0.0, [[2.0, 2.0]], 1.0)[:] = 99
        assert smooth(1.0, [[4.0, 4.0]], 1.0).tolist() == [[3.0, 3.0]]

    def test_time_must_rise(self) -> None:
        smooth = OneEuroFilter(SmoothingConfig())
        smooth(1.0, [[0.0, 0.0]], 1.0)
        for time in (1.0, 0.5, math.nan):
            with pytest.raises(InputError, match=r"expected more than that of the last frame, 1\.0"):
                smooth(time, [[0.0, 0.0]], 1.0)


@pytest.mark.parametrize("values", [(0.0, 1.0, 1.0), (1.0, -1.0, 1.0), (1.0, 1.0, 0.0), (math.nan, 1.0, 1.0)])
def test_bad_config(values: tuple[float, float, float]) -> None:
    with pytest.raises(InputError, match=r"(min_cutoff|beta|speed_cutoff): found"):
        SmoothingConfig(*values)
