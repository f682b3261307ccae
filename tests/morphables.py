"""A small random morphable model, for the tests of everything that uses one."""

from __future__ import annotations

import numpy as np

from tf_dhm.core.types import Array
from tf_dhm.face.geometry import NUM_LANDMARKS
from tf_dhm.face.morphable import MorphableModel
from tf_dhm.face.parameters import NUM_EXPRESSION, NUM_IDENTITY, NUM_PARAMETERS

VERTICES = 75


def toy_model(seed: int = 0) -> MorphableModel:
    """75 vertices, lengths as in the Basel Face Model, components that fade as a face's do."""
    rng = np.random.default_rng(seed)
    fade = 1.0 / np.arange(1, NUM_IDENTITY + 1)
    return MorphableModel(
        name="toy",
        mean=rng.normal(0.0, 5e4, (VERTICES, 3)) + [0.0, -1e4, 9e4],
        identity=rng.normal(0.0, 0.01, (NUM_IDENTITY, VERTICES, 3)),
        expression=rng.normal(0.0, 1e3, (NUM_EXPRESSION, VERTICES, 3)),
        identity_std=3e5 * fade,
        expression_std=np.linspace(1.5, 0.1, NUM_EXPRESSION),
        landmarks=rng.permutation(VERTICES)[:NUM_LANDMARKS].astype(np.int32),
        triangles=rng.integers(0, VERTICES, (40, 3)).astype(np.int32),
    )


def toy_parameters(model: MorphableModel, count: int, seed: int = 0) -> Array:
    """p (count, 234) of faces as they stand in images of 450 x 450 pixels."""
    rng = np.random.default_rng(seed)
    p = np.empty((count, NUM_PARAMETERS))
    p[:, 0] = rng.uniform(0.9e-3, 1.5e-3, count)
    p[:, 1:4] = rng.uniform(-1.0, 1.0, (count, 3)) * [0.6, 1.4, 0.6]
    p[:, 4:6] = rng.uniform(150.0, 300.0, (count, 2))
    p[:, 6:] = rng.normal(0.0, 1.0, (count, NUM_PARAMETERS - 6)) * model.std
    return p
