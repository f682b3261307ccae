"""The faces of one split, of a dataset as distributed or prepared."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from pipelines.datasets.csv_landmarks import read
from pipelines.datasets.samples import FaceSample, Rejection
from pipelines.prepared.prepare import prepare
from pipelines.prepared.splits import read_split
from tests.faces import write_faces
from tf_dhm.core.errors import InputError


def names(items: Iterator[FaceSample | Rejection]) -> list[str]:
    return [item.name for item in items]


def test_the_same_faces_as_distributed_and_prepared(tmp_path: Path) -> None:
    table = write_faces(tmp_path / "faces", 4, 3)
    prepare("csv", read(table), tmp_path / "prepared")
    found = names(read_split("csv", table, "original", "val"))
    assert len(found) == 3
    assert names(read_split("csv", tmp_path / "prepared", "original", "val")) == found
    with pytest.raises(InputError, match="found the prepared dataset csv, expected wild68"):
        read_split("wild68", tmp_path / "prepared", "original", "val")


def test_a_split_without_faces_is_named(tmp_path: Path) -> None:
    table = write_faces(tmp_path / "faces", 4, 3)
    with pytest.raises(InputError, match="found faces of the splits 4 train, 3 val, expected some of test"):
        names(read_split("csv", table, "original", "test"))
