from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from pipelines.prepared import arrays, records
from pipelines.prepared.config import DATASET_FILE, StoreConfig
from pipelines.prepared.prepare import prepare
from tests.made_faces import encode, made_sample, mean_face, smooth_image
from tf_dhm.core.errors import InputError
from tf_dhm.face import geometry
from tf_dhm.runtime.images import decode_raster

SMALL = StoreConfig(crop_side=32, shard_size=3)


def square_face(left: float, top: float, side: float) -> np.ndarray:
    """Landmarks with the box (left, top, left + side, top + side), z = 4."""
    points = np.full((68, 3), [left, top, 4.0], np.float32)
    points[34:, :2] += side
    return points


@pytest.fixture
def prepared(tmp_path: Path) -> Path:
    """Eight faces, the third and the last of which are val."""
    splits = ["train", "train", "val", "train", "train", "train", "train", "val"]
    samples = [made_sample(i, split=s, yaw=10.0 * i) for i, s in enumerate(splits)]  # type: ignore[arg-type]
    prepare("made", samples, tmp_path / "made", SMALL)
    return tmp_path / "made"


class TestDecodeImage:
    def test_is_rgb(self) -> None:
        image = np.zeros((4, 5, 3), np.uint8)
        image[..., 0] = 255
        assert decode_raster(encode(image), "red")[0, 0].tolist() == [255, 0, 0]

    def test_orientation_is_not_applied(self, tmp_path: Path) -> None:
        # Landmarks refer to the stored raster: 30 wide, whatever the tag (6: turn by 90 degrees) says.
        exif = Image.Exif()
        exif[0x0112] = 6
        Image.new("RGB", (30, 20)).save(tmp_path / "a.jpg", exif=exif)
        assert decode_raster((tmp_path / "a.jpg").read_bytes(), "a").shape == (20, 30, 3)

    def test_grey_becomes_rgb(self) -> None:
        encoded = cv2.imencode(".png", np.full((3, 4), 9, np.uint8))[1].tobytes()
        assert decode_raster(encoded, "grey").tolist() == np.full((3, 4, 3), 9).tolist()

    @pytest.mark.parametrize("suffix", [".jpg", ".png"])
    def test_a_cut_off_image_is_rejected(self, suffix: str) -> None:
        encoded = encode(smooth_image(0, 60, 60), suffix)
        with pytest.raises(InputError, match=r"face: found \d+ bytes that do not decode"):
            decode_raster(encoded[: len(encoded) * 9 // 10], "face")

    @pytest.mark.parametrize("content", [b"", b"no image"])
    def test_no_image(self, content: bytes) -> None:
        with pytest.raises(InputError, match=f"face: found {len(content)} bytes that do not decode"):
            decode_raster(content, "face")

    def test_a_size_that_nothing_could_hold(self) -> None:
        header = b"P6 60000 60000 255\n"  # PPM, whose header is its size
        with pytest.raises(InputError, match="face: found"):
            decode_raster(header + b"0", "face")


class TestCutFace:
    config = StoreConfig(crop_side=32, margin=1.25)  # canvas 40

    def test_a_small_face_keeps_its_pixels(self) -> None:
        # Box (30, 40, 50, 60), centre (40, 50), crop 28.3 <= 32: pixels [20, 60) x [30, 70).
        image = smooth_image(0, 100, 90)
        canvas, points = records.cut_face(image, square_face(30, 40, 20), self.config)
        assert np.array_equal(canvas, image[30:70, 20:60])
        assert points.dtype == np.float32
        assert points[0].tolist() == [10.0, 10.0, 4.0]
        assert points[67].tolist() == [30.0, 30.0, 4.0]

    def test_a_large_face_is_reduced(self) -> None:
        # Box side 45.25 -> crop 64.0 -> half the size: an 80 x 60 image becomes 40 x 30, pixel p
        # becomes (p + 0.5) / 2 - 0.5, each of the new pixels the mean of four.
        side = 64.0 / geometry.CROP_SCALE
        image = smooth_image(1, 80, 60)
        landmarks = square_face(40 - side / 2, 30 - side / 2, side)
        canvas, points = records.cut_face(image, landmarks, self.config)
        half = image.reshape(30, 2, 40, 2, 3).mean((1, 3))
        # Its centre (40, 30) becomes (19.75, 14.75), so the canvas is pixels [0, 40) x [-5, 35).
        assert np.abs(canvas[5:35] - half).max() <= 0.5
        expected = (40 - side / 2 + 0.5) / 2 - 0.5, (30 - side / 2 + 0.5) / 2 - 0.5 + 5, 2.0
        assert points[0].tolist() == pytest.approx(expected, abs=1e-4)

    def test_beyond_the_borders_the_photo_is_mirrored(self) -> None:
        # Centre (10, 12): pixels [-10, 30) x [-8, 32) of a 60 x 50 image.
        image = smooth_image(2, 60, 50)
        canvas, points = records.cut_face(image, square_face(0, 2, 20), self.config)
        assert np.array_equal(canvas[8:, 10:], image[:32, :30])
        for k in range(1, 11):  # about the outermost pixel, which is not repeated
            assert np.array_equal(canvas[8:, 10 - k], image[:32, k])
        for k in range(1, 9):
            assert np.array_equal(canvas[8 - k, 10:], image[k, :30])
        assert points[0].tolist() == [10.0, 10.0, 4.0]

    def test_an_image_smaller_than_its_margin(self) -> None:
        image = smooth_image(3, 5, 4)
        canvas, _ = records.cut_face(image, square_face(-8, -8, 20), self.config)
        assert canvas.shape == (40, 40, 3)
        assert {tuple(p) for p in canvas.reshape(-1, 3)} <= {tuple(p) for p in image.reshape(-1, 3)}

    def test_unknown_depth_stays_unknown(self) -> None:
        for side in (20, 50):
            landmarks = square_face(10, 10, side)
            landmarks[:, 2] = np.nan
            _, points = records.cut_face(smooth_image(0, 80, 80), landmarks, self.config)
            assert np.isnan(points[:, 2]).all()
            assert np.isfinite(points[:, :2]).all()

    @pytest.mark.parametrize(("index", "value"), [(0, 1e6), (1, -1e6), (0, 1e4), (1, 3e3)])
    def test_a_point_far_away_is_rejected(self, index: int, value: float) -> None:
        landmarks = square_face(10, 10, 20)
        landmarks[5, index] = value
        with pytest.raises(
            InputError, match=r"landmarks: found the box .*, of whose crop the image covers 0"
        ):
            records.cut_face(smooth_image(0, 60, 50), landmarks, self.config)

    def test_a_tiny_photo_is_accepted(self) -> None:
        canvas, _ = records.cut_face(smooth_image(0, 9, 9), square_face(2, 2, 5), self.config)
        assert canvas.shape == (self.config.canvas, self.config.canvas, 3)

    @pytest.mark.parametrize(("left", "top"), [(-21, 10), (60, 10), (10, -21), (10, 50)])
    def test_a_face_outside_of_the_image_is_rejected(self, left: float, top: float) -> None:
        with pytest.raises(InputError, match=r"landmarks: found the box .* outside of the 60 x 50 image"):
            records.cut_face(smooth_image(0, 60, 50), square_face(left, top, 20), self.config)

    def test_a_face_partly_outside_is_not(self) -> None:
        records.cut_face(smooth_image(0, 60, 50), square_face(-19, 49, 20), self.config)

    @settings(max_examples=30)
    @given(x=st.floats(5, 75), y=st.floats(5, 55), side=st.floats(8, 200), width=st.integers(40, 90))
    def test_landmarks_stay_on_their_pixels(self, x: float, y: float, side: float, width: int) -> None:
        # The picture's red is its own x, green its y, so a pixel shows its origin.
        ramp = np.zeros((70, width, 3), np.uint8)
        ramp[..., 0], ramp[..., 1] = 2 * np.arange(width), 3 * np.arange(70)[:, None]
        landmarks = mean_face(min(x, width - 1), y, side)
        canvas, points = records.cut_face(ramp, landmarks, self.config)
        assert canvas.shape == (40, 40, 3)
        low, high = points[:, :2].min(0), points[:, :2].max(0)
        assert np.abs((low + high) / 2 - 19.5).max() <= 1.0
        # A pixel stands for `ratio` of the photo's, so rounding costs `ratio` steps of the ramp.
        ratio = max(1.0, geometry.crop_square(geometry.landmark_box(landmarks))[2] / 32)
        sampled = cv2.remap(canvas, points[:, None, :2], None, cv2.INTER_LINEAR)[:, 0].astype(float)  # type: ignore[call-overload]
        inside = (
            (landmarks[:, :2] > 2 * ratio) & (landmarks[:, :2] < [width - 1 - 2 * ratio, 69 - 2 * ratio])
        ).all(1)
        inside &= ((points[:, :2] >= 0) & (points[:, :2] <= 39)).all(1)
        found = sampled[inside, :2] / [2.0, 3.0]
        assert np.abs(found - landmarks[inside, :2]).max(initial=0.0) < 0.6


class TestReadSamples:
    def test_faces_as_they_are_stored(self, prepared: Path) -> None:
        faces = records.load(prepared, "val")
        samples = list(records.read_samples(prepared, "val"))
        assert [sample.name for sample in samples] == ["face2", "face7"]
        for i, sample in enumerate(samples):
            assert (sample.split, sample.group) == ("val", f"group{(2, 7)[i]}")
            assert np.array_equal(decode_raster(sample.read_image(), sample.name), faces.images[i])
            assert np.array_equal(sample.landmarks, faces.landmarks[i])
            assert np.array_equal(sample.visibility, faces.visibility[i])
            assert np.array_equal(sample.pose, faces.pose[i])

    def test_no_face_of_the_split(self, prepared: Path) -> None:
        with pytest.raises(InputError, match=r"found splits \{.*expected some faces of test"):
            next(records.read_samples(prepared, "test"))

    def test_a_missing_shard(self, prepared: Path) -> None:
        (prepared / "shard-00000.tfrecord").unlink()
        with pytest.raises(InputError, match=r"shard-00000\.tfrecord: found no such file"):
            next(records.read_samples(prepared, "train"))


class TestLoad:
    def test_faces_in_stored_order(self, prepared: Path) -> None:
        faces = records.load(prepared)
        assert len(faces) == 8
        assert faces.name.tolist() == [f"face{i}" for i in range(8)]
        assert faces.group.tolist() == [f"group{i}" for i in range(8)]
        assert faces.pose[:, 1].tolist() == [10.0 * i for i in range(8)]
        assert faces.visibility[:, 0].tolist() == [0, 1, 2, 0, 1, 2, 0, 1]
        assert faces.images.shape == (8, 40, 40, 3)
        assert faces.images.dtype == np.uint8
        for i in range(8):
            sample = made_sample(i)
            image = decode_raster(sample.read_image(), sample.name)
            canvas, landmarks = records.cut_face(image, sample.landmarks, SMALL)
            assert np.array_equal(faces.landmarks[i], landmarks)
            assert np.abs(faces.images[i].astype(int) - canvas).mean() < 3.0  # JPEG

    def test_some_faces(self, prepared: Path) -> None:
        faces = records.load(prepared)
        some = faces[2:4]
        assert len(some) == 2
        assert some.name.tolist() == ["face2", "face3"]
        assert np.array_equal(some.landmarks, faces.landmarks[2:4])

    def test_one_split(self, prepared: Path) -> None:
        held_out = records.load(prepared, "val")
        assert held_out.name.tolist() == ["face2", "face7"]
        assert held_out.split.tolist() == ["val", "val"]
        everything = records.load(prepared)
        assert np.array_equal(held_out.images, everything.images[[2, 7]])
        assert np.array_equal(held_out.landmarks, everything.landmarks[[2, 7]])

    def test_labels_decoded_before_there_was_a_sigma(self, prepared: Path) -> None:
        faces = records.load(prepared, "train", memory_bytes=1)
        labels_file = prepared / "decoded-train.npz"
        np.savez(labels_file, landmarks=faces.landmarks, visibility=faces.visibility, pose=faces.pose)
        again = records.load(prepared, "train", memory_bytes=1)
        assert again.sigma.shape == (len(faces), 68)
        assert np.isnan(again.sigma).all()

    def test_mapped_from_disk_is_the_same(self, prepared: Path) -> None:
        in_memory = records.load(prepared, "train")
        for attempt in ("decoded", "found decoded"):
            mapped = records.load(prepared, "train", memory_bytes=1)
            assert isinstance(mapped.images, np.memmap), attempt
            for field in dataclasses.fields(arrays.FaceArrays):
                first, second = (getattr(faces, field.name) for faces in (in_memory, mapped))
                np.testing.assert_array_equal(first, second, field.name)
        assert sorted(p.name for p in prepared.glob("decoded*")) == ["decoded-train.npy", "decoded-train.npz"]
        assert [p.name for p in prepared.glob(".*")] == [records.LOCK_FILE]

    def test_a_decoded_file_that_was_removed_is_made_again(self, prepared: Path) -> None:
        before = np.array(records.load(prepared, "val", memory_bytes=1).images)
        (prepared / "decoded-val.npy").unlink()
        assert np.array_equal(records.load(prepared, "val", memory_bytes=1).images, before)

    def test_no_room_for_the_decoded_faces(self, prepared: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        usage = type("Usage", (), {"free": 1000})
        monkeypatch.setattr(records.shutil, "disk_usage", lambda path: usage)
        with pytest.raises(InputError, match=r"decoded-val\.npy: found 1,000 bytes free .*expected 9,600"):
            records.load(prepared, "val", memory_bytes=1)

    def test_no_face_of_a_split(self, prepared: Path) -> None:
        with pytest.raises(InputError, match="found no face of split 'test'"):
            records.load(prepared, "test")

    def test_a_folder_that_is_not_prepared(self, tmp_path: Path) -> None:
        with pytest.raises(InputError, match=r"found no dataset\.json, expected a folder that prepare\.py"):
            records.load(tmp_path)

    @pytest.mark.parametrize(
        ("content", "message"),
        [
            ("{", "expected JSON"),
            ('{"name": "a"}', "found no name and store"),
            ("[]", "found no name and store"),
            ('{"name": "a", "store": {"colour": 1}}', "found unknown options"),
        ],
    )
    def test_settings_of_something_else(self, prepared: Path, content: str, message: str) -> None:
        (prepared / DATASET_FILE).write_text(content)
        with pytest.raises(InputError, match=rf"dataset\.json: .*{message}"):
            records.load(prepared)

    @pytest.mark.parametrize("content", [None, b"no table"])
    def test_a_missing_or_damaged_index(self, prepared: Path, content: bytes | None) -> None:
        (prepared / records.INDEX_FILE).unlink()
        if content is not None:
            (prepared / records.INDEX_FILE).write_bytes(content)
        with pytest.raises(InputError, match=r"index\.parquet: found .*expected the index"):
            records.load(prepared)

    def test_a_missing_shard(self, prepared: Path) -> None:
        (prepared / "shard-00001.tfrecord").unlink()
        with pytest.raises(
            InputError, match=r"shard-00001\.tfrecord: found no such file, .* shard of 3 faces"
        ):
            records.load(prepared)

    def test_a_cut_off_shard(self, prepared: Path) -> None:
        shard = prepared / "shard-00001.tfrecord"
        shard.write_bytes(shard.read_bytes()[:-100])
        last = records.read_index(prepared).iloc[5]
        with pytest.raises(InputError, match=rf"shard-00001\.tfrecord at byte {last['offset']}: .*damaged"):
            records.load(prepared)

    def test_records_of_another_size(self, prepared: Path) -> None:
        settings = json.loads((prepared / DATASET_FILE).read_text())
        settings["store"]["crop_side"] = 64
        (prepared / DATASET_FILE).write_text(json.dumps(settings))
        with pytest.raises(
            InputError, match=r"found an image of shape \(40, 40, 3\), expected \(80, 80, 3\)"
        ):
            records.load(prepared)


def test_the_bytes_of_a_record_do_not_depend_on_the_process() -> None:
    record = records.encode_record(made_sample(0), SMALL)
    names = [b"image", b"landmarks", b"name", b"pose", b"visibility"]
    places = [record.index(bytes([10, len(name)]) + name) for name in names]  # each a field 1 of its length
    assert places == sorted(places)


def test_a_record_without_a_feature_is_damaged() -> None:
    with pytest.raises(InputError, match="here: found a damaged record"):
        records.parse_record(b"", "here")


def test_the_index_is_a_table_of_faces(prepared: Path) -> None:
    index = records.read_index(prepared)
    assert list(index.columns) == [
        *("name", "split", "group", "pitch", "yaw", "roll", "shard", "offset", "length"),
    ]  # fmt: skip
    assert isinstance(index, pd.DataFrame)
    assert index["shard"].tolist() == [f"shard-{i // 3:05d}.tfrecord" for i in range(8)]
