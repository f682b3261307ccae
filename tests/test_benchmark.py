"""`python benchmark.py` from end to end."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.tiny_models import write_tiny_model

ROOT = Path(__file__).resolve().parents[1]
PHOTO = ROOT / "tests" / "data" / "astronaut.jpg"


def run(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, ROOT / "benchmark.py", *map(str, arguments)],
        capture_output=True,
        text=True,
        env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"},
        cwd=ROOT,
        check=False,
    )


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models") / "tiny"
    return write_tiny_model(folder, tflite=("float32",))


@pytest.mark.slow
def test_from_end_to_end(model: Path, tmp_path: Path) -> None:
    output = tmp_path / "out" / "benchmark.json"
    what: list[str | Path] = [
        "--kinds",
        "saved_model",
        "float32",
        "--batches",
        "1",
        "2",
        "--threads",
        "1",
        "2",
        "--stages",
        "model",
        "cut",
        "crop",
    ]
    done = run(
        "--models",
        model,
        "--photo",
        PHOTO,
        *what,
        "--rounds",
        "2",
        "--turn-ms",
        "1",
        "--op-profile",
        "--output",
        output,
    )
    assert done.returncode == 0, done.stderr
    report = json.loads(output.read_text())
    assert report["machine"]["cpu"]
    assert report["rounds"] == 2
    cpu = [row for row in report["results"] if row["device"] == "cpu"]
    assert [row["threads"] for row in cpu] == [1] * 9 + [2] * 9
    assert {row["stage"] for row in cpu} == {"model", "cut", "crop"}
    assert all(row["ms"] > 0 and row["ratio"] > 0 and row["inside"] for row in cpu)
    assert [row["operation"] for row in report["op_profile"]["tiny_float32"]][:2] == ["CAST", "CONV_2D"]
    assert "mediapipe face_landmark" in done.stdout
    assert "DEPTHWISE_CONV_2D" in done.stdout
    assert [entry.name for entry in output.parent.iterdir()] == ["benchmark.json"]


def test_errors(tmp_path: Path) -> None:
    done = run("--models", tmp_path, "--output", tmp_path / "out.json")
    assert done.returncode == 2
    assert done.stderr.startswith(f"error: model {tmp_path}: found an empty folder")
    done = run("--modles", tmp_path)
    assert done.returncode == 2
    assert "--modles" in done.stderr
    assert not any(tmp_path.iterdir())
