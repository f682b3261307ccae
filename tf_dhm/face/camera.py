"""The pinhole camera, rotations that turn it to a face, and likely angles.

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
CROSS = np.array([[0.0, 0, 0, 0, 0, -1, 0, 1, 0], [0, 0, 1, 0, 0, 0, -1, 0, 0], [0, -1, 0, 1, 0, 0, 0, 0, 0]])
"""(3, 9) the matrices of the cross products with x, y and z."""


@dataclass(frozen=True)
class Camera:
    """A pinhole camera without distortion.

    Attributes:
        focal: focal length in pixels.
        centre: (x, y) of the optical axis in 0-based pixels.

    >>> round(Camera.of_view(90.0, width=640, height=480).focal, 6)
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

    def rays(self, points: Array) -> Array:
        """Directions (..., 3), y up and z -1, in which photo pixels (..., 2 or 3) lie."""
        plane = (points[..., :2] - self.centre) / self.focal * FLIP[:2]
        return np.concatenate([plane, np.full_like(plane[..., :1], -1.0)], -1)


def rotation_of(vector: Array) -> Array:
    """Rotation matrices (N, 3, 3) of rotation vectors (N, 3): Rodrigues' formula."""
    angle = np.sqrt((vector * vector).sum(-1))[:, None, None] + 1e-12  # never 0
    cross = ((vector / angle[:, 0]) @ CROSS).reshape(-1, 3, 3)
    return EYE + np.sin(angle) * cross + (1 - np.cos(angle)) * (cross @ cross)


def look_at(towards: Array) -> Array:
    """The rotations (N, 3, 3), y up, that turn the axis of a camera, (0, 0, -1), to directions (N, 3) with z
    below 0, by the shortest way."""
    # The rotation vector from (0, 0, -1) to `towards`.
    axis = np.stack([towards[:, 1], -towards[:, 0], np.zeros(len(towards))], -1)
    sine = np.linalg.norm(axis, axis=-1, keepdims=True)
    angle = np.arctan2(sine, -towards[:, 2:])
    return rotation_of(np.where(sine > 0, axis / np.where(sine > 0, sine, 1) * angle, 0))


def seen_straight(camera: Camera, view: Array, points: Array) -> Array:
    """Landmarks (N, 68, 3) as a camera turned by `view` sees them: (N, 3, 68) pixels from its axis, y up.

    z, which is in pixels of the stretched picture (`depth_scale`), shrinks as that does.
    """
    rays = camera.rays(points) @ view  # (N, 68, 3)
    pixels = rays[..., :2] / -rays[..., 2:] * camera.focal
    depth = points[..., 2:] * (view[:, 2, 2] ** 1.5)[:, None, None]
    return np.swapaxes(np.concatenate([pixels, depth], -1), 1, 2)


def depth_scale(shift: Array, axis: Array) -> Array:
    """Pixels of z per centimetre, over the focal length, of heads at a shift (N, 3): sqrt(D) / Z^1.5.

    For a head at distance D from the camera and at depth Z, pixels per centimetre are focal / Z across the
    direction from the centre of the picture and focal D / Z^2 along it. z is in pixels of their geometric
    mean.

    Args:
        shift: (N, 3) centimetres from the camera.
        axis: (3,) or (N, 3) the z axis of the camera, away from what it sees.

    Returns:
        (N,) 1 / centimetre.
    """
    return (shift * shift).sum(-1) ** 0.25 * (-(axis * shift).sum(-1)) ** -1.5


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
    total = (pitch + roll) * (0.5 - 0.5 / ((1 - sine) / noise**2 + 1))
    difference = (pitch - roll) * (0.5 - 0.5 / ((1 + sine) / noise**2 + 1))
    likely = angles.copy()
    likely[:, 0] = total + difference
    likely[:, 2] = total - difference
    return likely
