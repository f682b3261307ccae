"""Tables of single runs and of the search from the files that hold their figures."""

from __future__ import annotations

import shutil
from pathlib import Path

import pandas as pd
import pytest

from tf_dhm.core.errors import InputError
from tools.studies.result_tables import (
    TablesConfig,
    confidence_rows,
    effect_rows,
    front_rows,
    tracking_rows,
    visibility_rows,
    write_tables,
)

DOCS = Path(__file__).parents[3] / "docs"


def trial(name: str, nme: float, time: float, **changes: float) -> dict[str, object]:
    """A row of tuning.csv."""
    network = {"cnn_multiplier": 1.0, "rnn_multiplier": 0.5, "recurrent_steps": 3, "input_size": 96}
    network |= {"last_channels": 128, "hidden_units": 0}
    return {
        "trial": name,
        **network,
        "nme": nme,
        "latency_ratio": time,
        "weight_bytes": 1e6,
        "status": "trained",
        "reference_ms": 1.5,
    } | changes


def test_the_front_holds_the_trials_that_none_beats_and_the_presets() -> None:
    trials = pd.DataFrame([trial("a", 4.0, 0.1), trial("beaten", 4.1, 0.2), trial("b", 3.0, 0.5)])
    presets = pd.DataFrame([trial("`preset`", 5.0, 0.3)])
    rows = front_rows(trials, presets)
    assert [row["trial"] for row in rows] == ["a", "`preset`", "b"]
    assert rows[0] == {
        "trial": "a",
        "CNN ×": "1",
        "RNN ×": "0.5",
        "steps": 3,
        "input": 96,
        "last stage": 128,
        "hidden": 0,
        "NME on `val`": "4.00",
        "time / MediaPipe's": "0.100",
        "weights": "1.00 MB",
    }


def test_raw_and_smoothed_landmarks_stand_in_one_row() -> None:
    still = {"system": "a", "scene": "still", "jitter": 0.1234, "error": 1.0, "delay": None, "lost": 0}
    moving = {"system": "a", "scene": "moving", "jitter": None, "error": 2.0, "delay": -0.4, "lost": 0}
    rows = [row | {"smoothed": smoothed} for row in (still, moving) for smoothed in (False, True)]
    rows[3]["error"] = 2.5
    assert [list(row.values()) for row in tracking_rows({"rows": rows})] == [
        ["a", "still", "0.123", "1.00", "–", "0.123", "1.00", "–"],
        ["a", "moving", "–", "2.00", "0", "–", "2.50", "0"],
    ]


def test_effects_are_those_of_one_step() -> None:
    """Twice the width: half a percent less error, in four times the time and with the same bytes."""
    trials = pd.DataFrame(
        [
            trial("a", 4.0, 0.1),
            trial("b", 3.5, 0.4, cnn_multiplier=2.0),
            trial("c", 3.0, 1.6, cnn_multiplier=4.0),
        ]
    )
    assert effect_rows(trials) == [
        {"choice": "multiplier of the CNN", "step": "× 2", "NME": "−0.50", "time": "× 4.0", "bytes": "× 1.0"}
    ]


def test_shares_are_percentages() -> None:
    measured = {
        "confidence": [{"faces": 10, "places": 20, "AUC": 0.99985, "faces over 0.5": 0.996}],
        "visibility": [
            {
                "points": "all",
                "AUC": 0.9,
                "balanced accuracy": 0.8,
                "accuracy": 0.75,
                "number": 68,
                "visible": 0.5,
            }
        ],
    }
    assert confidence_rows(measured) == [{"AUC": "0.9999", "faces over 0.5": "99.6%"}]
    (row,) = visibility_rows(measured)
    assert (row["AUC"], row["number"], row["visible"]) == ("0.900", 68, "50.0%")


def test_the_committed_tables_are_up_to_date(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for path in (*DOCS.glob("*.md"), *DOCS.glob("*.csv"), *DOCS.glob("tables/*"), *DOCS.glob("*.json")):
        target = tmp_path / path.relative_to(DOCS)
        target.parent.mkdir(exist_ok=True)
        shutil.copy(path, target)
    write_tables(TablesConfig(docs=tmp_path))
    assert "tables in" in capsys.readouterr().out
    for path in DOCS.glob("*.md"):
        assert (tmp_path / path.name).read_text() == path.read_text(), path.name
    assert {path.stem for path in DOCS.glob("tables/*")} == {
        line.split()[2]
        for path in DOCS.glob("*.md")
        for line in path.read_text().splitlines()
        if line.startswith("<!-- table ")
    }


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"tuning\.csv"):
        write_tables(TablesConfig(docs=tmp_path))
