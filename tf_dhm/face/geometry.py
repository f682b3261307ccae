"""Rotations, weak perspective, boxes, crops and the mirror map of the 68 landmarks.

Coordinates are 0-based pixels with pixel centres at integers, x right, y down, z in pixels and
larger nearer to the camera. Angles are radians unless a name says otherwise. Every function is
pure and works on NumPy arrays with any number of leading dimensions.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tf_dhm.core.errors import InputError
from tf_dhm.core.types import Array

NUM_LANDMARKS = 68
CROP_SCALE = float(np.sqrt(2.0))
"""Side of the square crop over the longer side of the landmark box."""

MIRROR_68: NDArray[np.intp] = np.concatenate(
    [
        np.arange(16, -1, -1),  # jaw
        np.arange(26, 16, -1),  # brows
        np.arange(27, 31),  # bridge of the nose
        np.arange(35, 30, -1),  # nostrils
        [45, 44, 43, 42, 47, 46],  # eyes
        [39, 38, 37, 36, 41, 40],
        np.arange(54, 47, -1),  # outer lips
        np.arange(59, 54, -1),
        np.arange(64, 59, -1),  # inner lips
        [67, 66, 65],
    ]
)
"""Landmark i of a mirrored face is landmark MIRROR_68[i] of the face."""


def rotation_matrix(pitch: ArrayLike, yaw: ArrayLike, roll: ArrayLike) -> Array:
    """R = Rx(pitch) Ry(yaw) Rz(roll) of Eq. 2 in the convention of 300W-LP's `Pose_Para`.

    Args:
        pitch, yaw, roll: radians, any broadcastable shapes (...).

    Returns:
        (..., 3, 3) float64, acting on columns of a y-up, z-to-the-viewer frame.

    >>> rotation_matrix(0.0, np.pi / 2, 0.0).round(6)[0].tolist()
    [0.0, 0.0, -1.0]
    """
    p, y, r = np.broadcast_arrays(*(np.asarray(angle, np.float64) for angle in (pitch, yaw, roll)))
    one, zero = np.ones_like(p), np.zeros_like(p)

    def matrix(rows: list[list[Array]]) -> Array:
        return np.stack([np.stack(row, -1) for row in rows], -2)

    cos, sin = np.cos, np.sin
    rx = matrix([[one, zero, zero], [zero, cos(p), sin(p)], [zero, -sin(p), cos(p)]])
    ry = matrix([[cos(y), zero, -sin(y)], [zero, one, zero], [sin(y), zero, cos(y)]])
    rz = matrix([[cos(r), sin(r), zero], [-sin(r), cos(r), zero], [zero, zero, one]])
    return rx @ ry @ rz


def euler_angles(rotation: ArrayLike) -> Array:
    """Pitch, yaw, roll of a rotation matrix: the inverse of `rotation_matrix`.

    Yaw is in [-pi/2, pi/2]; there (gimbal lock) roll is set to 0.

    Args:
        rotation: (..., 3, 3).

    Returns:
        (..., 3) float64 radians (pitch, yaw, roll).
    """
    matrices = np.asarray(rotation, np.float64)
    angles = []
    # Plain numbers: quicker than arrays for the few faces of a frame.
    for (m00, m01, m02), (_, m11, m12), (_, m21, m22) in matrices.reshape(-1, 3, 3).tolist():
        yaw = math.asin(min(max(-m02, -1.0), 1.0))
        if abs(m02) > 1.0 - 1e-9:
            angles.append((math.atan2(-m21, m11), yaw, 0.0))
        else:
            angles.append((math.atan2(m12, m22), yaw, math.atan2(m01, m00)))
    return np.array(angles).reshape(matrices.shape[:-1])


def weak_perspective(
    shape: ArrayLike, scale: ArrayLike, rotation: ArrayLike, translation: ArrayLike
) -> Array:
    """F(p) = f M R S + t_2d (Eq. 2), with z kept as f (R S)_z.

    Args:
        shape: (..., N, 3) points of the model, y up.
        scale: (...) f.
        rotation: (..., 3, 3).
        translation: (..., 2) t_2d.

    Returns:
        (..., N, 3) float64, y up.
    """
    points = np.asarray(shape, np.float64) @ np.swapaxes(np.asarray(rotation, np.float64), -1, -2)
    points = points * np.asarray(scale, np.float64)[..., None, None]
    points[..., :2] += np.asarray(translation, np.float64)[..., None, :]
    return points


def bfm_to_pixels(points: ArrayLike, height: ArrayLike) -> Array:
    """From 300W-LP's 1-based y-up plane to 0-based y-down pixels: x = X - 1, y = h - Y.

    Args:
        points: (..., N, 2 or 3).
        height: (...) height of the image in pixels.
    """
    pixels = np.array(points, np.float64)
    pixels[..., 0] -= 1.0
    pixels[..., 1] = np.asarray(height, np.float64)[..., None] - pixels[..., 1]
    return pixels


def landmark_box(landmarks: ArrayLike) -> Array:
    """The box (x0, y0, x1, y1) of landmarks, float and unclipped.

    Args:
        landmarks: (..., N, 2 or 3) pixels.

    Raises:
        InputError: a landmark is NaN or infinite, or the box has no area.
    """
    # A row of x and one of y: quicker than columns.
    xy = np.ascontiguousarray(np.swapaxes(np.asarray(landmarks)[..., :2], -1, -2), np.float64)
    box = np.concatenate([xy.min(-1), xy.max(-1)], -1)
    if not has_area(box):
        if not np.isfinite(box).all():
            raise InputError("landmarks: found NaN or infinite coordinates, expected finite pixels")
        check_box(box)  # raises
    return box


def check_box(box: ArrayLike) -> Array:
    """Return `box` as (..., 4) float64, or raise InputError if it has no area."""
    array = np.asarray(box, np.float64)
    if array.shape[-1:] != (4,):
        raise InputError(f"box: found shape {array.shape}, expected (..., 4) as x0, y0, x1, y1")
    if not has_area(array):
        first = next(box for box in array.reshape(-1, 4) if not has_area(box))
        raise InputError(
            f"box: found {first.tolist()}, expected finite x0 < x1 and y0 < y1, not width and height"
        )
    return array


def has_area(box: Array) -> bool:
    """Whether all boxes (..., 4) are finite and have an area."""
    sides = box[..., 2:] - box[..., :2]  # NaN or infinite if a corner is
    # Plain numbers: quicker than arrays for the one box of a frame.
    return all(0 < side < np.inf for side in sides.ravel().tolist())


def box_size(box: ArrayLike) -> Array:
    """sqrt(w h) of a box, the normaliser of NME. (..., 4) -> (...)."""
    return np.asarray(np.sqrt(box_area(np.asarray(box, np.float64))))


def overlaps(a: ArrayLike, b: ArrayLike) -> Array:
    """Intersection over union of every box of `a` with every box of `b`: (N, 4), (M, 4) -> (N, M).

    >>> overlaps([[0, 0, 2, 2]], [[1, 0, 3, 2]]).round(3).tolist()
    [[0.333]]
    """
    first, second = np.asarray(a, np.float64)[:, None], np.asarray(b, np.float64)[None]
    low, high = np.maximum(first[..., :2], second[..., :2]), np.minimum(first[..., 2:], second[..., 2:])
    sides = np.maximum(high - low, 0)
    common = sides[..., 0] * sides[..., 1]  # quicker than prod
    return np.asarray(common / (box_area(first) + box_area(second) - common))


def box_area(box: Array) -> Array:
    """w h of boxes: (..., 4) -> (...)."""
    return np.asarray((box[..., 2] - box[..., 0]) * (box[..., 3] - box[..., 1]))


def crop_square(box: ArrayLike) -> Array:
    """The crop of a box: (..., 3) centre x, centre y and side = sqrt(2) x the longer side.

    >>> crop_square([10.0, 20.0, 30.0, 30.0]).round(3).tolist()
    [20.0, 25.0, 28.284]
    """
    b = np.asarray(box, np.float64)
    square = np.empty((*b.shape[:-1], 3))
    square[..., :2] = (b[..., :2] + b[..., 2:]) / 2
    square[..., 2] = CROP_SCALE * np.maximum(b[..., 2] - b[..., 0], b[..., 3] - b[..., 1])
    return square


def crop_to_image(square: Sequence[float] | Array, size: int, roll: float = 0.0) -> Array:
    """The affine map from pixels of a `size` x `size` crop to pixels of the image.

    Crop pixel u has its centre at (u + 0.5) / size of the side, so that mirroring the crop
    (x' = size - 1 - x) mirrors the square exactly.

    Args:
        square: (3,) centre x, centre y, side in image pixels.
        size: side of the crop in pixels.
        roll: radians; the crop is turned clockwise on the screen by it about its centre.

    Returns:
        (2, 3) float64 affine matrix.
    """
    # Plain numbers: quicker than arrays for one square.
    x, y, side = square
    c, n = side / size * math.cos(roll), side / size * math.sin(roll)
    half = (size - 1) / 2.0
    return np.array([[c, -n, x - (c - n) * half], [n, c, y - (n + c) * half]])


def invert_affine(matrix: ArrayLike) -> Array:
    """The inverse of (..., 2, 3) affine maps."""
    m = np.asarray(matrix, np.float64)
    linear = np.linalg.inv(m[..., :2])
    return np.concatenate([linear, -linear @ m[..., 2:]], -1)


def transform_landmarks(matrix: ArrayLike, landmarks: ArrayLike) -> Array:
    """Apply similarity maps to landmarks; z, if given, is scaled by their scale.

    Args:
        matrix: (..., 2, 3), a scaled rotation and a shift.
        landmarks: (..., N, 2 or 3) pixels.
    """
    m = np.asarray(matrix, np.float64)
    points = np.asarray(landmarks, np.float64)
    moved = points[..., :2] @ np.swapaxes(m[..., :2], -1, -2) + m[..., None, :, 2]
    if points.shape[-1] == 2:
        return moved
    scale = np.sqrt(np.abs(m[..., 0, 0] * m[..., 1, 1] - m[..., 0, 1] * m[..., 1, 0]))
    return np.concatenate([moved, points[..., 2:] * scale[..., None, None]], -1)


def mirror_landmarks(landmarks: ArrayLike, width: float) -> Array:
    """Landmarks of the mirrored image: x' = width - 1 - x, and left is renamed right.

    Args:
        landmarks: (..., 68, 2 or 3) pixels.
        width: width of the image in pixels.
    """
    mirrored = np.array(landmarks, np.float64)[..., MIRROR_68, :]
    mirrored[..., 0] = width - 1 - mirrored[..., 0]
    return mirrored


def unit_to_pixels(landmarks: ArrayLike, size: int) -> Array:
    """The network's unit to crop pixels: the crop spans [-1, 1] in x and y; z is scaled alike.

    Args:
        landmarks: (..., 2 or 3) in the unit of the network.
        size: side of the crop in pixels.

    >>> unit_to_pixels([[-1.0, 1.0, 0.5]], size=100).tolist()
    [[-0.5, 99.5, 25.0]]
    """
    pixels = np.array(landmarks, np.float64) * (size / 2.0)
    pixels[..., :2] += (size - 1) / 2.0
    return pixels


Y_UP = np.array([1.0, -1.0, 1.0])
"""Turns the y axis of points, which is down in pixels and up in 300W-LP's angles."""


def rotation_from_landmarks(landmarks: ArrayLike, reference: ArrayLike) -> Array:
    """The rotation of the similarity (Procrustes) that turns `reference` into `landmarks`.

    Args:
        landmarks: (..., N, 3) pixels, y down, z nearer larger.
        reference: (N, 3) a frontal face in the same axes and any scale.

    Returns:
        (..., 3, 3) float64 in the y-up frame of `rotation_matrix`.
    """
    return rotation_from_centred(landmarks, centred(reference))


def centred(reference: ArrayLike) -> Array:
    """Points (N, 3) about their middle, y up."""
    source = np.asarray(reference, np.float64)
    return (source - source.sum(0) / len(source)) * Y_UP


def rotation_from_centred(landmarks: ArrayLike, source: Array) -> Array:
    """`rotation_from_landmarks` of a reference that is `centred`."""
    # The centred reference sums to zero, so the landmarks need not be centred.
    points = np.asarray(landmarks, np.float64)
    u, _, vt = np.linalg.svd(Y_UP[:, None] * (np.swapaxes(points, -1, -2) @ source))
    rotation = u @ vt
    mirrored = np.linalg.det(rotation) < 0
    if mirrored.any():
        u[..., 2] *= np.where(mirrored, -1, 1)[..., None]
        rotation = u @ vt
    return np.asarray(rotation)


def pose_from_landmarks(landmarks: ArrayLike, reference: ArrayLike) -> Array:
    """Pitch, yaw, roll of `rotation_from_landmarks`, whose arguments it takes.

    Returns:
        (..., 3) float64 radians in the signs of 300W-LP's `Pose_Para`.
    """
    return euler_angles(rotation_from_landmarks(landmarks, reference))
