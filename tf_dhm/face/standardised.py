"""The 68 landmarks of a morphable model in parameters that a network can learn.

`tf_dhm.networks.projection` is the differentiable twin in TensorFlow; a test binds the two.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tf_dhm.core.types import Array
from tf_dhm.face.geometry import rotation_matrix, unit_to_pixels, weak_perspective
from tf_dhm.face.mean_face import mean_shape
from tf_dhm.face.morphable import MorphableModel
from tf_dhm.face.parameters import ANGLES, SCALE, TRANSLATION, decompose

SCALE_STD = 0.1
"""Unit of the standardised f, relative to the mean face's f."""
ANGLE_STD = np.array([0.4, 0.7, 0.4])
"""Units of the standardised pitch, yaw and roll, radians."""
TRANSLATION_STD = np.array([0.2, 0.1])
"""Units of the standardised place, in halves of a crop. All units are rounded from faces at all poses,
with room for crops that fit less well than those of the labels."""


@dataclass(frozen=True, eq=False)
class StandardisedModel:
    """The 68 landmarks of a model in standardised parameters of a crop.

    A state u (..., 234) has the order of p. Each of its numbers is about normal with mean 0 and
    deviation 1 over faces in crops, at any size of the crop, so that a network can add to it as it
    adds to any other feature:

        f / f_0 = 1 + SCALE_STD u[0]            f_0 draws the mean face in its crop
        pitch, yaw, roll = ANGLE_STD u[1:4]
        place of the face's centre = origin + TRANSLATION_STD u[4:6]
        p_id, p_exp = std u[6:]

    Unlike t_2d, the place is that of the landmarks' centre and not of the model's origin (which,
    in the Basel Face Model, lies in the head, so that turning the face moves it by half its width).

    Attributes:
        mean: (68, 3) float32 about its centre, in units of half a crop at f_0, y up.
        basis: (228, 68, 3) float32 per standard deviation, in the same units.
        origin: (2,) of the mean face's centre in its crop, network units with y up.
    """

    mean: NDArray[np.float32]
    basis: NDArray[np.float32]
    origin: Array

    def project(self, state: ArrayLike, size: int) -> Array:
        """Landmarks (..., 68, 3) in 0-based pixels of a `size` x `size` crop, y down."""
        u = np.asarray(state, np.float64)
        decompose(u)
        shape = self.mean + np.tensordot(u[..., 6:], self.basis.astype(np.float64), 1)
        angles = u[..., ANGLES] * ANGLE_STD
        rotation = rotation_matrix(angles[..., 0], angles[..., 1], angles[..., 2])
        place = self.origin + TRANSLATION_STD * u[..., TRANSLATION]
        points = weak_perspective(shape, 1.0 + SCALE_STD * u[..., SCALE], rotation, place)
        points[..., 1] *= -1.0
        return unit_to_pixels(points, size)


def standardise(model: MorphableModel) -> StandardisedModel:
    """The model at its 68 landmarks, in the parameters that networks use.

    Its mean face has the place and the size of the mean shape in a crop.

    >>> standardise(MorphableModel.open_face()).basis.shape
    (228, 68, 3)
    """
    reference = mean_shape() * (1.0, -1.0, 1.0)
    origin = reference.mean(0)
    centre = model.landmark_mean.mean(0)
    unit = _radius(reference) / _radius(model.landmark_mean)
    return StandardisedModel(
        mean=((model.landmark_mean - centre) * unit).astype(np.float32),
        basis=(model.landmark_basis * (model.std * unit)[:, None, None]).astype(np.float32),
        origin=origin[:2],
    )


def _radius(points: Array) -> float:
    """Root mean square distance of (N, 3) points from their centre."""
    return float(np.sqrt(((points - points.mean(0)) ** 2).sum(-1).mean()))
