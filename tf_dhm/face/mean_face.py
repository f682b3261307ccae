"""The mean face: the initial shape from which Fast DHM's heat map is drawn, and the reference of poses."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tf_dhm.core.types import Array
from tf_dhm.face import geometry

MEAN_SHAPE_FILE = Path(__file__).parents[1] / "assets" / "mean_shape.npy"


@lru_cache(maxsize=1)
def mean_shape() -> Array:
    """The mean face in its own crop: (68, 3) float64 in unit coordinates (see `unit_to_pixels`)."""
    shape = np.load(MEAN_SHAPE_FILE).astype(np.float64)
    shape.setflags(write=False)
    return shape


def mean_landmarks(size: int) -> NDArray[np.float32]:
    """The mean face in pixels of a `size` x `size` crop, (68, 3) float32: the initial shape."""
    return geometry.unit_to_pixels(mean_shape(), size).astype(np.float32)


@lru_cache(maxsize=1)
def centred_mean_shape() -> Array:
    """The mean face about its middle, y up: (68, 3)."""
    return geometry.centred(mean_shape())


def rotation_from_mean_face(landmarks: ArrayLike) -> Array:
    """`geometry.rotation_from_landmarks` against the mean face: (..., 68, 3) -> (..., 3, 3)."""
    return geometry.rotation_from_centred(landmarks, centred_mean_shape())


def pose_from_mean_face(landmarks: ArrayLike) -> Array:
    """`geometry.pose_from_landmarks` against the mean face: (..., 68, 3) -> (..., 3) radians."""
    return geometry.euler_angles(rotation_from_mean_face(landmarks))
