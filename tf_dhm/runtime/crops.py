"""Crops: squares cut out of photos around landmark boxes, upright or turned."""

from __future__ import annotations

import math

import cv2
import numpy as np
from numpy.typing import ArrayLike

from tf_dhm.core.errors import InputError, type_name
from tf_dhm.core.types import Array, Image
from tf_dhm.face import geometry
from tf_dhm.face.mean_face import rotation_from_mean_face

MAX_SHRINK = 1.5
"""Photo pixels per crop pixel up to which bilinear sampling alone does not alias."""
MAX_SUPERSAMPLING = 16
"""Bounds the memory of one crop; a face this much larger than the crop keeps aliasing harmlessly."""


def cut_crops(image: Image, boxes: ArrayLike, size: int, roll: ArrayLike = 0.0) -> tuple[Image, Array]:
    """Cut the crops of boxes out of a photo.

    If the photo has more than MAX_SHRINK pixels per crop pixel, a whole multiple of the crop
    is sampled and averaged down, so that fine texture does not alias.

    Args:
        image: (H, W, 3) uint8 RGB.
        boxes: (N, 4) landmark boxes in photo pixels; may lie outside the photo (black there).
        size: side of the crops in pixels.
        roll: (N,) or scalar, radians; each box and its crop are turned clockwise on the screen by
            it about the centre of the box, so that a face rolled by it stands upright in its crop.

    Returns:
        crops (N, size, size, 3) uint8 and matrices (N, 2, 3) float64, crop pixels to photo pixels.

    Raises:
        InputError: the image is no uint8 RGB array, or a box is not finite or has no area.
    """
    check_pixels(image)
    checked = geometry.check_box(np.asarray(boxes, np.float64).reshape(-1, 4))
    squares = geometry.crop_square(checked).tolist()
    angles = np.full(len(squares), roll, np.float64).tolist()
    crops, matrices = np.empty((len(squares), size, size, 3), np.uint8), np.empty((len(squares), 2, 3))
    for number, (square, angle) in enumerate(zip(squares, angles, strict=True)):
        matrices[number] = matrix = geometry.crop_to_image(square, size, angle)
        shrink = square[2] / size
        factor = 1 if shrink <= MAX_SHRINK else min(math.ceil(shrink), MAX_SUPERSAMPLING)
        side = size * factor
        sampled = cv2.warpAffine(
            image,
            matrix if factor == 1 else geometry.crop_to_image(square, side, angle),
            (side, side),
            dst=crops[number] if factor == 1 else None,
            flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
            borderMode=cv2.BORDER_CONSTANT,
            borderValue=(0, 0, 0),
        )
        if factor > 1:
            cv2.resize(sampled, (size, size), dst=crops[number], interpolation=cv2.INTER_AREA)
    return crops, matrices


def check_pixels(image: object) -> None:
    """InputError for anything but the pixels of a picture, uint8 (H, W, 3)."""
    if not isinstance(image, np.ndarray):
        raise InputError(f"image: found {type_name(image)}, expected uint8 (H, W, 3) RGB")
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or image.size == 0:
        raise InputError(f"image: found {image.dtype} of shape {image.shape}, expected uint8 (H, W, 3) RGB")


def upright_roll(landmarks: ArrayLike) -> Array:
    """The angle by which faces are turned clockwise in the image plane.

    It is the angle of the head's projected up axis, R[:, 1] of the pose. For a face without yaw
    that is the pose's roll; a profile's roll and pitch cannot be told apart, its up axis can.

    Args:
        landmarks: (..., 68, 3) pixels.

    Returns:
        (...) radians.
    """
    up = rotation_from_mean_face(landmarks)[..., :, 1]
    return np.arctan2(up[..., 0], up[..., 1])


def upright_boxes(landmarks: ArrayLike, roll: ArrayLike) -> Array:
    """The landmark boxes of faces as measured after turning them upright.

    Args:
        landmarks: (N, 68, 2 or 3) pixels.
        roll: (N,) radians by which each face is turned clockwise.

    Returns:
        (N, 4) boxes for `cut_crops(..., roll=roll)`: turned by roll about its centre, each bounds
        its landmarks tightly.
    """
    turn = np.empty((*np.shape(roll), 2, 2))  # of columns, clockwise on the screen; of rows, back
    turn[..., 0, 0] = turn[..., 1, 1] = np.cos(roll)
    turn[..., 1, 0] = np.sin(roll)
    turn[..., 0, 1] = -turn[..., 1, 0]
    box = geometry.landmark_box(np.asarray(landmarks, np.float64)[..., :2] @ turn)
    centre = (turn @ ((box[..., :2] + box[..., 2:]) / 2)[..., None])[..., 0]
    half = (box[..., 2:] - box[..., :2]) / 2
    return np.concatenate([centre - half, centre + half], -1)
