"""Comparison of a model between groups of people."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tf_dhm.core.errors import InputError
from tf_dhm.runtime.aligner import Aligner, load_model
from tf_dhm.runtime.images import read_photo
from tools.studies import fairness
from tools.studies.fairness import FairnessConfig

PHOTO = Path(__file__).parents[2] / "data" / "astronaut.jpg"


def test_rows_by_hand() -> None:
    table = pd.DataFrame(
        {
            "race": ["a", "a", "b"],
            "gender": ["x", "y", "y"],
            "age": ["old", "old", "old"],
            "confidence": [1.0, 0.5, 0.0],
            "distance": [1.0, 3.0, np.nan],
        }
    )
    rows = {(row["by"], row["group"]): row for row in fairness.group_rows(table)}
    assert list(rows) == [
        ("all", "all"), ("race", "a"), ("race", "b"), ("gender", "x"), ("gender", "y"), ("age", "old")
    ]  # fmt: skip
    assert list(rows["all", "all"].values())[2:] == [3, "0.500", "66.7%", "2.00", "2.90"]
    assert list(rows["race", "b"].values())[2:5] == [1, "0.000", "100.0%"]


def test_a_model_is_at_no_distance_from_itself() -> None:
    student = load_model("fast_dhm_s")
    aligner = Aligner(student, max_faces=1)
    photo = read_photo(PHOTO).pixels
    confidence, distance = fairness.examine(aligner, student, [student], photo)
    assert confidence > 0.9
    assert distance == 0.0
    _, distance = fairness.examine(aligner, student, [student, load_model("fast_dhm")], photo)
    assert 0.0 < distance < 5.0
    assert fairness.examine(aligner, student, [student], np.zeros((64, 64, 3), np.uint8))[0] == 0.0


def test_from_portraits_to_the_card(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    card, rows = tmp_path / "card.md", tmp_path / "rows.json"
    card.write_text("before\n<!-- fairness -->\n<!-- end of fairness -->\nafter\n")
    table = tmp_path / "portraits.csv"
    table.write_text(f"image,race,gender,age\n{PHOTO.name},White,Female,30-39\n")
    places = ["--card", str(card), "--json", str(rows)]
    given = ["--portraits", str(table), "--photos", str(PHOTO.parent), "--teachers", "fast_dhm_s"]
    monkeypatch.setattr(sys, "argv", ["fairness", *places])
    with pytest.raises(InputError, match=r"rows.json"):
        fairness.main()
    monkeypatch.setattr(sys, "argv", ["fairness", *places, *given])
    fairness.main()
    written = card.read_text()
    assert json.loads(rows.read_text())[0]["portraits"] == 1
    assert "Female" in written
    assert written.startswith("before\n")
    monkeypatch.setattr(sys, "argv", ["fairness", *places])
    fairness.main()
    assert card.read_text() == written


def test_a_table_without_groups(tmp_path: Path) -> None:
    table = tmp_path / "portraits.csv"
    table.write_text("image,race\na.jpg,White\n")
    with pytest.raises(InputError, match=r"portraits.csv: found no column age, gender"):
        fairness.measure(FairnessConfig(portraits=table, photos=tmp_path))
    with pytest.raises(InputError, match="expected both"):
        fairness.measure(FairnessConfig(portraits=table))
