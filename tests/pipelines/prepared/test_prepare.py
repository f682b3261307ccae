from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import tensorflow as tf

from pipelines.datasets.samples import FaceSample, Rejection, Series
from pipelines.prepared import prepare as module
from pipelines.prepared import records
from pipelines.prepared.config import DATASET_FILE, StoreConfig
from pipelines.prepared.prepare import prepare
from tests.made_faces import made_sample, mean_face
from tf_dhm.core.errors import InputError

STORE = StoreConfig(crop_side=32, shard_size=3)


def made_samples() -> list[FaceSample | Rejection]:
    """Ten faces, four of which are unusable, each in its own way."""
    samples: list[FaceSample | Rejection] = [
        made_sample(i, split="val" if i == 5 else "train") for i in range(10)
    ]
    samples[1] = Rejection("rejected", "the reader did not like it")
    samples[4] = made_sample(4, name="undecodable", encoded=b"no image")
    nan = mean_face(30.0, 25.0, 40.0)
    nan[7, 1] = np.nan
    samples[6] = made_sample(6, name="not_a_number", landmarks=nan)
    samples[8] = made_sample(8, name="outside", landmarks=mean_face(300.0, 25.0, 40.0))
    return samples


def contents(folder: Path) -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in sorted(folder.iterdir())}


@pytest.fixture
def whole(tmp_path: Path) -> dict[str, bytes]:
    """The files of an uninterrupted run."""
    prepare("made", made_samples(), tmp_path / "whole", STORE)
    return contents(tmp_path / "whole")


def test_what_a_finished_folder_holds(whole: dict[str, bytes]) -> None:
    shards = [f"shard-{i:05d}.tfrecord" for i in range(4)]
    assert sorted(whole) == [".lock", "dataset.json", "index.parquet", "rejected.csv", *shards]
    settings = json.loads(whole["dataset.json"])
    assert settings.pop("software")["tensorflow"] == tf.__version__
    assert settings["name"] == "made"
    assert settings["store"] == dataclasses.asdict(STORE)
    assert settings["counts"] == {"train": 5, "val": 1, "rejected": 4}


def test_rejected_faces_are_listed_with_their_reasons(whole: dict[str, bytes], tmp_path: Path) -> None:
    rejected = pd.read_csv(tmp_path / "whole" / "rejected.csv")
    assert rejected["name"].tolist() == ["rejected", "undecodable", "not_a_number", "outside"]
    reasons = rejected["reason"].tolist()
    assert reasons[0] == "the reader did not like it"
    assert reasons[1] == "undecodable: found 8 bytes that do not decode, expected an image"
    assert reasons[2] == "landmarks: found NaN or infinite coordinates, expected finite pixels"
    assert reasons[3].endswith("outside of the 60 x 50 image")


def test_a_face_whose_file_cannot_be_read_is_rejected(tmp_path: Path) -> None:
    def fail() -> bytes:
        raise OSError

    samples = [made_sample(0), dataclasses.replace(made_sample(1), read_image=fail)]
    assert prepare("made", samples, tmp_path / "a", STORE)["name"].tolist() == ["face0"]
    assert pd.read_csv(tmp_path / "a" / "rejected.csv")["reason"].tolist() == ["OSError"]


def test_offsets_address_the_records(whole: dict[str, bytes], tmp_path: Path) -> None:
    index = records.read_index(tmp_path / "whole")
    assert index["name"].tolist() == [f"face{i}" for i in (0, 2, 3, 5, 7, 9)]
    for row in index.itertuples():
        record = whole[str(row.shard)][row.offset : row.offset + row.length]
        example = tf.train.Example.FromString(record)
        assert example.features.feature["name"].bytes_list.value[0].decode() == row.name


def test_tensorflow_reads_the_same_records(whole: dict[str, bytes], tmp_path: Path) -> None:
    index = records.read_index(tmp_path / "whole")
    files = sorted(str(p) for p in (tmp_path / "whole").glob("*.tfrecord"))
    read = [record.numpy() for record in tf.data.TFRecordDataset(files)]  # checks its checksums
    addressed = [whole[str(r.shard)][r.offset : r.offset + r.length] for r in index.itertuples()]
    assert read == addressed


def test_a_finished_folder_is_left_as_it_is(whole: dict[str, bytes], tmp_path: Path) -> None:
    def untouched() -> Iterator[FaceSample | Rejection]:
        raise AssertionError
        yield

    index = prepare("made", untouched(), tmp_path / "whole", STORE)
    assert len(index) == 6
    assert contents(tmp_path / "whole") == whole


class Killed(BaseException):
    """Ends a run immediately, as a signal would."""


def killing_sample(seed: int) -> FaceSample:
    def kill() -> bytes:
        raise Killed

    return dataclasses.replace(made_sample(seed), read_image=kill)


@pytest.mark.parametrize("stop_at", [0, 3, 4, 8])
def test_a_stopped_run_is_finished_by_the_next(whole: dict[str, bytes], tmp_path: Path, stop_at: int) -> None:
    folder = tmp_path / "stopped"
    with pytest.raises(Killed):
        prepare("made", [*made_samples()[:stop_at], killing_sample(stop_at)], folder, STORE)
    done = sorted(folder.glob("*.tfrecord"))
    assert len(done) == stop_at // 3
    assert not (folder / DATASET_FILE).exists()
    with pytest.raises(InputError, match=r"found no dataset\.json"):
        records.load(folder)
    written = {p: p.stat().st_mtime_ns for p in done}
    # Files that kill -9 leaves: no process has that number.
    leftover = folder / ".shard-00003.999999999-0a1b.tmp.tfrecord"
    leftover.write_bytes(b"half a shard")

    prepare("made", made_samples(), folder, STORE)
    assert contents(folder) == whole
    assert {p: p.stat().st_mtime_ns for p in done} == written


def test_only_what_is_missing_is_encoded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    encoded: list[str] = []
    encode_record = records.encode_record

    def listed(sample: FaceSample, config: StoreConfig) -> bytes:
        encoded.append(sample.name)
        return encode_record(sample, config)

    monkeypatch.setattr(records, "encode_record", listed)
    with pytest.raises(Killed):
        prepare("made", [*made_samples()[:5], killing_sample(5)], tmp_path / "a", STORE)
    encoded.clear()
    prepare("made", made_samples(), tmp_path / "a", STORE)
    assert encoded == ["face3", "undecodable", "face5", "not_a_number", "face7", "outside", "face9"]


def made_series(starts: list[int], stop_at: int | None = None, seed: int = 0) -> Series:
    """The samples of `made_samples` as a series; appends the start of each reading to `starts`."""

    def read(start: int) -> Iterator[FaceSample | Rejection]:
        starts.append(start)
        for i, sample in enumerate(made_samples()):
            if i >= start:
                yield killing_sample(i) if i == stop_at else sample

    return Series(10, {"seed": seed}, read)


def test_a_series_resumes_after_its_shards(whole: dict[str, bytes], tmp_path: Path) -> None:
    folder = tmp_path / "series"
    starts: list[int] = []
    for stop_at in (4, 9):
        with pytest.raises(Killed):
            prepare("made", made_series(starts, stop_at), folder, STORE)
    prepare("made", made_series(starts), folder, STORE)
    assert starts == [0, 3, 9]
    found = contents(folder)
    settings = json.loads(found.pop("dataset.json"))
    assert settings.pop("source") == {"seed": 0, "count": 10}
    expected = {name: content for name, content in whole.items() if name != "dataset.json"}
    assert found == expected
    assert settings == json.loads(whole["dataset.json"])
    # A finished folder is not read again, and one of another source is rejected.
    assert len(prepare("made", made_series(starts), folder, STORE)) == 6
    assert starts == [0, 3, 9]
    with pytest.raises(InputError, match=r"'seed': 0.*expected .*'seed': 1.*choose another output folder"):
        prepare("made", made_series(starts, seed=1), folder, STORE)


def test_a_series_stops_at_the_limit(tmp_path: Path) -> None:
    starts: list[int] = []
    with pytest.raises(Killed):
        prepare("made", made_series(starts, 3), tmp_path / "a", STORE, limit=6)
    index = prepare("made", made_series(starts), tmp_path / "a", STORE, limit=6)
    assert starts == [0, 3]
    assert index["name"].tolist() == ["face0", "face2", "face3", "face5"]
    # All shards are there, but not their index.
    (tmp_path / "b").mkdir()
    with pytest.raises(Killed):
        prepare("made", made_series(starts, 3), tmp_path / "b", STORE, limit=4)
    assert len(prepare("made", made_series(starts), tmp_path / "b", STORE, limit=4)) == 3


def test_a_shard_that_was_removed_is_written_again(whole: dict[str, bytes], tmp_path: Path) -> None:
    folder = tmp_path / "a"
    samples = [*made_samples()[:9], killing_sample(9)]
    with pytest.raises(Killed):
        prepare("made", samples, folder, STORE)
    (folder / "shard-00001.tfrecord").unlink()
    prepare("made", made_samples(), folder, STORE)
    assert contents(folder) == whole


def test_temporary_files_of_a_living_process_stay(tmp_path: Path) -> None:
    folder = tmp_path / "a"
    folder.mkdir()
    theirs = folder / f".shard-00000.{os.getppid()}-0a1b.tmp.tfrecord"
    other = folder / ".keep.999999999-0a1b.tmp.txt"
    theirs.touch()
    other.touch()
    prepare("made", made_samples(), folder, STORE)
    assert theirs.exists()
    assert other.exists()


@pytest.mark.parametrize("finished", [True, False])
@pytest.mark.parametrize(
    "change",
    [{"name": "other"}, {"config": dataclasses.replace(STORE, crop_side=48)}, {"limit": 4}],
)
def test_other_settings_in_the_same_folder_are_rejected(tmp_path: Path, change: dict, finished: bool) -> None:
    arguments: dict[str, Any] = {
        "name": "made",
        "samples": made_samples(),
        "output_dir": tmp_path / "a",
        "config": STORE,
    }
    if finished:
        prepare(**arguments)
    else:
        with pytest.raises(Killed):
            prepare(**{**arguments, "samples": [killing_sample(0)]})
    before = contents(tmp_path / "a")
    with pytest.raises(InputError, match=r"\.json: found .*choose another output folder"):
        prepare(**{**arguments, **change})
    assert contents(tmp_path / "a") == before


def test_other_samples_in_an_unfinished_folder_are_rejected(tmp_path: Path) -> None:
    samples = [*made_samples()[:5], killing_sample(5)]
    with pytest.raises(Killed):
        prepare("made", samples, tmp_path / "a", STORE)
    with pytest.raises(InputError, match=r"found 3 faces from face0 on, expected 3 from rejected on"):
        prepare("made", made_samples()[1:], tmp_path / "a", STORE)


def test_limit(tmp_path: Path) -> None:
    assert prepare("made", made_samples(), tmp_path / "a", STORE, limit=4)["name"].tolist() == [
        "face0",
        "face2",
        "face3",
    ]
    with pytest.raises(InputError, match="limit: found 0, expected 1 or more"):
        prepare("made", made_samples(), tmp_path / "b", STORE, limit=0)


def test_no_usable_face(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="made: found no usable face among 1, the first: torn"):
        prepare("made", [Rejection("a", "torn")], tmp_path / "a", STORE)
    with pytest.raises(InputError, match="made: found no usable face among 0"):
        prepare("made", [], tmp_path / "b", STORE)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("count", [0, 2, 4])
def test_a_dataset_that_breaks_off_leaves_only_usable_shards(tmp_path: Path, count: int) -> None:
    def samples() -> Iterator[FaceSample | Rejection]:
        yield from [made_sample(i) for i in range(count)]
        raise InputError("torn")

    with pytest.raises(InputError, match="torn"):
        prepare("made", samples(), tmp_path / "a", STORE)
    assert (tmp_path / "a" / "shard-00000.tfrecord").exists() == (count >= STORE.shard_size)
    assert (tmp_path / "a").exists() == (count >= STORE.shard_size)


def test_an_unusable_dataset_leaves_a_folder_that_was_there(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").touch()
    with pytest.raises(InputError, match="no usable face"):
        prepare("made", [], tmp_path, STORE)
    assert (tmp_path / "notes.txt").exists()


class FullDisk:
    """Stands for a TFRecordWriter that finds the disk full at the second record."""

    def __init__(self, path: str) -> None:
        self.path = Path(path)
        self.records = 0

    def __enter__(self) -> FullDisk:
        return self

    def __exit__(self, *error: object) -> None:
        pass

    def write(self, record: bytes) -> None:
        self.records += 1
        if self.records == 2:
            raise tf.errors.ResourceExhaustedError(None, None, "No space left on device")
        self.path.write_bytes(record)


def test_a_full_disk_leaves_nothing_half_written(
    whole: dict[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "a"
    with monkeypatch.context() as patch:
        patch.setattr(module.tf.io, "TFRecordWriter", FullDisk)
        with pytest.raises(OSError, match="No space left on device") as raised:
            prepare("made", made_samples(), folder, STORE)
    assert raised.value.filename == str(folder / "shard-00000.tfrecord")
    assert list(contents(folder)) == [records.LOCK_FILE, module.PLAN_FILE]
    prepare("made", made_samples(), folder, STORE)
    assert contents(folder) == whole


def test_a_full_disk_under_the_index_of_a_shard(
    whole: dict[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(self: pd.DataFrame, path: Path) -> None:
        path.write_bytes(b"half")
        raise OSError(28, "No space left on device", str(path))

    folder = tmp_path / "a"
    with monkeypatch.context() as patch:
        patch.setattr(pd.DataFrame, "to_parquet", full)
        with pytest.raises(OSError, match="No space left on device"):
            prepare("made", made_samples(), folder, STORE)
    assert list(contents(folder)) == [records.LOCK_FILE, module.PLAN_FILE, "shard-00000.tfrecord"]
    prepare("made", made_samples(), folder, STORE)
    assert contents(folder) == whole
