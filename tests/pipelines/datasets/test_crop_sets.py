from __future__ import annotations

import io
import os
import tarfile
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from pipelines.datasets import crop_sets
from pipelines.datasets.readers import read_dataset
from pipelines.datasets.samples import FaceSample, Rejection
from pipelines.prepared import records
from pipelines.prepared.config import StoreConfig
from tests.builders import face
from tests.made_faces import encode
from tf_dhm.core.errors import InputError
from tf_dhm.runtime.images import decode_raster

AFLW = ["image00004", "image00007", "image00012", "image00020", "image00031"]
AFW_HELEN = ["afw_1051618982_1", "helen_232194_1"]


def write_tar(path: Path, images: dict[str, bytes]) -> None:
    with tarfile.open(path, "w") as archive:
        for name, content in images.items():
            member = tarfile.TarInfo(f"{name}.jpg")
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))


def jpeg(shade: int, side: int) -> bytes:
    return encode(np.full((side, side, 3), shade, np.uint8), ".jpg")


def aflw_labels() -> dict[str, NDArray[Any]]:
    count = len(AFLW)
    return {
        "name": np.array(AFLW),
        "landmarks": np.stack([face(i, depth=True) for i in range(count)]).astype(np.float32),
        "visibility": np.stack([np.full(68, v, np.uint8) for v in (0, 1, 2, 255, 2)]),
        "pose": np.array([[i, 10.0 * i, -i] for i in range(count)], np.float32),
        "source": np.array(["merl", "aflw21", "merl", "merl", "aflw21"]),
        "split": np.array(["train", "val", "train", "train", "val"]),
    }


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    """Both parts as distributed: shard k holds every second face from the k-th on."""
    folder = tmp_path / "wild68"
    folder.mkdir()
    for shard in range(2):
        write_tar(folder / f"aflw-{shard}.tar", {AFLW[i]: jpeg(40 * i, 120) for i in range(shard, 5, 2)})
    np.savez(folder / "aflw_labels.npz", **aflw_labels())
    write_tar(folder / "afw_helen.tar", {name: jpeg(200 + i, 192) for i, name in enumerate(AFW_HELEN)})
    landmarks = np.stack([face(i, depth=True) for i in (8, 9)])
    pose = np.ones((2, 3), np.float32)
    np.savez(folder / "afw_helen_labels.npz", name=AFW_HELEN, landmarks=landmarks, pose=pose)
    return folder


def read_faces(folder: Path) -> list[FaceSample]:
    items = list(crop_sets.read_wild68(folder))
    assert not [item for item in items if isinstance(item, Rejection)]
    return [item for item in items if isinstance(item, FaceSample)]


def test_both_parts_in_the_order_of_their_labels(data_dir: Path) -> None:
    faces = read_faces(data_dir)
    assert [f.name for f in faces] == [f"aflw/{n}" for n in AFLW] + [f"afw_helen/{n}" for n in AFW_HELEN]
    assert [f.split for f in faces] == ["train", "val", "train", "train", "val", "train", "train"]
    assert [int(f.visibility[0]) for f in faces] == [0, 1, 2, 255, 2, 255, 255]
    assert len({f.group for f in faces}) == 7
    for i, f in enumerate(faces[:5]):
        assert f.landmarks.dtype == np.float32
        assert np.array_equal(f.landmarks, face(i, depth=True))
        assert f.pose.tolist() == [i, 10.0 * i, -i]
    assert np.array_equal(faces[6].landmarks, face(9, depth=True))


def test_each_face_has_its_own_image(data_dir: Path) -> None:
    images = [decode_raster(f.read_image(), f.name) for f in read_faces(data_dir)]
    assert [image.shape for image in images] == [(120, 120, 3)] * 5 + [(192, 192, 3)] * 2
    assert [int(image[60, 60, 0]) for image in images] == [0, 40, 80, 120, 160, 200, 201]


def test_a_part_may_be_missing(data_dir: Path) -> None:
    (data_dir / "aflw_labels.npz").unlink()
    assert [f.name for f in read_faces(data_dir)] == [f"afw_helen/{n}" for n in AFW_HELEN]


def test_faces_of_a_missing_shard_are_rejected(data_dir: Path) -> None:
    (data_dir / "aflw-1.tar").unlink()
    items = list(crop_sets.read_wild68(data_dir))
    rejected = [item for item in items if isinstance(item, Rejection)]
    assert [r.name for r in rejected] == [f"aflw/{AFLW[1]}", f"aflw/{AFLW[3]}"]
    assert rejected[0].reason == f"{data_dir}: no {AFLW[1]}.jpg in any aflw*.tar"
    assert len(items) == 7


def test_unusable_landmarks_are_rejected(data_dir: Path) -> None:
    labels = aflw_labels()
    labels["landmarks"][2, 30, 1] = np.nan
    np.savez(data_dir / "aflw_labels.npz", **labels)
    rejected = [item for item in crop_sets.read_wild68(data_dir) if isinstance(item, Rejection)]
    assert [r.name for r in rejected] == [f"aflw/{AFLW[2]}"]
    assert "found NaN" in rejected[0].reason


@pytest.mark.parametrize("field", ["name", "landmarks", "pose"])
def test_a_missing_field_is_named(data_dir: Path, field: str) -> None:
    labels = {key: value for key, value in aflw_labels().items() if key != field}
    np.savez(data_dir / "aflw_labels.npz", **labels)
    with pytest.raises(InputError, match=rf"aflw_labels\.npz: found fields .*expected also \['{field}'\]"):
        list(crop_sets.read_wild68(data_dir))


def test_fields_of_unequal_lengths_are_named(data_dir: Path) -> None:
    labels = aflw_labels()
    np.savez(data_dir / "aflw_labels.npz", **{**labels, "pose": labels["pose"][:3]})
    with pytest.raises(InputError, match=r"aflw_labels\.npz: found fields of lengths .*'pose': 3"):
        list(crop_sets.read_wild68(data_dir))


def test_no_shard_of_a_part(data_dir: Path) -> None:
    (data_dir / "afw_helen.tar").unlink()
    with pytest.raises(InputError, match=r"found afw_helen_labels\.npz but no afw_helen\*\.tar"):
        list(crop_sets.read_wild68(data_dir))


def test_no_label_file_and_no_folder(data_dir: Path) -> None:
    for path in data_dir.glob("*.npz"):
        path.unlink()
    with pytest.raises(InputError, match=r"found none of .*afw_helen_labels"):
        list(crop_sets.read_wild68(data_dir))
    with pytest.raises(InputError, match=r"none: found nothing there, expected a folder with wild68's label"):
        list(crop_sets.read_wild68(data_dir / "none"))


@pytest.mark.parametrize("content", [b"", b"no archive", b"PK\x03\x04 cut off"])
def test_a_damaged_label_file_is_named(data_dir: Path, content: bytes) -> None:
    (data_dir / "aflw_labels.npz").write_bytes(content)
    with pytest.raises(InputError, match=r"aflw_labels\.npz: found .*expected an npz file"):
        list(crop_sets.read_wild68(data_dir))


def test_a_damaged_shard_is_named(data_dir: Path) -> None:
    (data_dir / "aflw-0.tar").write_bytes(b"no archive" * 100)
    with pytest.raises(InputError, match=r"aflw-0\.tar: found .*expected a tar file"):
        list(crop_sets.read_wild68(data_dir))


def test_a_shard_cut_off_while_it_is_read(data_dir: Path) -> None:
    last = next(item for item in crop_sets.read_wild68(data_dir) if item.name == f"aflw/{AFLW[4]}")
    assert isinstance(last, FaceSample)
    shard = data_dir / "aflw-0.tar"
    whole = shard.read_bytes()
    shard.write_bytes(whole[: whole.rindex(b"\xff\xd9")])
    with pytest.raises(InputError, match=r"aflw-0\.tar: found its end at byte"):
        last.read_image()


def test_a_field_of_another_shape_is_named(data_dir: Path) -> None:
    np.savez(data_dir / "aflw_labels.npz", **aflw_labels(), label_sigma=np.ones((5, 21)))
    with pytest.raises(InputError, match=r"aflw_labels\.npz: label_sigma: .*\(5, 21\)"):
        list(crop_sets.read_wild68(data_dir))


def test_suspect_faces_are_rejected_and_further_fields_are_read(data_dir: Path) -> None:
    sigma, manual = np.full((5, 68), 0.5, np.float32), np.full((5, 68, 2), np.nan, np.float32)
    sigma[3, 7], manual[3, 7] = 2.0, (41.0, 52.0)
    suspect = np.array([False, True, False, False, False])
    np.savez(data_dir / "aflw_labels.npz", **aflw_labels(), label_sigma=sigma, manual=manual, suspect=suspect)
    items = list(crop_sets.read_wild68(data_dir))
    rejected = [item for item in items if isinstance(item, Rejection)]
    assert [item.name for item in rejected] == [f"aflw/{AFLW[1]}"]
    assert "suspect" in rejected[0].reason
    third = next(item for item in items if item.name == f"aflw/{AFLW[3]}")
    assert isinstance(third, FaceSample)
    assert third.sigma[[6, 7]].tolist() == [0.5, 2.0]
    assert third.manual[7].tolist() == [41.0, 52.0]
    assert np.isnan(third.manual[8]).all()
    last = items[-1]  # AFW and HELEN have none of the fields here
    assert isinstance(last, FaceSample)
    assert np.isnan(last.sigma).all()
    assert np.isnan(last.manual).all()


def write_set(folder: Path, photo: tuple[int, int, int, int]) -> Path:
    """A set of one face: a grey photo inside a black border, with the rectangle of the photo."""
    folder.mkdir()
    image = np.zeros((120, 120, 3), np.uint8)
    image[10:110, 30:120] = 180
    write_tar(folder / "cfp.tar", {"cfp_001": encode(image, ".png")})
    np.savez(
        folder / "cfp_labels.npz",
        name=["cfp_001"],
        landmarks=face(0, depth=True)[None],
        pose=np.zeros((1, 3), np.float32),
        label_sigma=np.full((1, 68), 1.5, np.float32),
        split=["val"],
        photo=np.array([photo], np.int16),
    )
    return folder


def test_the_black_border_of_a_set_is_mirrored_when_it_is_stored(tmp_path: Path) -> None:
    folder = write_set(tmp_path / "cfp", (30, 10, 120, 110))
    (sample,) = read_dataset("cfp", folder)
    assert isinstance(sample, FaceSample)
    assert (sample.name, sample.split, sample.photo) == ("cfp/cfp_001", "val", (30, 10, 120, 110))
    store = StoreConfig(crop_side=512, margin=1.0)  # whole pixels: nothing is reduced
    canvas, landmarks, sigma = stored_face(sample, store)
    assert canvas.min() > 150  # no black is left
    assert np.allclose(np.ptp(landmarks, 0), np.ptp(sample.landmarks, 0), atol=1e-4)
    assert np.allclose(sigma, 1.5)
    # Reduced to half the size, its uncertainty is reduced with it.
    side = float(np.sqrt(2.0) * np.ptp(sample.landmarks[:, :2], 0).max())
    small = StoreConfig(crop_side=round(side / 2.0), margin=1.0)
    assert np.allclose(stored_face(sample, small)[2], 0.75, rtol=0.05)


def stored_face(
    sample: FaceSample, store: StoreConfig
) -> tuple[NDArray[np.uint8], NDArray[np.float32], NDArray[np.float32]]:
    features = records.parse_record(records.encode_record(sample, store), "record")
    landmarks = np.frombuffer(features["landmarks"], "<f4").reshape(68, 3)
    return decode_raster(features["image"], "stored"), landmarks, np.frombuffer(features["sigma"], "<f4")


def test_a_photo_without_area_is_rejected(tmp_path: Path) -> None:
    (item,) = read_dataset("cfp", write_set(tmp_path / "cfp", (30, 10, 30, 110)))
    assert isinstance(item, Rejection)
    assert "photo" in item.reason


def test_a_set_without_its_labels(tmp_path: Path) -> None:
    folder = write_set(tmp_path / "cfp", (0, 0, 120, 120))
    with pytest.raises(InputError, match=r"expected lfpw_labels\.npz"):
        list(read_dataset("lfpw", folder))


needs_data = pytest.mark.skipif("TF_DHM_TEST_DATA" not in os.environ, reason="needs TF_DHM_TEST_DATA")


@needs_data
def test_the_whole_of_wild68() -> None:
    items = list(crop_sets.read_wild68(Path(os.environ["TF_DHM_TEST_DATA"]) / "wild68"))
    faces = [item for item in items if isinstance(item, FaceSample)]
    assert len(items) == 20_451
    assert len(faces) == 20_451 - 146
    assert Counter(f.split for f in faces) == {"train": 19_315, "val": 990}
    assert Counter(f.name.partition("/")[0] for f in faces) == {"aflw": 18_779, "afw_helen": 1_526}
    assert sum(bool(np.isfinite(f.manual).any()) for f in faces) > 12_000
    assert all(np.isfinite(f.sigma).all() for f in faces)
    for i, side in ((0, 120), (18_778, 120), (18_779, 192), (20_304, 192)):
        assert decode_raster(faces[i].read_image(), faces[i].name).shape == (side, side, 3)


@needs_data
@pytest.mark.parametrize(
    ("name", "splits", "side", "marked"),
    [
        ("cfp", {"train": 2_656, "val": 134}, 128, 1_590),
        ("lfpw", {"train": 922, "val": 49}, 192, 971),
        ("fairface", {"train": 3_414, "val": 186}, 128, 0),
    ],
)
def test_the_whole_of_an_added_set(name: str, splits: dict[str, int], side: int, marked: int) -> None:
    items = list(read_dataset(name, Path(os.environ["TF_DHM_TEST_DATA"]) / name))
    faces = [item for item in items if isinstance(item, FaceSample)]
    assert len(faces) == len(items)
    assert Counter(f.split for f in faces) == splits
    assert sum(bool(np.isfinite(f.manual).any()) for f in faces) == marked
    for f in faces[:: len(faces) // 20]:
        image = decode_raster(f.read_image(), f.name)
        assert image.shape == (side, side, 3)
        assert f.photo is not None
        x0, y0, x1, y1 = f.photo
        border = np.ones((side, side), bool)
        border[max(y0 - 4, 0) : y1 + 4, max(x0 - 4, 0) : x1 + 4] = False  # JPEG rings near the edge
        assert not border.any() or image[border].mean() < 8.0
