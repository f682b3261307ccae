"""The directions in which a morphable model moves the 68 landmarks."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tf_dhm.core.types import Array
from tf_dhm.face.geometry import NUM_LANDMARKS
from tf_dhm.face.morphable import MorphableModel
from tf_dhm.face.parameters import NUM_IDENTITY


@dataclass(frozen=True, eq=False)
class ReducedBasis:
    """The directions in which a model moves the 68 landmarks, strongest first.

    Attributes:
        mean: (3, 68) the mean face's landmarks, centimetres.
        landmarks: (3, 68, K) per unit of the reduced shape.
        dense: (K, V * 3) float32, the same of all vertices.
        components: (K, 228) of p_id and p_exp.
    """

    mean: Array
    landmarks: Array
    dense: NDArray[np.float32]
    components: Array

    @classmethod
    def of(cls, model: MorphableModel, size: int) -> ReducedBasis:
        """The `size` leading directions: a singular value decomposition of the landmarks' basis, each
        component times its standard deviation. Reduced numbers are then standard normal.
        """
        basis = (model.landmark_basis * model.std[:, None, None]).reshape(len(model.std), -1)  # (228, 204)
        turn, values, directions = np.linalg.svd(basis, full_matrices=False)
        landmarks = (values[:size, None] * directions[:size]).reshape(size, NUM_LANDMARKS, 3)
        components = turn[:, :size].T * model.std  # (K, 228)
        weights = components.astype(np.float32)
        dense = weights[:, :NUM_IDENTITY] @ model.identity.reshape(NUM_IDENTITY, -1).astype(np.float32)
        dense += weights[:, NUM_IDENTITY:] @ model.expression.reshape(len(model.expression), -1).astype(
            np.float32
        )
        return cls(
            mean=np.ascontiguousarray(model.landmark_mean.T),
            landmarks=np.ascontiguousarray(landmarks.transpose(2, 1, 0)),
            dense=dense,
            components=components,
        )

    def moves(self, shape: Array) -> Array:
        """How far reduced shapes (N, K) move the landmarks: (N, 3, 68)."""
        flat = self.landmarks.reshape(-1, shape.shape[-1])  # (204, K)
        return (shape @ flat.T).reshape(len(shape), 3, -1)
