"""Crowds of small faces, and the share that is found."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tf_dhm import Aligner
from tf_dhm.runtime.images import read_photo
from tools.studies import small_faces
from tools.studies.small_faces import SmallFacesConfig, crowd, share_found

PORTRAIT = Path(__file__).parents[2] / "data" / "astronaut.jpg"


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Crowds of two rows of three faces."""
    for name, value in {"WIDTH": 600, "HEIGHT": 400, "COLUMNS": 3, "ROWS": 2}.items():
        monkeypatch.setattr(small_faces, name, value)


@pytest.mark.usefixtures("small")
def test_faces_of_a_crowd_are_where_it_says() -> None:
    portrait = read_photo(PORTRAIT).pixels
    (face,) = Aligner().align(portrait)
    photo, truth = crowd(portrait, np.asarray(face.landmarks[:, :2], np.float64), 120.0)
    assert photo.shape == (400, 600, 3)
    assert truth.shape == (6, 68, 2)
    np.testing.assert_allclose(np.ptp(truth, axis=1).max(1), 120.0)
    np.testing.assert_allclose(truth[4] - truth[0], np.tile([200.0, 200.0], (68, 1)))
    assert share_found(Aligner(), photo, truth) == 1.0
    assert share_found(Aligner(), photo, truth + [40.0, 0.0]) == 0.0
    assert share_found(Aligner(), np.zeros_like(photo), truth) == 0.0


@pytest.mark.usefixtures("small")
def test_the_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(small_faces, "PARTS", (5,))
    output = tmp_path / "table.csv"
    monkeypatch.setattr("sys.argv", ["small_faces", "--output", str(output)])
    small_faces.main()
    assert pd.read_csv(output).to_numpy().tolist() == [["1/5", "100.0 %", "100.0 %"]]
    assert SmallFacesConfig().output.name == "small_faces.csv"
