"""`python evaluate.py` from end to end on a small AFLW2000-3D folder and a model without a net."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
import scipy.io

from pipelines.prepared import records
from tests.fakes import mean_shape_in_box, write_fake_model
from tests.scripts import run_script_here
from tf_dhm.face import geometry, metrics

YAWS = {"image00002": 0.0, "image00004": -30.0, "image00006": 45.0, "image00008": -80.0}


def truth_of(index: int) -> np.ndarray:
    """(68, 3) 0-based pixels: a mean face, stretched more and more to the right."""
    points = mean_shape_in_box(np.array([60.0, 50.0, 140.0, 130.0]))
    points[:, 0] = 60.0 + (points[:, 0] - 60.0) * (1.0 + 0.1 * index)
    return points


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four faces and one `.mat` without landmarks; other labels for two of them, 1 px to the right."""
    folder = tmp_path_factory.mktemp("AFLW2000-3D")
    for index, (name, yaw) in enumerate(YAWS.items()):
        cv2.imwrite(str(folder / f"{name}.jpg"), np.full((200, 200, 3), 60 + 20 * index, np.uint8))
        pose = np.array([[0.1, np.radians(yaw), 0.0, 0.0, 0.0, 0.0, 1e-3]])
        points = truth_of(index).T
        points[:2] += 1.0  # MATLAB counts from 1
        scipy.io.savemat(folder / f"{name}.mat", {"pt3d_68": points, "Pose_Para": pose})
    cv2.imwrite(str(folder / "image00010.jpg"), np.zeros((200, 200, 3), np.uint8))
    scipy.io.savemat(folder / "image00010.mat", {"Pose_Para": np.zeros((1, 7))})
    two = list(YAWS)[:2]
    points = np.stack([truth_of(index)[:, :2] + [1.0, 0.0] for index in range(2)])
    np.savez(folder / "moved.npz", name=two, landmarks=points)
    return folder


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_fake_model(tmp_path_factory.mktemp("models") / "fake", size=24)


def nme_of_mean_shape(truth: np.ndarray) -> float:
    return metrics.nme(mean_shape_in_box(geometry.landmark_box(truth)), truth).item()


def test_from_end_to_end(dataset: Path, model: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    labels: list[str | Path] = ["--labels", "original", dataset / "moved.npz"]
    where: list[str | Path] = ["--dataset", "aflw2000_3d", "--data-dir", dataset, "--output-dir", out]
    # The same network as a system of others, which says how it is to be used.
    adapter = {"file": str(model / "1"), "input_size": 24, "dimensions": 3, "name": "peer"}
    (tmp_path / "peer.json").write_text(json.dumps(adapter))
    peers: list[str | Path] = ["--peers", tmp_path / "peer.json"]
    passes = ["--passes", "1", "2", "default"]
    done = run_script_here("evaluate.py", "--models", model, *where, *labels, *peers, *passes)
    assert done.returncode == 0, done.stderr

    results = json.loads((out / "metrics.json").read_text())
    detected = {name: results.pop(name) for name in list(results) if "detected boxes" in name}
    assert list(detected) == [
        "fake (detected boxes)",
        "fake (2 passes, detected boxes)",
        "fake (default passes, detected boxes)",
        "peer (detected boxes)",
    ]
    assert list(results) == ["fake", "fake (2 passes)", "peer"]
    for by_labels in detected.values():  # there is nothing in the photos
        assert (by_labels["original"]["missed"], by_labels["original"]["failure_rate_6"]) == (4, 1.0)
        assert by_labels["original"]["nme_mean"] is None
        assert by_labels["moved"]["missed"] == 2
    expected = [nme_of_mean_shape(truth_of(i)) for i in range(4)]
    shifted = [truth_of(i) + [1.0, 0.0, 0.0] for i in range(2)]
    found = [mean_shape_in_box(geometry.landmark_box(truth_of(i))) for i in range(2)]
    expected_moved = metrics.nme(found, shifted).mean()
    for name, by_labels in results.items():
        original, moved = by_labels["original"], by_labels["moved"]
        # [0, 30] holds 0 and -30 degrees.
        assert original["nme_0_30"] == pytest.approx((expected[0] + expected[1]) / 2, abs=1e-3)
        assert original["nme_30_60"] == pytest.approx(expected[2], abs=1e-3)
        assert original["nme_60_90"] == pytest.approx(expected[3], abs=1e-3)
        mean_of_bins = ((expected[0] + expected[1]) / 2 + expected[2] + expected[3]) / 3
        assert original["nme_mean_of_bins"] == pytest.approx(mean_of_bins, abs=1e-3)
        assert original["nme_mean"] == pytest.approx(np.mean(expected), abs=1e-3)
        assert original["images"] == 4
        assert original.get("version") == (None if name == "peer" else 1)
        # The crop is cut from the original box, so the shift by 1 px shows.
        assert moved["nme_0_30"] == pytest.approx(expected_moved, abs=1e-3)
        assert (moved["nme_60_90"], moved["nme_mean_of_bins"], moved["images"]) == (None, None, 2)

    rejected = pd.read_csv(out / "rejected.csv")
    assert list(rejected["labels"]) == ["original", "moved", "moved", "moved"]
    assert list(rejected["name"]) == ["image00010", "image00006", "image00008", "image00010"]
    assert f"4 faces rejected; reasons in {out / 'rejected.csv'}" in done.stdout
    assert len(pd.read_csv(out / "per_image.csv")) == 7 * (4 + 2)
    assert "| Fast DHM×2" in (out / "table.md").read_text()
    assert "| Fast DHM×2" not in done.stdout
    assert "- fake (detected boxes): 4 missed" in done.stdout
    assert f"are in {out}" in done.stdout
    assert "replaced" not in done.stdout
    for name in ("ced.png", "ced_by_yaw.png", "best_and_worst.png"):
        picture = cv2.imread(str(out / name))
        assert picture is not None
        assert picture.std() > 1.0
    assert not list(out.glob(".*"))


def test_without_options_all_models_are_measured_on_synthetic_faces(tmp_path: Path) -> None:
    models = tmp_path / "savedmodels"
    for name in ("one", "two"):
        write_fake_model(models / name, size=24, points=name == "two")
    (models / "two" / "README.md").write_text("its card")
    (models / "models.config").write_text("for TF Serving")
    (models / "empty").mkdir()
    # The defaults are below the working directory.
    done = run_script_here("evaluate.py", "--faces", "4", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    results = json.loads((tmp_path / "runs" / "evaluation" / "metrics.json").read_text())
    assert list(results) == ["one", "one (detected boxes)", "two", "two (detected boxes)"]
    assert results["one"] == results["two"]
    assert results["one"]["original"]["images"] == 4
    # Exact labels in the crop of their own box: what the mean shape is off by.
    (prepared,) = (tmp_path / "data" / "prepared").iterdir()
    expected = [nme_of_mean_shape(face.landmarks) for face in records.read_samples(prepared, "test")]
    assert results["one"]["original"]["nme_mean"] == pytest.approx(np.mean(expected), abs=1e-3)
    assert "# Accuracy on synthetic" in done.stdout
    assert "Fast DHM×2" not in done.stdout  # published results are of other faces
    assert "are in runs/evaluation" in done.stdout
    assert done.stdout.count("only the 68 landmarks were measured") == 1
    assert "two: only the 68 landmarks were measured" in done.stdout
    assert "replaced" not in done.stdout
    assert "preparing synthetic" in done.stderr
    # Prepared faces of any dataset can be measured on, these too.
    options = ("--models", models / "one", "--dataset", "synthetic", "--data-dir", prepared)
    done = run_script_here("evaluate.py", *options, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "preparing" not in done.stderr
    assert "earlier evaluation were replaced" in done.stdout
    again = json.loads((tmp_path / "runs" / "evaluation" / "metrics.json").read_text())
    assert again == {name: results[name] for name in ("one", "one (detected boxes)")}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "savedmodels: found no such folder, expected models"),
        (["--models-dir", "."], "error: .: found no model, expected models"),
        (["--models", "{model}", "--dataset", "csv"], "data-dir: found none, expected the folder of csv"),
        (["--models", "{model}", "--dataset", "x"], "dataset: found 'x', expected one of"),
        (["--models", "{model}", "--peers", "x"], "peers: found 'x', expected mediapipe, dlib"),
        (["--models", "{model}", "--split", "val"], "split: found val, expected test"),
        (["--models", "{model}", "--faces", "0"], "faces: found 0"),
        (["--models", "{model}", "--labels", "x.npz", "--faces", "1"], "the only labels of synthetic"),
    ],
)
def test_mistakes_without_a_folder(
    arguments: list[str],
    message: str,
    model: Path,
    tmp_path: Path,
) -> None:
    words = [word.format(model=model) for word in arguments]
    done = run_script_here("evaluate.py", *words, cwd=tmp_path)
    assert done.returncode == 2
    assert message in done.stderr
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"--data-dir": "{tmp}/none"}, "data-dir: found no {tmp}/none"),
        ({"--output-dir": "{tmp}/file"}, "{tmp}/file: found a file, expected a folder"),
        ({"--models": "{tmp}"}, "model {tmp}: found file, expected saved_model.pb"),
        ({"--dataset": "nothing"}, "dataset: found 'nothing', expected one of"),
        ({"--dataset": "csv", "--labels": "x.npz"}, "labels: found x.npz, expected original"),
        ({"--labels": "{tmp}/x.npz"}, "labels: found no {tmp}/x.npz"),
        ({"--faces": "5"}, "faces: found 5 with --data-dir, expected none"),
        ({"--split": "val"}, "found faces of the splits 4 test, expected some of val"),
        ({"--no-such-option": "1"}, "no-such-option"),
    ],
)
def test_mistakes_are_named(
    changes: dict[str, str],
    message: str,
    dataset: Path,
    model: Path,
    tmp_path: Path,
) -> None:
    (tmp_path / "file").write_text("a file")
    options = {"--models": model, "--data-dir": dataset, "--output-dir": tmp_path / "out"}
    options |= {name: Path(value.format(tmp=tmp_path)) for name, value in changes.items()}
    arguments = [str(word) for option in options.items() for word in option]
    done = run_script_here("evaluate.py", *arguments)
    assert done.returncode == 2
    assert message.format(tmp=tmp_path) in done.stderr + done.stdout
    assert not (tmp_path / "out").exists()
