from __future__ import annotations

import dataclasses
import os
from pathlib import Path

import pandas as pd
import pytest

from pipelines import datasets, records
from pipelines.datasets import DATASETS, load_splits, prepared_folder
from pipelines.records import StoreConfig
from pipelines.samples import Split
from tests.made_faces import encode, mean_face, smooth_image
from tf_dhm.errors import InputError

STORE = StoreConfig(crop_side=32, shard_size=4)


def write_csv_dataset(folder: Path, splits: list[Split]) -> Path:
    """Pictures and a table of landmarks, one face each."""
    folder.mkdir(exist_ok=True)
    rows = []
    for i, split in enumerate(splits):
        (folder / f"{i}.png").write_bytes(encode(smooth_image(i, 60, 50)))
        points = mean_face(30.0, 25.0, 40.0)
        row = {"image": f"{i}.png", "split": split}
        row |= {f"{axis}{k}": points[k, a] for a, axis in enumerate("xyz") for k in range(68)}
        rows.append(row)
    pd.DataFrame(rows).to_csv(folder / "landmarks.csv", index=False)
    return folder


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    return write_csv_dataset(tmp_path / "photos", ["train", "val", "train", "train", "val"])


def test_every_dataset_has_a_note_for_the_model_card() -> None:
    assert sorted(DATASETS) == ["300w_lp", "aflw2000_3d", "csv", "ls3d_w", "wild68"]
    assert all("box" in d.note or "testing only" in d.note for d in DATASETS.values())


def test_an_unknown_name_lists_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="dataset: found 'wild', expected one of wild68, 300w_lp"):
        prepared_folder("wild", tmp_path, tmp_path, STORE)


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"data-dir: found no .*none, expected the folder of csv"):
        prepared_folder("csv", tmp_path / "none", tmp_path, STORE)


def test_a_dataset_is_prepared_once(data_dir: Path, tmp_path: Path) -> None:
    folder = prepared_folder("csv", data_dir, tmp_path / "cache", STORE)
    assert folder.parent == tmp_path / "cache"
    assert folder.name.startswith("csv-32-")
    before = {p: p.stat().st_mtime_ns for p in folder.iterdir()}
    assert prepared_folder("csv", data_dir, tmp_path / "cache", STORE) == folder
    assert {p: p.stat().st_mtime_ns for p in folder.iterdir()} == before
    train, val = load_splits(folder)
    assert train.name.tolist() == ["0.png", "2.png", "3.png"]
    assert val.name.tolist() == ["1.png", "4.png"]


def test_other_settings_get_another_folder(data_dir: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    folders = {
        prepared_folder("csv", data_dir, cache, STORE),
        prepared_folder("csv", data_dir, cache, dataclasses.replace(STORE, crop_side=48)),
        prepared_folder("csv", data_dir, cache, STORE, limit=3),
    }
    assert len(folders) == 3


def test_changed_data_are_prepared_anew(data_dir: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    first = prepared_folder("csv", data_dir, cache, STORE)
    table = data_dir / "landmarks.csv"
    frame = pd.read_csv(table)
    frame.loc[0, "x30"] += 1.0
    frame.to_csv(table, index=False)
    os.utime(table, ns=(0, 0))
    second = prepared_folder("csv", data_dir, cache, STORE)
    assert second != first
    moved = records.load(second).landmarks[0, 30, 0] - records.load(first).landmarks[0, 30, 0]
    assert moved == pytest.approx(0.8, abs=1e-3)  # of a face that is reduced from 40 pixels to 32
    # The table may be named itself.
    third = prepared_folder("csv", table, cache, STORE)
    os.utime(table, ns=(10**9, 10**9))
    assert prepared_folder("csv", table, cache, STORE) != third


def test_hidden_files_and_the_cache_are_no_data(data_dir: Path) -> None:
    cache = data_dir / "cache"
    folder = prepared_folder("csv", data_dir, cache, STORE)
    (data_dir / ".DS_Store").touch()
    assert prepared_folder("csv", data_dir, cache, STORE) == folder


def test_a_prepared_folder_is_taken_as_it_is(data_dir: Path, tmp_path: Path) -> None:
    folder = tmp_path / "prepared"
    index = datasets.prepare_dataset("csv", data_dir, folder, STORE)
    assert len(index) == 5
    assert prepared_folder("csv", folder, tmp_path / "cache", StoreConfig()) == folder
    assert not (tmp_path / "cache").exists()
    with pytest.raises(InputError, match="found the prepared dataset csv, expected wild68"):
        prepared_folder("wild68", folder, tmp_path / "cache", STORE)
    with pytest.raises(InputError, match="limit: found 2 with a prepared dataset"):
        prepared_folder("csv", folder, tmp_path / "cache", STORE, limit=2)


@pytest.mark.parametrize("splits", [["train", "train"], ["test", "val"]])
def test_both_splits_are_needed(tmp_path: Path, splits: list[Split]) -> None:
    folder = prepared_folder("csv", write_csv_dataset(tmp_path / "a", splits), tmp_path, STORE)
    with pytest.raises(InputError, match=r"found splits \{.*expected faces of both train and val"):
        load_splits(folder)
