"""Parts of an archive: manifests, rows, and processes that die at a photo."""

from __future__ import annotations

import multiprocessing
import os
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from PIL import Image

from tf_dhm.commands.archive_manifest import BOX, copy_manifest
from tf_dhm.commands.archive_parts import (
    FACE_SCHEMA,
    MAX_DEATHS,
    Counts,
    Folder,
    Job,
    align_part,
    first_errors,
    read_counts,
    write_part,
)
from tf_dhm.core.errors import InputError
from tf_dhm.runtime.faces import Face
from tf_dhm.runtime.images import Photo


class FakeAligner:
    """Finds as many faces as a photo is wide, or as there are boxes; ends the process at height 7."""

    def align(self, image: Photo, boxes: list[list[float]] | None = None) -> list[Face]:
        if image.height == 7:
            os._exit(9)
        if image.height == 8:
            raise KeyError("spoon")
        places = [[0.0, 1.0, 2.0, 3.0 + n] for n in range(image.width)] if boxes is None else boxes
        return [
            Face(
                landmarks=np.arange(204, dtype=np.float32).reshape(68, 3) + n,
                box=np.array(place),
                score=0.75 if boxes is None else None,
                pose=np.array([1.0, 2.0, 3.0], np.float32),
                visibility=np.full(68, 0.5, np.float32),
                confidence=0.25,
            )
            for n, place in enumerate(places)
        ]


def write_photos(folder: Path, *sizes: tuple[int, int]) -> None:
    for number, size in enumerate(sizes):
        Image.new("RGB", size).save(folder / f"{number}.png")


def begin(folder: Path, rows: list[dict], part_rows: int = 100) -> tuple[Folder, Job]:
    table = folder / "manifest.parquet"
    pd.DataFrame(rows).to_parquet(table)
    output = Folder(folder / "out")
    count = copy_manifest(table, output.manifest, part_rows)
    return output, Job("", count, part_rows, str(folder), "", "", 1)


def test_a_row_for_each_face_photo_without_one_and_photo_that_fails(tmp_path: Path) -> None:
    write_photos(tmp_path, (2, 5), (1, 8))
    Image.new("RGB", (9, 9)).save(tmp_path / "box.png")
    (tmp_path / "broken.png").write_bytes(b"\xff\xd8\xff\xe0 not a photo")
    box, none = dict(zip(BOX, (1.0, 2.0, 3.0, 4.0), strict=True)), dict.fromkeys(BOX, None)
    rows: list[dict[str, Any]] = [
        {"path": "0.png", **none},
        {"path": "box.png", **box},
        {"path": "box.png", **box, "x1": None},
        {"path": "1.png", **none},
        {"path": "broken.png", **none},
        {"path": "absent.png", **box},
        {"path": None, **none},
    ]
    output, job = begin(tmp_path, rows)
    counts = align_part(FakeAligner(), output, job, 0)
    assert counts == Counts(photos=7, faces=3, without=0, failed=5)
    assert read_counts(output.part(0)) == counts
    table = pq.read_table(output.part(0))
    assert table.schema.equals(FACE_SCHEMA)
    found = table.to_pylist()
    assert [(row["row"], row["face"]) for row in found] == [
        (0, 0),
        (0, 1),
        (1, 0),
        *((row, None) for row in range(2, 7)),
    ]
    assert [row["path"] for row in found[1:]] == [row["path"] for row in rows]
    second = found[1]
    assert (second["width"], second["height"], second["score"], second["confidence"]) == (2, 5, 0.75, 0.25)
    assert [second[name] for name in (*BOX, "pitch", "yaw", "roll")] == [0, 1, 2, 4, 1, 2, 3]
    assert second["landmarks"] == [value + 1.0 for value in range(204)]
    assert second["visibility"] == [0.5] * 68
    assert ([found[2][name] for name in BOX], found[2]["score"]) == ([1, 2, 3, 4], None)
    errors = [row["error"] for row in found]
    assert errors[:3] == [None] * 3
    expected = [
        "box: found [1.0, 2.0, None, 4.0], expected four numbers or none",
        "unexpected KeyError: 'spoon'",
        f"photo {tmp_path}/broken.png: found a broken picture",
        f"photo {tmp_path}/absent.png: cannot be read: No such file",
        "path: found none",
    ]
    assert [error[: len(start)] for error, start in zip(errors[3:], expected, strict=True)] == expected
    assert all(row["landmarks"] is None and row["x0"] is None for row in found[3:])


def test_a_finished_part_is_not_done_again(tmp_path: Path) -> None:
    write_photos(tmp_path, (1, 1))
    output, job = begin(tmp_path, [{"path": "0.png"}])
    counts = align_part(FakeAligner(), output, job, 0)
    before = output.part(0).stat().st_mtime_ns
    Image.new("RGB", (5, 5)).save(tmp_path / "0.png")
    assert align_part(FakeAligner(), output, job, 0) == counts == Counts(photos=1, faces=1)
    assert output.part(0).stat().st_mtime_ns == before
    assert output.done() == {0}


def test_a_photo_without_a_face(tmp_path: Path) -> None:
    write_photos(tmp_path, (1, 1))

    class Blind(FakeAligner):
        def align(self, image: Photo, boxes: list[list[float]] | None = None) -> list[Face]:
            return []

    output, job = begin(tmp_path, [{"path": "0.png"}])
    assert align_part(Blind(), output, job, 0) == Counts(photos=1, without=1)
    (row,) = pq.read_table(output.part(0)).to_pylist()
    assert {name: value for name, value in row.items() if value is not None} == {
        "row": 0,
        "path": "0.png",
        "width": 1,
        "height": 1,
    }


def test_a_photo_that_ends_the_process_is_left_out_in_the_end(tmp_path: Path) -> None:
    write_photos(tmp_path, (1, 1), (1, 7), (2, 2))
    output, job = begin(tmp_path, [{"path": f"{number}.png"} for number in range(3)])
    spawn = multiprocessing.get_context("spawn")
    for _ in range(MAX_DEATHS):
        process = spawn.Process(target=align_part, args=(FakeAligner(), output, job, 0))
        process.start()
        process.join()
        assert process.exitcode == 9
        assert output.done() == set()
    assert align_part(FakeAligner(), output, job, 0) == Counts(photos=3, faces=3, failed=1)
    errors = pq.read_table(output.part(0))["error"].to_pylist()
    assert errors == [None, "3 processes ended while they aligned this photo", None, None]
    assert list(output.attempts.iterdir()) == []


def test_an_error_while_a_part_is_written_is_no_photos_fault(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_photos(tmp_path, (1, 1))
    output, job = begin(tmp_path, [{"path": "0.png"}])

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(pq, "write_table", full)
        for _ in range(MAX_DEATHS + 1):
            with pytest.raises(OSError, match="No space left"):
                align_part(FakeAligner(), output, job, 0)
    assert list(output.parts.iterdir()) == []
    assert align_part(FakeAligner(), output, job, 0) == Counts(photos=1, faces=1)


def test_a_part_that_is_none(tmp_path: Path) -> None:
    path = tmp_path / "part-00000000.parquet"
    path.write_bytes(b"")
    with pytest.raises(InputError, match="found no part of an archive"):
        read_counts(path)


def test_the_first_errors_of_parts(tmp_path: Path) -> None:
    good, bad = {"row": 0, "path": "a.png", "face": 0}, tmp_path / "bad.parquet"
    write_part(tmp_path / "good.parquet", [good])
    failed = [{"row": row, "path": f"{row}.png", "error": f"e{row}"} for row in (1, 2)]
    write_part(bad, [failed[0], {**good, "row": 7}, failed[1]])
    parts = [tmp_path / "good.parquet", bad]
    assert list(first_errors(parts, 5)) == [(1, "1.png", "e1"), (2, "2.png", "e2")]
    # The second part is enough for one, and the parts after it are not opened.
    assert list(first_errors([*parts, tmp_path / "absent.parquet"], 1)) == [(1, "1.png", "e1")]
