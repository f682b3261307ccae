"""Pictures of the fitted face: a shaded overlay, a depth map, and PNCC."""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from tf_dhm.core.types import Array, Image
from tf_dhm.face.fit import FaceFit, open_face_fitter
from tf_dhm.runtime.mesh import face_triangles, face_vertices, vertex_normals
from tf_dhm.runtime.raster import Raster, rasterize

OPACITY = 0.65
"""Of the overlay."""
LIGHT = np.array([0.3, 0.5, 0.81], np.float32)
"""Direction to the light, y up."""
TONE = np.array([255, 226, 196], np.float32)
DARKEST = 0.35
"""Brightness of what the light does not reach, of 1."""
FARTHEST = 0.6
"""The same of the farthest point."""


def draw_mesh(image: Image, fits: Iterable[FaceFit]) -> Image:
    """Draw faces, shaded by light and depth, over a copy of a picture; the farthest first.

    Args:
        image: (H, W, 3) uint8 RGB.
        fits: in pixels of `image`; those without a fit are left out.
    """
    drawn = image.copy()
    for fit in sorted(fitted(fits), key=lambda fit: fit.scale):
        shown = _show(fit, image)
        normals = vertex_normals(fit.vertices * np.array([1, -1, 1], np.float32), fit.triangles)
        light = np.clip(shown.interpolate(normals @ LIGHT[:, None])[:, 0], 0, 1)
        shade = (DARKEST + (1 - DARKEST) * light) * (FARTHEST + (1 - FARTHEST) * _nearness(shown.depth))
        below = drawn[shown.rows, shown.columns].astype(np.float32)
        mixed = below + OPACITY * (shade[:, None] * TONE - below)
        drawn[shown.rows, shown.columns] = np.rint(mixed).astype(np.uint8)
    return drawn


def depth_map(fits: Iterable[FaceFit], height: int, width: int) -> NDArray[np.uint8]:
    """Depth (H, W) of the faces: 255 at the nearest point of each, 1 at its farthest, 0 beside them."""
    picture = np.zeros((height, width), np.uint8)
    for fit in sorted(fitted(fits), key=lambda fit: fit.scale):
        shown = _show(fit, picture)
        picture[shown.rows, shown.columns] = np.rint(1 + 254 * _nearness(shown.depth))
    return picture


def pncc(fits: Iterable[FaceFit], height: int, width: int) -> Image:
    """Projected normalised coordinate code (H, W, 3): each pixel's place on the mean face, as a colour.

    Zhu et al., "Face Alignment Across Large Poses: A 3D Solution", CVPR 2016. Red, green and blue are x, y
    and z of the mean face, each from 0 at the least to 255 at the largest value of the face; black beside.
    """
    picture = np.zeros((height, width, 3), np.uint8)
    for fit in sorted(fitted(fits), key=lambda fit: fit.scale):
        shown = _show(fit, picture)
        picture[shown.rows, shown.columns] = np.rint(255 * np.clip(shown.interpolate(_codes()), 0, 1))
    return picture


def fitted(fits: Iterable[FaceFit]) -> list[FaceFit]:
    """The faces that have a fit."""
    return [fit for fit in fits if fit.problem is None]


@lru_cache(maxsize=1)
def _codes() -> Array:
    """(V, 3) coordinates of the mean face, from 0 to 1 over the vertices of the face."""
    mean = open_face_fitter().model.mean
    low, high = mean[face_vertices()].min(0), mean[face_vertices()].max(0)
    return (mean - low) / (high - low)


def _show(fit: FaceFit, image: NDArray[np.uint8]) -> Raster:
    return rasterize(fit.vertices, face_triangles(fit.triangles), *image.shape[:2])


def _nearness(depth: NDArray[np.float32]) -> NDArray[np.float32]:
    """Depth from 0 at the farthest to 1 at the nearest point."""
    if not len(depth):
        return depth
    return (depth - depth.min()) / max(float(np.ptp(depth)), 1e-6)
