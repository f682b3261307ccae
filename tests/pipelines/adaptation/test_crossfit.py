"""Cross-fitted rows beside raw ones."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from pipelines.adaptation.crossfit import add_cross_fitted
from pipelines.datasets.samples import FaceSample
from tests.made_faces import encode
from tests.tiny_models import write_tiny_model
from tf_dhm.evaluation.entries import load_entries
from tf_dhm.evaluation.evaluate import evaluate, summarize
from tf_dhm.evaluation.report import write_report
from tf_dhm.face.mean_face import mean_shape


def face(number: int) -> FaceSample:
    rng = np.random.default_rng(number)
    encoded = encode(rng.integers(0, 256, (60, 60, 3)).astype(np.uint8), ".png")
    points = mean_shape() * 20.0 * [1.0, 1.1, 1.0] + [30.0, 30.0, 0.0]
    return FaceSample(
        f"face{number}",
        lambda: encoded,
        points.astype(np.float32),
        "test",
        str(number),
        pose=np.zeros(3, np.float32),
    )


@pytest.mark.slow
def test_the_raw_row_stays_and_the_fitted_one_says_so(tmp_path: Path) -> None:
    model = write_tiny_model(tmp_path / "tiny")
    entries = load_entries([model])
    faces = [face(number) for number in range(16)]
    other = [
        replace(one, landmarks=one.landmarks + np.float32(2.0), box_landmarks=one.landmarks) for one in faces
    ]
    raw = evaluate(entries, {"original": faces, "other": other})
    result = add_cross_fitted(raw, [("tiny", model)], 2)
    name = "tiny (cross-fitted, 2 folds)"
    assert list(result.rows) == ["tiny", name]
    summaries = summarize(result.table)
    assert summaries["tiny"] == summarize(raw.table)["tiny"]
    # All faces have the same labels: a bias learns them, whichever faces it is fitted to.
    for labels in ("original", "other"):
        assert summaries[name][labels]["nme_mean"] < 0.5 * summaries["tiny"][labels]["nme_mean"]
    text = write_report(result, "csv", tmp_path / "out")
    assert f"- {name}: cross-fitted" in text
    with pytest.raises(Exception, match="groups"):
        add_cross_fitted(raw, [("tiny", model)], 99)
