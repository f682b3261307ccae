"""Rotation, place and shape of a head from its 68 landmarks: a closed-form start and Gauss-Newton.

A shape is K numbers of a `ReducedBasis`. With W the weights of the landmarks, Gauss-Newton minimises

    |W (landmarks - projection(R, t, c))|^2 + |c|^2

which is the negative logarithm of the posterior: landmarks are normal around the projected vertices, and
the shape c is standard normal.

Layouts of points are (N, 3, 68), so that the rotation of many points is one matrix product. Axes are those
of Eq. 2: x right, y up, z to the viewer.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tf_dhm.core.types import Array
from tf_dhm.face.camera import depth_scale, rotation_of
from tf_dhm.face.geometry import NUM_LANDMARKS
from tf_dhm.face.reduced_basis import ReducedBasis

RIGID = 7
"""Numbers of rotation, shift and scale (or offset of z), which come before the shape in the unknowns."""


@dataclass(frozen=True, eq=False)
class View:
    """A perspective camera that was turned to look at each of N faces.

    Attributes:
        focal: focal length in pixels.
        axis: (N, 3) the z axis of the camera before it was turned, in the axes of the turned camera.
    """

    focal: float
    axis: Array


@dataclass(frozen=True, eq=False)
class Solution:
    """Where N heads are in front of a camera that looks at them, and their shapes.

    Attributes:
        rotation: (N, 3, 3) from the head to the axes of the camera.
        shift: (N, 3) centimetres, of the head's origin; parallel: z is 0.
        scale: (N,) pixels of z per centimetre in the given landmarks; parallel: also of x and y.
        offset: (N,) z of the head's origin in the given landmarks, pixels.
        shape: (N, K).
    """

    rotation: Array
    shift: Array
    scale: Array
    offset: Array
    shape: Array


class LandmarkSolver:
    """Places heads of a reduced shape.

    Args:
        basis: how shapes move the landmarks.
        style: (3, 68) centimetres from the vertices to the landmarks.
        noise: standard deviation of x, y and z in the closed-form start, centimetres.

    Attributes:
        first: (204, K) from landmarks in the head's frame, less the mean face, to the first shape.
    """

    def __init__(self, basis: ReducedBasis, style: Array, noise: float) -> None:
        size = basis.landmarks.shape[-1]
        moves = (basis.landmarks - basis.landmarks.mean(1, keepdims=True)).reshape(-1, size)
        self.first = np.linalg.solve(moves.T @ moves + noise**2 * np.eye(size), moves.T).T
        self._basis = basis
        # With room for the other unknowns and the residual: turned, it is most of the system as it stands.
        wide = np.pad(basis.landmarks, ((0, 0), (0, 0), (RIGID, 1)))
        self._wide_basis = wide.reshape(3, -1)  # (3, 68 * (7 + K + 1))
        self._mean = basis.mean + style
        self._centred = self._mean - self._mean.mean(-1, keepdims=True)
        self._power = (self._centred**2).sum()
        self._spread = float(np.linalg.norm(basis.mean - basis.mean.mean(-1, keepdims=True)))
        self._prior = np.diag(np.repeat([0.0, 1.0, 0.0], [RIGID, size, 1]))

    def solve(
        self,
        points: Array,
        root: Array,
        iterations: int,
        view: View | None = None,
        known: NDArray[np.bool_] | None = None,
        shapes: Array | None = None,
    ) -> Solution:
        """Place N heads.

        Args:
            points: (N, 3, 68) pixels, y up; from the axis of the camera, if there is one.
            root: (N, 3, 68) square root of the weights: 1 / centimetre.
            iterations: of Gauss-Newton.
            view: the perspective camera; None: the projection is parallel.
            known: (N,) heads that start from `shapes`, (N, K). None: none does.
        """
        centre = points.sum(-1) / NUM_LANDMARKS  # quicker than mean
        centred = points - centre[..., None]
        rotation, shape = self._start(centred, known, shapes)
        # Lengths in centimetres of a head of the mean size: weights then apply as they are.
        unit = np.sqrt((centred * centred).sum((1, 2))) / self._spread  # pixels per centimetre
        target = centred / unit[:, None, None]
        shift, extra = np.zeros((len(points), 3)), np.zeros(len(points))
        distance = None if view is None else view.focal / unit
        if distance is not None:
            shift = centre / unit[:, None]
            target = target + shift[..., None]
            shift[:, 2] = -distance
        size = shape.shape[1]
        # Derivatives, and in the last column the residual: one product gives both sides of the equation.
        system = np.empty((*points.shape, RIGID + size + 1))
        for _ in range(iterations):
            turn = rotation if view is not None else np.exp(extra)[:, None, None] * rotation
            face = turn @ (self._mean + self._basis.moves(shape))
            np.matmul(turn, self._wide_basis, out=system.reshape(len(points), 3, -1))
            fill_motion(system, face)
            if view is None or distance is None:
                system[..., 6] = face
                predicted = face + shift[..., None]
            else:
                predicted = project(system[..., :-1], face, shift, extra, distance, view.axis)
            np.subtract(target, predicted, out=system[..., -1])
            weighted = (system * root[..., None]).reshape(len(points), -1, RIGID + size + 1)
            normal = np.swapaxes(weighted, 1, 2) @ weighted + self._prior
            right = normal[:, :-1, -1:]
            right[:, RIGID:, 0] -= shape
            step = np.linalg.solve(normal[:, :-1, :-1], right)[..., 0]
            rotation = rotation_of(step[:, :3]) @ rotation
            shift, extra, shape = shift + step[:, 3:6], extra + step[:, 6], shape + step[:, RIGID:]
        if view is None:
            growth = np.exp(extra)
            scale = unit * growth
            offset = unit * shift[:, 2] + centre[:, 2]
            shift = shift / growth[:, None] + centre / scale[:, None]
            shift[:, 2] = 0
            return Solution(rotation, shift, scale, offset, shape)
        scale = view.focal * depth_scale(shift, view.axis)
        return Solution(rotation, shift, scale, extra * unit / view.axis[:, 2] ** 1.5, shape)

    def _start(
        self, centred: Array, known: NDArray[np.bool_] | None, shapes: Array | None
    ) -> tuple[Array, Array]:
        """Rotations and shapes in closed form, as if all landmarks counted alike: the mean face, or the known
        one, turned by the polar factor of the best affine map; the mean face then moved to the landmarks."""
        face, power = self._centred, self._power
        if shapes is not None:
            face = face + self._basis.moves(shapes)
            face = face - face.mean(-1, keepdims=True)
            power = (face * face).sum((-1, -2))
        u, values, vt = np.linalg.svd(centred @ np.swapaxes(face, -1, -2))
        rotation = u @ vt
        mirrored = np.linalg.det(rotation) < 0
        if mirrored.any():
            u[mirrored, :, 2] *= -1
            values[mirrored, 2] *= -1
            rotation = u @ vt
        if shapes is not None and known is not None and known.all():
            return rotation, shapes
        scale = values.sum(-1) / power
        moved = np.swapaxes(rotation, 1, 2) @ (centred / scale[:, None, None]) - face
        shape = moved.reshape(len(centred), -1) @ self.first
        if shapes is not None and known is not None:
            shape[known] = shapes[known]
        return rotation, shape


def fill_motion(system: Array, face: Array) -> None:
    """Fill how landmarks move in space by rotation and shift into (N, 3, 68, 7 + K + 1).

    Args:
        system: holds how they move by shape, and 0 in the other columns.
        face: (N, 3, 68) turned, before the shift.
    """
    x, y, z = face[:, 0], face[:, 1], face[:, 2]  # (N, 68)
    # e x face
    system[:, 0, :, 1], system[:, 1, :, 0] = z, -z
    system[:, 2, :, 0], system[:, 0, :, 2] = y, -y
    system[:, 1, :, 2], system[:, 2, :, 1] = x, -x
    for axis in range(3):
        system[:, axis, :, 3 + axis] = 1


def project(motion: Array, face: Array, shift: Array, extra: Array, distance: Array, axis: Array) -> Array:
    """Landmarks (N, 3, 68) in perspective; turns `motion` (N, 3, 68, 7 + K) in space into theirs.

    x and y are those of a pinhole camera. z is depth along the line of sight to the head's origin, larger
    nearer, in pixels of the turned picture at that point (`depth_scale`), plus `extra`.

    Args:
        face: (N, 3, 68) centimetres, turned, before the shift.
        shift: (N, 3) the head's origin, z negative.
        extra: (N,).
        distance: (N,) focal length.
        axis: (N, 3), see `View`.
    """
    place = face + shift[..., None]
    inverse = -1 / place[:, 2]  # (N, 68)
    near = distance[:, None] * inverse
    plane = near[:, None] * place[:, :2]
    growth = (plane * inverse[:, None])[..., None]  # of x and y, per centimetre of z
    # z is the product of -shift with the face, times this.
    scale = distance * axis[:, 2] ** 1.5 * depth_scale(shift, axis) / np.linalg.norm(shift, axis=-1)
    along = -scale[:, None] * shift
    depth = (along[..., None] * face).sum(1)  # (N, 68)
    falls = -0.5 * shift / (shift * shift).sum(-1)[:, None] - 1.5 * axis / (axis * shift).sum(-1)[:, None]
    moved = (along[..., None, None] * motion).sum(1)
    motion[:, :2] = near[:, None, :, None] * motion[:, :2] + growth * motion[:, None, 2]
    motion[:, 2] = moved
    motion[:, 2, :, 3:6] = depth[..., None] * falls[:, None] - scale[:, None, None] * np.swapaxes(face, 1, 2)
    motion[:, 2, :, 6] = 1
    return np.concatenate([plane, (depth + extra[:, None])[:, None]], 1)
