"""Tests of tf_dhm.commands.sinks: pictures, crops and their names."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.fakes import draw_cartoon_face, mean_shape_in_box
from tf_dhm.commands import sinks
from tf_dhm.commands.face_records import Record
from tf_dhm.commands.sinks import (
    CropSink,
    DrawingSink,
    Picture,
    RecordSink,
    picture_path,
    upright_crops,
    video_path,
)
from tf_dhm.face import geometry
from tf_dhm.runtime.faces import Alignment, Face
from tf_dhm.runtime.images import Photo
from tf_dhm.runtime.video import Frame


def make_face(score: float = 0.9, number: int | None = None) -> Face:
    box = np.array([80.0, 60.0, 176.0, 190.0])
    landmarks = mean_shape_in_box(box).astype(np.float32)
    return Face(landmarks, box, score, np.zeros(3, np.float32), number)


def is_convincing(face: Face) -> bool:
    return face.score is not None and face.score > 0.5


def test_upright_crops() -> None:
    """A face that lies on its side stands upright in its crop."""
    picture = np.ascontiguousarray(np.rot90(draw_cartoon_face(256, (120, 130), 70)))
    upright = mean_shape_in_box(np.array([64.0, 100, 176, 207]))
    turned = np.stack([upright[:, 1], 255 - upright[:, 0], upright[:, 2]], 1).astype(np.float32)
    face = Face(turned, geometry.landmark_box(turned), None, np.zeros(3, np.float32))
    (crop,) = upright_crops(picture, [face], 128)
    assert crop.shape == (128, 128, 3)
    # The red mouth, at (120, 130 + 0.55 x 70), by the crop of side sqrt(2) x 112 about (120, 153.5).
    red = np.argwhere((crop[..., 0] > 150) & (crop[..., 1] < 100))
    np.testing.assert_allclose(red.mean(0), [63.5 + 15 * 128 / 158.4, 63.5], atol=1)


def test_crops_of_no_face() -> None:
    assert upright_crops(draw_cartoon_face(), [], 64).shape == (0, 64, 64, 3)


def test_output_path() -> None:
    def name(path: Callable[[Path, Path], Path], text: str) -> str:
        return str(path(Path("out"), Path(text)))

    assert name(picture_path, "a.JPG") == "out/a.JPG"
    assert name(picture_path, "a.webp") == "out/a.webp.png"
    assert name(video_path, "a.mp4") == "out/a.mp4"
    assert name(video_path, "a.MOV") == "out/a.MOV.mp4"


class TestPicture:
    def test_a_reduced_photo(self) -> None:
        """Records have pixels of the original, drawings those that were decoded."""
        photo = Photo(draw_cartoon_face(), 512, 510, 2)
        picture = Picture.of_photo(Alignment((make_face(), make_face(0.2)), photo), is_convincing)
        record = picture.record()
        assert (record["width"], record["height"]) == (512, 510)
        assert record["faces"][0] == make_face().as_dict()
        assert record["faces"][1] == make_face().as_dict() | {"score": 0.2, "below_limit": True}
        ((number, face),) = picture.shown
        assert number == 0
        np.testing.assert_allclose(face.landmarks[0, :2], (make_face().landmarks[0, :2] - 0.5) / 2, rtol=1e-6)

    def test_a_frame(self) -> None:
        frame = Frame(7, 0.28, np.zeros((48, 64, 3), np.uint8))
        record = Picture.of_frame(frame, [make_face(number=3)], is_convincing).record()
        assert record.pop("faces")[0]["id"] == 3
        assert record == {"frame": 7, "time": 0.28, "width": 64, "height": 48}


class TestSinks:
    @pytest.fixture
    def picture(self) -> Picture:
        faces = (make_face(0.1), make_face(), make_face())
        return Picture.of_photo(Alignment(faces, Photo(draw_cartoon_face(), 256, 256)), is_convincing)

    def test_crops_keep_the_numbers_of_the_faces(self, picture: Picture, tmp_path: Path) -> None:
        CropSink(tmp_path, Path("deep/a.jpg"), 32).write(picture)
        assert sorted(path.name for path in (tmp_path / "deep").iterdir()) == ["a.jpg_1.png", "a.jpg_2.png"]
        assert Image.open(tmp_path / "deep" / "a.jpg_1.png").size == (32, 32)

    def test_crops_of_a_frame_have_the_ids_of_the_faces(self, picture: Picture, tmp_path: Path) -> None:
        faces = [make_face(number=number) for number in (5, 9)]
        frame = dataclasses.replace(
            picture, faces=faces, faces_in_pixels=faces, convincing=[True, True], index=7, time=0.1
        )
        CropSink(tmp_path, Path("a.mp4"), 32).write(frame)
        assert sorted(path.name for path in (tmp_path / "a.mp4").iterdir()) == [
            "000007_5.png",
            "000007_9.png",
        ]

    def test_all_crops_of_a_picture_are_cut_at_once(
        self, picture: Picture, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        cut, counts = sinks.cut_crops, []

        def count(image: np.ndarray, boxes: np.ndarray, *rest: object) -> object:
            counts.append(len(boxes))
            return cut(image, boxes, *rest)  # type: ignore[arg-type]

        monkeypatch.setattr(sinks, "cut_crops", count)
        CropSink(tmp_path, Path("a.jpg"), 32).write(picture)
        assert counts == [2]

    def test_a_drawing_is_made_once_for_all_targets(self, picture: Picture) -> None:
        first: list[np.ndarray] = []
        second: list[np.ndarray] = []
        DrawingSink(["points"], [first.append, second.append]).write(picture)
        assert first[0] is second[0]
        assert (first[0] != picture.pixels).any()
        none = dataclasses.replace(picture, convincing=[False] * 3)
        DrawingSink(["points"], [first.append]).write(none)
        np.testing.assert_array_equal(first[1], picture.pixels)

    def test_records(self, picture: Picture) -> None:
        records: list[Record] = []
        RecordSink(records.append).write(picture)
        assert records == [picture.record()]
