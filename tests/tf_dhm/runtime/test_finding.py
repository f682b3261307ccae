"""Looks of the detector, and one entry for each face, with detectors whose answers are given."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from tf_dhm.core.types import Array, Image
from tf_dhm.face import geometry
from tf_dhm.face.mean_face import mean_shape
from tf_dhm.runtime import finding
from tf_dhm.runtime.detector import Detection
from tf_dhm.runtime.finding import LOOKS, FaceFinder, same_place
from tf_dhm.runtime.predictor import Prediction
from tf_dhm.runtime.settings import Choice

PHOTO = np.zeros((100, 100, 3), np.uint8)
HEAD, EYE, OTHER = [20.0, 20, 80, 80], [30.0, 30, 45, 45], [82.0, 2, 98, 18]
CONFIDENCE = {tuple(HEAD): 0.95, tuple(EYE): 0.4, tuple(OTHER): 0.9}


def faces_in(boxes: Array, confident: bool = True) -> Prediction:
    """Landmarks that just fill the boxes, with the confidence of CONFIDENCE."""
    shape = mean_shape()[:, :2]
    low, high = shape.min(0), shape.max(0)
    unit = (shape - low) / (high - low)
    points = boxes[:, None, :2] + unit * (boxes[:, None, 2:] - boxes[:, None, :2])
    landmarks = np.pad(points, ((0, 0), (0, 0), (0, 1))).astype(np.float32)
    values = np.array([CONFIDENCE[tuple(box)] for box in boxes.tolist()], np.float32)
    return Prediction(landmarks, None, values if confident else None)


class Looks:
    """Stand-in for both networks: detections by network and margin of black, and a record of the calls."""

    def __init__(
        self,
        monkeypatch: pytest.MonkeyPatch,
        answers: dict[tuple[str, float], list[list[float]]],
        in_tiles: Sequence[list[float]] = (),
    ) -> None:
        self.asked: list[tuple[str, float]] = []
        looks = self

        class Detector:
            def __init__(self, threads: int, reach: str) -> None:
                self.reach = reach

            def look(self, image: Image, margin: float) -> list[Detection]:
                looks.asked.append((self.reach, margin))
                found = [] if image.any() else answers.get((self.reach, margin), [])
                return [
                    Detection(np.array(box), 0.9 - 0.1 * i, np.zeros((6, 2))) for i, box in enumerate(found)
                ]

            def detect_in_tiles(self, image: Image) -> list[Detection]:
                return [Detection(np.array(box), 0.6, np.zeros((6, 2))) for box in in_tiles]

        monkeypatch.setattr(finding, "FaceDetector", Detector)


def predict(images: Sequence[Image], boxes: Sequence[Array]) -> list[Prediction]:
    return [faces_in(array) for array in boxes]


def boxes_found(found: finding.Found) -> list[list[float]]:
    return geometry.landmark_box(found.prediction.landmarks).round().tolist()


def test_a_sure_face_ends_the_search(monkeypatch: pytest.MonkeyPatch) -> None:
    looks = Looks(monkeypatch, {("full", 1.0): [HEAD, OTHER]})
    (found,) = FaceFinder().find([PHOTO], predict)
    assert boxes_found(found) == [HEAD, OTHER]
    assert looks.asked == [("full", 1.0)]


def test_an_eye_taken_for_a_face_gives_way_to_the_face(monkeypatch: pytest.MonkeyPatch) -> None:
    looks = Looks(monkeypatch, {("full", 1.0): [EYE], ("short", 1.5): [HEAD]})
    (found,) = FaceFinder().find([PHOTO], predict)
    assert boxes_found(found) == [HEAD]
    assert found.trust.tolist() == pytest.approx([0.95])
    assert looks.asked == [("full", 1.0), ("short", 1.5)]


def test_what_stays_doubtful_is_kept_after_all_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    looks = Looks(monkeypatch, {("full", 1.0): [EYE]})
    (found,) = FaceFinder().find([PHOTO], predict)
    assert boxes_found(found) == [EYE]
    assert looks.asked == list(LOOKS["full"])


def test_no_face_and_no_photo(monkeypatch: pytest.MonkeyPatch) -> None:
    Looks(monkeypatch, {})
    (found,) = FaceFinder().find([PHOTO], predict)
    assert found.boxes.shape == (0, 4)
    assert found.prediction.landmarks.shape == (0, 68, 3)
    assert FaceFinder().find([], predict) == []


def test_only_photos_in_doubt_are_searched_again(monkeypatch: pytest.MonkeyPatch) -> None:
    batches: list[int] = []

    def counted(images: Sequence[Image], boxes: Sequence[Array]) -> list[Prediction]:
        batches.append(len(images))
        return predict(images, boxes)

    Looks(monkeypatch, {("full", 1.0): [HEAD]})
    first, second = FaceFinder().find([PHOTO, np.ones_like(PHOTO)], counted)
    assert batches == [2, 1, 1, 1]
    assert (len(first.boxes), len(second.boxes)) == (1, 0)


@pytest.mark.parametrize(
    ("choice", "max_faces", "looks"),
    [("auto", None, "full"), ("auto", 1, "auto"), ("auto", 2, "full"), ("short", None, "short")],
)
def test_choices(
    choice: Choice, max_faces: int | None, looks: Choice, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = Looks(monkeypatch, {})
    FaceFinder(choice, max_faces).find([PHOTO], predict)
    assert asked.asked == list(LOOKS[looks])


def test_faces_by_falling_score(monkeypatch: pytest.MonkeyPatch) -> None:
    Looks(monkeypatch, {("full", 1.0): [EYE, OTHER], ("short", 1.5): [OTHER]})
    (found,) = FaceFinder().find([PHOTO], predict)
    assert boxes_found(found) == [EYE, OTHER]
    assert found.scores.tolist() == [0.9, 0.8]


def test_a_model_without_confidence_is_trusted_by_the_score(monkeypatch: pytest.MonkeyPatch) -> None:
    Looks(monkeypatch, {("full", 1.0): [OTHER, HEAD]})
    (found,) = FaceFinder().find([PHOTO], lambda _, boxes: [faces_in(array, False) for array in boxes])
    assert found.trust.tolist() == [0.9, 0.8]


def test_boxes_without_landmarks(monkeypatch: pytest.MonkeyPatch) -> None:
    looks = Looks(monkeypatch, {("short", 2.0): [HEAD]})
    assert [face.box.tolist() for face in FaceFinder().detect(PHOTO)] == [HEAD]
    assert looks.asked == list(LOOKS["full"][:3])


@pytest.mark.parametrize(("tiles", "expected"), [(False, [HEAD]), (True, [HEAD, OTHER])])
def test_boxes_of_small_faces(
    tiles: bool, expected: list[list[float]], monkeypatch: pytest.MonkeyPatch
) -> None:
    Looks(monkeypatch, {("full", 1.0): [HEAD]}, in_tiles=[OTHER, HEAD])
    assert [face.box.tolist() for face in FaceFinder().detect(PHOTO, tiles)] == expected


def test_boxes_of_small_faces_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    Looks(monkeypatch, {}, in_tiles=[OTHER])
    assert [face.box.tolist() for face in FaceFinder().detect(PHOTO, tiles=True)] == [OTHER]


def test_same_place() -> None:
    boxes = np.array([[0.0, 0, 10, 10], [2, 2, 6, 6], [5, 0, 15, 10], [8, 0, 18, 10]])
    # Inside it; beside it by a half (IoU 1/3) and by more (IoU 1/9).
    assert same_place(boxes[:1], boxes)[0].tolist() == [True, True, True, False]
