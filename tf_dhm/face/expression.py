"""Named face units of a fitted face: weights from 0 to 1 by bounded least squares.

The 52 units of `face_units.npz` (jawOpen, mouthSmileLeft, eyeBlinkLeft, browInnerUp, ...) move the landmarks
by U. Landmarks in the head's frame differ from the mean face by

    U w + identity + a small turn, shift and scale that the pose missed + noise

All but w are normal with known deviations, so that they fold into one covariance S; w minimises

    (r - U w)^T S^-1 (r - U w) + |w|^2 / SPREAD^2    subject to 0 <= w <= 1

Left and right are the subject's.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_factor, cho_solve
from scipy.optimize import lsq_linear, nnls

from tf_dhm.core.errors import InputError
from tf_dhm.core.types import Array
from tf_dhm.face.fit import FaceFit
from tf_dhm.face.geometry import NUM_LANDMARKS
from tf_dhm.face.morphable import OPEN_FACE, MorphableModel

FACE_UNITS = OPEN_FACE.parent / "face_units.npz"
OFFERED = ("jawOpen",)
"""Units whose weights from the network's landmarks correlate with the true ones by 0.5 or more on rendered
faces (docs/mesh.md). From landmarks without error nearly all units can be had: `FaceUnits.weights`."""

LEAST_MOTION = 0.05
"""Centimetres: a unit that moves no landmark as far as this cannot be seen in the 68 points."""
SPREAD = 0.3
"""Deviation of a weight."""
NOISE, DEPTH_NOISE = 0.4, 1.2
"""Deviations in centimetres of landmarks that a network gives: x and y, z."""
TRUE_NOISE = 0.05
"""The same of landmarks without error: what the mean of the landmarks and the pose leave."""
MISSED_SHIFT, MISSED_TURN, MISSED_SCALE = 0.3, 0.1, 0.05
"""Deviations of what the pose missed: centimetres, radians, and a share."""


class FaceUnits:
    """Estimates the weights of the face units that 68 landmarks show.

    >>> units = FaceUnits()
    >>> "jawOpen" in units.names, units.unseen
    (True, ('tongueOut',))

    Args:
        noise, depth_noise: deviations of the landmarks in centimetres, in the head's frame.

    Attributes:
        names: of the M units that the landmarks show.
        unseen: names of the others.
        displacement: (M, V, 3) float32 centimetres, of all vertices.
        weighted: (204, M) U^T S^-1.
        root: (M, M), the Cholesky factor of U^T S^-1 U + 1 / SPREAD^2.
    """

    def __init__(self, noise: float = NOISE, depth_noise: float = DEPTH_NOISE) -> None:
        if not (0 < noise < np.inf and 0 < depth_noise < np.inf):
            raise InputError(
                f"face units: found noise {noise} and {depth_noise}, expected centimetres above 0"
            )
        model = MorphableModel.open_face()
        with np.load(FACE_UNITS) as archive:
            names, displacement = archive["names"].tolist(), archive["displacement"].astype(np.float32)
        motion = displacement[:, model.landmarks].astype(np.float64)  # (52, 68, 3)
        seen = np.linalg.norm(motion, axis=-1).max(1) >= LEAST_MOTION
        self.names: tuple[str, ...] = tuple(
            name for name, is_seen in zip(names, seen, strict=True) if is_seen
        )
        self.unseen = tuple(name for name in names if name not in self.names)
        self.displacement = displacement[seen]
        self._mean = model.landmark_mean
        self._units = motion[seen].reshape(-1, 3 * NUM_LANDMARKS)  # (M, 204)

        identity = model.landmark_basis[: len(model.identity_std)] * model.identity_std[:, None, None]
        missed = np.concatenate([identity.reshape(len(identity), -1), _missed_pose(self._mean)])
        deviation = np.tile([noise, noise, depth_noise], NUM_LANDMARKS)
        covariance = cho_factor(np.diag(deviation**2) + missed.T @ missed)
        self.weighted = cho_solve(covariance, self._units.T)  # (204, M)
        normal = self._units @ self.weighted + np.eye(len(self._units)) / SPREAD**2
        # |L^T w - L^-1 b|^2 has the minimum of w^T A w - 2 b^T w with A = L L^T.
        self.root = np.linalg.cholesky(normal)

    def weights(self, landmarks: Array) -> Array:
        """Weights (N, M) in [0, 1] of landmarks (N, 68, 3) in the head's frame (`FaceFit.landmarks`); NaN
        for a face with NaN landmarks."""
        points = np.asarray(landmarks, np.float64)
        if points.shape[1:] != (NUM_LANDMARKS, 3):
            raise InputError(f"landmarks: found shape {points.shape}, expected (N, {NUM_LANDMARKS}, 3)")
        right = (points - self._mean).reshape(len(points), -1) @ self.weighted  # (N, M)
        weights = np.full(right.shape, np.nan)
        for row in np.flatnonzero(np.isfinite(right).all(1)):
            target = np.linalg.solve(self.root, right[row])
            weights[row], _ = nnls(self.root.T, target)
            if weights[row].max() > 1:  # rare, and slower
                # Rounding leaves some of them just outside.
                weights[row] = np.clip(lsq_linear(self.root.T, target, (0, 1), method="bvls").x, 0, 1)
        return weights


def _missed_pose(mean: Array) -> NDArray[np.float64]:
    """(7, 204) how a shift, a turn and a growth of one deviation move the landmarks (68, 3)."""
    centred = mean - mean.mean(0)
    axes = np.eye(3)
    moves = [
        *(MISSED_SHIFT * np.broadcast_to(axis, centred.shape) for axis in axes),
        *(MISSED_TURN * np.cross(axis, centred) for axis in axes),
        MISSED_SCALE * centred,
    ]
    return np.stack(moves).reshape(len(moves), -1)


@lru_cache(maxsize=1)
def face_units() -> FaceUnits:
    """The face units with the noise of the networks' landmarks, made once."""
    return FaceUnits()


def expressions(fits: Sequence[FaceFit]) -> list[dict[str, float] | None]:
    """Weights of the OFFERED units of each face; None for a face without a fit."""
    if not fits:
        return []
    units = face_units()
    columns = [units.names.index(name) for name in OFFERED]
    weights = units.weights(np.stack([fit.landmarks for fit in fits]))[:, columns]
    return [
        None if fit.problem else dict(zip(OFFERED, row.tolist(), strict=True))
        for fit, row in zip(fits, weights, strict=True)
    ]
