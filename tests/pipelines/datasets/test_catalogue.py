"""The names of the datasets: the notes for model cards, and the errors of options."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipelines.datasets.catalogue import NOTES, check_data_dir, check_dataset
from tf_dhm.core.errors import InputError


@pytest.mark.parametrize("name", NOTES)
def test_every_dataset_has_a_note_for_the_model_card(name: str) -> None:
    assert NOTES[name].endswith(".")
    assert "box" in NOTES[name] or "testing only" in NOTES[name]


def test_an_unknown_name_lists_the_known_ones() -> None:
    with pytest.raises(InputError, match="dataset: found 'wild', expected one of wild68, "):
        check_dataset("wild")
    with pytest.raises(InputError, match="dataset: found 'wild'"):
        check_data_dir("wild", Path("wild"))


def test_only_synthetic_faces_need_no_folder(tmp_path: Path) -> None:
    check_data_dir("synthetic", None)
    check_data_dir("csv", tmp_path)
    with pytest.raises(InputError, match="data-dir: found none, expected the folder of csv"):
        check_data_dir("csv", None)
    with pytest.raises(InputError, match=r"data-dir: found no .*faces.csv, expected the folder of csv"):
        check_data_dir("csv", tmp_path / "faces.csv")
