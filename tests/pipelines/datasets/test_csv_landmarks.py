from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import ExifTags, Image

from pipelines.datasets import csv_landmarks
from pipelines.datasets.folders import hash_fraction
from pipelines.datasets.samples import FaceSample, Rejection
from tests.builders import face, write_image
from tf_dhm.commands.face_records import FaceRecords, Record
from tf_dhm.core.errors import InputError
from tf_dhm.runtime.faces import Face
from tf_dhm.runtime.images import decode_raster, read_photo


def row(folder: Path, image: str, seed: int = 0, axes: str = "xy", **cells: Any) -> dict[str, Any]:
    """One row of a table, its image written if there is none yet."""
    if not (folder / image).exists():
        write_image(folder / image)
    points = face(seed, depth=True)
    cells = {f"{axis}{i}": points[i, "xyz".index(axis)] for axis in axes for i in range(68)} | cells
    return {"image": image, **cells}


def write(folder: Path, rows: list[dict[str, Any]], name: str = "faces.csv") -> Path:
    pd.DataFrame(rows).to_csv(folder / name, index=False)
    return folder / name


def samples(path: Path, **keywords: Any) -> list[FaceSample]:
    items = list(csv_landmarks.read(path, **keywords))
    assert all(isinstance(item, FaceSample) for item in items), items
    return [item for item in items if isinstance(item, FaceSample)]


def rejections(path: Path) -> dict[str, str]:
    return {item.name: item.reason for item in csv_landmarks.read(path) if isinstance(item, Rejection)}


def test_the_least_table(tmp_path: Path) -> None:
    path = write(tmp_path, [row(tmp_path, "photos/a.jpg", 1), row(tmp_path, "b.png", 2)])
    found = samples(path)
    assert [s.name for s in found] == ["photos/a.jpg", "b.png"]
    assert [s.group for s in found] == ["photos/a.jpg", "b.png"]
    np.testing.assert_array_equal(found[0].landmarks[:, :2], face(1, depth=True)[:, :2])
    assert np.isnan(found[0].landmarks[:, 2]).all()
    assert np.isnan(found[0].pose).all()
    assert (found[0].visibility == 255).all()
    assert found[1].read_image() == (tmp_path / "b.png").read_bytes()
    assert [s.name for s in samples(tmp_path)] == ["photos/a.jpg", "b.png"]


def test_every_column(tmp_path: Path) -> None:
    seen = {f"v{i}": [0, 1, 2, 255, None][i % 5] for i in range(68)}
    angles = {"pitch": 1.5, "yaw": -40.0, "roll": 3.0}
    names: dict[str, Any] = {"name": "7", "group": "person 1", "split": "val", "remark": "of no concern"}
    bare: dict[str, Any] = {f"z{i}": None for i in range(68)} | {"split": "train"}
    path = write(
        tmp_path,
        [
            row(tmp_path, "a.jpg", 1, axes="xyz", **seen, **angles, **names),
            row(tmp_path, "b.jpg", 2, **bare),
        ],
    )
    first, second = samples(path)
    assert (first.name, first.group, first.split) == ("7", "person 1", "val")
    np.testing.assert_array_equal(first.landmarks, face(1, depth=True))
    assert first.landmarks.dtype == np.float32
    assert first.pose.tolist() == [1.5, -40.0, 3.0]
    assert first.visibility[:6].tolist() == [0, 1, 2, 255, 255, 0]
    assert first.visibility.dtype == np.uint8
    assert (second.name, second.group, second.split) == ("b.jpg", "b.jpg", "train")
    assert np.isnan(second.landmarks[:, 2]).all()
    assert np.isnan(second.pose).all()
    assert (second.visibility == 255).all()


def test_several_faces_of_an_image_are_numbered(tmp_path: Path) -> None:
    path = write(tmp_path, [row(tmp_path, "a.jpg", i) for i in range(2)] + [row(tmp_path, "b.jpg")])
    found = samples(path)
    assert [s.name for s in found] == ["a.jpg#1", "a.jpg#2", "b.jpg"]
    assert [s.group for s in found] == ["a.jpg", "a.jpg", "b.jpg"]
    assert found[0].split == found[1].split


def test_a_share_of_the_groups_is_val(tmp_path: Path) -> None:
    rows = [row(tmp_path, "a.jpg", name=str(i), group=f"person {i // 2}") for i in range(40)]
    path = write(tmp_path, rows)
    splits = {s.name: s.split for s in samples(path)}
    val = {i for i in range(20) if hash_fraction(f"person {i}") < 0.1}
    assert val
    assert {name for name, split in splits.items() if split == "val"} == {
        str(i) for i in range(40) if i // 2 in val
    }
    assert all(splits[str(i)] == splits[str(i + 1)] for i in range(0, 40, 2))
    write(tmp_path, rows[::-1])
    assert {s.name: s.split for s in samples(path)} == splits
    assert {s.split for s in samples(path, val_share=0.0)} == {"train"}
    write(tmp_path, rows[:4])
    assert sorted(s.split for s in samples(path)) == ["train", "train", "val", "val"]
    write(tmp_path, rows[:2])
    assert {s.split for s in samples(path)} == {"train"}
    with pytest.raises(InputError, match=r"val_share: found 1\.0"):
        csv_landmarks.read(path, val_share=1.0)


def test_a_spreadsheets_bom_spaces_and_empty_rows_do_no_harm(tmp_path: Path) -> None:
    path = write(tmp_path, [row(tmp_path, "a.jpg"), row(tmp_path, "b.jpg"), row(tmp_path, "none.jpg")])
    (tmp_path / "none.jpg").unlink()
    header, first, *rest = path.read_text().splitlines()
    lines = [header.replace(",", ", "), first.replace(",", ", "), "", "," * header.count(","), *rest, ""]
    path.write_text("\ufeff" + "\n".join(lines) + "\n", encoding="utf-8")
    items = list(csv_landmarks.read(path))
    assert [item.name for item in items] == ["a.jpg", "b.jpg", "none.jpg"]
    assert isinstance(items[2], Rejection)
    assert "faces.csv: row 6: " in items[2].reason


def test_a_row_that_cannot_be_used_is_rejected_by_its_number(tmp_path: Path) -> None:
    good = row(tmp_path, "good.jpg", axes="xyz", yaw=1.0, pitch=1.0, roll=1.0, split="train", v0=2)
    good |= {f"v{i}": 2 for i in range(68)}
    changes: dict[str, dict[str, Any]] = {
        "no_image.jpg": {},
        "empty.jpg": {},
        "text.jpg": {"x3": "left"},
        "hole.jpg": {"y67": None},
        "infinite.jpg": {"x0": np.inf},
        "half_z.jpg": {"z5": None},
        "half_pose.jpg": {"roll": None},
        "seen.jpg": {"v9": 3},
        "split.jpg": {"split": "validation"},
        "point.jpg": {f"{axis}{i}": 5.0 for axis in "xy" for i in range(68)},
        "twice": {"image": "good.jpg"},
    }
    rows = [good | {"name": "good"}]
    for name, change in changes.items():
        write_image(tmp_path / Path(name).with_suffix(".jpg"))
        rows.append(good | {"image": name, "name": name} | change)
    rows.append(good | {"name": "good"})
    rows.append(good | {"image": None, "name": None})
    (tmp_path / "no_image.jpg").unlink()
    (tmp_path / "empty.jpg").write_bytes(b"")
    path = write(tmp_path, rows)
    found = rejections(path)
    assert [i.name for i in csv_landmarks.read(path) if isinstance(i, FaceSample)] == ["good", "twice"]
    expected = {
        "no_image.jpg": "row 3: .*no_image.jpg: found no such file",
        "empty.jpg": "row 4: .*empty.jpg: found an empty file",
        "text.jpg": "row 5: x3: found text, expected a number",
        "hole.jpg": "row 6: y67: found nothing, expected a number",
        "infinite.jpg": "row 7: x0: found infinity, expected a number",
        "half_z.jpg": "row 8: z5: found nothing",
        "half_pose.jpg": "row 9: roll: found nothing",
        "seen.jpg": "row 10: v9: found another number, expected one of 0, 1, 2, 255 or nothing",
        "split.jpg": "row 11: split: found 'validation', expected train, val, test",
        "point.jpg": r"row 12: landmarks: box: found \[5.0, 5.0, 5.0, 5.0\]",
        "good": "row 14: name: found good a second time",
        f"{path}: row 15": "row 15: image: found nothing",
    }
    assert set(found) == set(expected)
    for name, reason in expected.items():
        assert re.search(reason, found[name]), found[name]


def test_a_table_that_cannot_be_read_is_an_error(tmp_path: Path) -> None:
    def reject(path: Path, message: str) -> None:
        with pytest.raises(InputError, match=message):
            csv_landmarks.read(path)

    reject(tmp_path / "none.csv", r"none\.csv: found nothing there")
    reject(tmp_path, "found an empty folder, expected one CSV file")
    full = row(tmp_path, "a.jpg")
    path = write(tmp_path, [full])
    write(tmp_path, [full], "other.csv")
    reject(tmp_path, r"found faces\.csv, other\.csv, expected one CSV file")
    write(tmp_path, [{k: v for k, v in full.items() if k != "image"}])
    reject(path, "found no column image")
    write(tmp_path, [{k: v for k, v in full.items() if not k.startswith("y")}])
    reject(path, r"found no column y0, y1, y2, y3, y4 and 63 more, .*adapt\.py")
    write(tmp_path, [full | {"z0": 1.0}])
    reject(path, r"found no column z1, z2, .*expected all 68 columns z0 \.\.\. z67 or none")
    write(tmp_path, [full | {"yaw": 1.0}])
    reject(path, r"found no column pitch, roll, expected all 3 columns")
    write(tmp_path, [full | {"v67": 1}])
    reject(path, "found no column v0")
    pd.DataFrame([full]).head(0).to_csv(path, index=False)
    reject(path, "found a header and no row")
    path.write_text("")
    reject(path, r"faces\.csv: found .*expected a CSV file with a header")
    path.write_bytes(b"\xff\xfe\x00\x01")
    reject(path, r"faces\.csv: found .*expected a CSV file with a header")
    text = write(tmp_path, [full]).read_text().splitlines()
    path.write_text(f"{text[0]}\n{text[1]},5\n")
    reject(path, "found rows with more fields than the header's 137")


def test_a_column_twice(tmp_path: Path) -> None:
    path = write(tmp_path, [row(tmp_path, "a.jpg")])
    lines = path.read_text().splitlines()
    path.write_text(f"{lines[0]}, x5\n{lines[1]},7\n")
    with pytest.raises(InputError, match="column x5 2 times"):
        csv_landmarks.read(path)


class TestTablesOfAlign:
    """What `align.py --csv` writes is read as labels."""

    def write_aligned(self, folder: Path, *records: Record) -> Path:
        with FaceRecords(None, folder / "faces.csv") as file:
            file.start()
            for record in records:
                file.write(record)
        return folder / "faces.csv"

    def record(self, name: str, *seeds: int, **fields: Any) -> Record:
        faces = []
        for seed in seeds:
            points = face(seed, depth=True).astype(np.float32)
            seen = np.linspace(0, 1, 68, dtype=np.float32)
            box, pose = np.array([1.0, 2.0, 30.0, 40.0]), np.array([1.5, -40.0, 3.0], np.float32)
            faces.append(Face(points, box, 0.9, pose, None, seen, 0.8).as_dict() | fields)
        return {"file": name, "width": 100, "height": 100, "faces": faces}

    def test_round_trip(self, tmp_path: Path) -> None:
        for name in ("a.jpg", "deep/b.jpg", "none.jpg"):
            write_image(tmp_path / name)
        records = [self.record("a.jpg", 1), self.record("deep/b.jpg", 2, 3), self.record("none.jpg")]
        weak = self.record("a.jpg", 4, below_limit=True)
        path = self.write_aligned(tmp_path, *records, {"file": "c.jpg", "error": "found nothing"}, weak)
        found = samples(path)
        assert [sample.name for sample in found] == ["a.jpg", "deep/b.jpg#1", "deep/b.jpg#2"]
        for sample, seed in zip(found, (1, 2, 3), strict=True):
            np.testing.assert_allclose(sample.landmarks, face(seed, depth=True), atol=1e-3)
            np.testing.assert_allclose(sample.pose, [1.5, -40.0, 3.0])
            assert sample.visibility.tolist() == [0] * 34 + [2] * 34
        assert found[1].read_image() == (tmp_path / "deep" / "b.jpg").read_bytes()

    def test_files_relative_to_the_working_directory(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        write_image(tmp_path / "photos" / "a.jpg")
        (tmp_path / "tables").mkdir()
        path = self.write_aligned(tmp_path / "tables", self.record("photos/a.jpg", 1))
        monkeypatch.chdir(tmp_path)
        (sample,) = samples(path)
        assert (sample.name, sample.group) == ("photos/a.jpg", "photos/a.jpg")
        assert sample.read_image() == (tmp_path / "photos" / "a.jpg").read_bytes()

    def test_a_table_among_the_photos_is_read_from_another_folder(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """As after `align.py photos --csv photos/faces.csv`, then `train.py` in a clone beside it."""
        write_image(tmp_path / "work" / "photos" / "a.jpg")
        self.write_aligned(tmp_path / "work" / "photos", self.record("photos/a.jpg", 1))
        (tmp_path / "clone").mkdir()
        monkeypatch.chdir(tmp_path / "clone")
        (sample,) = samples(Path("../work/photos/faces.csv"))
        assert sample.name == "photos/a.jpg"
        assert sample.read_image() == (tmp_path / "work" / "photos" / "a.jpg").read_bytes()

    def test_a_photo_that_is_not_found(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        (tmp_path / "tables").mkdir()
        (tmp_path / "clone").mkdir()
        path = self.write_aligned(tmp_path / "tables", self.record("a.jpg", 1), self.record("/no/b.jpg", 2))
        monkeypatch.chdir(tmp_path / "clone")
        reasons = rejections(path)
        for place in ("row 2: a.jpg", f"{tmp_path}/tables", "folders above", f"{tmp_path}/clone"):
            assert place in reasons["a.jpg"]
        assert "row 3: /no/b.jpg: found no such file, expected" in reasons["/no/b.jpg"]

    def test_a_photo_that_is_stored_on_its_side(self, tmp_path: Path) -> None:
        """Labels are of the photo as it is shown; readers of images see it as it is stored."""
        pixels = np.zeros((20, 30, 3), np.uint8)
        pixels[:, :10] = 250
        turned = Image.Exif()
        turned[ExifTags.Base.Orientation] = 6  # shown turned clockwise by 90 degrees
        Image.fromarray(pixels).save(tmp_path / "a.png", exif=turned)
        (sample,) = samples(self.write_aligned(tmp_path, self.record("a.png", 1)))
        np.testing.assert_array_equal(
            decode_raster(sample.read_image(), "a.png"), read_photo(tmp_path / "a.png").pixels
        )

    def test_a_table_without_faces(self, tmp_path: Path) -> None:
        with pytest.raises(InputError, match="no row"):
            csv_landmarks.read(self.write_aligned(tmp_path, self.record("a.jpg")))
