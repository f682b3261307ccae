from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pipelines.datasets import w300lp
from pipelines.datasets.samples import FaceSample, Rejection
from tests.builders import face, write_300w_lp, write_image, write_mat
from tf_dhm.core.errors import InputError
from tf_dhm.face.geometry import MIRROR_68


def samples(*args: object, **keywords: object) -> list[FaceSample]:
    items = list(w300lp.read(*args, **keywords))  # type: ignore[arg-type]
    assert all(isinstance(item, FaceSample) for item in items), items
    return [item for item in items if isinstance(item, FaceSample)]


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    """Two variants of a photo in AFW, mirrored too, and one each in the other sets."""
    for seed, (folder, stem) in enumerate(
        [
            ("AFW", "AFW_134212_1_0"),
            ("AFW", "AFW_134212_1_16"),
            ("AFW_Flip", "AFW_134212_1_0"),
            ("AFW_Flip", "AFW_134212_1_16"),
            ("HELEN", "HELEN_10405146_1_0"),
            ("IBUG", "IBUG_image_003_1_0"),
            ("LFPW", "LFPW_image_train_0047_4"),
        ]
    ):
        write_300w_lp(tmp_path, folder, stem, face(seed))
    (tmp_path / "Code").mkdir()
    return tmp_path


def test_landmarks_are_0_based_without_depth(dataset: Path) -> None:
    found = samples(dataset)
    assert [s.name for s in found] == [
        "AFW/AFW_134212_1_0",
        "AFW/AFW_134212_1_16",
        "HELEN/HELEN_10405146_1_0",
        "IBUG/IBUG_image_003_1_0",
        "LFPW/LFPW_image_train_0047_4",
    ]
    for sample, seed in zip(found, (0, 1, 4, 5, 6), strict=True):
        np.testing.assert_array_equal(sample.landmarks[:, :2], face(seed))
        assert np.isnan(sample.landmarks[:, 2]).all()
        np.testing.assert_allclose(sample.pose, np.degrees([0.1, -0.5, 0.2]), atol=1e-5)
        assert sample.read_image() == (dataset / f"{sample.name}.jpg").read_bytes()
    visible = samples(dataset, landmarks="pts_2d")
    np.testing.assert_array_equal(visible[0].landmarks[:, :2], face(0) + 2.0)


def test_mirrored_images_mirror_the_landmarks(dataset: Path) -> None:
    found = samples(dataset, flipped=True)
    assert [s.name for s in found[-2:]] == ["AFW_Flip/AFW_134212_1_0", "AFW_Flip/AFW_134212_1_16"]
    straight, mirrored = found[0].landmarks, found[-2].landmarks
    # The image is 90 pixels wide: pixel 0 becomes 89.
    np.testing.assert_array_equal(mirrored[:, 0], 89.0 - straight[MIRROR_68, 0])
    np.testing.assert_array_equal(mirrored[:, 1], straight[MIRROR_68, 1])
    assert {s.group for s in found if "AFW" in s.name} == {"AFW_134212"}


def test_landmarks_of_mirrored_images_are_read_where_there_are_some(dataset: Path) -> None:
    for stem in ("AFW_134212_1_0", "AFW_134212_1_16"):
        write_mat(dataset / "landmarks/AFW_Flip" / f"{stem}_pts.mat", pts_3d=face(20) + 1.0)
    np.testing.assert_array_equal(samples(dataset, flipped=True)[-1].landmarks[:, :2], face(20))


@pytest.mark.parametrize(
    ("name", "photo"),
    [
        ("AFW_134212_1_0", "AFW_134212"),
        ("AFW_134212_2_16", "AFW_134212"),
        ("HELEN_100032540_1_3", "HELEN_100032540"),
        ("IBUG_image_115_02_7", "IBUG_image_115"),
        ("LFPW_image_test_0001_0", "LFPW_image_test_0001"),
        ("LFPW_image_test_0012_12", "LFPW_image_test_0012"),
    ],
)
def test_base_photo(name: str, photo: str) -> None:
    assert w300lp.base_photo(name) == photo


def test_variants_stay_on_one_side_of_the_split(tmp_path: Path) -> None:
    for photo in range(40):
        for variant in range(2):
            for folder in ("LFPW", "LFPW_Flip"):
                write_300w_lp(tmp_path, folder, f"LFPW_image_train_{photo:04d}_{variant}")
    by_photo: dict[str, set[str]] = {}
    for sample in samples(tmp_path, flipped=True):
        by_photo.setdefault(sample.group, set()).add(sample.split)
    assert len(by_photo) == 40
    assert {len(splits) for splits in by_photo.values()} == {1}
    assert {split for splits in by_photo.values() for split in splits} == {"train", "val"}


def test_a_face_that_cannot_be_used_is_rejected(dataset: Path) -> None:
    def stem(variant: int) -> str:
        return f"AFW_1_1_{variant}"

    for variant in range(1, 8):
        write_300w_lp(dataset, "AFW", stem(variant))
    pts = dataset / "landmarks/AFW"
    write_mat(pts / f"{stem(1)}_pts.mat", pts_2d=face())
    write_mat(pts / f"{stem(2)}_pts.mat", pts_3d=face()[:66])
    write_mat(pts / f"{stem(3)}_pts.mat", pts_3d=np.full((68, 2), np.nan))
    (pts / f"{stem(4)}_pts.mat").unlink()
    (pts / f"{stem(5)}_pts.mat").write_bytes(b"damaged")
    write_300w_lp(dataset, "AFW", stem(6), Pose_Para=None)
    (dataset / "AFW" / f"{stem(7)}.jpg").unlink()
    write_image(dataset / "AFW" / f"{stem(8)}.jpg")
    items = list(w300lp.read(dataset))
    reasons = {int(item.name[-1]): item.reason for item in items if isinstance(item, Rejection)}
    assert len([item for item in items if isinstance(item, FaceSample)]) == 5
    assert "AFW_1_1_1_pts.mat: found fields pts_2d, expected also pts_3d" in reasons[1]
    assert "AFW_1_1_2_pts.mat: pts_3d: found float64 of shape (66, 2)" in reasons[2]
    assert "AFW_1_1_3_pts.mat: pts_3d: found NaN" in reasons[3]
    assert "AFW_1_1_4_pts.mat: found no such file" in reasons[4]
    assert "AFW_1_1_5_pts.mat: found" in reasons[5]
    assert "AFW_1_1_6.mat: found fields" in reasons[6]
    assert "AFW_1_1_7.mat: found no image beside it" in reasons[7]
    assert "AFW_1_1_8.jpg: found no .mat beside it" in reasons[8]


def test_an_unreadable_mirrored_image_is_rejected(dataset: Path) -> None:
    (dataset / "AFW_Flip/AFW_134212_1_0.jpg").write_bytes(b"damaged")
    rejection = list(w300lp.read(dataset, flipped=True))[-2]
    assert isinstance(rejection, Rejection)
    assert "AFW_134212_1_0.jpg: found" in rejection.reason


def test_a_dataset_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="found nothing there, expected a folder with 300W-LP's sets AFW"):
        w300lp.read(tmp_path / "none")
    with pytest.raises(InputError, match="landmarks: found 'pt2d', expected pts_3d or pts_2d"):
        w300lp.read(tmp_path, landmarks="pt2d")  # type: ignore[arg-type]
    (tmp_path / "300W_LP").mkdir()
    with pytest.raises(InputError, match="found 300W_LP, expected folders AFW, HELEN, IBUG, LFPW"):
        w300lp.read(tmp_path)
    (tmp_path / "AFW").mkdir()
    with pytest.raises(
        InputError, match=r"landmarks: found nothing there, expected a folder with 300W-LP's _pts"
    ):
        w300lp.read(tmp_path)
    (tmp_path / "landmarks").mkdir()
    with pytest.raises(InputError, match=r"AFW: found neither images nor \.mat files"):
        w300lp.read(tmp_path)
