"""The diffusion heat map (DHM) of Eq. 3 and Algorithm 1, in NumPy.

`tf_dhm.networks.layers.DiffusionHeatMap` is its differentiable twin in TensorFlow; a test binds the two.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

SIGMA = 1.0
"""Standard deviation of the Gaussian in pixels of the network input (Eq. 3)."""
RADIUS = 5
"""Gaussians end this many pixels from the pixel nearest to the landmark; beyond: < exp(-5.5^2 / 2) = 3e-7."""


PATCH = 2 * RADIUS + 1
"""Side of the square in which a Gaussian is drawn."""
STEPS = np.arange(-RADIUS, RADIUS + 1.0)
"""Pixels of a side of that square from its middle."""
MARGIN = 2 * RADIUS
"""Width of the border around a map while it is drawn; it takes the parts of patches outside the map."""


def diffusion_heatmap(landmarks: ArrayLike, size: int) -> NDArray[np.float32]:
    """Draw the three-channel DHM of one face.

    At each landmark the channel value is the landmark's own coordinate on that axis, scaled by
    its range over the face, (v - min) / (max - min) (Algorithm 1), spread by a Gaussian of
    SIGMA (Eq. 3). Overlapping Gaussians combine by maximum. An axis without range is 0.

    Args:
        landmarks: (N, 3) pixels of the network input.
        size: side of the square map in pixels.

    Returns:
        (size, size, 3) float32 in [0, 1].

    >>> diffusion_heatmap([[1, 1, 0], [3, 1, 5], [2, 3, 1]], 5)[1, 3].astype(float).round(3).tolist()
    [1.0, 0.082, 1.0]
    """
    rows, columns, corners, touching = _factors(np.asarray(landmarks, np.float64), size)
    patches = rows * columns
    if not touching.all():
        patches, corners = patches[touching], corners[touching]
    side = size + 2 * MARGIN
    heatmap = np.zeros((side, side, 3), np.float32)
    regions, maximum = _patches(heatmap), np.maximum
    for (x, y), patch in zip(corners.tolist(), patches, strict=True):
        # `maximum.at` over all pixels at once takes three times as long.
        region = regions[y, x]
        maximum(region, patch, out=region)
    return np.ascontiguousarray(heatmap[MARGIN:-MARGIN, MARGIN:-MARGIN])


def diffusion_heatmaps(landmarks: ArrayLike, size: int) -> NDArray[np.float32]:
    """Draw the DHM of many faces: the maps of `diffusion_heatmap`, in half the time for 100 faces.

    Args:
        landmarks: (B, N, 3) pixels of the network input.
        size: side of the square maps in pixels.

    Returns:
        (B, size, size, 3) float32 in [0, 1].

    >>> diffusion_heatmaps(np.zeros((2, 68, 3)), 32).shape
    (2, 32, 32, 3)
    """
    points = np.asarray(landmarks, np.float64)
    rows, columns, corners, touching = _factors(points, size)
    count, side = len(points), size + 2 * MARGIN
    heatmaps = np.zeros((count, side, side, 3), np.float32)
    patches = _patches(heatmaps)
    # One landmark of all faces at a time: patches of one call never overlap, and NumPy lets go of
    # Python's lock while it draws them.
    for landmark in range(points.shape[1]):
        faces = np.flatnonzero(touching[:, landmark])
        x, y = corners[faces, landmark].T
        patch = rows[faces, landmark] * columns[faces, landmark]
        patches[faces, y, x] = np.maximum(patches[faces, y, x], patch)
    return np.ascontiguousarray(heatmaps[:, MARGIN:-MARGIN, MARGIN:-MARGIN])


def _patches(maps: NDArray[np.float32]) -> NDArray[np.float32]:
    """A view of every patch of maps (..., side, side, 3), by the row and column of its corner:
    (..., side - PATCH + 1, side - PATCH + 1, PATCH, 3 PATCH)."""
    *faces, row, column, _ = maps.strides
    places = maps.shape[-2] - PATCH + 1
    shape = (*maps.shape[:-3], places, places, PATCH, 3 * PATCH)
    # As `as_strided` of NumPy, which takes ten times as long.
    return np.ndarray(shape, maps.dtype, maps, strides=(*faces, row, column, row, maps.itemsize))


def _factors(
    points: NDArray[np.float64], size: int
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.int64], NDArray[np.bool_]]:
    """The parts of the patch of each landmark (..., N, 3), whose product is the patch.

    Returns:
        rows (..., N, PATCH, 1): the Gaussian along y; columns (..., N, 1, 3 PATCH): that along x times
        the values of the three channels; corners (..., N, 2) int64: x and y of the patch in a map with
        a border of MARGIN; touching (..., N): whether the patch touches that map.
    """
    low, high = points.min(-2, keepdims=True), points.max(-2, keepdims=True)
    span = np.where(high > low, high - low, 1.0)
    values = ((points - low) / span).astype(np.float32)  # (..., N, 3)
    nearest = np.rint(points[..., :2])
    away = (nearest - points[..., :2])[..., None] + STEPS  # (..., N, 2, PATCH)
    # A Gaussian is the product of one along x and one along y.
    along = np.exp(away * away / (-2.0 * SIGMA**2)).astype(np.float32)
    columns = along[..., 0, :, None] * values[..., None, :]  # (..., N, PATCH, 3)
    touching = (np.abs(nearest - (size - 1) / 2) <= (size - 1) / 2 + RADIUS).all(-1)
    corners = np.where(touching[..., None], nearest, 0.0).astype(np.int64) + (MARGIN - RADIUS)
    return along[..., 1, :, None], columns.reshape(*values.shape[:-1], 1, 3 * PATCH), corners, touching
