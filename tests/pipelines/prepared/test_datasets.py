from __future__ import annotations

import dataclasses
import os
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from pipelines.datasets.samples import Split
from pipelines.prepared import arrays, datasets, records
from pipelines.prepared.config import StoreConfig
from pipelines.prepared.datasets import load_mixture, load_splits, prepared_folder
from pipelines.synthetic import series as synthetic
from pipelines.synthetic.config import TEST_SEED, RenderConfig, SyntheticConfig
from tests.made_faces import encode, mean_face, smooth_image
from tf_dhm.core.errors import InputError

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


def test_an_unknown_name_lists_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="dataset: found 'wild', expected one of wild68, "):
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


def test_changed_data_are_prepared_again(data_dir: Path, tmp_path: Path) -> None:
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


SMALL_FACES = SyntheticConfig(12, seed=4, val_every=4, render=RenderConfig(size=32))


def test_synthetic_faces_need_no_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache = tmp_path / "cache"
    folder = prepared_folder("synthetic", None, cache, STORE, faces=SMALL_FACES, workers=1)
    assert folder.name.startswith("synthetic-32-")
    train, val = load_splits(folder)
    assert train.name.tolist() == [f"synthetic/4/{i}" for i in range(12) if i % 4]
    assert val.name.tolist() == [f"synthetic/4/{i}" for i in (0, 4, 8)]

    def render_sample(*task: Any) -> None:
        raise AssertionError("rendered again")

    with monkeypatch.context() as patch:
        patch.setattr(synthetic, "render_sample", render_sample)
        assert prepared_folder("synthetic", None, cache, STORE, faces=SMALL_FACES) == folder
        # As it is, whatever faces would be rendered now.
        assert prepared_folder("synthetic", folder, tmp_path / "none", STORE) == folder
    few = dataclasses.replace(SMALL_FACES, count=1)
    others = [
        prepared_folder("synthetic", None, cache, STORE, faces=few),
        prepared_folder("synthetic", None, cache, STORE, faces=dataclasses.replace(few, seed=5)),
        prepared_folder("synthetic", None, cache, STORE, limit=1, faces=SMALL_FACES),
    ]
    monkeypatch.setattr(synthetic, "RENDERER_VERSION", "another renderer")
    others.append(prepared_folder("synthetic", None, cache, STORE, faces=few))
    assert len({folder, *others}) == 5


def test_the_faces_for_testing_are_always_the_same(tmp_path: Path) -> None:
    folder = datasets.evaluation_folder(tmp_path, 2)
    samples = list(records.read_samples(folder, "test"))
    assert [sample.name for sample in samples] == [f"synthetic/{TEST_SEED}/{i}" for i in range(2)]
    assert datasets.evaluation_folder(tmp_path, 2) == folder
    with pytest.raises(InputError, match=r"found splits \{'test': 2\}, expected faces of both"):
        load_splits(folder)


def test_only_synthetic_faces_need_no_folder(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="data-dir: found none, expected the folder of wild68"):
        prepared_folder("wild68", None, tmp_path, STORE)
    with pytest.raises(InputError, match="data-dir: found none, expected the folder of csv"):
        datasets.prepare_dataset("csv", None, tmp_path / "a", STORE)
    (tmp_path / "photos").mkdir()
    with pytest.raises(InputError, match=r"photos: found a folder for synthetic, .*--dataset names another"):
        prepared_folder("synthetic", tmp_path / "photos", tmp_path, STORE)


class TestLoadMixture:
    def folder(self, tmp_path: Path, name: str, splits: list[Split], store: StoreConfig = STORE) -> Path:
        data = write_csv_dataset(tmp_path / f"{name}-photos", splits)
        datasets.prepare_dataset("csv", data, tmp_path / name, store)
        return tmp_path / name

    def test_several_datasets(self, tmp_path: Path) -> None:
        first = self.folder(tmp_path, "a", ["train", "val", "train"])
        second = self.folder(tmp_path, "b", ["train", "train", "train"])
        third = self.folder(tmp_path, "c", ["val", "train", "val"])
        mixture = load_mixture([first, second, third])
        assert mixture.train.name.tolist() == ["0.png", "2.png", "0.png", "1.png", "2.png", "1.png"]
        assert mixture.sources.tolist() == [0, 0, 1, 1, 1, 2]
        assert mixture.val.name.tolist() == ["1.png", "0.png", "2.png"]
        expected = records.load(third, "train")
        assert (mixture.train.images[5] == expected.images[0]).all()
        mapped = load_mixture([first, second, third], memory_bytes=0)
        assert isinstance(mapped.train.images, arrays.JoinedImages)
        assert (mapped.train.images[5] == expected.images[0]).all()

    def test_one_dataset_is_itself(self, tmp_path: Path) -> None:
        folder = self.folder(tmp_path, "a", ["train", "val", "train"])
        mixture = load_mixture([folder])
        assert mixture.sources.tolist() == [0, 0]
        assert not isinstance(mixture.train.images, arrays.JoinedImages)
        assert mixture.val.name.tolist() == ["1.png"]

    def test_mistakes(self, tmp_path: Path) -> None:
        train = self.folder(tmp_path, "train", ["train", "train"])
        both = self.folder(tmp_path, "both", ["train", "val"])
        val = self.folder(tmp_path, "val", ["val", "val"])
        other = self.folder(tmp_path, "other", ["train"], dataclasses.replace(STORE, crop_side=48))
        more = self.folder(tmp_path, "more", ["train"])
        with pytest.raises(InputError, match=r"other: found faces of 48 pixels on 60, expected 32 on 40"):
            load_mixture([both, other])
        with pytest.raises(InputError, match=r"val: found splits .*, expected some faces of train"):
            load_mixture([both, val])
        with pytest.raises(InputError, match=r"train, .*more: found no face of val"):
            load_mixture([train, more])
        with pytest.raises(InputError, match=r"data-dir: found .*expected each folder once"):
            load_mixture([both, both])


@pytest.mark.parametrize("splits", [["train", "train"], ["test", "val"]])
def test_both_splits_are_needed(tmp_path: Path, splits: list[Split]) -> None:
    folder = prepared_folder("csv", write_csv_dataset(tmp_path / "a", splits), tmp_path, STORE)
    with pytest.raises(InputError, match=r"found splits \{.*expected faces of both train and val"):
        load_splits(folder)
