"""Reading labelled points of any number."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from pipelines.adaptation.annotations import (
    annotation_note,
    check_kind,
    check_pairs,
    read_annotations,
    write_rejected,
)
from pipelines.adaptation.kinds import Kind
from pipelines.datasets.catalogue import NOTES
from tests.made_faces import encode
from tests.pipelines.datasets.test_pts import write_pts
from tf_dhm.commands.face_records import FaceRecords
from tf_dhm.core.errors import InputError
from tf_dhm.runtime.faces import Face


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """Six faces of five points, one of them with an unknown point and one without an image."""
    rows = []
    for i in range(6):
        if i != 3:
            (tmp_path / f"{i}.png").write_bytes(encode(np.full((20, 20, 3), i, np.uint8), ".png"))
        rows.append({"image": f"{i}.png", **{f"{axis}{p}": 10.0 * p + i for p in range(5) for axis in "xy"}})
    rows[2]["x4"] = ""
    path = tmp_path / "faces.csv"
    pd.DataFrame(rows).to_csv(path, index=False)
    return path


def test_five_points_of_a_table(table: Path) -> None:
    faces, rejected = read_annotations("csv", table, 0)
    assert [len(face.points) for face in faces] == [5] * 5
    assert faces[1].points[3].tolist()[:2] == [31.0, 31.0]
    assert np.isnan(faces[1].points[:, 2]).all()
    assert np.isnan(faces[2].points[4, 0])
    assert faces[4].read_image().startswith(b"\x89PNG")
    assert [item.name for item in rejected] == ["3.png"]
    assert "row 5" in rejected[0].reason
    some, _ = read_annotations("csv", table, 3)
    assert [face.group for face in some] == ["0.png", "2.png", "5.png"]


@pytest.mark.parametrize("text", ["abc", "inf"])
def test_a_cell_that_is_no_number(table: Path, text: str) -> None:
    cells = pd.read_csv(table, dtype=str)
    cells.loc[1, "y3"] = text
    cells.to_csv(table, index=False)
    _, rejected = read_annotations("csv", table, 0)
    assert [item.name for item in rejected] == ["1.png", "3.png"]
    assert re.search(r"row 3: y3: found (text|infinity), expected a number", rejected[0].reason)


def test_rows_are_numbered_and_grouped_as_in_the_table_of_landmarks(table: Path) -> None:
    header, *rows = table.read_text().splitlines()
    lines = [header + ",group", rows[0] + ",7", "", *(row + "," for row in rows[1:])]
    table.write_text("\n".join(lines))
    faces, rejected = read_annotations("csv", table, 0)
    assert [face.name for face in faces[:2]] == ["0.png#2", "1.png#4"]
    assert [face.group for face in faces[:2]] == ["7", "1.png"]
    assert "row 6: " in rejected[0].reason


def test_landmarks_that_align_wrote(tmp_path: Path) -> None:
    """Its columns x0, y0, x1, y1 are the box, and no points."""
    points = np.random.default_rng(0).uniform(10, 90, (68, 3)).astype(np.float32)
    found = Face(points, np.array([9.0, 9.0, 91.0, 91.0]), 0.9, np.zeros(3, np.float32), None, None, 0.8)
    record = {"file": "a.png", "width": 100, "height": 100, "faces": [found.as_dict()]}
    (tmp_path / "a.png").write_bytes(encode(np.zeros((100, 100, 3), np.uint8), ".png"))
    with FaceRecords(None, tmp_path / "faces.csv") as records:
        records.start()
        records.write(record)
    (face,), rejected = read_annotations("csv", tmp_path / "faces.csv", 0)
    np.testing.assert_allclose(face.points, points, atol=1e-3)
    assert (face.group, rejected) == ("a.png", [])


def test_points_of_pts_files(tmp_path: Path) -> None:
    for i, count in enumerate((39, 39)):
        (tmp_path / f"{i}.png").write_bytes(encode(np.full((20, 20, 3), i, np.uint8), ".png"))
        write_pts(tmp_path / f"{i}.pts", np.full((count, 2), 3.0 + i))
    faces, _ = read_annotations("pts", tmp_path, 0)
    assert [face.points[0, 0] for face in faces] == [3.0, 4.0]
    write_pts(tmp_path / "1.pts", np.ones((68, 2)))
    with pytest.raises(InputError, match="39, 68 points"):
        read_annotations("pts", tmp_path, 0)


def test_rendered_faces_need_no_folder() -> None:
    faces, _ = read_annotations("synthetic", None, 2)
    assert [face.points.shape for face in faces] == [(68, 3)] * 2
    with pytest.raises(InputError, match="data-dir"):
        read_annotations("wild68", None, 2)


@pytest.mark.parametrize(
    ("header", "missing"),
    [
        ("image,x0,y0,x1", "y1"),
        ("x0,y0", "image"),
        ("image,a", "x0, y0"),
        ("image,x0,y0,z0,x1,y1", "z1"),
        ("image,x0,y0,x1,y1,z1", "z0"),
    ],
)
def test_a_table_without_its_columns(tmp_path: Path, header: str, missing: str) -> None:
    (tmp_path / "faces.csv").write_text(header + "\n")
    with pytest.raises(InputError, match=f"found no column {missing}, expected"):
        read_annotations("csv", tmp_path, 0)


@pytest.mark.parametrize("dataset", sorted(set(NOTES) - {"aflw2000_3d"}))  # whose note names no boxes
def test_the_note_of_a_card_names_the_boxes_that_were_used(dataset: str) -> None:
    assert "boxes from these landmarks" in annotation_note(dataset, detected=False)
    note = annotation_note(dataset, detected=True)
    assert "boxes of the face detector" in note
    assert "boxes from" not in note


@pytest.mark.parametrize("pairs", [[1, 2, 0], [0, 0, 1], [0, 1], [0, 1, 5]])
def test_pairs_that_are_no_mirror_map(pairs: list[int]) -> None:
    with pytest.raises(InputError, match="mirror-map"):
        check_pairs(pairs, 3)


def test_a_mirror_map() -> None:
    assert check_pairs([1, 0, 2], 3).tolist() == [1, 0, 2]


@pytest.mark.parametrize(
    ("kind", "count", "finetune", "field"),
    [
        ("landmarks", 5, False, "kind"),
        ("points", 68, True, "finetune"),
        (None, 5, True, "finetune"),
    ],
)
def test_points_that_cannot_become_landmarks(
    kind: Kind | None, count: int, finetune: bool, field: str
) -> None:
    with pytest.raises(InputError, match=f"^{field}: found"):
        check_kind(kind, count, finetune)


def test_points_of_a_kind_that_suits_them() -> None:
    check_kind(None, 5, finetune=False)
    check_kind("points", 5, finetune=False)
    check_kind("landmarks", 68, finetune=True)
    check_kind(None, 68, finetune=True)


def test_the_file_of_rejected_faces(tmp_path: Path) -> None:
    file = write_rejected([("a.png#2", "no face, only noise")], tmp_path / "runs" / "mine")
    assert file == tmp_path / "runs" / "mine" / "rejected.csv"
    assert pd.read_csv(file).to_dict("records") == [{"name": "a.png#2", "reason": "no face, only noise"}]


def test_z_of_a_table(table: Path) -> None:
    cells = pd.read_csv(table)
    for point in range(5):
        cells[f"z{point}"] = point - 2.5
    cells.to_csv(table, index=False)
    faces, _ = read_annotations("csv", table, 0)
    assert faces[0].points[:, 2].tolist() == [-2.5, -1.5, -0.5, 0.5, 1.5]
