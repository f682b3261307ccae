"""Between the open face, the 68 landmarks and MediaPipe's 468 face points.

`mediapipe_468.npz` says where the points of MediaPipe's canonical face lie on the open face;
`tools/build_mediapipe_table.py` made it, docs/mesh.md reports its error. The ten points of the irises,
468 to 477, are not in that canonical face and not here.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tf_dhm.core.errors import InputError
from tf_dhm.core.types import Array
from tf_dhm.face.morphable import OPEN_FACE

TABLE = OPEN_FACE.parent / "mediapipe_468.npz"
NUM_POINTS = 468


class Correspondence(NamedTuple):
    """The table.

    Attributes:
        corners: (468, 3) vertices of the open face around each point.
        weights: (468, 3) their weights.
        landmarks: (68,) the point that is nearest to each of the 68 landmarks.
    """

    corners: NDArray[np.int32]
    weights: Array
    landmarks: NDArray[np.int32]


@lru_cache(maxsize=1)
def correspondence() -> Correspondence:
    """The table of the package."""
    with np.load(TABLE) as archive:
        corners, landmarks = archive["corners"].astype(np.int32), archive["landmarks"].astype(np.int32)
        return Correspondence(corners, archive["weights"].astype(np.float64), landmarks)


def to_mediapipe(vertices: ArrayLike) -> Array:
    """MediaPipe's first 468 points (..., 468, 3) of vertices (..., V, 3) of the open face, in any frame.

    `FaceFit.vertices` gives them in photo pixels. MediaPipe divides x, y and z by the photo's width, height
    and width, and its z grows away from the camera.
    """
    points = np.asarray(vertices, np.float64)
    table = correspondence()
    return np.einsum("pk,...pkx->...px", table.weights, points[..., table.corners, :])


def to_landmarks(points: ArrayLike) -> Array:
    """The 68 landmarks (..., 68, 3) of MediaPipe's 468 or 478 points (..., P, 3): the nearest points."""
    array = np.asarray(points, np.float64)
    if array.ndim < 2 or array.shape[-2] < NUM_POINTS:
        raise InputError(f"points: found shape {array.shape}, expected (..., {NUM_POINTS} or 478, 3)")
    return array[..., correspondence().landmarks, :]
