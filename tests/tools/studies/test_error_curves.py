"""Errors by yaw: what the committed table keeps, and the curves."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tf_dhm.core.errors import InputError
from tools.studies.error_curves import Curves, Table, curves_figure, smoothed


@pytest.fixture
def per_image(tmp_path: Path) -> Path:
    path = tmp_path / "per_image.csv"
    rows = [
        ("net", "original", "b", -70.0, 4.0),
        ("net", "original", "a", 10.0, 2.0),
        ("net", "other", "a", 10.0, 9.0),
        ("net (detected boxes)", "original", "a", 10.0, 3.0),
    ]
    pd.DataFrame(rows, columns=["model", "labels", "name", "yaw", "nme"]).to_csv(path, index=False)
    return path


def test_the_table_holds_no_names(per_image: Path, tmp_path: Path) -> None:
    output = tmp_path / "errors.csv"
    Table(per_image, output=output).run()
    assert output.read_text() == "model,yaw,nme\nnet,10.00,2.00\nnet,70.00,4.00\n"
    with pytest.raises(InputError, match="no rows"):
        Table(per_image, labels="none", output=output).run()


def test_the_window() -> None:
    """At 0 a face at 5 degrees and its mirror image weigh exp(-1/2) each, a face at 0 weighs 1 twice."""
    weight = np.exp(-0.5)
    found = smoothed(np.array([0.0, 5.0]), np.array([1.0, 3.0]), np.array([0.0]))
    assert found[0] == pytest.approx((2 * 1.0 + 2 * weight * 3.0) / (2 + 2 * weight))


def test_the_curves(tmp_path: Path) -> None:
    table = pd.DataFrame(
        {"model": ["a", "a", "b", "b"], "yaw": [0, 80, 0, 80], "nme": [2.0, 4.0, 3.0, np.inf]}
    )
    left, right = curves_figure(table).axes
    assert [line.get_label() for line in right.lines] == ["a", "b"]
    curve = np.asarray(left.lines[0].get_ydata())
    assert curve[[0, -1]] == pytest.approx([2.0, 4.0], abs=0.01)
    # Half of the faces of b were found.
    assert [np.asarray(line.get_ydata())[-1] for line in right.lines] == [100.0, 50.0]
    table.to_csv(tmp_path / "errors.csv", index=False)
    Curves(tmp_path / "errors.csv", tmp_path / "curves.png").run()
    assert (tmp_path / "curves.png").stat().st_size > 10_000
