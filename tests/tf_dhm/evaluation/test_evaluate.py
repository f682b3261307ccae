"""Running models over labelled faces, and what is written about it."""

from __future__ import annotations

import doctest
import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
from numpy.typing import ArrayLike, NDArray

from pipelines.datasets import aflw2000_3d
from pipelines.datasets.samples import FaceSample, Refusal
from tests.fakes import mean_shape_in_box, write_fake_model
from tf_dhm.core.errors import InputError
from tf_dhm.evaluation import evaluate as evaluation
from tf_dhm.evaluation.evaluate import Entry, Evaluation, ModelSize
from tf_dhm.face import geometry, metrics
from tf_dhm.face.mean_face import mean_shape
from tf_dhm.runtime.detector import FaceDetector
from tf_dhm.runtime.images import read_photo
from tf_dhm.runtime.predictor import predict_boxes

DATA = os.environ.get("TF_DHM_TEST_DATA")
PHOTO = Path(__file__).resolve().parents[2] / "data" / "astronaut.jpg"
SIZE = ModelSize(bytes=1_000, parameters=204)


@dataclass
class ShiftModel:
    """Finds the mean shape moved by `shift` crop pixels; a second pass adds `shift` again."""

    shift: float = 0.0
    name: str = "shift"
    input_size: int = 16
    can_refine: bool = True
    batches: list[int] = field(default_factory=list)

    def predict(
        self, crops: NDArray[np.uint8], initial_landmarks: NDArray[np.floating] | None = None
    ) -> NDArray[np.float32]:
        self.batches.append(len(crops))
        start = geometry.unit_to_pixels(mean_shape(), self.input_size)[None]
        if initial_landmarks is not None:
            start = initial_landmarks
        # The mean grey moves the answer too, so that it depends on the crop.
        grey = crops.mean((1, 2, 3))[:, None, None] / 255.0
        return (start + self.shift * np.array([1.0, 0.0, 0.0]) + 0.1 * grey).astype(np.float32)


def face(index: int = 0, yaw: float = 0.0, shape: tuple[int, int] = (60, 80)) -> FaceSample:
    """A black photo with a turned and stretched mean shape in it."""
    points = geometry.unit_to_pixels(mean_shape(), 40) * [1.0 + 0.02 * index, 1.0, 1.0] + [8.0, 6.0, 0.0]
    encoded = cv2.imencode(".png", np.zeros((*shape, 3), np.uint8))[1].tobytes()
    return FaceSample(
        name=f"face{index}",
        read_image=lambda: encoded,
        landmarks=points.astype(np.float32),
        split="test",
        group=str(index),
        pose=np.array([0.0, yaw, 0.0], np.float32),
    )


def faces(yaws: list[float]) -> list[FaceSample]:
    return [face(i, yaw) for i, yaw in enumerate(yaws)]


def entry(model: ShiftModel, passes: int = 1) -> Entry:
    return Entry(model.name, partial(evaluation.predict_faces, model, passes=passes), SIZE)


def test_doctests() -> None:
    assert doctest.testmod(evaluation).failed == 0


def test_samples_and_refusals_are_told_apart() -> None:
    assert isinstance(face(), evaluation.Face)
    assert not isinstance(face(), evaluation.Refused)
    assert isinstance(Refusal("a", "b"), evaluation.Refused)


def test_nme_of_a_shifted_face_by_hand() -> None:
    # In a crop of 16 px a shift of 2 px is 1/8 of the side; NME is that over sqrt(w h).
    sample = face()
    result = evaluation.evaluate([entry(ShiftModel(2.0))], {"original": [sample]})
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
    evaluation.evaluate(entries, {"original": [face()]})
    np.testing.assert_allclose(given[0][0], geometry.landmark_box(face().landmarks))
    np.testing.assert_allclose(given[1][0], geometry.landmark_box(face().landmarks[17:]))
    with pytest.raises(InputError, match="found all more than once"):
        evaluation.evaluate([entries[0]] * 2, {"original": [face()]})


def test_disturbed_boxes_are_off_by_the_errors_asked_for() -> None:
    boxes = evaluation.disturbed_boxes(0.03, 0.05)
    black = np.zeros((60, 80, 3), np.uint8)
    faces = [replace(face(), name=f"face{i}") for i in range(500)]
    found = np.array([boxes.find(one, black) for one in faces])
    assert found[3].tolist() == np.asarray(boxes.find(faces[3], black)).tolist()  # a face keeps its error
    true = geometry.landmark_box(faces[0].landmarks)
    side = (true[2:] - true[:2]).max()
    off = (found[:, :2] + found[:, 2:] - true[:2] - true[2:]) / 2 / side
    assert off.std(0) == pytest.approx([0.03, 0.03], rel=0.1)
    assert np.log((found[:, 2] - found[:, 0]) / (true[2] - true[0])).std() == pytest.approx(0.05, rel=0.1)
    with pytest.raises(InputError, match="box_error: found -1 and 0, expected 0 or more"):
        evaluation.disturbed_boxes(-1, 0)


def test_detected_boxes_are_those_near_the_face() -> None:
    image = read_photo(PHOTO).pixels
    boxes = evaluation.detected_boxes()
    (detection,) = FaceDetector().detect(image)
    x0, y0, x1, y1 = detection.box
    centre, side = [(x0 + x1) / 2, (y0 + y1) / 2, 0], (x1 - x0) * 2**0.5
    landmarks = (mean_shape() * side / 2 + centre).astype(np.float32)
    found = boxes.find(replace(face(), landmarks=landmarks), image)
    assert np.asarray(found).tolist() == detection.box.tolist()
    beside = replace(face(), landmarks=landmarks + np.array([side, 0, 0], np.float32))
    assert boxes.find(beside, image) is None


def test_faces_without_a_box_are_refused(tmp_path: Path) -> None:
    entry = Entry("shift", partial(evaluation.predict_faces, ShiftModel()), SIZE)
    boxes = evaluation.Boxes(
        "made up", lambda face, image: None if face.name == "face1" else np.array([1.0, 2.0, 30.0, 40.0])
    )
    result = evaluation.evaluate([entry], {"original": [face(0), face(1), face(2)]}, boxes)
    assert result.table["name"].tolist() == ["face0", "face2"]
    assert result.refused.to_numpy().tolist() == [["original", "face1", "found no box"]]
    expected = predict_boxes(ShiftModel(), np.zeros((60, 80, 3), np.uint8), [[1, 2, 30, 40]])[0]
    np.testing.assert_allclose(result.landmarks["shift", "original"][0], expected, atol=1e-4)
    text = evaluation.write_report(result, [entry], "csv", tmp_path)
    assert "crops are cut from made up." in text
    assert json.loads((tmp_path / "metrics.json").read_text())["shift"]["original"]["boxes"] == "made up"
    with pytest.raises(InputError, match="found inner, which wants boxes without the jaw"):
        evaluation.evaluate([replace(entry, name="inner", box_start=17)], {"original": [face()]}, boxes)


@pytest.mark.parametrize("passes", [1, 2, 3])
def test_predict_faces_agrees_with_predict_boxes(passes: int) -> None:
    rng = np.random.default_rng(5)
    images = [rng.integers(0, 255, shape, np.uint8) for shape in [(50, 40, 3), (90, 120, 3), (300, 200, 3)]]
    boxes = np.array([[5, 5, 30, 40], [-10, 20, 60, 100], [20, 30, 180, 250]], float)
    model = ShiftModel(0.7)
    together = evaluation.predict_faces(model, images, boxes, passes)
    assert model.batches == [3] * passes
    for image, box, landmarks in zip(images, boxes, together, strict=True):
        np.testing.assert_allclose(landmarks, predict_boxes(model, image, box, passes)[0], atol=1e-4)


def test_batches_are_bounded_in_images_and_pixels(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(evaluation, "BATCH_IMAGES", 4)
    monkeypatch.setattr(evaluation, "BATCH_PIXELS", 3 * 60 * 80)
    small = faces([0.0] * 3)
    sizes = [len(b) for b in evaluation.read_batches([*small, *small[:2]], [])]
    assert sizes == [3, 2]
    monkeypatch.setattr(evaluation, "BATCH_PIXELS", 10**9)
    assert [len(b) for b in evaluation.read_batches([*small, *small[:2]], [])] == [4, 1]


def test_faces_that_cannot_be_read_are_refused_and_listed() -> None:
    def missing() -> bytes:
        raise FileNotFoundError(2, "No such file", "gone.jpg")

    good = face(3)
    items: list[FaceSample | Refusal] = [
        FaceSample("gone", missing, good.landmarks, "test", "gone"),
        FaceSample("noise", lambda: b"noise", good.landmarks, "test", "noise"),
        Refusal("bad", "no pt3d_68"),
        good,
    ]
    result = evaluation.evaluate([entry(ShiftModel())], {"original": items})
    assert list(result.table["name"]) == ["face3"]
    assert list(result.refused["name"]) == ["gone", "noise", "bad"]
    assert "gone.jpg" in result.refused["reason"][0]
    assert "5 bytes that do not decode" in result.refused["reason"][1]
    with pytest.raises(InputError, match=r"no usable face and 3 refused: gone: .*gone\.jpg"):
        evaluation.evaluate([entry(ShiftModel())], {"original": items[:3]})
    with pytest.raises(InputError, match="no usable face and 0 refused"):
        evaluation.evaluate([entry(ShiftModel())], {"original": []})


def test_images_keep_their_stored_raster() -> None:
    # JPEG with the EXIF orientation "turned by 90 degrees": labels refer to the pixels as stored.
    jpeg = cv2.imencode(".jpg", np.zeros((20, 30, 3), np.uint8))[1].tobytes()
    exif = b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0"
    turned = jpeg[:2] + b"\xff\xe1" + (len(exif) + 2).to_bytes(2, "big") + exif + jpeg[2:]
    assert cv2.imdecode(np.frombuffer(turned, np.uint8), cv2.IMREAD_COLOR).shape == (30, 20, 3)
    assert evaluation.decode_raster(turned, "turned").shape == (20, 30, 3)


def test_images_are_rgb() -> None:
    red = np.zeros((2, 2, 3), np.uint8)
    red[..., 2] = 255  # OpenCV writes BGR
    encoded = cv2.imencode(".png", red)[1].tobytes()
    assert evaluation.decode_raster(encoded, "red")[0, 0].tolist() == [255, 0, 0]


def test_nan_predictions_are_not_summarized() -> None:
    result = evaluation.evaluate([entry(ShiftModel(np.nan))], {"original": [face()]})
    with pytest.raises(InputError, match="with NaN"):
        evaluation.summarize(result.table)


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
    )
    results = evaluation.summarize(table)
    assert list(results) == ["b", "a"]
    assert list(results["a"]) == ["original", "other"]
    assert results["b"]["original"]["nme_mean_of_bins"] == 5.0
    assert results["a"]["other"]["nme_0_30"] is None
    assert results["a"]["other"]["nme_mean"] == 3.0


def test_names_of_models_and_label_sets() -> None:
    assert evaluation.distinct_names(["m", "n"], ["x/m", "x/n"]) == ["m", "n"]
    assert evaluation.distinct_names(["m", "m"], ["x/m", "y/m"]) == ["x/m", "y/m"]
    with pytest.raises(InputError, match="x/m more than once"):
        evaluation.distinct_names(["m", "m"], ["x/m", "x/m"])
    assert evaluation.label_set_names(["original", "a/original.npz"]) == ["original", "a/original.npz"]


def test_published_rows_are_as_printed() -> None:
    published = evaluation.read_published()
    table_1 = published[(published["source"] == "published") & (published["system"] != "SynergyNet")]
    assert len(table_1) == 16
    assert set(published["source"]) == {"published", "measured side by side"}
    row = table_1[table_1["system"] == "Fast DHM"].iloc[0]
    assert row[["nme_0_30", "nme_30_60", "nme_60_90", "nme_mean", "fps_gpu", "fps_cpu", "size"]].tolist() == [
        "2.57",
        "3.60",
        "5.88",
        "4.01",
        ">900",
        "81",
        "0.9 MB",
    ]
    # A printed mean that is not the mean of the printed bins says so.
    bins = published[[f"nme_{name}" for name in metrics.YAW_BINS]].astype(float).mean(axis=1)
    differs = (bins - published["nme_mean"].astype(float)).abs() > 0.015
    assert set(published.loc[differs, "system"]) == {"DHM", "DHM+RHG", "Hyperface", "MDM", "ERT"}
    for note, mean in zip(published.loc[differs, "note"], bins[differs], strict=True):
        assert note == f"mean as printed; the mean of the bins is {mean:.2f}"
    assert not published.loc[~differs, "note"].str.contains("as printed").any()


def test_model_size_is_that_of_the_weights(tmp_path: Path) -> None:
    version = write_fake_model(tmp_path / "fake") / "1"
    assert evaluation.model_size(version) == ModelSize(bytes=4 * 68 * 3, parameters=68 * 3)


def test_entries_are_one_for_each_model_and_number_of_passes(tmp_path: Path) -> None:
    models = [write_fake_model(tmp_path / name) for name in ("a", "b")]
    entries = evaluation.load_entries(models, (1, 2))
    assert [e.name for e in entries] == ["a", "a (2 passes)", "b", "b (2 passes)"]
    with pytest.raises(InputError, match="expected a folder with a SavedModel"):
        evaluation.load_entries([tmp_path / "none"])


@pytest.fixture
def evaluated() -> tuple[Evaluation, list[Entry]]:
    good, bad = ShiftModel(0.0, "good"), ShiftModel(1.0, "bad")
    entries = [entry(good), replace(entry(bad, 2), name="bad (2 passes)")]
    yaws = [0.0, 10.0, -45.0, 50.0, 80.0, -90.0, 5.0]
    label_sets: dict[str, list[FaceSample | Refusal]]
    label_sets = {"original": [*faces(yaws), Refusal("face9", "empty")], "other": [*faces(yaws[:4])]}
    return evaluation.evaluate(entries, label_sets), entries


def test_report(evaluated: tuple[Evaluation, list[Entry]], tmp_path: Path) -> None:
    result, entries = evaluated
    output = tmp_path / "made" / "out"
    text = evaluation.write_report(result, entries, "aflw2000_3d", output)
    assert sorted(p.name for p in output.iterdir()) == [
        "best_and_worst.png",
        "ced.png",
        "ced_by_yaw.png",
        "metrics.json",
        "per_image.csv",
        "refused.csv",
        "table.md",
    ]
    results = json.loads((output / "metrics.json").read_text())
    assert list(results) == ["good", "bad (2 passes)"]
    original = results["good"]["original"]
    assert list(original) == [
        "nme_0_30",
        "nme_30_60",
        "nme_60_90",
        "nme_mean_of_bins",
        "nme_mean",
        "auc_6",
        "failure_rate_6",
        "images",
    ]
    assert original["images"] == 7
    assert results["good"]["other"]["nme_mean_of_bins"] is None
    per_image = pd.read_csv(output / "per_image.csv")
    assert len(per_image) == 2 * (7 + 4)
    of_good = per_image[(per_image["model"] == "good") & (per_image["labels"] == "original")]
    assert of_good["nme"].mean() == pytest.approx(original["nme_mean"], abs=1e-5)
    assert list(of_good["bin"]) == ["0_30", "0_30", "30_60", "30_60", "60_90", "60_90", "0_30"]
    assert (output / "refused.csv").read_text().splitlines() == ["labels,name,reason", "original,face9,empty"]
    assert (output / "table.md").read_text() == text
    assert "- labels original: 7 faces, by bin 3/2/2; 1 refused" in text
    assert "- labels other: 4 faces, by bin 2/2/0; 0 refused" in text
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in text.splitlines() if line[:1] == "|"]
    by_name = {(row[0], row[2]): dict(zip(rows[0], row, strict=True)) for row in rows[2:]}
    ours = by_name["good", "original"]
    assert ours["source"] == "this evaluation"
    assert ours["mean of bins"] == f"{original['nme_mean_of_bins']:.2f}"
    assert (ours["size"], ours["parameters"], ours["images"]) == ("1,000 bytes", "204", "7")
    assert by_name["good", "other"]["60–90"] == "–"
    theirs = by_name["DHM", "original"]
    assert (theirs["source"], theirs["mean of bins"], theirs["60–90"]) == ("published", "4.11", "6.91")
    assert theirs["note"] == "mean as printed; the mean of the bins is 4.62"
    assert by_name["3DDFA_V2 mb05 (ONNX Runtime)", "re-annotated"]["mean of bins"] == "2.99"


def test_report_of_another_dataset_has_no_published_rows(
    evaluated: tuple[Evaluation, list[Entry]], tmp_path: Path
) -> None:
    text = evaluation.write_report(*evaluated, "wild68", tmp_path)
    assert "# Accuracy on wild68" in text
    assert "published" not in text


def test_unknown_pose_gives_means_without_bins(tmp_path: Path) -> None:
    entries = [entry(ShiftModel())]
    result = evaluation.evaluate(entries, {"original": faces([np.nan, np.nan])})
    evaluation.write_report(result, entries, "points", tmp_path)
    summary = json.loads((tmp_path / "metrics.json").read_text())["shift"]["original"]
    assert summary["nme_30_60"] is None
    assert summary["nme_mean_of_bins"] is None
    assert summary["nme_mean"] > 0
    assert pd.read_csv(tmp_path / "per_image.csv")[["yaw", "bin"]].isna().all(axis=None)


def test_best_typical_and_worst_are_sorted(evaluated: tuple[Evaluation, list[Entry]]) -> None:
    rows = evaluation.best_and_worst(evaluated[0], "original")
    assert [title for title, _ in rows[:3]] == ["good\nbest", "good\ntypical", "good\nworst"]
    assert len(rows) == 6
    # Face i is stretched by 2 i %, so the model of the mean shape errs more with i.
    assert [[p.caption.split()[0] for p in pictures] for _, pictures in rows[:3]] == [
        ["face0", "face1"],
        ["face2", "face3"],
        ["face5", "face6"],
    ]


def test_models_side_by_side(evaluated: tuple[Evaluation, list[Entry]]) -> None:
    rows = evaluation.side_by_side(evaluated[0], "original")
    assert [title for title, _ in rows] == [
        f"{kind}\n{model}" for kind in ("best", "typical", "worst") for model in ("good", "bad (2 passes)")
    ]
    # The same faces for each model, with its own errors.
    names = [[p.caption.split()[0] for p in pictures] for _, pictures in rows]
    assert names[0] == names[1]
    assert rows[0][1][0].caption != rows[1][1][0].caption
    errors = evaluation.errors_of_models(evaluated[0], "original")
    mean = np.mean(list(errors.values()), 0)
    assert names[0][0] == f"face{mean.argmin()}"
    assert names[4][-1] == f"face{mean.argmax()}"


def test_published_points() -> None:
    by_name = {point.name: point for point in evaluation.published_points("bytes")}
    assert (by_name["Fast DHM"].cost, by_name["Fast DHM"].nme) == (0.9e6, 4.01)
    assert by_name["dlib ERT"].cost == 99_693_937
    assert all(point.kind == "apart" for point in by_name.values())
    assert {point.group for point in by_name.values()} == {"published", "measured side by side"}
    assert "3DSTN" not in by_name  # no size printed
    times = {point.name: point.cost for point in evaluation.published_points("ms")}
    assert times["Fast DHM"] == pytest.approx(1000 / 81)
    assert times["MediaPipe face_landmark (2 passes)"] == 1.3
    assert "DHM" not in times  # "<1" is a bound


def test_measured_points() -> None:
    results: evaluation.Metrics = {
        "a": {"original": {"nme_mean_of_bins": 3.5, "nme_mean": 3.0}},
        "b": {"original": {"nme_mean_of_bins": None, "nme_mean": 4.0}},
        "c": {"other": {"nme_mean_of_bins": 1.0, "nme_mean": 1.0}},
        "untimed": {"original": {"nme_mean_of_bins": 1.0, "nme_mean": 1.0}},
    }
    timed = {"device": "cpu", "threads": 1, "stage": "model", "batch": 1, "file_bytes": 100}
    timed["precision"] = "float16"
    rows = [
        {**timed, "model": "a", "ms": 2.0, "file_bytes": 500},
        {**timed, "model": "a", "ms": 0.5},
        {**timed, "model": "a", "ms": 0.1, "threads": 2},
        {**timed, "model": "a", "ms": 0.1, "batch": 32},
        {**timed, "model": "a", "ms": 0.1, "precision": "int8"},
        {**timed, "model": "b", "ms": 1.0},
        {**timed, "model": "c", "ms": 1.0},
    ]
    found = evaluation.measured_points(results, {"results": rows}, "original", "ms", "here")
    assert [(p.name, p.cost, p.nme, p.kind) for p in found] == [
        ("a", 0.5, 3.5, "series"),
        ("b", 1.0, 4.0, "series"),
    ]
    found = evaluation.measured_points(results, {"results": rows}, "original", "bytes", "here")
    assert [p.cost for p in found] == [100.0, 100.0]


@pytest.mark.skipif(DATA is None, reason="TF_DHM_TEST_DATA is not set")
class TestRealHalf:
    """Known values on one half of AFLW2000-3D."""

    @staticmethod
    def samples(labels: str | Path) -> Iterator[FaceSample | Refusal]:
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
        result = evaluation.evaluate([entry(ShiftModel())], {"original": self.samples("original")})
        summary = evaluation.summarize(result.table)["shift"]["original"]
        assert summary["images"] == 1000
        assert summary["nme_mean_of_bins"] == pytest.approx(23.9, abs=0.4)
