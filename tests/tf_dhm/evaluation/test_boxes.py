"""The boxes that crops are cut from."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.shift_model import face
from tf_dhm.core.errors import InputError
from tf_dhm.evaluation.boxes import chosen_boxes, detected_boxes, disturbed_boxes, nearest_box
from tf_dhm.face import geometry
from tf_dhm.face.mean_face import mean_shape
from tf_dhm.runtime.detector import FaceDetector
from tf_dhm.runtime.images import read_photo

PHOTO = Path(__file__).resolve().parents[2] / "data" / "astronaut.jpg"


def test_disturbed_boxes_are_off_by_the_errors_asked_for() -> None:
    boxes = disturbed_boxes(0.03, 0.05)
    black = np.zeros((60, 80, 3), np.uint8)
    faces = [replace(face(), name=f"face{i}") for i in range(500)]
    found = np.array([boxes.find(one, black) for one in faces])
    assert found[3].tolist() == np.asarray(boxes.find(faces[3], black)).tolist()  # a face keeps its error
    true = geometry.landmark_box(faces[0].landmarks)
    side = (true[2:] - true[:2]).max()
    off = (found[:, :2] + found[:, 2:] - true[:2] - true[2:]) / 2 / side
    assert off.std(0) == pytest.approx([0.03, 0.03], rel=0.1)
    assert np.log((found[:, 2] - found[:, 0]) / (true[2] - true[0])).std() == pytest.approx(0.05, rel=0.1)
    other = replace(faces[3], landmarks=faces[3].landmarks + 5.0, box_landmarks=faces[3].landmarks)
    assert np.asarray(boxes.find(other, black)).tolist() == found[3].tolist()
    with pytest.raises(InputError, match="box_error: found -1 and 0, expected 0 or more"):
        disturbed_boxes(-1, 0)


def test_boxes_are_chosen_by_their_kinds() -> None:
    names = ["", "detected boxes", "disturbed boxes"]
    assert [boxes.name for boxes in chosen_boxes(["true", "detected", "true"], (0.1, 0.0))] == names
    assert [boxes.name for boxes in chosen_boxes(["true"])] == [""]


def test_detected_boxes_are_those_near_the_face() -> None:
    image = read_photo(PHOTO).pixels
    boxes = detected_boxes()
    (detection,) = FaceDetector().detect(image)
    x0, y0, x1, y1 = detection.box
    centre, side = [(x0 + x1) / 2, (y0 + y1) / 2, 0], (x1 - x0) * 2**0.5
    landmarks = (mean_shape() * side / 2 + centre).astype(np.float32)
    found = boxes.find(replace(face(), landmarks=landmarks), image)
    assert np.asarray(found).tolist() == detection.box.tolist()
    beside = replace(face(), landmarks=landmarks + np.array([side, 0, 0], np.float32))
    assert boxes.find(beside, image) is None


def test_the_nearest_box_by_hand() -> None:
    one = face()
    x0, y0, x1, y1 = geometry.landmark_box(one.landmarks)
    side = max(x1 - x0, y1 - y0)

    def moved(by: float) -> list[float]:
        return [x0 + by * side, y0, x1 + by * side, y1]

    assert nearest_box(np.array([moved(0.5), moved(-0.2), moved(0.3)]), one) == 1
    assert nearest_box(np.array([moved(0.59)]), one) == 0
    assert nearest_box(np.array([moved(0.61)]), one) is None
    assert nearest_box(np.zeros((0, 4)), one) is None
