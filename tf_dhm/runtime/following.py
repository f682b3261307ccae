"""Boxes from frame to frame: the next place of a face, boxes that belong together, and how odd a shape is."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from tf_dhm.core.types import Array
from tf_dhm.face import geometry
from tf_dhm.face.mean_face import mean_shape

FAST = 2.0
"""A face that moved by more than this many times the slack is searched at the place where it will be next."""


def ahead(box: Array, motion: Array, slack: float) -> Array:
    """The box of a face in the next frame, if it keeps its motion.

    Args:
        box: (4,) of its landmarks.
        motion: (2,) of its centre since the last frame; too little of it counts as none, so that the
            noise of a still face is not doubled.
        slack: see `follow_box`.

    >>> ahead(np.array([0.0, 0, 100, 80]), np.array([8.0, 3.0]), 0.02).tolist()
    [8.0, 3.0, 108.0, 83.0]
    >>> ahead(np.array([0.0, 0, 100, 80]), np.array([3.0, 1.0]), 0.02).tolist()
    [0.0, 0.0, 100.0, 80.0]
    """
    size = float((box[2:] - box[:2]).max())
    return box + np.tile(motion, 2) if np.hypot(*motion) > FAST * slack * size else box


def follow_box(last: Array, found: Array, slack: float) -> Array:
    """The box to look in next: the last one, moved and scaled no more than the face asks for.

    Args:
        last: (4,) box that was searched.
        found: (4,) box of the landmarks found there.
        slack: how far the result may be from `found`, in units of its longer side, and by which
            factor (1 + slack) larger or smaller.

    >>> follow_box(np.array([0.0, 0, 100, 100]), np.array([1.0, 0, 101, 100]), 0.02).tolist()
    [0.0, 0.0, 100.0, 100.0]
    >>> follow_box(np.array([0.0, 0, 100, 100]), np.array([5.0, 0, 105, 100]), 0.02).tolist()
    [3.0, 0.0, 103.0, 100.0]
    """
    old_size, size = last[2:] - last[:2], found[2:] - found[:2]
    reach = slack * size.max()
    centre = np.clip((last[:2] + last[2:]) / 2, (found[:2] + found[2:]) / 2 - reach,
                     (found[:2] + found[2:]) / 2 + reach)  # fmt: skip
    half = np.clip(old_size, size / (1 + slack), size * (1 + slack)) / 2
    return np.concatenate([centre - half, centre + half])


def distances(a: ArrayLike, b: ArrayLike) -> Array:
    """How far boxes (N, 4) are from boxes (M, 4): (N, M).

    The distance of the centres in units of the mean size, and the log of the ratio of the sizes,
    as the two legs of a right triangle.
    """
    first, second = np.asarray(a, np.float64)[:, None], np.asarray(b, np.float64)[None]
    between = np.linalg.norm(
        (first[..., :2] + first[..., 2:] - second[..., :2] - second[..., 2:]) / 2, axis=-1
    )
    sizes = geometry.box_size(first), geometry.box_size(second)
    return np.asarray(np.hypot(between / ((sizes[0] + sizes[1]) / 2), np.log(sizes[0] / sizes[1])))


def match(costs: Array, limit: float) -> dict[int, int]:
    """Pair rows and columns at the least sum of costs; pairs that cost more than `limit` are left out.

    >>> match(np.array([[0.1, 0.3], [0.2, 0.9]]), limit=0.5)
    {0: 1, 1: 0}
    """
    from scipy.optimize import linear_sum_assignment  # takes a second to load, and photos do not need it

    # What may not be paired costs the same everywhere, so that it cannot push a good pair apart.
    rows, columns = linear_sum_assignment(np.where(costs <= limit, costs, limit + 1))
    return {int(i): int(j) for i, j in zip(rows, columns, strict=True) if costs[i, j] <= limit}


def share_inside(box: Array, shape: tuple[int, ...]) -> float:
    """The share of a box (4,) that is in a picture of shape (H, W, ...)."""
    # Pixel centres are at integers, so the picture ends half a pixel outside of them.
    high = np.minimum(box[2:], [shape[1] - 0.5, shape[0] - 0.5])
    inside = np.maximum(high - np.maximum(box[:2], -0.5), 0).prod()
    return float(inside / (box[2:] - box[:2]).prod())


def shape_residual(landmarks: ArrayLike) -> float:
    """The distance of a face from the mean face after the best similarity (Procrustes distance).

    0: the mean face, at any place, size and turn; 1: nothing in common with it. Of 20,451 labelled
    faces of wild68 99.9 % are within 0.17, of 1,000 of AFLW2000-3D within 0.20, and all within 0.24.

    Args:
        landmarks: (68, 3) pixels.
    """
    points, shape = np.asarray(landmarks, np.float64), mean_shape()
    points, shape = points - points.mean(0), shape - shape.mean(0)
    u, singular, vt = np.linalg.svd(points.T @ shape)
    singular[2] *= np.sign(np.linalg.det(u @ vt))  # a rotation, not a mirror
    cosine = singular.sum() / (np.linalg.norm(points) * np.linalg.norm(shape))
    return float(np.sqrt(max(0.0, 1.0 - cosine**2)))
