from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pipelines.datasets import pts
from pipelines.datasets.samples import FaceSample, Rejection
from tests.builders import face
from tests.made_faces import encode
from tf_dhm.core.errors import InputError


def write_pts(path: Path, points: np.ndarray) -> None:
    lines = [f"{x + 1.0:.3f} {y + 1.0:.3f}" for x, y in points]  # 1-based in the file
    path.write_text("\n".join(["version: 1", f"n_points:  {len(points)}", "{", *lines, "}"]) + "\n")


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    folder = tmp_path / "300W" / "helen"
    folder.mkdir(parents=True)
    for i, name in enumerate(("a_1", "a_1_mirror", "b_1", "c_1")):
        (folder / f"{name}.png").write_bytes(encode(np.full((120, 120, 3), 50 * i, np.uint8), ".png"))
        write_pts(folder / f"{name}.pts", face(i)[:, :2])
    return folder.parent


def test_points_become_zero_based(tmp_path: Path) -> None:
    path = tmp_path / "a.pts"
    path.write_text("version: 1\nn_points: 2\n{\n1 1\n  10.5 20.25 \n}")
    assert pts.read_pts(path).tolist() == [[0.0, 0.0], [9.5, 19.25]]


def test_faces_of_all_sub_folders(data_dir: Path) -> None:
    faces = list(pts.read(data_dir))
    assert [item.name for item in faces] == ["helen/a_1", "helen/a_1_mirror", "helen/b_1", "helen/c_1"]
    for i, item in enumerate(faces):
        assert isinstance(item, FaceSample)
        assert np.allclose(item.landmarks[:, :2], face(i)[:, :2], atol=1e-3)
        assert np.isnan(item.landmarks[:, 2]).all()
        assert item.read_image().startswith(b"\x89PNG")
    splits = {item.name: item.split for item in faces if isinstance(item, FaceSample)}
    assert splits["helen/a_1"] == splits["helen/a_1_mirror"]
    assert set(splits.values()) == {"train", "val"}


def test_another_number_of_points_and_a_missing_image_are_rejected(data_dir: Path) -> None:
    write_pts(data_dir / "helen" / "b_1.pts", np.ones((39, 2)))
    (data_dir / "helen" / "c_1.png").unlink()
    rejected = {item.name: item.reason for item in pts.read(data_dir) if isinstance(item, Rejection)}
    assert set(rejected) == {"helen/b_1", "helen/c_1"}
    assert "(39, 2)" in rejected["helen/b_1"]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "version: 1\nn_points: 1\n1 2\n",
        "n_points: 3\n{\n1 2\n}",
        "n_points: 0\n{\n}",
        "n_points: 1\n{\n1 2 3\n}",
        "n_points: 1\n{\n1 nan\n}",
        "n_points: 1\n{\nx y\n}",
        "n_points: 1\n{\n1 2\n",
    ],
)
def test_a_broken_file_is_named(tmp_path: Path, text: str) -> None:
    path = tmp_path / "broken.pts"
    path.write_text(text)
    with pytest.raises(InputError, match=r"broken\.pts"):
        pts.read_pts(path)


def test_a_folder_without_points(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"")
    with pytest.raises(InputError, match=r"\.pts"):
        list(pts.read(tmp_path))
