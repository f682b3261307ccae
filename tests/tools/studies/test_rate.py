from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from pipelines.prepared.datasets import Mixture
from pipelines.runs.run import make_trainer
from tests.made_faces import made_faces
from tf_dhm.core.errors import InputError
from tf_dhm.training.presets import find_preset
from tools.studies import rate
from tools.studies.rate import Rate, Rates, describe, measure, median


@pytest.mark.slow
def test_three_rates_of_a_trainer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rate, "WARM_UP", 1)
    preset = find_preset("tiny")
    train = dataclasses.replace(preset.train, batch_size=2)
    faces = made_faces(4)
    mixture = Mixture(faces, faces[:1], np.zeros(4, np.int64))
    trainer = make_trainer(preset.model, train, preset.augment, tmp_path, mixture)
    rates = measure(trainer, 2)
    for found in (rates.pipeline, rates.training, rates.together):
        assert found.images > 0
        assert found.core_ms > 0
    assert int(trainer.step) == 2 * (1 + 2)
    assert not list(tmp_path.rglob("*.index"))  # no checkpoint
    with pytest.raises(InputError, match="steps: found 0"):
        measure(trainer, 0)


def test_rates_as_text() -> None:
    rates = Rates(Rate(2345.6, 0.4), Rate(400.0, 5.0), Rate(380.0, 5.25))
    lines = [line.split() for line in describe(rates).splitlines()]
    assert [line[-10] for line in lines] == ["2,346", "400", "380"]
    assert [line[-8] for line in lines] == ["5.86", "1.00", "0.95"]
    assert [line[-4] for line in lines] == ["0.400", "5.000", "5.250"]


def test_medians_of_rounds() -> None:
    rounds = [Rates(Rate(i, 3 - i), Rate(2 * i, 1), Rate(3 * i, 1)) for i in (1.0, 3.0, 2.0)]
    assert median(rounds) == Rates(Rate(2, 1), Rate(4, 1), Rate(6, 1))
