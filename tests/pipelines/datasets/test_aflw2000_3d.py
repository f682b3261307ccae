from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from pipelines.datasets import aflw2000_3d
from pipelines.datasets.samples import FaceSample, Rejection
from tests.builders import face, pose_para, write_aflw2000, write_image, write_t7
from tf_dhm.core.errors import InputError
from tf_dhm.face.geometry import box_size, landmark_box

STEMS = ["image00002", "image00004", "image00006"]


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    """Three images; the landmarks of the i-th are face(i)."""
    for i, stem in enumerate(STEMS):
        write_aflw2000(tmp_path / "AFLW2000", stem, face(i, depth=True))
    return tmp_path / "AFLW2000"


def new_labels() -> NDArray[np.float32]:
    """(3, 68, 2): the re-annotation of the three images."""
    return np.stack([face(10 + i) for i in range(3)]).astype(np.float32)


def samples(*args: object, **keywords: object) -> list[FaceSample]:
    items = list(aflw2000_3d.read(*args, **keywords))  # type: ignore[arg-type]
    assert all(isinstance(item, FaceSample) for item in items), items
    return [item for item in items if isinstance(item, FaceSample)]


def test_original_labels_are_0_based_with_depth(dataset: Path) -> None:
    found = samples(dataset)
    assert [s.name for s in found] == STEMS
    for i, sample in enumerate(found):
        np.testing.assert_array_equal(sample.landmarks, face(i, depth=True))
        assert sample.landmarks.dtype == np.float32
        assert (sample.split, sample.group) == ("test", sample.name)
        np.testing.assert_allclose(sample.pose, np.degrees([0.1, -0.5, 0.2]), atol=1e-5)
        assert sample.read_image() == (dataset / f"{sample.name}.jpg").read_bytes()


def test_angles_are_wrapped_on_request(dataset: Path) -> None:
    write_aflw2000(dataset, STEMS[0], Pose_Para=pose_para(-13.0, -6.13, 4.0))
    np.testing.assert_allclose(samples(dataset)[0].pose, [-24.845, 8.777, -130.817], atol=1e-3)
    np.testing.assert_allclose(
        samples(dataset, wrap_pose=False)[0].pose, [-744.845, -351.223, 229.183], atol=1e-3
    )


@pytest.mark.parametrize("form", ["npz", "npz with suffixes", "npy", "npy transposed", "t7", "ls3dw"])
def test_other_labels_replace_x_and_y(dataset: Path, tmp_path: Path, form: str) -> None:
    labels = tmp_path / "labels"
    labels.mkdir()
    # The order of the file is not that of the images.
    order, points = [2, 0, 1], new_labels()
    if form.startswith("npz"):
        path = labels / "reannotated.npz"
        suffix = ".jpg" if "suffixes" in form else ""
        np.savez(path, name=[STEMS[i] + suffix for i in order], landmarks=points[order])
    elif form.startswith("npy"):
        path = labels / "AFLW2000-3D-Reannotated.pts68.npy"
        np.save(path, points[order].swapaxes(1, 2) if "transposed" in form else points[order])
        (labels / "AFLW2000-3D_crop.list").write_text("".join(f"{STEMS[i]}.jpg\n" for i in order))
    else:
        path = labels
        folder = labels if form == "t7" else labels / "AFLW2000-3D-Reannotated"
        for i, stem in enumerate(STEMS):
            write_t7(folder / f"{stem}.t7", points[i])
    for given in (path, str(path)):
        found = samples(dataset, given)
        assert [s.name for s in found] == STEMS
        np.testing.assert_array_equal(np.stack([s.landmarks[:, :2] for s in found]), points)
        assert np.isnan([s.landmarks[:, 2] for s in found]).all()
        np.testing.assert_allclose([s.pose[1] for s in found], np.degrees(-0.5), atol=1e-5)


@pytest.mark.parametrize(
    "place",
    [
        "3DDFA/test.configs/AFLW2000-3D-Reannotated.pts68.list",
        "3DDFA/test.configs/AFLW2000-3D-Reannotated.pts68.txt",
        "3DDFA/test.configs/AFLW2000-3D_crop.list",
        "3DDFA/test.data/AFLW2000-3D_crop.list",
        "AFLW2000/AFLW2000-3D_crop.list",
        "AFLW2000-3D_crop.list",
        "elsewhere/names.txt",
    ],
)
def test_the_list_of_an_array_is_found(dataset: Path, tmp_path: Path, place: str) -> None:
    path = tmp_path / "3DDFA/test.configs/AFLW2000-3D-Reannotated.pts68.npy"
    path.parent.mkdir(parents=True)
    np.save(path, new_labels())
    (tmp_path / place).parent.mkdir(exist_ok=True)
    (tmp_path / place).write_text("\n".join(f"{stem}.jpg" for stem in STEMS))
    names = tmp_path / place if place.startswith("elsewhere") else None
    found = samples(dataset, path, names=names)
    np.testing.assert_array_equal(found[2].landmarks[:, :2], new_labels()[2])


def test_an_image_without_a_label_is_rejected(dataset: Path, tmp_path: Path) -> None:
    np.savez(tmp_path / "some.npz", name=STEMS[:2], landmarks=new_labels()[:2])
    items = list(aflw2000_3d.read(dataset, tmp_path / "some.npz"))
    assert [type(item) for item in items] == [FaceSample, FaceSample, Rejection]
    assert isinstance(items[2], Rejection)
    assert items[2].name == STEMS[2]
    assert "some.npz: found no landmarks of image00006" in items[2].reason
    write_t7(tmp_path / "t7" / f"{STEMS[1]}.t7", face())
    reasons = [i.reason for i in aflw2000_3d.read(dataset, tmp_path / "t7") if isinstance(i, Rejection)]
    assert len(reasons) == 2
    assert "image00002.t7: found no such file" in reasons[0]


def test_a_face_that_cannot_be_used_is_rejected(tmp_path: Path) -> None:
    write_aflw2000(tmp_path, "good")
    write_aflw2000(tmp_path, "field", pt3d_68=None)
    write_aflw2000(tmp_path, "pose", Pose_Para=None)
    write_aflw2000(tmp_path, "shape", pt3d_68=np.ones((2, 68)))
    write_aflw2000(tmp_path, "nan", np.full((68, 3), np.nan))
    write_aflw2000(tmp_path, "point", np.ones((68, 3)))
    write_aflw2000(tmp_path, "damaged").write_bytes(b"damaged")
    write_aflw2000(tmp_path, "no_image")
    (tmp_path / "no_image.jpg").unlink()
    write_image(tmp_path / "no_mat.jpg")
    write_aflw2000(tmp_path, "empty")
    (tmp_path / "empty.jpg").write_bytes(b"")
    items = list(aflw2000_3d.read(tmp_path))
    reasons = {item.name: item.reason for item in items if isinstance(item, Rejection)}
    assert [item.name for item in items if isinstance(item, FaceSample)] == ["good"]
    assert "field.mat: found fields Exp_Para, Pose_Para" in reasons["field"]
    assert "expected also pt3d_68" in reasons["field"]
    assert "pose.mat: found fields" in reasons["pose"]
    assert "shape.mat: pt3d_68: found float64 of shape (2, 68)" in reasons["shape"]
    assert "nan.mat: pt3d_68: found NaN" in reasons["nan"]
    assert "point.mat: pt3d_68: box: found" in reasons["point"]
    assert "damaged.mat: found" in reasons["damaged"]
    assert "no_image.mat: found no image beside it" in reasons["no_image"]
    assert "no_mat.jpg: found no .mat beside it" in reasons["no_mat"]
    assert "empty.jpg: found an empty file" in reasons["empty"]


def test_a_dataset_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="found nothing there, expected a folder with AFLW2000-3D"):
        aflw2000_3d.read(tmp_path / "none")
    with pytest.raises(InputError, match=r"found an empty folder, expected imageNNNNN\.jpg"):
        aflw2000_3d.read(tmp_path)


def test_labels_that_cannot_be_used_are_an_error(dataset: Path, tmp_path: Path) -> None:
    def reject(path: Path, message: str) -> None:
        with pytest.raises(InputError, match=message):
            aflw2000_3d.read(dataset, path)

    points = new_labels()
    reject(tmp_path / "none.npz", r"none\.npz: found nothing there, expected 'original'")
    (tmp_path / "a.txt").touch()
    reject(tmp_path / "a.txt", r"found suffix '\.txt'")
    (tmp_path / "damaged.npz").write_bytes(b"damaged")
    reject(tmp_path / "damaged.npz", r"damaged\.npz: found .*expected a file of NumPy arrays")
    np.savez(tmp_path / "field.npz", name=STEMS)
    reject(tmp_path / "field.npz", "found fields name, expected also landmarks")
    np.savez(tmp_path / "shape.npz", name=STEMS, landmarks=points[:, :66])
    reject(tmp_path / "shape.npz", r"found landmarks float32 \(3, 66, 2\), expected floats \(N, 68, 2\)")
    np.savez(tmp_path / "count.npz", name=STEMS[:2], landmarks=points)
    reject(tmp_path / "count.npz", "found 2 names, expected 3")
    np.savez(tmp_path / "twice.npz", name=[*STEMS[:2], STEMS[0]], landmarks=points)
    reject(tmp_path / "twice.npz", "found image00002 more than once")
    np.savez(tmp_path / "other.npz", name=["a", "b", "c"], landmarks=points)
    reject(tmp_path / "other.npz", "found labels of a, b, c, expected names of .*, as image00002")
    np.save(tmp_path / "alone.npy", points)
    reject(tmp_path / "alone.npy", "found no list of its image names, expected one of .*AFLW2000-3D_crop")
    (tmp_path / "alone.list").write_text("image00002.jpg\n")
    reject(tmp_path / "alone.npy", r"alone\.list: found 1 names, expected 3")
    (tmp_path / "folder").mkdir()
    reject(tmp_path / "folder", r"folder: found an empty folder, expected AFLW2000-3D-Reannotated")
    (tmp_path / "folder/AFLW2000-3D-Reannotated").mkdir()
    reject(tmp_path / "folder", r"Reannotated: found an empty folder, expected \.t7 files")


@pytest.fixture
def real_half() -> Path:
    if "TF_DHM_TEST_DATA" not in os.environ:
        pytest.skip("needs TF_DHM_TEST_DATA, a folder with aflw2000_3d_half")
    return Path(os.environ["TF_DHM_TEST_DATA"]) / "aflw2000_3d_half"


def test_the_real_half(real_half: Path) -> None:
    """1,000 of the 2,000 faces; the numbers were computed apart from this reader."""
    original = samples(real_half, wrap_pose=False)
    reannotated = samples(real_half, real_half / "reannotated_pts68.npz", wrap_pose=False)
    assert len(original) == 1000
    assert [s.name for s in original] == [s.name for s in reannotated]
    yaw = np.abs([s.pose[1] for s in original])
    bins = [yaw <= 30, (yaw > 30) & (yaw <= 60), yaw > 60]
    assert [int(inside.sum()) for inside in bins] == [656, 191, 153]
    truth = np.stack([s.landmarks for s in original])
    other = np.stack([s.landmarks for s in reannotated])
    assert np.isfinite(truth).all()
    distance = np.linalg.norm(other[..., :2] - truth[..., :2], axis=-1).mean(-1)
    nme = 100.0 * distance / box_size(landmark_box(truth))
    assert np.mean([nme[inside].mean() for inside in bins]) == pytest.approx(3.31, abs=0.005)
    # One yaw of -351 degrees is 9 degrees.
    wrapped = np.abs([s.pose[1] for s in samples(real_half)])
    assert int((wrapped <= 30).sum()) == 657
    assert wrapped.max() <= 180.0
    assert original[0].read_image()[:2] == b"\xff\xd8"
