"""The table of measurements on several TensorFlows."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tools.studies import lanes
from tools.studies.lanes import LanesConfig, add, study


def row(tensorflow: str, rate: float) -> dict[str, Any]:
    return {
        "software": {"python": "3.11.7", "tensorflow": tensorflow, "keras": "2.15.0"},
        "machine": {"cpu": "Fast", "cpus": 2},
        "preset": "fast_dhm",
        "data": "10 faces of csv",
        "images_per_second": rate,
        "start_seconds": 9.0,
        "export_seconds": 8.0,
        "savedmodel_bytes": 2_500_000,
        "tflite_bytes": 700_000,
        "tflite_ms": 0.25,
    }


def test_a_column_for_each_tensorflow(tmp_path: Path) -> None:
    file, document = tmp_path / "lanes.json", tmp_path / "python.md"
    document.write_text("before\n<!-- lanes -->\n<!-- end of lanes -->\nafter\n")
    for tensorflow, rate in (("2.21.0", 500.0), ("2.9.1", 1.0), ("2.9.1", 640.0)):
        add(file, row(tensorflow, rate))
    assert [found["images_per_second"] for found in json.loads(file.read_text())] == [640.0, 500.0]
    study(LanesConfig(measurements=file, document=document))
    lines = document.read_text().splitlines()
    cells = [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines if line.startswith("|")]
    assert cells[0] == ["", "TensorFlow 2.9.1", "TensorFlow 2.21.0"]
    assert ["training, images/s", "640", "500"] in cells
    assert ["TFLite in float16, MB", "0.700", "0.700"] in cells


def test_the_median_of_a_crop(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    class Predictor:
        input_size = 4

        def __init__(self, file: Path) -> None:
            assert file == tmp_path

        def predict(self, crops: Any) -> None:
            assert crops.shape == (1, 4, 4, 3)

    seconds = iter(range(10_000))
    monkeypatch.setattr(lanes, "TFLitePredictor", Predictor)
    monkeypatch.setattr(lanes.time, "perf_counter", lambda: 0.002 * next(seconds))
    assert lanes.tflite_milliseconds(tmp_path) == pytest.approx(2.0)
