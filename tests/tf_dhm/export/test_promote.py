"""Promotion to the next version of a model."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.exports import RESULTS, make_crops
from tf_dhm.export.promote import next_version, promote
from tf_dhm.runtime.saved_model import SavedModelPredictor


def fail(folder: Path) -> None:
    raise OSError("full")


def test_the_next_version_is_one_above_the_highest(tmp_path: Path) -> None:
    assert next_version(tmp_path / "none").name == "1"
    for name in ("1", "9", "10", "notes", ".11.tmp"):
        (tmp_path / name).mkdir()
    assert next_version(tmp_path) == tmp_path / "11"


def test_promotion(exported: Path, tmp_path: Path) -> None:
    folder = tmp_path / "savedmodels" / "served"
    results = {"AFLW2000-3D, labels original": RESULTS}
    assert promote(exported, folder, results) == folder / "1"
    assert promote(exported / "1", folder, results) == folder / "2"
    assert sorted(path.name for path in folder.iterdir()) == ["1", "2", "README.md"]
    files = {path.relative_to(exported / "1") for path in (exported / "1").rglob("*")}
    assert {path.relative_to(folder / "2") for path in (folder / "2").rglob("*")} == files
    found = SavedModelPredictor(folder).predict(make_crops()).landmarks
    np.testing.assert_array_equal(found, SavedModelPredictor(exported).predict(make_crops()).landmarks)
    card = (folder / "README.md").read_text()
    assert "# served" in card
    assert "version 2. 68 landmarks" in card


def test_promotion_may_add_files(exported: Path, tmp_path: Path) -> None:
    (exported / "1" / "old.tflite").touch()
    try:
        version = promote(
            exported, tmp_path / "served", {}, lambda folder: (folder / "a.tflite").write_text("x")
        )
    finally:
        (exported / "1" / "old.tflite").unlink()
    assert [path.name for path in version.glob("*.tflite")] == ["a.tflite"]
    assert "- `a.tflite`: 1 bytes." in (tmp_path / "served" / "README.md").read_text()
    with pytest.raises(OSError, match="full"):
        promote(exported, tmp_path / "served", {}, fail)
    assert sorted(path.name for path in (tmp_path / "served").iterdir()) == ["1", "README.md"]


def test_results_that_do_not_fit_the_card_leave_no_version(exported: Path, tmp_path: Path) -> None:
    with pytest.raises(KeyError):
        promote(exported, tmp_path / "served", {"x": {"nme_mean": 3.0}})
    assert not (tmp_path / "served").exists()
