from __future__ import annotations

import numpy as np
import pytest

from pipelines.datasets.samples import check_landmarks
from tests.builders import face
from tf_dhm.core.errors import InputError


def test_two_coordinates_get_an_unknown_depth() -> None:
    points = face()
    checked = check_landmarks(points, "a")
    assert checked.dtype == np.float32
    assert np.array_equal(checked[:, :2], points)
    assert np.isnan(checked[:, 2]).all()


def test_three_coordinates_stay() -> None:
    points = face(depth=True)
    assert np.array_equal(check_landmarks(points, "a"), points.astype(np.float32))
    points[:, 2] = np.nan
    assert np.isnan(check_landmarks(points, "a")[:, 2]).all()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda p: p[:67], r"a\.jpg: found landmarks of shape \(67, 3\), expected \(68, 2\)"),
        (lambda p: p.T, r"a\.jpg: found landmarks of shape \(3, 68\)"),
        (lambda p: np.where([True, False, False], np.nan, p), r"a\.jpg: landmarks: found NaN"),
        (lambda p: np.where([False, False, True], np.inf, p), r"a\.jpg: landmarks: found an infinite z"),
        (lambda p: np.where([True, False, False], 7.0, p), r"a\.jpg: box: found \[7\.0, .*expected finite"),
    ],
)
def test_unusable_landmarks_name_their_source(change, message: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(InputError, match=message):
        check_landmarks(change(face(depth=True)), "a.jpg")
