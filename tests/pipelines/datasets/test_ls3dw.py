from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from pipelines.datasets import ls3dw
from pipelines.datasets.samples import FaceSample, Rejection
from tests.builders import face, write_image, write_t7
from tf_dhm.core.errors import InputError


def add(root: Path, name: str, suffix: str = ".jpg", seed: int = 0) -> None:
    write_image(root / f"{name}{suffix}")
    write_t7(root / f"{name}.t7", face(seed))


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    """LS3D-W as distributed, two or three faces in each folder."""
    for part in ("Trainset", "CatA", "CatB", "CatC"):
        for video in ("007", "007_", "114"):
            add(tmp_path, f"300VW-3D/{part}/{video}/0001")
    add(tmp_path, "300VW-3D/Trainset/114/0002", seed=3)
    for name in ("indoor_001", "outdoor_300"):
        add(tmp_path, f"300W-Testset-3D/{name}", ".png")
    add(tmp_path, "Menpo-3D/aflw__face_39844")
    add(tmp_path, "AFLW2000-3D-Reannotated/image00002")
    return tmp_path


def samples(data_dir: Path, subset: str) -> list[FaceSample]:
    items = list(ls3dw.read(data_dir, subset))
    assert all(isinstance(item, FaceSample) for item in items), items
    return [item for item in items if isinstance(item, FaceSample)]


def test_training_set_is_the_training_videos(dataset: Path) -> None:
    found = samples(dataset, "train")
    assert [s.name for s in found] == [
        f"300VW-3D/Trainset/{frame}" for frame in ("007/0001", "007_/0001", "114/0001", "114/0002")
    ]
    assert [s.group for s in found] == [
        f"300VW-3D/Trainset/{video}" for video in ("007", "007", "114", "114")
    ]
    assert {s.split for s in found} <= {"train", "val"}
    np.testing.assert_array_equal(found[3].landmarks[:, :2], face(3))
    assert np.isnan(found[3].landmarks[:, 2]).all()
    assert np.isnan(found[3].pose).all()
    assert found[3].read_image() == (dataset / "300VW-3D/Trainset/114/0002.jpg").read_bytes()


def test_frames_of_a_video_stay_on_one_side(tmp_path: Path) -> None:
    for video in range(60):
        for frame in ("0001", "0002"):
            add(tmp_path, f"300VW-3D/Trainset/{video:03d}/{frame}")
    by_video: dict[str, set[str]] = {}
    for sample in samples(tmp_path, "train"):
        by_video.setdefault(sample.group, set()).add(sample.split)
    assert len(by_video) == 60
    assert {len(splits) for splits in by_video.values()} == {1}
    assert {split for splits in by_video.values() for split in splits} == {"train", "val"}


@pytest.mark.parametrize(
    ("subset", "names"),
    [
        ("menpo_3d", ["Menpo-3D/aflw__face_39844"]),
        ("300w_3d", ["300W-Testset-3D/indoor_001", "300W-Testset-3D/outdoor_300"]),
        ("300vw_3d_a", ["300VW-3D/CatA/007/0001", "300VW-3D/CatA/007_/0001", "300VW-3D/CatA/114/0001"]),
        ("300vw_3d_b", ["300VW-3D/CatB/007/0001", "300VW-3D/CatB/007_/0001", "300VW-3D/CatB/114/0001"]),
        ("300vw_3d_c", ["300VW-3D/CatC/007/0001", "300VW-3D/CatC/007_/0001", "300VW-3D/CatC/114/0001"]),
        ("aflw2000_3d_reannotated", ["AFLW2000-3D-Reannotated/image00002"]),
    ],
)
def test_other_subsets_are_for_testing(dataset: Path, subset: str, names: list[str]) -> None:
    found = samples(dataset, subset)
    assert [s.name for s in found] == names
    assert {s.split for s in found} == {"test"}


def test_the_root_may_lie_in_a_folder_of_the_archive(dataset: Path) -> None:
    (dataset / "images").mkdir()
    (dataset / "Menpo-3D").rename(dataset / "images/Menpo-3D")
    assert len(samples(dataset, "menpo_3d")) == 1


def test_a_face_that_cannot_be_used_is_rejected(tmp_path: Path) -> None:
    folder = tmp_path / "Menpo-3D"
    add(tmp_path, "Menpo-3D/good")
    write_t7(folder / "no_image.t7", face())
    write_image(folder / "no_label.jpg")
    bad: dict[str, NDArray[np.float64]] = {
        "shape": face()[:66],
        "nan": np.where(face() == face()[5], np.nan, face()),
        "point": np.full((68, 2), 5.0),
    }
    for name, points in bad.items():
        write_image(folder / f"{name}.jpg")
        write_t7(folder / f"{name}.t7", points)
    write_image(folder / "damaged.jpg")
    (folder / "damaged.t7").write_bytes(b"\x04\x00\x00\x00nothing of the kind")
    (folder / "empty.jpg").touch()
    write_t7(folder / "empty.t7", face())
    items = list(ls3dw.read(tmp_path, "menpo_3d"))
    reasons = {item.name.split("/")[1]: item.reason for item in items if isinstance(item, Rejection)}
    assert [item.name for item in items if isinstance(item, FaceSample)] == ["Menpo-3D/good"]
    assert "no_image.t7: found no image beside it" in reasons["no_image"]
    assert "no_label.jpg: found no .t7 beside it" in reasons["no_label"]
    assert "shape.t7: found a tensor of shape (66, 2), expected a tensor of shape (68, 2)" in reasons["shape"]
    assert "nan.t7: landmarks: found NaN" in reasons["nan"]
    assert "point.t7: box: found" in reasons["point"]
    assert "damaged.t7: found" in reasons["damaged"]
    assert "empty.jpg: found an empty file" in reasons["empty"]


def test_a_dataset_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="found nothing there, expected a folder"):
        ls3dw.read(tmp_path / "none")
    with pytest.raises(InputError, match=r"subset: found 'menpo', expected one of train, menpo_3d"):
        ls3dw.read(tmp_path, "menpo")
    (tmp_path / "AFLW2000").mkdir()
    with pytest.raises(InputError, match=r"found AFLW2000, expected Menpo-3D"):
        ls3dw.read(tmp_path, "menpo_3d")
    (tmp_path / "Menpo-3D").mkdir()
    with pytest.raises(InputError, match=r"Menpo-3D: found neither images nor \.t7 files"):
        ls3dw.read(tmp_path, "menpo_3d")


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("offset", [0, 11])
def test_t7_round_trip(tmp_path: Path, dtype: str, offset: int) -> None:
    points = face(depth=True).astype(dtype)
    np.testing.assert_array_equal(ls3dw.read_t7(write_t7(tmp_path / "a.t7", points, offset)), points)


def test_a_t7_file_cut_short_is_named(tmp_path: Path) -> None:
    path = write_t7(tmp_path / "a.t7", face().astype(np.float32))
    whole = path.read_bytes()
    for size in range(0, len(whole), 13):
        path.write_bytes(whole[:size])
        with pytest.raises(InputError, match=r"a\.t7: found"):
            ls3dw.read_t7(path)
