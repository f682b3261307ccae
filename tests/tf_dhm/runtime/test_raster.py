"""The z-buffer: hand-drawn triangles, and a picture drawn in one piece and in many."""

from __future__ import annotations

import numpy as np
import pytest

from tf_dhm.runtime import raster
from tf_dhm.runtime.raster import rasterize

# Counter-clockwise with y up is clockwise in a picture, whose y points down.
TRIANGLE = np.array([[0, 2, 1]], np.int32)
CORNERS = np.array([[0.0, 0.0, 0.0], [4.0, 0.0, 4.0], [0.0, 4.0, 8.0]])


def test_a_triangle_by_hand() -> None:
    shown = rasterize(CORNERS, TRIANGLE, 6, 6)
    pixels = set(zip(shown.rows.tolist(), shown.columns.tolist(), strict=True))
    assert pixels == {(y, x) for y in range(5) for x in range(5) if x + y <= 4}
    np.testing.assert_allclose(shown.depth, shown.columns + 2.0 * shown.rows, atol=1e-4)
    values = shown.interpolate(CORNERS)
    np.testing.assert_allclose(values[:, 0], shown.columns, atol=1e-4)
    np.testing.assert_allclose(values[:, 1], shown.rows, atol=1e-4)


def test_the_far_side_is_not_drawn() -> None:
    assert len(rasterize(CORNERS, TRIANGLE[:, ::-1], 6, 6).rows) == 0


def test_the_nearer_triangle_is_in_front() -> None:
    far = CORNERS * [1.0, 1.0, 0.0]
    shown = rasterize(
        np.concatenate([far, far + [0.0, 0.0, 1.0]]), np.concatenate([TRIANGLE, TRIANGLE + 3]), 6, 6
    )
    assert set(shown.triangles) == {1}
    assert len(shown.rows) == 15


def test_outside_the_picture() -> None:
    assert len(rasterize(CORNERS + [10.0, 0.0, 0.0], TRIANGLE, 6, 6).rows) == 0
    cut = rasterize(CORNERS - [2.0, 0.0, 0.0], TRIANGLE, 6, 6)
    assert cut.columns.max() == 2


def test_chunks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    points = rng.uniform(0, 60, (90, 3))
    triangles = rng.permutation(90).reshape(30, 3).astype(np.int32)
    whole = rasterize(points, triangles, 60, 60)
    monkeypatch.setattr(raster, "CHUNK", 500)
    parts = rasterize(points, triangles, 60, 60)
    np.testing.assert_array_equal(whole.triangles, parts.triangles)
    np.testing.assert_array_equal(whole.rows, parts.rows)
