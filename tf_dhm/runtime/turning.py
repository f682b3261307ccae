"""Pictures upside down, and what was found in them in the picture as it is.

The detector and the model see faces up to about a quarter turn from upright; those beyond are found in the
picture upside down.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from tf_dhm.core.types import Array, Image
from tf_dhm.face.mean_face import pose_from_mean_face
from tf_dhm.runtime.faces import Face
from tf_dhm.runtime.predictor import Prediction


def turn_round(pixels: Image) -> Image:
    """A picture (H, W, 3) upside down.

    >>> turn_round(np.arange(6, dtype=np.uint8).reshape(1, 2, 3))[0].tolist()
    [[3, 4, 5], [0, 1, 2]]
    """
    return np.ascontiguousarray(pixels[::-1, ::-1])


def points_back(points: Array, width: int, height: int) -> Array:
    """Points (..., 3) or (..., 2) of a picture upside down, in pixels of the picture; z is kept.

    >>> points_back(np.array([[1.0, 2.0, 7.0]]), width=10, height=20).tolist()
    [[8.0, 17.0, 7.0]]
    """
    turned = np.array(points)
    turned[..., :2] = np.array([width - 1.0, height - 1.0]) - turned[..., :2]
    return turned


def boxes_back(boxes: Array, width: int, height: int) -> Array:
    """Boxes (..., 4) of a picture upside down, in pixels of the picture.

    >>> boxes_back(np.array([1.0, 2.0, 3.0, 5.0]), width=10, height=20).tolist()
    [6.0, 14.0, 8.0, 17.0]
    """
    corners = np.reshape(boxes, (*np.shape(boxes)[:-1], 2, 2))
    return points_back(corners, width, height)[..., ::-1, :].reshape(np.shape(boxes))


def prediction_back(found: Prediction, width: int, height: int) -> Prediction:
    """A prediction for a picture upside down, in pixels of the picture of this width and height."""
    points = None if found.points is None else points_back(found.points, width, height)
    return replace(found, landmarks=points_back(found.landmarks, width, height), points=points)


def face_back(face: Face, width: int, height: int) -> Face:
    """A face without mesh of a picture upside down, in pixels of the picture of this width and height."""
    landmarks = points_back(face.landmarks, width, height)
    return replace(
        face,
        landmarks=landmarks,
        box=boxes_back(face.box, width, height),
        pose=np.degrees(pose_from_mean_face(landmarks)).astype(np.float32),
        points=None if face.points is None else points_back(face.points, width, height),
    )
