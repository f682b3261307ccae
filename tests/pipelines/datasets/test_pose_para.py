from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.datasets.pose_para import pose_degrees


def test_pose_goes_from_radians_to_degrees() -> None:
    angles = [np.radians(30.0), np.radians(-351.0), np.radians(-180.0), 9.0, 9.0, 9.0, 9.0]
    np.testing.assert_allclose(pose_degrees(angles), [30.0, 9.0, 180.0], atol=1e-4)
    np.testing.assert_allclose(pose_degrees(angles, wrap=False), [30.0, -351.0, -180.0], atol=1e-4)


@given(st.floats(-20.0, 20.0))
def test_a_wrapped_angle_is_the_same_angle(angle: float) -> None:
    degrees = float(pose_degrees([angle, 0.0, 0.0])[0])
    assert -180.0 <= degrees <= 180.0
    assert np.cos(np.radians(degrees)) == pytest.approx(np.cos(angle), abs=1e-5)
    assert np.sin(np.radians(degrees)) == pytest.approx(np.sin(angle), abs=1e-5)
