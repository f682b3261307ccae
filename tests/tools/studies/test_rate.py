from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from pipelines.runs.run import Options, make_trainer
from tests.made_faces import made_faces
from tf_dhm.core.errors import InputError
from tf_dhm.training.presets import find_preset
from tools.studies import rate
from tools.studies.rate import Rates, describe, measure


def test_three_rates_of_a_trainer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rate, "WARM_UP", 1)
    preset = find_preset("tiny")
    train = dataclasses.replace(preset.train, batch_size=2)
    options = Options(preset="tiny", runs_dir=tmp_path, model=preset.model, train=train)
    faces = made_faces(4)
    trainer = make_trainer(options, faces, faces[:1])
    rates = measure(trainer, 2)
    assert rates.pipeline > 0
    assert rates.training > 0
    assert rates.together > 0
    assert int(trainer.step) == 2 * (1 + 2)
    assert not list(tmp_path.rglob("*.index"))  # no checkpoint
    with pytest.raises(InputError, match="steps: found 0"):
        measure(trainer, 0)


def test_rates_as_text() -> None:
    assert describe(Rates(2345.6, 400.0, 380.0)).splitlines() == [
        "input pipeline alone     2,346 images/s",
        "training alone             400 images/s",
        "both together              380 images/s, 95% of training alone",
    ]
