"""Face units: exact weights are found again from exact landmarks, whoever's face it is."""

from __future__ import annotations

import numpy as np
import pytest

from tf_dhm.core.errors import InputError
from tf_dhm.core.types import Array
from tf_dhm.face.expression import (
    OFFERED,
    SPREAD,
    TRUE_NOISE,
    FaceUnits,
    expressions,
    face_units,
)
from tf_dhm.face.fit import open_face_fitter
from tf_dhm.face.mean_face import mean_landmarks
from tf_dhm.face.morphable import MorphableModel


@pytest.fixture(scope="module")
def model() -> MorphableModel:
    return MorphableModel.open_face()


@pytest.fixture(scope="module")
def units() -> FaceUnits:
    return FaceUnits(TRUE_NOISE, TRUE_NOISE)


def faces(units: FaceUnits, model: MorphableModel, weights: Array, seed: int) -> Array:
    """Landmarks in the head's frame of random persons who make faces."""
    rng = np.random.default_rng(seed)
    identity = rng.normal(0, 1, (len(weights), len(model.identity_std))) * model.identity_std
    points = model.landmark_mean + np.tensordot(identity, model.landmark_basis[: len(model.identity_std)], 1)
    return points + np.tensordot(weights, units.displacement[:, model.landmarks].astype(float), 1)


def test_names(units: FaceUnits) -> None:
    assert len(units.names) + len(units.unseen) == 52
    assert {"jawOpen", "mouthSmileLeft", "eyeBlinkRight", "browInnerUp"} <= set(units.names)
    assert units.unseen == ("tongueOut",)
    assert set(OFFERED) <= set(units.names)


@pytest.mark.parametrize(
    "name", ["jawOpen", "mouthSmileLeft", "eyeBlinkRight", "mouthPucker", "browDownLeft"]
)
def test_a_unit_is_distinguished_from_the_person_and_from_other_units(
    units: FaceUnits, model: MorphableModel, name: str
) -> None:
    column = units.names.index(name)
    weights = np.zeros((40, len(units.names)))
    weights[:, column] = np.linspace(0, 1, 40)
    found = units.weights(faces(units, model, weights, seed=1))
    assert np.corrcoef(found[:, column], weights[:, column])[0, 1] > 0.9
    assert found[:, column][-8:].mean() > 0.55
    others = np.delete(found, column, 1)
    assert others.mean() < 0.06


def test_weights_stay_in_range(units: FaceUnits, model: MorphableModel) -> None:
    weights = np.zeros((3, len(units.names)))
    weights[0, units.names.index("jawOpen")] = 3.0
    weights[1, units.names.index("jawOpen")] = -1.0
    found = units.weights(faces(units, model, weights, seed=2))
    assert found.min() >= 0
    assert found.max() <= 1
    assert found[0, units.names.index("jawOpen")] == pytest.approx(1)
    assert found[1, units.names.index("jawOpen")] == pytest.approx(0, abs=0.02)


def test_the_weights_are_the_minimum(units: FaceUnits, model: MorphableModel) -> None:
    """The conditions of Karush, Kuhn and Tucker, of the objective written out."""
    weights = np.random.default_rng(0).uniform(0, 0.5, (4, len(units.names)))
    points = faces(units, model, weights, seed=3)
    found = units.weights(points)
    inverse_times_units = units.weighted
    residual = (points - model.landmark_mean).reshape(4, -1)
    slope = found @ (units._units @ inverse_times_units) + found / SPREAD**2 - residual @ inverse_times_units
    free = (found > 1e-9) & (found < 1 - 1e-9)
    assert np.abs(slope[free]).max() < 1e-6
    assert (slope[found <= 1e-9] > -1e-6).all()


def test_expressions_of_fits() -> None:
    landmarks = mean_landmarks(200)[None].repeat(2, 0).astype(np.float64)
    wide = landmarks[0].copy()
    wide[4:13, 1] += 12.0  # the jaw
    wide[55:60, 1] += 12.0  # the lower lip
    wide[65:68, 1] += 12.0
    lost = np.full((68, 3), np.nan)
    shut, opened, none = expressions(open_face_fitter().fit(np.stack([landmarks[0], wide, lost])))
    assert none is None
    assert shut is not None
    assert opened is not None
    assert tuple(shut) == OFFERED
    assert shut["jawOpen"] < 0.2 < opened["jawOpen"]
    assert expressions([]) == []


def test_wrong_input() -> None:
    with pytest.raises(InputError, match="landmarks"):
        face_units().weights(np.zeros((68, 3)))
    with pytest.raises(InputError, match="noise"):
        FaceUnits(noise=0.0)
