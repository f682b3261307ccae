"""Landmarks, contours and pose axes drawn on pictures."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import get_args

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

from tf_dhm.core.errors import InputError
from tf_dhm.face import geometry
from tf_dhm.runtime.crops import check_pixels
from tf_dhm.runtime.faces import Face, check_faces
from tf_dhm.runtime.mesh_pictures import draw_mesh
from tf_dhm.runtime.settings import Part

Colour = tuple[int, int, int]

CONTOURS: tuple[tuple[range, bool], ...] = (
    (range(0, 17), False),  # jaw
    (range(17, 22), False),  # brows
    (range(22, 27), False),
    (range(27, 31), False),  # bridge of the nose
    (range(31, 36), False),  # nostrils
    (range(36, 42), True),  # eyes
    (range(42, 48), True),
    (range(48, 60), True),  # outer lips
    (range(60, 68), True),  # inner lips
)
"""The lines of the 68 points: (points, whether the line is closed)."""

POINT_COLOUR: Colour = (0, 255, 0)
CONTOUR_COLOUR: Colour = (255, 220, 0)
AXIS_COLOURS: tuple[Colour, Colour, Colour] = ((255, 60, 60), (60, 220, 60), (70, 130, 255))
"""Of the head's axes: to its right side as seen (red), up (green), towards the viewer (blue)."""
ID_COLOUR: Colour = (255, 255, 255)

FONT = cv2.FONT_HERSHEY_SIMPLEX
SHIFT = 4
"""OpenCV draws at 1 / 2^SHIFT of a pixel."""


def draw_faces(
    image: NDArray[np.uint8], faces: Iterable[Face], parts: Collection[Part] = ("points", "contours")
) -> NDArray[np.uint8]:
    """Draw faces on a copy of a picture.

    Args:
        image: (H, W, 3) uint8 RGB.
        faces: in pixels of `image`.
        parts: what is drawn of each; "ids" and "mesh" only of faces that have one.

    Raises:
        InputError: the image is no uint8 RGB array, `faces` holds something else, or there is no such part.
    """
    check_pixels(image)
    faces = check_faces(faces)
    for part in [parts] if isinstance(parts, str) else parts:
        if part not in get_args(Part):
            raise InputError(f"parts: found {part!r}, expected some of {', '.join(get_args(Part))}")
    drawn = image.copy()
    if "mesh" in parts:
        drawn = draw_mesh(drawn, [face.mesh for face in faces if face.mesh is not None])
    for face in faces:
        if "contours" in parts:
            drawn = draw_contours(drawn, face.landmarks)
        if "points" in parts:
            drawn = draw_points(drawn, face.landmarks)
        if "axes" in parts:
            drawn = draw_axes(drawn, face.landmarks, face.pose)
        if "ids" in parts and face.id is not None:
            drawn = draw_id(drawn, face.landmarks, face.id)
    return drawn


def draw_points(
    image: NDArray[np.uint8], landmarks: ArrayLike, colour: Colour = POINT_COLOUR
) -> NDArray[np.uint8]:
    """Draw landmarks (N, 2 or 3) as dots whose size follows the face's, on a copy."""
    drawn = image.copy()
    radius = max(face_size(landmarks) / 110.0, 0.7)
    for centre in fixed_point(landmarks):
        cv2.circle(drawn, centre.tolist(), round(radius * 2**SHIFT), colour, cv2.FILLED, cv2.LINE_AA, SHIFT)
    return drawn


def draw_contours(
    image: NDArray[np.uint8], landmarks: ArrayLike, colour: Colour = CONTOUR_COLOUR
) -> NDArray[np.uint8]:
    """Draw the lines of CONTOURS through landmarks (68, 2 or 3), on a copy."""
    drawn = image.copy()
    points, width = fixed_point(landmarks), line_width(landmarks)
    for line, closed in CONTOURS:
        cv2.polylines(drawn, [points[list(line)]], closed, colour, width, cv2.LINE_AA, SHIFT)
    return drawn


def draw_axes(image: NDArray[np.uint8], landmarks: ArrayLike, pose: ArrayLike) -> NDArray[np.uint8]:
    """Draw the head's axes from the tip of the nose, half a face long, on a copy.

    Args:
        image: (H, W, 3) uint8 RGB.
        landmarks: (68, 2 or 3) pixels.
        pose: (3,) pitch, yaw, roll in degrees.
    """
    drawn = image.copy()
    rotation = geometry.rotation_matrix(*np.radians(np.asarray(pose, np.float64)))
    origin = np.asarray(landmarks, np.float64)[30, :2]
    # Row i is where axis i of the head ends; the picture's y points down.
    ends = origin + face_size(landmarks) / 2 * rotation[:2].T * [1.0, -1.0]
    start, width = fixed_point(origin[None])[0].tolist(), 2 * line_width(landmarks)
    # The axis that points farthest away is drawn first, so that nearer ones cover it.
    for axis in np.argsort(rotation[2]):
        end = fixed_point(ends[axis][None])[0].tolist()
        cv2.line(drawn, start, end, AXIS_COLOURS[axis], width, cv2.LINE_AA, SHIFT)
    return drawn


def draw_id(image: NDArray[np.uint8], landmarks: ArrayLike, number: int) -> NDArray[np.uint8]:
    """Write the number of a face above its brows, on a copy."""
    drawn = image.copy()
    scale, width = max(face_size(landmarks) / 200.0, 0.5), line_width(landmarks)
    (text_width, text_height), _ = cv2.getTextSize(str(number), FONT, scale, width)
    points = fixed_point(landmarks) / 2**SHIFT
    x, y = (points.min(0)[0] + points.max(0)[0]) / 2 - text_width / 2, points.min(0)[1] - text_height / 2
    # A dark rim, so that the number can be read on any picture.
    for colour, rim in (((0, 0, 0), 2 * width), (ID_COLOUR, 0)):
        cv2.putText(drawn, str(number), (round(x), round(y)), FONT, scale, colour, width + rim, cv2.LINE_AA)
    return drawn


def face_size(landmarks: ArrayLike) -> float:
    """The longer side of the landmark box in pixels."""
    return float(np.ptp(np.asarray(landmarks, np.float64)[:, :2], axis=0).max())


def line_width(landmarks: ArrayLike) -> int:
    return max(1, round(face_size(landmarks) / 200))


def fixed_point(points: ArrayLike) -> NDArray[np.int32]:
    """Pixels (N, 2 or 3) as OpenCV's fixed-point numbers (N, 2)."""
    scaled = np.rint(np.asarray(points, np.float64)[:, :2] * 2**SHIFT)
    # Far outside any picture, so that the cast cannot overflow.
    return np.clip(scaled, -(2**28), 2**28).astype(np.int32)
