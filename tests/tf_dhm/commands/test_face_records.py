"""Tests of tf_dhm.commands.face_records."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from filelock import FileLock, Timeout

from tf_dhm.commands.face_records import BELOW_LIMIT, CSV_COLUMNS, FaceRecords, Record
from tf_dhm.core.errors import InputError
from tf_dhm.runtime.faces import Face

LANDMARKS = np.arange(204, dtype=np.float32).reshape(68, 3) / 8


def face(score: float | None = 0.75, number: int | None = None) -> dict[str, Any]:
    pose = np.array([1.5, -2.25, 3.0], np.float32)
    return Face(LANDMARKS, np.array([1.0, 2.0, 30.5, 40.0]), score, pose, number).as_dict()


def test_visibility_and_confidence(paths: tuple[Path, Path]) -> None:
    """Columns of CSV, fields of JSON Lines; empty or left out if the model does not give them."""
    said = face() | {"confidence": 0.875, "visibility": (np.arange(68) / 100).tolist()}
    run(paths, photo("a.jpg", said, face()))
    table = pd.read_csv(paths[1])
    assert table.confidence[0] == 0.875
    assert (table.visibility_0[0], table.visibility_67[0]) == (0.0, 0.67)
    assert table.loc[1, ["confidence", "visibility_3"]].isna().all()
    (line,) = map(json.loads, paths[0].read_text().splitlines())
    assert line["faces"][0]["visibility"][67] == 0.67
    assert "confidence" not in line["faces"][1]


def photo(name: str, *faces: dict[str, Any]) -> Record:
    return {"file": name, "width": 640, "height": 480, "faces": list(faces)}


def error(name: str) -> Record:
    return {"file": name, "error": 'found an empty file, expected a "picture"'}


@pytest.fixture
def paths(tmp_path: Path) -> tuple[Path, Path]:
    return tmp_path / "faces.jsonl", tmp_path / "faces.csv"


Paths = tuple[Path | None, Path | None]


class Stop(Exception):
    """An interruption."""


def run(paths: Paths, *records: Record, stop: bool = False, model: str = "") -> None:
    try:
        with FaceRecords(*paths, {"model": model}) as out:
            out.start()
            for record in records:
                out.write(record)
            if stop:
                raise Stop
    except Stop:
        pass


def resume(paths: Paths, wanted: list[str], again: list[Record], model: str = "") -> set[str]:
    with FaceRecords(*paths, {"model": model}) as out:
        done = out.resume(wanted)
        out.drop(set(wanted) - done)
        out.start()
        for record in again:
            out.write(record)
    return done


def files_in(paths: tuple[Path, Path]) -> list[str]:
    """The `file` of each entry, the same in both."""
    names = [json.loads(line)["file"] for line in paths[0].read_text().splitlines()]
    assert list(dict.fromkeys(names)) == list(dict.fromkeys(pd.read_csv(paths[1]).file))
    return names


class TestWrite:
    def test_json_lines(self, paths: tuple[Path, Path]) -> None:
        run((paths[0], None), photo("a.jpg", face()), error("b.jpg"))
        first, second = map(json.loads, paths[0].read_text().splitlines())
        assert first == photo("a.jpg", face())
        assert second == error("b.jpg")
        assert [path.name for path in paths[0].parent.iterdir()] == ["faces.jsonl"]

    def test_csv(self, paths: tuple[Path, Path]) -> None:
        weak = face() | {BELOW_LIMIT: True}
        frame = {"frame": 7, "time": 0.28, **photo("b, c.mp4", face(None, 5))}
        run((None, paths[1]), photo("a.jpg", weak, face()), photo("empty.jpg"), frame, error("x.jpg"))
        table = pd.read_csv(paths[1])
        assert list(table) == CSV_COLUMNS
        assert table.file.tolist() == ["a.jpg", "a.jpg", "empty.jpg", "b, c.mp4", "x.jpg"]
        assert table.face.fillna(-1).tolist() == [0, 1, -1, 0, -1]
        assert table.id.fillna(-1).tolist() == [-1, -1, -1, 5, -1]
        assert table.below_limit.fillna(-1).tolist() == [1, 0, -1, 0, -1]
        assert table.error.notna().tolist() == [False, False, False, False, True]
        row = table.iloc[3]
        assert (row.frame, row.time, row.width, row.height) == (7, 0.28, 640, 480)
        assert (row.x0, row.y0, row.x1, row.y1) == (1.0, 2.0, 30.5, 40.0)
        assert (row.pitch, row.yaw, row.roll) == (1.5, -2.25, 3.0)
        values = row[[f"{axis}_{k}" for k in range(68) for axis in "xyz"]].to_numpy(float)
        np.testing.assert_allclose(values.reshape(68, 3), LANDMARKS)

    def test_names_that_are_no_text(self, paths: tuple[Path, Path]) -> None:
        name = b"caf\xe9\n.jpg".decode("utf-8", "surrogateescape")
        run(paths, photo(name, face()), photo("b.jpg"), stop=True)
        assert resume(paths, [name, "b.jpg"], [photo("b.jpg")]) == {name}

    def test_an_interrupted_run_leaves_the_earlier_file(self, paths: tuple[Path, Path]) -> None:
        run(paths, photo("a.jpg"))
        run(paths, photo("b.jpg"), stop=True)
        assert files_in(paths) == ["a.jpg"]
        assert Path(f"{paths[0]}.part").exists()


class TestLock:
    def test_a_second_run_is_rejected_and_the_first_keeps_its_lines(self, paths: tuple[Path, Path]) -> None:
        with FaceRecords(*paths) as first:
            first.start()
            first.write(photo("a.jpg"))
            for second in ((paths[0], None), (None, paths[1])):
                with pytest.raises(InputError, match="another run"), FaceRecords(*second):
                    pass
            first.write(photo("b.jpg"))
        assert files_in(paths) == ["a.jpg", "b.jpg"]
        assert sorted(path.name for path in paths[0].parent.iterdir()) == ["faces.csv", "faces.jsonl"]
        run(paths, photo("c.jpg"))
        assert files_in(paths) == ["c.jpg"]

    def test_one_file_by_two_names(self, paths: tuple[Path, Path]) -> None:
        linked = paths[0].with_name("linked.jsonl")
        paths[0].touch()
        linked.symlink_to(paths[0])
        with (
            FaceRecords(paths[0], None),
            pytest.raises(InputError, match="another run"),
            FaceRecords(linked, None),
        ):
            pass

    def test_a_lock_that_is_held_for_one_file_frees_the_other(self, paths: tuple[Path, Path]) -> None:
        with (
            FaceRecords(None, paths[1]),
            pytest.raises(InputError, match="another run"),
            FaceRecords(*paths),
        ):
            pass
        run((paths[0], None), photo("a.jpg"))

    @pytest.mark.parametrize("reason", [PermissionError(1, "Operation not permitted"), Timeout("a.lock")])
    def test_a_folder_that_takes_no_file(
        self, paths: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch, reason: OSError
    ) -> None:
        def fail(self: FileLock) -> None:
            raise reason

        monkeypatch.setattr(FileLock, "acquire", fail)
        with pytest.raises(InputError, match=rf"^{paths[0]}: cannot be written there") as raised:
            run(paths)
        assert "lock" not in str(raised.value)

    def test_a_folder_below_a_file(self, tmp_path: Path) -> None:
        (tmp_path / "file").touch()
        with pytest.raises(InputError, match=r"a\.csv: cannot be written there"):
            run((None, tmp_path / "file" / "a.csv"))

    def test_a_run_that_does_not_start_leaves_nothing(self, paths: tuple[Path, Path]) -> None:
        with FaceRecords(*paths):
            pass
        assert list(paths[0].parent.iterdir()) == []

    def test_the_longest_names(self, tmp_path: Path) -> None:
        path = tmp_path / ("写" * 83 + ".jsonl")
        run((path, None), photo("a.jpg"))
        assert [found.name for found in tmp_path.iterdir()] == [path.name]


class TestResume:
    def test_after_an_interruption(self, paths: tuple[Path, Path]) -> None:
        run(paths, photo("a.jpg", face()), photo("b.jpg", face()), stop=True)
        # What came last may be half done.
        assert resume(paths, ["a.jpg", "b.jpg", "c.jpg"], [photo("b.jpg"), photo("c.jpg")]) == {"a.jpg"}
        assert files_in(paths) == ["a.jpg", "b.jpg", "c.jpg"]
        assert not Path(f"{paths[0]}.part").exists()
        assert not Path(f"{paths[1]}.part").exists()

    def test_cut_off_lines(self, paths: tuple[Path, Path]) -> None:
        run(paths, photo("a.jpg", face()), photo("b.jpg", face()), photo("c.jpg", face()), stop=True)
        for path in paths:
            part = Path(f"{path}.part")
            part.write_bytes(part.read_bytes()[:-30])
        assert resume(paths, ["a.jpg", "b.jpg", "c.jpg"], [photo("b.jpg"), photo("c.jpg")]) == {"a.jpg"}
        assert files_in(paths) == ["a.jpg", "b.jpg", "c.jpg"]

    def test_an_unfinished_video_is_done_again(self, paths: tuple[Path, Path]) -> None:
        frames = [{"frame": k, "time": k / 25, **photo("b.mp4", face())} for k in range(3)]
        run(paths, photo("a.jpg"), *frames, stop=True)
        assert resume(paths, ["a.jpg", "b.mp4"], frames) == {"a.jpg"}
        assert files_in(paths) == ["a.jpg", "b.mp4", "b.mp4", "b.mp4"]

    def test_a_finished_run_with_more_files(self, paths: tuple[Path, Path]) -> None:
        run(paths, photo("a.jpg", face()), error("b.jpg"), photo("c.jpg"))
        before = paths[1].read_text().splitlines()[1]
        assert resume(paths, ["a.jpg", "b.jpg", "c.jpg", "d.jpg"], [photo("b.jpg"), photo("d.jpg")]) == {
            "a.jpg",
            "c.jpg",
        }
        assert files_in(paths) == ["a.jpg", "c.jpg", "b.jpg", "d.jpg"]
        assert paths[1].read_text().splitlines()[1] == before

    def test_a_video_that_broke_in_the_middle_is_done_again(self, paths: tuple[Path, Path]) -> None:
        run(paths, {"frame": 0, "time": 0.0, **photo("a.mp4")}, error("a.mp4"), photo("b.jpg"))
        assert resume(paths, ["a.mp4", "b.jpg"], []) == {"b.jpg"}
        assert files_in(paths) == ["b.jpg"]

    def test_other_files_are_kept(self, paths: tuple[Path, Path]) -> None:
        run(paths, photo("a.jpg"), photo("b.jpg"))
        assert resume(paths, ["c.jpg"], [photo("c.jpg")]) == set()
        assert files_in(paths) == ["a.jpg", "b.jpg", "c.jpg"]

    def test_nothing_to_resume_from(self, paths: tuple[Path, Path]) -> None:
        assert resume(paths, ["a.jpg"], [photo("a.jpg")]) == set()
        assert files_in(paths) == ["a.jpg"]

    def test_a_file_that_only_one_has_is_not_done(self, paths: tuple[Path, Path]) -> None:
        run((paths[0], None), photo("a.jpg"), photo("b.jpg"))
        run((None, paths[1]), photo("b.jpg"))
        assert resume(paths, ["a.jpg", "b.jpg"], [photo("a.jpg")]) == {"b.jpg"}
        assert files_in(paths) == ["b.jpg", "a.jpg"]

    @pytest.mark.parametrize("number", [0, 1])
    def test_another_run_is_not_continued(self, paths: tuple[Path, Path], number: int) -> None:
        path = paths[number]
        one = (path, None) if number == 0 else (None, path)
        run(one, photo("a.jpg"), stop=True, model="a")
        before = Path(f"{path}.part").read_text()
        message = f"{path}.part: found lines of a run with other options: model 'a', expected 'b'; give"
        with pytest.raises(InputError, match=re.escape(message)):
            resume(one, ["a.jpg"], [], model="b")
        assert Path(f"{path}.part").read_text() == before
        run(one, photo("a.jpg"), model="b")  # without --resume
        assert [found.name for found in path.parent.iterdir()] == [path.name]

    @pytest.mark.parametrize("number", [0, 1])
    def test_another_programs_file(self, paths: tuple[Path, Path], number: int) -> None:
        paths[number].write_text('{"name": "a"}\n')
        with pytest.raises(InputError, match=rf"{paths[number]}: .*found .*, expected"):
            resume(paths, ["a.jpg"], [])
        assert paths[number].read_text() == '{"name": "a"}\n'
