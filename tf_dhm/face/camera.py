"""The pinhole camera, the two projections of a turned face with their derivatives, and likely angles.

Axes are those of Eq. 2, x right, y up and z to the viewer, unless a name says otherwise. Layouts of
points are (N, 3, 68): coordinates first, so that the rotation of many points is one matrix product.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tf_dhm.core.errors import InputError
from tf_dhm.core.types import Array

FLIP = np.array([1.0, -1.0, 1.0])
"""From pixels, y down, to y up."""
EYE = np.eye(3)
CROSS = np.array([[0, 0, 0, 0, 0, -1, 0, 1, 0], [0, 0, 1, 0, 0, 0, -1, 0, 0], [0, -1, 0, 1, 0, 0, 0, 0, 0]])
"""(3, 9) the matrices of the cross products with x, y and z."""


@dataclass(frozen=True)
class Camera:
    """A pinhole camera without distortion.

    Attributes:
        focal: focal length in pixels.
        centre: (x, y) of the optical axis in 0-based pixels.

    >>> Camera.of_view(90.0, width=640, height=480).focal
    320.0
    """

    focal: float
    centre: tuple[float, float]

    def __post_init__(self) -> None:
        if not (np.isfinite(self.focal) and self.focal > 0 and np.isfinite(self.centre).all()):
            raise InputError(
                f"camera: found focal length {self.focal} and centre {self.centre}, expected pixels above 0"
            )

    @classmethod
    def of_view(cls, degrees: float, width: float, height: float) -> Camera:
        """The camera whose picture of `width` x `height` pixels spans `degrees` from left to right."""
        if not 0 < degrees < 180:
            raise InputError(
                f"field of view: found {degrees} degrees, expected more than 0 and less than 180"
            )
        focal = width / 2 / np.tan(np.radians(degrees) / 2)
        return cls(float(focal), ((width - 1) / 2, (height - 1) / 2))


def rotation_of(vector: Array) -> Array:
    """Rotation matrices (N, 3, 3) of rotation vectors (N, 3): Rodrigues' formula."""
    angle = np.sqrt((vector * vector).sum(-1))[:, None, None] + 1e-12  # never 0
    axis = vector[..., None] / angle
    sine, cosine = np.sin(angle), np.cos(angle)
    cross = (axis * sine) * CROSS  # (N, 3, 9)
    return cosine * EYE + (1 - cosine) * (axis @ np.swapaxes(axis, 1, 2)) + cross.sum(1).reshape(-1, 3, 3)


def linearise(
    jacobian: Array, face: Array, moved: Array, shift: Array, extra: Array, distance: Array | None
) -> Array:
    """Fill the derivatives (N, 3, 68, 7 + K) of the projected landmarks; returns these, (N, 3, 68).

    The order is: rotation, shift, extra, shape (see `_State`).

    Args:
        face: (N, 3, 68) turned, before the shift.
        moved: (N, 3, 68, K) the turned basis.
        distance: (N,) to the camera for which one centimetre has unit size; None: parallel.
    """
    x, y, z = np.moveaxis(face, 1, 0)  # (N, 68)
    turned = jacobian[..., :3]  # e x face
    turned[:, 0, :, 1], turned[:, 0, :, 2] = z, -y
    turned[:, 1, :, 0], turned[:, 1, :, 2] = -z, x
    turned[:, 2, :, 0], turned[:, 2, :, 1] = y, -x
    for axis in range(3):
        jacobian[
            :,
            axis,
            :,
            :3,
        ][..., axis] = 0
    jacobian[..., 3:7] = 0
    for axis in range(3):
        jacobian[:, axis, :, 3 + axis] = 1
    jacobian[..., 7:] = moved
    if distance is None:
        growth = np.exp(extra)[:, None, None]
        scaled = growth * face
        jacobian[..., :3] *= growth[..., None]
        jacobian[..., 7:] *= growth[..., None]
        jacobian[..., 6] = scaled
        return scaled + shift[..., None]
    place = face + shift[..., None]
    near = distance[:, None] / -place[:, 2]  # (N, 68)
    plane = near[:, None] * place[:, :2]
    towards = (plane / -place[:, None, 2])[..., None]  # of x and y, per centimetre of z
    jacobian[:, :2] = near[:, None, :, None] * jacobian[:, :2] + towards * jacobian[:, None, 2]
    size = (distance / -shift[:, 2])[:, None]  # (N, 1)
    jacobian[:, 2] *= size[..., None]
    jacobian[:, 2, :, 5] = face[:, 2] * size / -shift[:, 2:]
    jacobian[:, 2, :, 6] = 1
    depth = size * face[:, 2] + extra[:, None]
    return np.concatenate([plane, depth[:, None]], 1)


def look_at(camera: Camera, points: Array) -> Array:
    """The rotation (N, 3, 3), y up, that turns the camera's axis to faces (N, 68, 3), by the shortest way."""
    centre = (points[..., :2].mean(-2) - camera.centre) / camera.focal * FLIP[:2]
    towards = np.concatenate([centre, np.full((len(points), 1), -1.0)], -1)
    towards /= np.linalg.norm(towards, axis=-1, keepdims=True)
    # The rotation vector from (0, 0, -1) to `towards`.
    axis = np.stack([towards[:, 1], -towards[:, 0], np.zeros(len(points))], -1)
    sine = np.linalg.norm(axis, axis=-1, keepdims=True)
    angle = np.arctan2(sine, -towards[:, 2:])
    return rotation_of(np.where(sine > 0, axis / np.where(sine > 0, sine, 1) * angle, 0))


def seen_straight(camera: Camera, view: Array, points: Array) -> Array:
    """Landmarks (N, 68, 3) as the camera would see them if it looked at the face: pixels from its axis,
    (N, 3, 68), y up. z, which the network gives in pixels of the stretched picture, shrinks as that does.
    """
    plane = (points[..., :2] - camera.centre) / camera.focal * FLIP[:2]
    rays = np.concatenate([plane, np.full_like(plane[..., :1], -1.0)], -1) @ view  # (N, 68, 3)
    pixels = rays[..., :2] / -rays[..., 2:] * camera.focal
    depth = points[..., 2:] * (view[:, 2, 2] ** 1.5)[:, None, None]
    return np.swapaxes(np.concatenate([pixels, depth], -1), 1, 2)


def likely_angles(angles: Array, noise: float) -> Array:
    """The likeliest pitch, yaw and roll near those of a rotation that is known up to a little noise.

    In profile, pitch and roll turn about the same axis: only their difference (or sum) shows in a picture,
    and a rotation that is wrong by one degree may change both by ten. These angles are the most probable
    ones: at the rotation's own yaw they minimise

        |the turn that changes pitch and roll make|^2 / noise^2 + pitch^2 + roll^2

    The axes of pitch and roll meet at a cosine of -sin(yaw), so that pitch + roll and pitch - roll are
    independent, and turn the face by their change times sqrt((1 -+ sin(yaw)) / 2).

    Args:
        angles: (N, 3) radians of rotations, as `euler_angles` gives them.
        noise: deviation of the rotation's error over that of pitch and roll; 0: `angles` as they are.

    Returns:
        (N, 3) radians.

    >>> likely_angles(np.array([[0.3, 0.0, 0.1]]), 1.0).round(6).tolist()
    [[0.15, 0.0, 0.05]]
    """
    if noise == 0:
        return angles
    pitch, yaw, roll = angles.T
    sine = np.sin(yaw)
    total = (pitch + roll) * (1 - sine) / (1 - sine + noise**2)
    difference = (pitch - roll) * (1 + sine) / (1 + sine + noise**2)
    return np.stack([(total + difference) / 2, yaw, (total - difference) / 2], -1)
