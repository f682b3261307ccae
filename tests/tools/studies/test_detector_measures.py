"""Measures of the face detector."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from tf_dhm.core.errors import InputError
from tf_dhm.runtime.detector import Detection
from tools.studies import detector_measures
from tools.studies.detector_measures import DetectorConfig

MARKS = "".join(f"<!-- {name} -->\n<!-- end of {name} -->\n" for name in detector_measures.TABLES)
ROWS = [{"detector": "full", "group": "all", "portraits": 7, "a face found": "85.7%"}]


def detection(*box: float) -> Detection:
    return Detection(np.array(box), 0.9, np.zeros((6, 2)))


def test_nearest_takes_the_nearest_centre_within_reach() -> None:
    true = np.array([0.0, 0, 100, 80])
    near, nearer, far = detection(40, 0, 140, 80), detection(-10, 5, 90, 85), detection(61, 0, 161, 80)
    assert detector_measures.nearest([near, nearer, far], true) is nearer
    assert detector_measures.nearest([far], true) is None  # 0.61 of the longer side away
    assert detector_measures.nearest([], true) is None


def test_box_errors_by_hand() -> None:
    errors = detector_measures.box_errors(np.array([10.0, 0, 60, 50]), np.array([0.0, 0, 100, 50]))
    np.testing.assert_allclose(errors, [15 / 100, np.log(0.5), 2500 / 5000])


def test_a_photo_on_a_canvas_of_its_mean_colour() -> None:
    image = np.array([[[0, 10, 20], [20, 30, 40]]], np.uint8)
    canvas = detector_measures.on_canvas(image, 4, (1, 2))
    np.testing.assert_array_equal(canvas[2, 1:3], image[0])
    np.testing.assert_array_equal(canvas[0, 0], [10, 20, 30])


def test_the_fit_ignores_outliers() -> None:
    x = np.linspace(0, 1, 50)
    target = 2 * x + 1
    target[::10] += 5
    fitted = detector_measures.robust_fit(np.stack([np.ones(50), x], 1), target)
    np.testing.assert_allclose(fitted, [1, 2], atol=0.05)


def make_config(folder: Path) -> DetectorConfig:
    (folder / "detector.md").write_text(MARKS)
    (folder / "card.md").write_text(MARKS)
    return DetectorConfig(json=folder / "rows.json", document=folder / "detector.md", card=folder / "card.md")


def test_tables_from_the_last_measurement(tmp_path: Path) -> None:
    config = make_config(tmp_path)
    config.json.write_text(json.dumps({"detector portraits": ROWS}))
    detector_measures.measure(config)
    for document in (config.document, config.card):
        assert "85.7%" in document.read_text()
    assert json.loads(config.json.read_text()) == {"detector portraits": ROWS}


def test_rows_of_other_tables(tmp_path: Path) -> None:
    config = make_config(tmp_path)
    config.json.write_text('{"other": []}')
    with pytest.raises(InputError, match=r"rows.json"):
        detector_measures.measure(config)
