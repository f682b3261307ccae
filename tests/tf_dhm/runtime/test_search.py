"""Where the aligner looks for faces: the photo, its tiles, and the photo upside down."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from tests.fakes import draw_cartoon_face, write_fake_model
from tf_dhm.core.errors import InputError
from tf_dhm.core.types import Image
from tf_dhm.face import geometry
from tf_dhm.runtime.aligner import Aligner
from tf_dhm.runtime.detector import tile_boxes
from tf_dhm.runtime.faces import Face
from tf_dhm.runtime.finding import FaceFinder
from tf_dhm.runtime.images import read_photo
from tf_dhm.runtime.tracking import Tracker

PHOTO = Path(__file__).resolve().parents[2] / "data" / "astronaut.jpg"


@pytest.fixture(scope="module")
def portrait() -> Image:
    return read_photo(PHOTO).pixels


@pytest.fixture(scope="module")
def aligner() -> Aligner:
    return Aligner()


@pytest.fixture(scope="module")
def face(aligner: Aligner, portrait: Image) -> Face:
    (face,) = aligner.align(portrait)
    return face


class Counting(FaceFinder):
    """A finder that counts the photos that it searches."""

    def __init__(self) -> None:
        super().__init__()
        self.photos = self.tiled = 0

    def find(self, images: Any, predict: Any) -> Any:
        self.photos += len(images)
        return super().find(images, predict)

    def find_in_tiles(self, images: Any, predict: Any) -> Any:
        self.tiled += len(images)
        return super().find_in_tiles(images, predict)


def counting(**options: Any) -> tuple[Aligner, Counting]:
    aligner, detector = Aligner(**options), Counting()
    aligner.detector = detector
    return aligner, detector


def nme(face: Face, truth: NDArray[Any]) -> float:
    """The mean distance in x and y, in units of the face."""
    error = np.linalg.norm(face.landmarks[:, :2] - truth[:, :2], axis=1).mean()
    return float(error / geometry.box_size(geometry.landmark_box(truth)))


class TestTurnedFaces:
    @pytest.mark.parametrize("degrees", [120, 150, 180, 210, 240])
    def test_roll(self, aligner: Aligner, portrait: Image, face: Face, degrees: int) -> None:
        centre = face.landmarks[:, :2].mean(0)
        matrix = cv2.getRotationMatrix2D(centre.tolist(), -degrees, 1.0)  # clockwise
        matrix = matrix + np.array([[0, 0, 256 - centre[0]], [0, 0, 256 - centre[1]]])
        (found,) = aligner.align(cv2.warpAffine(portrait, matrix, (512, 512)))
        assert nme(found, face.landmarks[:, :2] @ matrix[:, :2].T + matrix[:, 2]) < 0.02
        assert found.is_convincing()
        assert found.pose[2] == pytest.approx((face.pose[2] + degrees + 180) % 360 - 180, abs=4)
        assert nme(found, np.array([found.box[:2], found.box[2:]] * 34)) < 1  # the box lies on the face

    def test_upside_down_is_exact(self, aligner: Aligner, portrait: Image, face: Face) -> None:
        (found,) = aligner.align(portrait[::-1, ::-1])
        np.testing.assert_allclose(found.landmarks[:, :2], 511 - face.landmarks[:, :2], atol=1e-3)
        np.testing.assert_allclose(found.landmarks[:, 2], face.landmarks[:, 2], atol=1e-3)
        np.testing.assert_allclose(found.box, 511 - face.box[[2, 3, 0, 1]], atol=1e-9)
        assert found.visibility is not None
        assert face.visibility is not None
        np.testing.assert_allclose(found.visibility, face.visibility, atol=1e-5)

    def test_video_upside_down(self, aligner: Aligner, portrait: Image, face: Face) -> None:
        tracker = Tracker.of(aligner)
        for number in range(3):
            (found,) = tracker.update(portrait[::-1, ::-1], number / 25)
            assert nme(found, 511 - face.landmarks[:, :2]) < 0.02
            assert found.id == 0

    def test_costs_only_then(self, portrait: Image) -> None:
        aligner, detector = counting()
        aligner.align(portrait)
        assert detector.photos == 1
        aligner.align(np.zeros((50, 50, 3), np.uint8))
        assert detector.photos == 3
        aligner.align(portrait, [[10, 10, 50, 50]])
        assert detector.photos == 3

    def test_a_model_without_confidence(self, tmp_path: Path) -> None:
        """A face that was detected is taken; nothing else is known of it."""
        model = write_fake_model(tmp_path / "fake")
        aligner, detector = counting(model=model, backend="saved_model")
        assert len(aligner.align(draw_cartoon_face())) == 1
        assert detector.photos == 1
        (face,) = aligner.align(draw_cartoon_face()[::-1, ::-1])
        assert face.is_convincing()


class TestTiles:
    @pytest.fixture
    def crowd(self, portrait: Image, face: Face) -> tuple[Image, NDArray[Any]]:
        """A photo of 2400 x 1600 pixels with seven faces of 1/40 of its longer side."""
        scale = 60 / float((face.box[2:] - face.box[:2]).max())
        head = cv2.resize(portrait[30:240, 120:340], None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
        photo = np.full((1600, 2400, 3), 110, np.uint8)
        places = [
            (40, 30),
            (700, 90),
            (900, 600),
            (1300, 1200),
            (1900, 400),
            (2200, 1400),
            (60, 1400),
            (1130, 30),
        ]
        truth = []
        for x, y in places:
            photo[y : y + head.shape[0], x : x + head.shape[1]] = head
            truth.append((face.landmarks[:, :2] - [120, 30] + 0.5) * scale - 0.5 + [x, y])
        return photo, np.array(truth)

    def test_small_faces_are_found_once_each(
        self, aligner: Aligner, crowd: tuple[Image, NDArray[Any]]
    ) -> None:
        photo, truth = crowd
        alignment = aligner.align(photo)
        errors = np.array([[nme(face, points) for points in truth] for face in alignment.convincing])
        assert (errors.min(0) < 0.05).all()
        assert len(alignment) == len(alignment.convincing) == len(truth)

    def test_frames_are_searched_in_tiles_on_demand(self, crowd: tuple[Image, NDArray[Any]]) -> None:
        photo, truth = crowd
        assert len(Tracker.of(Aligner(tiles=True)).update(photo, 0.0)) == len(truth)
        assert len(Tracker.of(Aligner()).update(photo, 0.0)) < len(truth) / 2

    def test_without_tiles(self, crowd: tuple[Image, NDArray[Any]]) -> None:
        photo, truth = crowd
        found = Aligner(tiles=False).align(photo).convincing
        assert len(found) < len(truth) / 2

    @pytest.mark.parametrize(
        ("side", "tiles", "expected"),
        [(2001, None, 1), (2000, None, 0), (2001, False, 0), (100, True, 1)],
    )
    def test_when(self, side: int, tiles: bool | None, expected: int, tmp_path: Path) -> None:
        aligner, detector = counting(tiles=tiles)
        aligner.align(np.zeros((40, side, 3), np.uint8))
        assert detector.tiled == 2 * expected  # also upside down: nothing was found

    @pytest.mark.parametrize(("width", "height"), [(2400, 1600), (4000, 3000), (500, 2000), (3, 2), (1, 1)])
    def test_tiles_cover_the_photo(self, width: int, height: int) -> None:
        covered = np.zeros((height, width), bool)
        boxes = tile_boxes(width, height)
        for x0, y0, x1, y1 in boxes:
            assert 0 <= x0 < x1 <= width
            assert 0 <= y0 < y1 <= height
            covered[y0:y1, x0:x1] = True
        assert covered.all()

    def test_a_large_face_is_found_once(self, aligner: Aligner, portrait: Image, face: Face) -> None:
        large = cv2.resize(portrait, None, fx=4.5, fy=4.5, interpolation=cv2.INTER_CUBIC)
        (found,) = aligner.align(large)
        assert nme(found, (face.landmarks[:, :2] + 0.5) * 4.5 - 0.5) < 0.02


def test_convincing(aligner: Aligner, portrait: Image, face: Face) -> None:
    x0, y0, x1, y1 = face.box
    boxes = np.array([[x0, y0, x1, y1], [x0 + 190, y0 + 260, x1 + 190, y1 + 260]])
    alignment = aligner.align(portrait, boxes)
    assert [face.is_convincing() for face in alignment] == [True, False]
    assert alignment.convincing == (alignment[0],)
    assert Aligner(min_confidence=0.0).align(portrait, [[0, 0, 9, 9]]).convincing


@pytest.mark.parametrize("value", [-0.1, 1.1, float("nan")])
def test_min_confidence(value: float) -> None:
    with pytest.raises(InputError, match="min_confidence: found"):
        Aligner(min_confidence=value)
