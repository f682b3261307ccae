"""The comparison of what can be done about inexact boxes."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from pipelines.datasets.samples import FaceSample
from pipelines.prepared import prepare
from pipelines.prepared.config import StoreConfig
from tf_dhm.core.errors import InputError
from tf_dhm.core.types import Array, Image
from tf_dhm.face import geometry
from tf_dhm.face.mean_face import mean_shape
from tf_dhm.runtime.aligner import Aligner, load_model
from tf_dhm.runtime.detector import FaceDetector
from tf_dhm.runtime.images import read_photo
from tf_dhm.runtime.predictor import Prediction
from tools.studies import first_pass
from tools.studies.first_pass import Faces, FirstPassConfig, Passes, Way

PHOTO = Path(__file__).parents[2] / "data" / "astronaut.jpg"


class HalfWay:
    """A model whose landmarks are half way from the middle of the crop to the mean face."""

    name = "half way"
    input_size = 32
    can_refine = True

    def predict(self, crops: Image, initial_landmarks: Array | None = None) -> Prediction:
        face = mean_shape() - mean_shape().mean(0)
        points = face * 16 / np.ptp(face[:, :2], axis=0).max() + [15.5, 15.5, 0]
        found = np.repeat(points[None], len(crops), axis=0).astype(np.float32)
        return Prediction(found, confidence=np.linspace(0.5, 1, len(crops), dtype=np.float32))


def make_faces(count: int = 6) -> Faces:
    rng = np.random.default_rng(0)
    face = mean_shape() * 40 / np.ptp(mean_shape()[:, 0])
    truth = np.stack([face - face.mean(0) + [50 + shift, 50, 0] for shift in rng.normal(0, 2, count)])
    boxes = geometry.landmark_box(truth) + rng.normal(0, 2, (count, 4))
    keypoints = truth[:, [36, 45, 30, 62, 0, 16], :2]
    yaw = np.resize([0.0, 45.0, -80.0], count)
    image = np.full((100, 100, 3), 128, np.uint8)
    return Faces([image] * count, truth, yaw, boxes, keypoints, np.full(count, 0.9))


def test_corrections_by_hand() -> None:
    boxes, true = np.array([[0.0, 0, 20, 10]]), np.array([[12.0, 5, 22, 25]])
    found = first_pass.corrections(boxes, true, np.zeros(1))
    np.testing.assert_allclose(found, [[7 / 20, 10 / 20, np.log(0.5), np.log(2)]])
    # A quarter turn clockwise: what is below the centre in the photo is to the right in the crop.
    turned = first_pass.corrections(boxes, true, np.array([np.pi / 2]))
    np.testing.assert_allclose(turned, [[10 / 20, -7 / 20, np.log(0.5), np.log(2)]])
    for roll in (0.0, 0.7):
        values = first_pass.corrections(boxes, true, np.array([roll]))
        np.testing.assert_allclose(first_pass.corrected(boxes, np.array([roll]), values), true)


def test_points_in_a_turned_crop_are_where_the_crop_shows_them() -> None:
    boxes, roll = np.array([[10.0, 20, 50, 60]]), np.array([0.4])
    points = np.array([[[30.0, 40], [42, 35]]])
    square = geometry.crop_square(boxes)[0]
    matrix = geometry.invert_affine(geometry.crop_to_image(square, 64, 0.4))
    in_crop = points[0] @ matrix[:, :2].T + matrix[:, 2]
    expected = (in_crop - 31.5) * square[2] / 64 / 40
    np.testing.assert_allclose(first_pass.into_boxes(points, boxes, roll)[0], expected, atol=1e-9)


def test_the_regression_learns_from_the_other_half() -> None:
    rng = np.random.default_rng(0)
    keypoints, none = rng.normal(size=(400, 6, 2)), np.zeros((400, 0, 2))
    numbers = rng.normal(size=(400, 1))
    nose = keypoints[:, 2]
    targets = np.stack([0.1 * nose[:, 0], 0.2 * nose[:, 1], 0.1 * numbers[:, 0], np.zeros(400)], 1)
    found = first_pass.cross_fitted(keypoints, none, numbers, targets)
    assert np.abs(found - targets).mean() < 0.01
    targets[::2] = 0.0  # the faces with odd numbers learn from these alone
    found = first_pass.cross_fitted(keypoints, none, numbers, targets)
    np.testing.assert_allclose(found[1::2], 0.0, atol=1e-9)
    assert np.abs(found[::2]).max() > 0.1


def test_the_regression_does_not_know_left_from_right() -> None:
    rng = np.random.default_rng(1)
    keypoints, others = rng.normal(size=(60, 6, 2)), rng.normal(size=(60, 1, 2))
    numbers, targets = rng.normal(size=(60, 2)), rng.normal(size=(60, 4))
    found = first_pass.cross_fitted(keypoints, others, numbers, targets)
    swapped = keypoints[:, first_pass.MIRRORED_KEYPOINTS] * [-1, 1]
    mirrored = first_pass.cross_fitted(swapped, others * [-1, 1], numbers, targets * [-1, 1, 1, 1])
    np.testing.assert_allclose(mirrored, found * [-1, 1, 1, 1], atol=1e-9)


def test_differences_are_paired() -> None:
    rng = np.random.default_rng(0)
    present, bins = rng.normal(5, 3, 300), np.arange(300) % 3
    change, spread = first_pass.difference(present - 0.5, present, bins)
    assert change == pytest.approx(-0.5)
    assert spread == pytest.approx(0, abs=1e-9)
    noise = rng.normal(0, 1, 300)
    _, spread = first_pass.difference(present + noise, present, bins)
    assert spread == pytest.approx(1 / np.sqrt(300), rel=0.15)
    # Every bin counts the same, however few faces it has.
    few = np.array([0] * 298 + [1, 2])
    change, _ = first_pass.difference(present + (few == 2), present, few)
    assert change == pytest.approx(1 / 3)


def test_all_ways() -> None:
    faces = make_faces()
    tried = {way.name: way for way in first_pass.ways(Passes(HalfWay(), faces))}
    assert next(iter(tried)) == first_pass.REFERENCE
    assert tried["one pass"].passes == 1
    # This model says the same wherever it is: its second box is that of its first landmarks.
    np.testing.assert_allclose(
        geometry.landmark_box(tried["one pass"].landmarks).mean(0),
        geometry.landmark_box(faces.truth).mean(0),
        atol=8,
    )
    # The confidences are 0.5, 0.6, ... 1.
    assert tried["third pass if the confidence is below 0.95"].passes == pytest.approx(2 + 5 / 6)
    assert tried["second pass only if the confidence is below 0.98"].passes == pytest.approx(1 + 5 / 6)
    rows = first_pass.way_rows("half way", faces, list(tried.values()))
    assert len(rows) == len(tried)
    assert rows[0]["difference"] == "–"


def test_rows_by_hand() -> None:
    faces = make_faces(3)
    size = geometry.box_size(geometry.landmark_box(faces.truth))[:, None]
    moved = faces.truth.copy()
    moved[..., 0] += size * np.array([[0.01], [0.02], [0.09]])
    right, wrong = first_pass.way_rows("m", faces, [Way("right", faces.truth, 2), Way("moved", moved, 2.5)])
    assert list(right.values())[2:6] == ["0.00", "0.00", "0.00", "0.000"]
    assert list(wrong.values())[2:] == [
        "1.00", "2.00", "9.00", "4.000", "+4.000 ± 0.000", "33.3%", "2.50"
    ]  # fmt: skip


def test_the_search_is_that_of_the_aligner() -> None:
    model, photo = load_model("fast_dhm_s"), read_photo(PHOTO).pixels
    (face,) = Aligner(model).align(photo)
    labelled = FaceSample("a", PHOTO.read_bytes, face.landmarks, "val", "a", pose=np.zeros(3, np.float32))
    detectors = {"full": FaceDetector(), "short": FaceDetector(reach="short")}
    found = first_pass.find_face(model, detectors, "full", labelled, photo)  # type: ignore[arg-type]
    assert found is not None
    np.testing.assert_allclose(found.box, face.box)
    away = FaceSample("b", PHOTO.read_bytes, face.landmarks + 200, "val", "b")
    assert first_pass.find_face(model, detectors, "full", away, photo) is None  # type: ignore[arg-type]


def prepare_photo(folder: Path, yaws: tuple[float, ...]) -> None:
    (face,) = Aligner("fast_dhm_s").align(read_photo(PHOTO).pixels)
    samples = []
    for yaw in yaws:
        pose = np.array([0, yaw, 0], np.float32)
        samples.append(FaceSample(str(yaw), PHOTO.read_bytes, face.landmarks, "val", str(yaw), pose=pose))
    prepare.prepare("csv", iter(samples), folder, StoreConfig())


def test_from_faces_to_the_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    prepare_photo(tmp_path / "faces", (0.0, 40.0, 70.0, 0.0, 40.0, 70.0))
    output = tmp_path / "table.csv"
    arguments = ["--data-dir", str(tmp_path / "faces"), "--models", "fast_dhm_s", "--output", str(output)]
    monkeypatch.setattr(sys, "argv", ["first_pass", *arguments])
    first_pass.main()
    table = pd.read_csv(output)
    assert set(table["model"]) == {"fast_dhm_s"}
    errors = dict(zip(table["way"], table["mean of bins"], strict=True))
    assert errors[first_pass.REFERENCE] < 3  # of labels that the model itself gave


def test_a_bin_without_faces(tmp_path: Path) -> None:
    prepare_photo(tmp_path / "faces", (0.0, 40.0))
    with pytest.raises(InputError, match="in 1 yaw bins"):
        first_pass.measure(FirstPassConfig((tmp_path / "faces",), ("fast_dhm_s",)))
