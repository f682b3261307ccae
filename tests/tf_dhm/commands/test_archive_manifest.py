"""Manifests of an archive: their columns, and their copy in blocks."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tf_dhm.commands.archive_manifest import BOX, copy_manifest, read_block, read_manifest
from tf_dhm.core.errors import InputError


@pytest.mark.parametrize("suffix", [".parquet", ".csv", ".csv.gz"])
@pytest.mark.parametrize("part_rows", [1, 3, 10, 50])
def test_blocks_of_a_manifest(tmp_path: Path, suffix: str, part_rows: int) -> None:
    table = pd.DataFrame({"note": 7, "path": [f"ä {n},\n.jpg" for n in range(10)], **dict.fromkeys(BOX, 0.5)})
    table.loc[4, list(BOX)] = np.nan
    path = tmp_path / f"manifest{suffix}"
    if suffix == ".parquet":
        table.to_parquet(path, row_group_size=4)
    else:
        table.to_csv(path, index=False)
    assert copy_manifest(path, tmp_path / "copy.arrow", part_rows) == 10
    blocks = [read_block(tmp_path / "copy.arrow", part) for part in range(-(-10 // part_rows))]
    assert {len(block) for block in blocks[:-1]} <= {part_rows}
    rows = [row for block in blocks for row in block]
    assert [row["row"] for row in rows] == list(range(10))
    assert [row["path"] for row in rows] == table["path"].tolist()
    assert [row["x1"] for row in rows] == [0.5] * 4 + [None] + [0.5] * 5


def test_columns_of_other_types(tmp_path: Path) -> None:
    path = tmp_path / "m.parquet"
    boxes = {"x0": [1, 2], "y0": [1.5, np.nan], "x1": pa.nulls(2), "y1": pa.array([1, None], pa.float32())}
    pq.write_table(pa.table({"path": pa.array(["a", "b"]).dictionary_encode(), **boxes}), path)
    (batch,) = read_manifest(path)
    assert batch.to_pylist() == [
        {"path": "a", "x0": 1.0, "y0": 1.5, "x1": None, "y1": 1.0},
        {"path": "b", "x0": 2.0, "y0": None, "x1": None, "y1": None},
    ]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("m.csv", "file,x\na,1\n", "manifest .*m.csv: found no column path among file, x, expected path"),
        ("m.csv", "path,x0,y0,x1\na,1,2,3\n", "found no column y1 among path, x0, y0, x1"),
        ("m.csv", "path,x0,y0,x1,y1\na,1,2,3,four\n", "found no readable table: .*four"),
        ("m.csv", "path,x\na,1\nb\n", "found no readable table: .*Expected 2 columns"),
        ("m.csv", "path,x,path\na,1,b\n", "found the column path 2 times, expected once"),
        ("m.csv", "path,x0,y0,x1,y1,y1\na,1,2,3,4,5\n", "found the column y1 2 times, expected once"),
        ("m.csv", "path\n", "found no row, expected one for each photo"),
        ("m.csv", "", "found no readable table: Empty CSV file"),
        ("m.parquet", "path\na\n", "found no readable table"),
        ("m.txt", "path\na\n", "expected a name that ends in .parquet, .csv, .csv.gz"),
        (None, "", "manifest .*m.csv: found no file, expected a table"),
    ],
)
def test_manifests_that_are_none(tmp_path: Path, name: str | None, content: str, message: str) -> None:
    path = tmp_path / (name or "m.csv")
    if name is not None:
        path.write_text(content)
    with pytest.raises(InputError, match=message):
        copy_manifest(path, tmp_path / "copy.arrow", 10)
    assert sorted(tmp_path.iterdir()) == ([path] if name else [])


def test_a_manifest_with_numbers_for_paths(tmp_path: Path) -> None:
    pd.DataFrame({"path": [1, 2]}).to_parquet(tmp_path / "m.parquet")
    with pytest.raises(InputError, match="column path: found int64, expected text"):
        list(read_manifest(tmp_path / "m.parquet"))


def test_a_parquet_manifest_with_a_column_twice(tmp_path: Path) -> None:
    columns = [pa.array(["a"]), pa.array(["b"])]
    pq.write_table(pa.Table.from_arrays(columns, names=["path", "path"]), tmp_path / "m.parquet")
    with pytest.raises(InputError, match="column path 2 times"):
        list(read_manifest(tmp_path / "m.parquet"))


def test_a_column_that_is_not_read_may_occur_twice(tmp_path: Path) -> None:
    (tmp_path / "m.csv").write_text("path,note,note\na,1,2\n")
    (batch,) = read_manifest(tmp_path / "m.csv")
    assert batch.column("path").to_pylist() == ["a"]
