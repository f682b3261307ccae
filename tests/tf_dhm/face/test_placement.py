"""Heads drawn in photos of several sizes."""

from __future__ import annotations

import numpy as np
import pytest

from tf_dhm.face.camera import Camera
from tf_dhm.face.geometry import rotation_matrix
from tf_dhm.face.placement import Placement

TURNS = rotation_matrix(np.array([0.3, -0.2]), np.array([-1.0, 0.5]), np.array([0.1, 0.4]))
SHIFTS, SCALES = np.array([[3.0, -4.0, -60.0], [-8.0, 2.0, -75.0]]), np.array([5.0, 7.0])


@pytest.mark.parametrize("camera", [None, Camera(400.0, (319.5, 239.5))])
def test_a_head_in_a_shrunk_photo(camera: Camera | None) -> None:
    """4 x 4 pixels become one: the middle of the first 4 is at 1.5, and becomes 0."""
    shifts = SHIFTS if camera else SHIFTS * np.array([1.0, 1.0, 0.0])
    place = Placement(camera, TURNS, TURNS, shifts, SCALES, np.zeros(2))
    heads = np.random.default_rng(0).normal(0, 5, (2, 30, 3))
    whole, shrunk = place.draw(heads, np.zeros((2, 3))), place.reduced(4).draw(heads, np.zeros((2, 3)))
    np.testing.assert_allclose(shrunk, (whole - [1.5, 1.5, 0]) / 4, atol=1e-9)


def test_one_of_several_heads() -> None:
    place = Placement(None, TURNS, TURNS, SHIFTS * np.array([1.0, 1.0, 0.0]), SCALES, np.array([1.0, 2.0]))
    heads = np.random.default_rng(0).normal(0, 5, (2, 30, 3))
    drawn = place.of(1).draw(heads[1:], np.zeros((1, 3)))
    np.testing.assert_allclose(drawn, place.draw(heads, np.zeros((2, 3)))[1:], atol=1e-9)
