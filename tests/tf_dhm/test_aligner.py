"""Tests of tf_dhm.aligner."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.fakes import draw_cartoon_face, mean_shape_in_box, write_fake_model
from tf_dhm import images
from tf_dhm.aligner import Aligner
from tf_dhm.errors import InputError
from tf_dhm.images import Photo, Source, read_photo


@pytest.fixture(scope="module")
def fake_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_fake_model(tmp_path_factory.mktemp("models") / "fake")


@pytest.fixture(scope="module")
def aligner(fake_model: Path) -> Aligner:
    return Aligner(fake_model)


def png(pixels: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


class TestAlign:
    def test_given_boxes(self, aligner: Aligner) -> None:
        boxes = np.array([[10.0, 20.0, 60.0, 90.0], [-30.0, 5.0, 20.0, 40.0]])
        faces = aligner.align(np.zeros((100, 120, 3), np.uint8), boxes)
        assert len(faces) == 2
        for face, box in zip(faces, boxes, strict=True):
            assert face.landmarks.dtype == np.float32
            np.testing.assert_allclose(face.landmarks, mean_shape_in_box(box), atol=1e-4)
            np.testing.assert_allclose(face.box, box)
            assert face.score is None
            np.testing.assert_allclose(face.pose, 0, atol=1e-3)

    def test_detected(self, aligner: Aligner) -> None:
        (face,) = aligner.align(draw_cartoon_face())
        assert face.score is not None
        assert face.score > 0.5
        np.testing.assert_allclose(face.landmarks, mean_shape_in_box(face.box), atol=1e-4)

    def test_no_face(self, aligner: Aligner) -> None:
        assert aligner.align(np.zeros((50, 50, 3), np.uint8)) == []
        assert aligner.align(np.zeros((50, 50, 3), np.uint8), boxes=[]) == []

    def test_sources_agree(self, aligner: Aligner, tmp_path: Path) -> None:
        pixels = draw_cartoon_face()
        (tmp_path / "photo.png").write_bytes(png(pixels))
        (expected,) = aligner.align(pixels)
        path = tmp_path / "photo.png"
        sources: list[Source | Photo] = [png(pixels), path, str(path), read_photo(pixels)]
        for source in sources:
            (face,) = aligner.align(source)
            np.testing.assert_array_equal(face.landmarks, expected.landmarks)

    def test_passes(self, fake_model: Path) -> None:
        box = [10.0, 20.0, 60.0, 90.0]
        (face,) = Aligner(fake_model, passes=2).align(np.zeros((100, 120, 3), np.uint8), [box])
        np.testing.assert_allclose(face.landmarks, mean_shape_in_box(np.array(box)), atol=1e-3)

    def test_orientation(self, aligner: Aligner) -> None:
        """Landmarks are in the photo as it is shown, not as it is stored."""
        exif = Image.Exif()
        exif[0x0112] = 6
        file = io.BytesIO()
        stored = np.rot90(draw_cartoon_face(256, (100, 140), 40))
        Image.fromarray(np.ascontiguousarray(stored)).save(file, "PNG", exif=exif)
        (face,) = aligner.align(file.getvalue())
        np.testing.assert_allclose((face.box[:2] + face.box[2:]) / 2, [100, 154], atol=6)

    def test_reduced_photo(self, aligner: Aligner, monkeypatch: pytest.MonkeyPatch) -> None:
        """Of a photo too large to be decoded whole, boxes and landmarks are in its own pixels."""
        file = io.BytesIO()
        Image.fromarray(draw_cartoon_face(1000, (600, 400), 200)).save(file, "JPEG")
        (whole,) = aligner.align(file.getvalue())
        monkeypatch.setattr(images, "MAX_PIXELS", 250 * 250)
        photo = read_photo(file.getvalue())
        assert photo.reduction == 4
        (reduced,) = aligner.align(photo)
        np.testing.assert_allclose(reduced.box, whole.box, atol=5)
        np.testing.assert_allclose(reduced.landmarks, mean_shape_in_box(reduced.box), atol=1e-2)
        (given,) = aligner.align(photo, [whole.box])
        np.testing.assert_allclose(given.box, whole.box)
        np.testing.assert_allclose(given.landmarks, whole.landmarks, atol=1e-2)

    @pytest.mark.parametrize(
        ("boxes", "message"),
        [
            ([[0, 0, np.nan, 10]], "expected finite"),
            ([[0, 0, np.inf, 10]], "expected finite"),
            ([[10, 10, 10, 20]], "expected finite x0 < x1"),
            ([[20, 10, 10, 20]], "expected finite x0 < x1"),
            ([[0, 0, 10]], r"expected \(..., 4\)"),
            ([0, 0, 10, 10], r"expected \(N, 4\)"),
            ([[120, 0, 150, 10]], "inside the photo of 120 x 100"),
            ([[-20, 0, 0, 10]], "inside the photo"),
            ([[0, 0, 10, 10], [0, 100, 10, 130]], r"found \[0.0, 100.0, 10.0, 130.0\]"),
            ([[0, -9, 10, -1]], "inside the photo"),
        ],
    )
    def test_bad_boxes(self, aligner: Aligner, boxes: list[list[float]], message: str) -> None:
        with pytest.raises(InputError, match=message):
            aligner.align(np.zeros((100, 120, 3), np.uint8), boxes)

    def test_unreadable(self, aligner: Aligner) -> None:
        with pytest.raises(InputError, match="found an empty file"):
            aligner.align(b"")


class TestModel:
    def test_no_model(self, tmp_path: Path) -> None:
        with pytest.raises(InputError, match="found an empty folder"):
            Aligner(tmp_path)

    def test_passes(self, fake_model: Path, tmp_path: Path) -> None:
        with pytest.raises(InputError, match="passes: found 0"):
            Aligner(fake_model, passes=0)
        with pytest.raises(InputError, match="passes must be 1"):
            Aligner(write_fake_model(tmp_path / "plain", refine=False), passes=2)


def test_as_dict_is_json(aligner: Aligner) -> None:
    (face,) = aligner.align(np.zeros((100, 120, 3), np.uint8), [[10.00049, 20, 60, 90]])
    record = json.loads(json.dumps(face.as_dict()))
    assert record["box"] == [10.0, 20.0, 60.0, 90.0]
    assert record["score"] is None
    assert record["pose"] == {"pitch": 0.0, "yaw": 0.0, "roll": 0.0}
    np.testing.assert_allclose(record["landmarks"], face.landmarks, atol=6e-4)
