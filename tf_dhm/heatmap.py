"""The diffusion heat map (DHM) of Eq. 3 and Algorithm 1, in NumPy.

`tf_dhm.layers.DiffusionHeatMap` is its differentiable twin in TensorFlow; a test binds the two.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

SIGMA = 1.0
"""Standard deviation of the Gaussian in pixels of the network input (Eq. 3)."""
RADIUS = 5
"""Gaussians end this many pixels from the pixel nearest to the landmark; beyond: < exp(-5.5^2 / 2) = 3e-7."""


def patch_offsets() -> NDArray[np.int32]:
    """The ((2 RADIUS + 1)^2, 2) pixel offsets (dx, dy) that one Gaussian covers."""
    axis = np.arange(-RADIUS, RADIUS + 1, dtype=np.int32)
    return np.stack(np.meshgrid(axis, axis), -1).reshape(-1, 2)


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
    pixels = np.rint(points[:, None, :2]).astype(np.int64) + patch_offsets()  # (N, P, 2)
    squared = ((pixels - points[:, None, :2]) ** 2).sum(-1)
    gaussian = np.exp(-squared / (2.0 * SIGMA**2))  # (N, P)
    inside = ((pixels >= 0) & (pixels < size)).all(-1)
    flat = (pixels[..., 1] * size + pixels[..., 0])[inside]
    heatmap = np.zeros((size * size, 3))
    np.maximum.at(heatmap, flat, (gaussian[..., None] * values[:, None, :])[inside])
    return heatmap.reshape(size, size, 3).astype(np.float32)
