"""What is measured of the runtime: places without a face, errors of pose by hand, and the tables."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.builders import write_aflw2000
from tests.tiny_models import write_tiny_model
from tf_dhm.export.tflite import convert
from tf_dhm.face import geometry
from tf_dhm.face.geometry import overlaps
from tf_dhm.face.mean_face import mean_shape
from tf_dhm.runtime.predictor import Prediction
from tools.studies.runtime_measures import (
    Faces,
    RuntimeMeasureConfig,
    format_rows,
    measure,
    peak_memory,
    places_without_face,
    pose_rows,
)

ASTRONAUT = Path(__file__).parents[2] / "data" / "astronaut.jpg"


@given(st.integers(0, 10_000))
def test_places_without_a_face(seed: int) -> None:
    rng = np.random.default_rng(seed)
    low = rng.uniform(0, 250, (2, 2))
    faces = list(np.concatenate([low, low + rng.uniform(50, 150, (2, 1))], 1))
    places = places_without_face(450, 400, faces, rng)
    squares = geometry.crop_square(places)
    crops = np.concatenate([squares[:, :2] - squares[:, 2:] / 2, squares[:, :2] + squares[:, 2:] / 2], 1)
    assert not overlaps(crops, faces).any()
    assert (crops >= 0).all()
    assert (crops[:, [0, 2]] <= 450).all()
    assert (crops[:, [1, 3]] <= 400).all()


def turned(yaw: float) -> np.ndarray:
    """The mean face turned to the pose (0, yaw, 0), in pixels."""
    flip = np.array([1.0, -1.0, 1.0])
    rotation = geometry.rotation_matrix(0.0, np.radians(yaw), 0.0)
    shape = mean_shape() - mean_shape().mean(0)
    return (shape * flip) @ rotation.T * flip * 100.0 + [150.0, 150.0, 0.0]


def made_faces(*yaws: float) -> Faces:
    count = len(yaws)
    crops = np.zeros((count, 8, 8, 3), np.uint8)
    matrices = np.repeat(np.eye(2, 3)[None], count, 0)
    pose = np.array([[0.0, yaw, 0.0] for yaw in yaws])
    return Faces(crops, matrices, np.stack([turned(yaw) for yaw in yaws]), pose, crops[:0])


def test_errors_of_pose() -> None:
    faces = made_faces(10.0, -50.0, 350.0)  # the last is the same as -10
    rows = pose_rows(faces, np.stack([turned(12.0), turned(-46.0), turned(-10.0)]))
    by_bin = {row["|yaw|"]: row for row in rows[:5]}
    assert by_bin["all"]["yaw"] == pytest.approx(2.0, abs=1e-3)
    assert by_bin["all"]["pitch"] == pytest.approx(0.0, abs=1e-3)
    assert by_bin["0-30"]["yaw"] == pytest.approx(2.0, abs=1e-3)
    assert by_bin["30-60"]["yaw"] == pytest.approx(4.0, abs=1e-3)
    assert (by_bin["60-90"]["faces"], by_bin["within 99"]["faces"]) == (1, 2)
    assert all(row["mean"] == pytest.approx(0.0, abs=1e-3) for row in rows[5:])


def test_differences_of_formats() -> None:
    faces = made_faces(0.0)
    truth = faces.landmarks.astype(np.float32)
    seen = np.full((1, 68), 0.5, np.float32)
    answers = {
        "SavedModel": Prediction(truth, seen, np.array([0.9], np.float32)),
        "TFLite": Prediction(
            truth + np.array([3, 4, 9], np.float32), seen + 0.25, np.array([0.8], np.float32)
        ),
    }
    first, second = format_rows(faces, answers, {"SavedModel": 10.0, "TFLite": 5.0})
    assert (first["bytes"], first["crop px, greatest"]) == (10, 0.0)
    assert first["mean"] == pytest.approx(0.0, abs=1e-4)
    assert second["crop px, mean"] == pytest.approx(5.0, rel=1e-5)  # x and y alone
    assert second["visibility, greatest"] == pytest.approx(0.25)
    assert second["confidence, greatest"] == pytest.approx(0.1, abs=1e-6)


@pytest.mark.slow
def test_from_end_to_end(tmp_path: Path) -> None:
    model = write_tiny_model(tmp_path / "tiny", quality=True)
    convert(model, kinds=["float16"])
    for stem in ("image00002", "image00004"):
        write_aflw2000(tmp_path / "aflw", stem)
    config = RuntimeMeasureConfig(
        tmp_path / "aflw",
        model=str(model),
        photo=ASTRONAUT,
        lite_python=Path(sys.executable),
        json=tmp_path / "a.json",
    )
    text = measure(config)
    for part in ("2 faces", "TFLite float16", "saved_model"):
        assert part in text
    rows = [[cell.strip() for cell in line.split("|")[1:3]] for line in text.splitlines() if "|" in line]
    assert ["requirements-lite.txt", "tflite"] in rows
    assert (tmp_path / "a.json").is_file()
    memory = peak_memory(
        Path(sys.executable), model / "1", "tflite", ASTRONAUT, [[180.0, 60.0, 270.0, 160.0]]
    )
    assert 20 < memory < 2000
