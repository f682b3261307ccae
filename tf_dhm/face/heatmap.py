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
    points = np.asarray(landmarks, np.float64)
    low, high = points.min(0), points.max(0)
    span = np.where(high > low, high - low, 1.0)
    values = (points - low) / span  # (N, 3)
    nearest = np.rint(points[:, :2])
    pixels = nearest[..., None] + np.arange(-RADIUS, RADIUS + 1)  # (N, 2, P)
    # A Gaussian is the product of one along x and one along y.
    along = np.exp(-((pixels - points[:, :2, None]) ** 2) / (2.0 * SIGMA**2)).astype(np.float32)
    columns, rows = along[:, 0, None, :, None], along[:, 1, :, None, None]
    patches = rows * columns * values.astype(np.float32)[:, None, None, :]  # (N, P, P, 3)
    # A margin takes what of the patches lies outside.
    margin, side = 2 * RADIUS, 2 * RADIUS + 1
    heatmap = np.zeros((size + 2 * margin, size + 2 * margin, 3), np.float32)
    touching = ((nearest >= -RADIUS) & (nearest < size + RADIUS)).all(-1)
    corners = nearest[touching].astype(np.int64) + (margin - RADIUS)
    for (x, y), patch in zip(corners.tolist(), patches[touching], strict=True):
        # Not `maximum.at` over all pixels at once, which takes three times as long.
        region = heatmap[y : y + side, x : x + side]
        np.maximum(region, patch, out=region)
    return np.ascontiguousarray(heatmap[margin:-margin, margin:-margin])
