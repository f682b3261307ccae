"""Crops for calibration: how many, and of which faces."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from pipelines.datasets.csv_landmarks import read
from pipelines.input.batches import plain_crops
from pipelines.input.calibration import representative_crops
from pipelines.prepared import prepare, records
from tests.faces import write_faces


def test_faces_of_val_spread_evenly(tmp_path: Path) -> None:
    prepare.prepare("csv", read(write_faces(tmp_path / "faces", 4, 9)), tmp_path / "prepared")
    everything, _ = plain_crops(records.load(tmp_path / "prepared", "val"), 24)
    found = representative_crops(tmp_path / "prepared", 24, 3)
    np.testing.assert_array_equal(found, everything[[0, 3, 6]])
    assert len(representative_crops(tmp_path / "prepared", 24)) == 9
