"""Running models over labelled faces."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
from numpy.typing import ArrayLike, NDArray

from pipelines.datasets import aflw2000_3d
from pipelines.datasets.samples import FaceSample, Rejection
from tests.fakes import mean_shape_in_box
from tests.shift_model import SIZE, ShiftModel, entry, face
from tf_dhm.core.errors import InputError
from tf_dhm.evaluation.boxes import TRUE_BOXES, Boxes, detected_boxes
from tf_dhm.evaluation.entries import Entry, load_entries, predict_faces
from tf_dhm.evaluation.evaluate import SEARCHED, evaluate, summarize
from tf_dhm.evaluation.report import write_report
from tf_dhm.face import geometry, metrics
from tf_dhm.runtime.aligner import Aligner
from tf_dhm.runtime.images import read_photo
from tf_dhm.runtime.predictor import predict_boxes

DATA = os.environ.get("TF_DHM_TEST_DATA")
ROOT = Path(__file__).resolve().parents[3]
PHOTO = ROOT / "tests" / "data" / "astronaut.jpg"
SAVED_MODEL = ROOT / "savedmodels" / "fast_dhm_m"


def test_nme_of_a_shifted_face_by_hand() -> None:
    # In a crop of 16 px a shift of 2 px is 1/8 of the side; NME is that over sqrt(w h).
    sample = face()
    result = evaluate([entry(ShiftModel(2.0))], {"original": [sample]})
    box = geometry.landmark_box(sample.landmarks)
    shift = geometry.crop_square(box)[2] / 8.0
    truth_to_mean = mean_shape_in_box(box)[:, :2] - sample.landmarks[:, :2]
    expected = np.linalg.norm(truth_to_mean + [shift, 0.0], axis=1).mean() / geometry.box_size(box) * 100
    assert result.table["nme"].item() == pytest.approx(expected, rel=1e-5)
    found = result.landmarks["shift", "original"]
    assert found.shape == (1, 68, 3)
    np.testing.assert_allclose(found[0], mean_shape_in_box(box) + [shift, 0, 0], atol=1e-4)


def test_an_entry_is_given_the_box_of_its_points() -> None:
    given: list[NDArray[np.floating]] = []

    def find(images: Sequence[NDArray[np.uint8]], boxes: ArrayLike) -> NDArray[np.float32]:
        given.append(np.asarray(boxes))
        return np.zeros((len(images), 68, 3), np.float32)

    entries = [Entry("all", find, SIZE), Entry("inner", find, SIZE, 17)]
    evaluate(entries, {"original": [face()]})
    np.testing.assert_allclose(given[0][0], geometry.landmark_box(face().landmarks))
    np.testing.assert_allclose(given[1][0], geometry.landmark_box(face().landmarks[17:]))
    with pytest.raises(InputError, match="found all more than once"):
        evaluate([entries[0]] * 2, {"original": [face()]})


def test_missed_faces_are_counted_as_failures(tmp_path: Path) -> None:
    entry = Entry("shift", partial(predict_faces, ShiftModel()), SIZE)
    found = np.array([1.0, 2.0, 30.0, 40.0])
    boxes = Boxes("made up", "boxes made up", lambda face, image: None if face.name == "face1" else found)
    result = evaluate([entry], {"original": [face(0), face(1), face(2)]}, [TRUE_BOXES, boxes])
    assert list(result.rows) == ["shift", "shift (made up)"]
    table = result.table.set_index(["model", "name"])["nme"]
    assert np.isfinite(table["shift"]).all()
    assert np.isinf(table["shift (made up)"]).tolist() == [False, True, False]
    expected = predict_boxes(ShiftModel(), np.zeros((60, 80, 3), np.uint8), [[1, 2, 30, 40]])[0]
    np.testing.assert_allclose(result.landmarks["shift (made up)", "original"][0], expected, atol=1e-4)
    text = write_report(result, "csv", tmp_path)
    assert "- shift (made up): 1 missed" in text
    results = json.loads((tmp_path / "metrics.json").read_text())
    missed = results["shift (made up)"]["original"]
    assert (missed["missed"], missed["images"], missed["boxes"]) == (1, 3, "boxes made up")
    assert missed["failure_rate_6"] == 1.0  # the two others are found far off
    assert missed["nme_mean"] == pytest.approx(table["shift (made up)"].iloc[[0, 2]].mean())
    assert results["shift"]["original"]["missed"] == 0


def test_with_detected_boxes_a_model_searches_the_photo_by_itself() -> None:
    sample = face()
    side = np.ptp(sample.landmarks[:, :2], 0).max()

    def align(image: NDArray[np.uint8]) -> NDArray[np.float32]:
        beside = sample.landmarks + np.array([0.4 * side, 0, 0], np.float32)
        far = sample.landmarks + np.array([2 * side, 0, 0], np.float32)
        return {0: np.stack([far, beside, sample.landmarks]), 1: far[None], 2: far[:0].reshape(0, 68, 3)}[
            int(image[0, 0, 0])
        ]

    def never(face: object, image: object) -> None:
        raise AssertionError("boxes are not needed")

    searching = Entry("searching", partial(predict_faces, ShiftModel()), SIZE, align=align)
    boxes = Boxes("detected boxes", "the boxes of a detector", never, detected=True)
    samples = []
    for number in range(3):
        encoded = cv2.imencode(".png", np.full((60, 80, 3), number, np.uint8))[1].tobytes()
        samples.append(replace(sample, name=f"face{number}", read_image=partial(bytes, encoded)))
    result = evaluate([searching], {"original": samples}, [boxes])
    assert result.rows["searching (detected boxes)"].boxes == SEARCHED
    found = result.landmarks["searching (detected boxes)", "original"]
    np.testing.assert_array_equal(found[0], sample.landmarks)
    assert np.isnan(found[1:]).all()
    assert result.table["nme"].tolist() == [0.0, np.inf, np.inf]


def test_a_loaded_model_finds_the_labelled_face_as_the_aligner_does() -> None:
    entry = load_entries([SAVED_MODEL])[0]
    pixels = read_photo(PHOTO).pixels
    assert entry.align is not None
    (found,) = entry.align(pixels)
    (expected,) = Aligner(SAVED_MODEL, passes=1).align(pixels)
    np.testing.assert_allclose(found, expected.landmarks, atol=0.1)  # the aligner runs float16
    assert entry.align(np.zeros((64, 64, 3), np.uint8)).shape == (0, 68, 3)


def test_a_system_without_the_jaw_takes_true_boxes_alone() -> None:
    inner = Entry("inner", partial(predict_faces, ShiftModel()), SIZE, box_start=17)
    boxes = Boxes("made up", "boxes made up", lambda face, image: np.array([1.0, 2.0, 30.0, 40.0]))
    assert list(evaluate([inner], {"original": [face()]}, [TRUE_BOXES, boxes]).rows) == ["inner"]
    with pytest.raises(InputError, match="boxes: found made up, expected others: inner"):
        evaluate([inner], {"original": [face()]}, [boxes])


def test_an_entry_that_only_searches_photos_takes_no_boxes() -> None:
    points = face().landmarks[None].astype(np.float32)
    entry = Entry("searching", None, SIZE, align=lambda image: points)
    with pytest.raises(InputError, match="boxes: found true boxes, expected others: searching"):
        evaluate([entry], {"original": [face()]}, [TRUE_BOXES])
    rows = evaluate([entry], {"original": [face()]}, [TRUE_BOXES, detected_boxes()]).rows
    assert list(rows) == ["searching (detected boxes)"]


def test_crops_of_other_labels_are_cut_from_the_original_boxes() -> None:
    original = face()
    moved = replace(
        original, landmarks=original.landmarks * np.float32(1.1), box_landmarks=original.landmarks
    )
    result = evaluate([entry(ShiftModel())], {"original": [original], "other": [moved]})
    np.testing.assert_array_equal(result.landmarks["shift", "original"], result.landmarks["shift", "other"])
    box = geometry.landmark_box(original.landmarks)
    expected = metrics.nme(mean_shape_in_box(box), moved.landmarks)
    assert result.table["nme"].to_list()[1] == pytest.approx(expected, rel=1e-4)


def test_a_face_with_other_labels_and_the_same_box_is_not_looked_at_again() -> None:
    seen: list[int] = []

    def find(images: Sequence[NDArray[np.uint8]], boxes: ArrayLike) -> NDArray[np.float32]:
        seen.append(len(images))
        return np.stack([np.full((68, 3), float(box[0])) for box in np.asarray(boxes)]).astype(np.float32)

    faces = [face(0), face(1), face(2)]
    moved = [
        replace(sample, landmarks=sample.landmarks + 1.0, box_landmarks=sample.landmarks) for sample in faces
    ]
    other_box = replace(moved[1], box_landmarks=None)
    result = evaluate(
        [Entry("model", find, SIZE)], {"original": faces, "moved": moved, "one": [moved[0], other_box]}
    )
    assert seen == [3, 1]
    original, same = (result.landmarks["model", labels] for labels in ("original", "moved"))
    np.testing.assert_array_equal(original, same)
    assert result.landmarks["model", "one"][1, 0, 0] == pytest.approx(original[1, 0, 0] + 1.0)
    assert (result.table.groupby("labels")["nme"].mean()["moved"]) > 0.0


def test_the_pose_of_the_mean_shape_has_no_error() -> None:
    result = evaluate([entry(ShiftModel())], {"original": [face(0, 0.0), face(0, 12.0)]})
    errors = result.table[["pitch_error", "yaw_error", "roll_error"]].to_numpy()
    np.testing.assert_allclose(errors, [[0.0, 0.0, 0.0], [0.0, 12.0, 0.0]], atol=1e-3)
    summary = summarize(result.table)["shift"]["original"]
    assert summary["pose_mae_yaw"] == pytest.approx(6.0, abs=1e-3)
    assert summary["pose_faces"] == 2


def test_faces_that_cannot_be_read_are_rejected_and_listed() -> None:
    def missing() -> bytes:
        raise FileNotFoundError(2, "No such file", "gone.jpg")

    good = face(3)
    items: list[FaceSample | Rejection] = [
        FaceSample("gone", missing, good.landmarks, "test", "gone"),
        FaceSample("noise", lambda: b"noise", good.landmarks, "test", "noise"),
        Rejection("bad", "no pt3d_68"),
        good,
    ]
    result = evaluate([entry(ShiftModel())], {"original": items})
    assert list(result.table["name"]) == ["face3"]
    assert list(result.rejected["name"]) == ["gone", "noise", "bad"]
    assert "gone.jpg" in result.rejected["reason"][0]
    assert "5 bytes that do not decode" in result.rejected["reason"][1]
    with pytest.raises(InputError, match=r"no usable face and 3 rejected: gone: .*gone\.jpg"):
        evaluate([entry(ShiftModel())], {"original": items[:3]})
    with pytest.raises(InputError, match="no usable face and 0 rejected"):
        evaluate([entry(ShiftModel())], {"original": []})


def test_nan_predictions_are_not_summarized() -> None:
    with pytest.raises(InputError, match="shift: found landmarks that are NaN"):
        evaluate([entry(ShiftModel(np.nan))], {"original": [face()]})


def test_summaries_per_model_and_label_set() -> None:
    table = pd.DataFrame(
        [
            ("b", "original", "x", 0.0, "0_30", 2.0),
            ("b", "original", "y", 45.0, "30_60", 4.0),
            ("b", "original", "z", -70.0, "60_90", 9.0),
            ("a", "original", "x", 0.0, "0_30", 1.0),
            ("a", "other", "x", np.nan, "", 3.0),
        ],
        columns=["model", "labels", "name", "yaw", "bin", "nme"],
    ).assign(pitch_error=np.nan, yaw_error=np.nan, roll_error=np.nan)
    results = summarize(table)
    assert list(results) == ["b", "a"]
    assert list(results["a"]) == ["original", "other"]
    assert results["b"]["original"]["nme_mean_of_bins"] == 5.0
    assert results["a"]["other"]["nme_0_30"] is None
    assert results["a"]["other"]["nme_mean"] == 3.0


@pytest.mark.skipif(DATA is None, reason="TF_DHM_TEST_DATA is not set")
class TestRealHalf:
    """Known values on one half of AFLW2000-3D."""

    @staticmethod
    def samples(labels: str | Path) -> Iterator[FaceSample | Rejection]:
        assert DATA is not None
        return aflw2000_3d.read(Path(DATA) / "aflw2000_3d_half", labels, wrap_pose=False)

    def test_reannotated_against_original(self) -> None:
        assert DATA is not None
        labels = Path(DATA) / "aflw2000_3d_half" / "reannotated_pts68.npz"
        other = {s.name: s.landmarks for s in self.samples(labels) if isinstance(s, FaceSample)}
        truth = [s for s in self.samples("original") if isinstance(s, FaceSample)]
        yaw = [s.pose[1] for s in truth]
        errors = metrics.nme([other[s.name] for s in truth], [s.landmarks for s in truth])
        assert np.bincount(metrics.yaw_bins(yaw)).tolist() == [656, 191, 153]
        assert metrics.summarize(errors, yaw)["nme_mean_of_bins"] == pytest.approx(3.31, abs=0.005)

    @pytest.mark.slow
    def test_mean_shape(self) -> None:
        result = evaluate([entry(ShiftModel())], {"original": self.samples("original")})
        summary = summarize(result.table)["shift"]["original"]
        assert summary["images"] == 1000
        assert summary["nme_mean_of_bins"] == pytest.approx(23.9, abs=0.4)
