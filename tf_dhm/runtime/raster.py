"""A z-buffer in NumPy: which triangle of a mesh is in front at each pixel of a picture."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tf_dhm.core.types import Array

CHUNK = 2_000_000
"""Pixels of boxes around triangles that are tested at once; bounds the memory to some 100 MB."""


@dataclass(frozen=True, eq=False)
class Raster:
    """What a picture shows of a mesh, for the N pixels that show some.

    Attributes:
        rows, columns: (N,) of the pixels.
        triangles: (N,) index of the triangle in front.
        weights: (N, 3) float32 barycentric, of its corners.
        depth: (N,) float32 z there.
        corners: (N, 3) vertices of the triangle.
    """

    rows: NDArray[np.intp]
    columns: NDArray[np.intp]
    triangles: NDArray[np.intp]
    weights: NDArray[np.float32]
    depth: NDArray[np.float32]
    corners: NDArray[np.int32]

    def interpolate(self, values: Array) -> NDArray[np.float32]:
        """Values (V, C) of the vertices at the pixels: (N, C)."""
        return np.einsum("nk,nkc->nc", self.weights, np.asarray(values, np.float32)[self.corners])


def rasterize(vertices: Array, triangles: NDArray[np.int32], height: int, width: int) -> Raster:
    """Draw the triangles that face the viewer.

    Args:
        vertices: (V, 3) pixels, x right, y down, z larger nearer.
        triangles: (T, 3), counter-clockwise if seen from outside.
        height, width: of the picture.

    >>> square = np.array([[0, 0, 0], [2, 0, 0], [2, 2, 0], [0, 2, 0]], float)
    >>> shown = rasterize(square, np.array([[0, 3, 2], [0, 2, 1]], np.int32), 3, 3)
    >>> len(shown.rows)
    9
    """
    points = np.asarray(vertices, np.float32)
    a, b, c = (points[triangles[:, corner]] for corner in range(3))
    area = (b[:, 0] - a[:, 0]) * (c[:, 1] - a[:, 1]) - (b[:, 1] - a[:, 1]) * (c[:, 0] - a[:, 0])
    low = np.ceil(np.minimum(np.minimum(a, b), c)[:, :2]).clip(0)
    high = np.floor(np.maximum(np.maximum(a, b), c)[:, :2]).clip(max=[width - 1, height - 1])
    size = (high - low + 1).clip(0)
    # y points down, so that triangles seen from outside run clockwise.
    drawn = np.flatnonzero((area < 0) & (size > 0).all(1))
    size, low = size[drawn].astype(np.int64), low[drawn].astype(np.int64)
    counts = size.prod(1)
    groups = np.split(np.arange(len(drawn)), np.flatnonzero(np.diff(np.cumsum(counts) // CHUNK)) + 1)
    parts = []
    for group in groups:
        owner = np.repeat(group, counts[group])
        start = np.cumsum(counts[group]) - counts[group]
        place = np.arange(len(owner)) - np.repeat(start, counts[group])
        x, y = low[owner, 0] + place % size[owner, 0], low[owner, 1] + place // size[owner, 0]
        of = drawn[owner]
        dx, dy = x - a[of, 0], y - a[of, 1]
        second = (dx * (c[of, 1] - a[of, 1]) - dy * (c[of, 0] - a[of, 0])) / area[of]
        third = (dy * (b[of, 0] - a[of, 0]) - dx * (b[of, 1] - a[of, 1])) / area[of]
        weights = np.stack([1 - second - third, second, third], -1).astype(np.float32)
        inside = (weights >= -1e-4).all(1)
        of, weights, pixel = of[inside], weights[inside], (y * width + x)[inside]
        depth = (weights * np.stack([a[of, 2], b[of, 2], c[of, 2]], -1)).sum(-1)
        parts.append((pixel, of, weights, depth))
    pixel, of, weights, depth = (np.concatenate(column) for column in zip(*parts, strict=True))
    nearest = np.lexsort((-depth, pixel))
    front = nearest[np.unique(pixel[nearest], return_index=True)[1]]
    rows, columns = np.divmod(pixel[front], width)
    return Raster(rows, columns, of[front], weights[front], depth[front], triangles[of[front]])
