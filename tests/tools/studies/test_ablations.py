"""The comparison of trainings that differ in an option."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from tests.exports import describe
from tf_dhm.core.configuration import to_json
from tf_dhm.core.errors import InputError
from tf_dhm.export import description
from tools.studies import ablations
from tools.studies.ablations import changed_options, typed

TRAIN = {"networks": ["fast_dhm_s"], "new_weights": True, "dataset": [], "steps": 3200, "seed": 0}
BASELINE = {"train": TRAIN, "augment": {"rotation": 20.0}}
MODELS = {
    "one": BASELINE,
    "two": {**BASELINE, "train": {**TRAIN, "seed": 1}},
    "more": {**BASELINE, "train": {**TRAIN, "new_weights": False, "steps": 6400}},
    "turned": {"train": {**TRAIN, "dataset": ["cfp", "lfpw"]}, "augment": {"rotation": 30.5}},
}


def test_options_are_written_as_they_are_typed() -> None:
    assert list(typed("new_weights", True)) == ["--new-weights"]
    found = {name: changed_options(options, BASELINE) for name, options in MODELS.items()}
    assert found == {
        "one": "",
        "two": "",  # a repetition
        "more": "--no-new-weights --steps 6400",
        "turned": "--dataset cfp lfpw --rotation 30.5",
    }


def test_newer_options_had_their_default_in_an_older_baseline() -> None:
    newer = {
        "train": {**TRAIN, "teacher_input_size": 144},
        "augment": {"detected_yaw_factors": [1.0, 1.0, 1.0]},
    }
    assert changed_options(newer, BASELINE) == "--teacher-input-size 144"
    changed = {"train": {**TRAIN, "teacher_input_size": None}, "augment": {"detected_yaw_factors": [1, 1, 2]}}
    assert changed_options(changed, BASELINE) == "--detected-yaw-factors 1 1 2"


def test_repetitions_are_averaged_and_the_others_compared_with_them() -> None:
    table = pd.DataFrame({"exact": [2.0, 3.0, 2.0, 2.75]}, index=list(MODELS))
    rows = ablations.compared(table, MODELS, "one").set_index("options")
    # The mean of 2 and 3, and their deviation 1 / sqrt(2).
    assert rows["exact"].to_dict() == {
        "–": "2.50 (± 0.71)",
        "`--no-new-weights --steps 6400`": "2.00 (−0.50)",
        "`--dataset cfp lfpw --rotation 30.5`": "2.75 (+0.25)",
    }
    assert rows["runs"].tolist() == [2, 1, 1]


def write_evaluation(folder: Path, modes: tuple[str, ...], labels: tuple[str, ...], nme: float) -> Path:
    """The output of evaluate.py for MODELS and another model."""
    metrics: dict[str, dict[str, Any]] = {}
    for number, model in enumerate([*MODELS, "another"]):
        for mode in modes:
            values = {"nme_mean_of_bins": nme + number, "nme_60_90": nme + number + 0.5}
            metrics[model + mode] = dict.fromkeys(labels, values)
    folder.mkdir()
    (folder / "metrics.json").write_text(json.dumps(metrics))
    return folder


@pytest.fixture
def arguments(tmp_path: Path) -> list[str]:
    for name, options in MODELS.items():
        file = tmp_path / "models" / name / "1" / description.DESCRIPTION_FILE
        file.parent.mkdir(parents=True)
        (file.parents[1] / "saved_model.pb").touch()
        file.write_text(to_json(describe(options=options)))
    both = ("", " (2 passes, disturbed boxes)")
    near = write_evaluation(tmp_path / "near", both, ("original",), 1.0)
    far = write_evaluation(tmp_path / "far", both, ("original",), 2.0)
    modes = ("", " (cross-fitted, 2 folds)")
    test = write_evaluation(tmp_path / "test", modes, ("original", "again"), 3.0)
    (tmp_path / "tables").mkdir()
    folders = {"models-dir": tmp_path / "models", "near": near, "far": far, "test": test}
    folders["tables"] = tmp_path / "tables"
    return [
        "--baseline",
        "two",
        *(str(part) for name, path in folders.items() for part in (f"--{name}", path)),
    ]


def test_the_tables(arguments: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["ablations", *arguments])
    ablations.main()
    val = pd.read_csv(tmp_path / "tables" / "ablations.csv", index_col="options")
    assert val.loc["`--no-new-weights --steps 6400`"].tolist() == [
        1,
        "3.00 (+1.50)",
        "3.50 (+1.50)",
        "3.00 (+1.50)",
        "4.00 (+1.50)",
    ]
    test = pd.read_csv(tmp_path / "tables" / "ablations_test.csv", index_col="options")
    assert list(test.columns) == [
        "runs",
        "original",
        "original, cross-fitted",
        "re-annotated",
        "re-annotated, cross-fitted",
    ]
    assert test.loc["–", "re-annotated"] == "3.50 (± 0.71)"
    assert len(test) == len(val) == 3


def test_mistakes(arguments: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def run(*changes: str) -> None:
        monkeypatch.setattr(sys, "argv", ["ablations", *arguments, *changes])
        ablations.main()

    with pytest.raises(InputError, match="baseline: found none, expected one of more, one, turned, two"):
        run("--baseline", "none")
    with pytest.raises(InputError, match=r"metrics: found no .*/models/metrics\.json"):
        run("--near", str(tmp_path / "models"))
    with pytest.raises(InputError, match=r"near: found the labels \['original'\]"):
        run("--test", str(tmp_path / "near"))
    plain = write_evaluation(tmp_path / "plain", ("",), ("original",), 1.0)
    with pytest.raises(InputError, match=r"plain: found no 'more \(2 passes, disturbed boxes\)'"):
        run("--far", str(plain))
