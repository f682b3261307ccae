"""Tables of errors from the metrics.json of an evaluation."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tf_dhm.core.errors import InputError
from tools.studies.accuracy_tables import TablesConfig, short_rows, write_tables


def row(mean: float, **changes: Any) -> dict[str, Any]:
    return {
        "nme_0_30": mean - 1,
        "nme_30_60": mean,
        "nme_60_90": mean + 1,
        "nme_mean_of_bins": mean,
        "nme_mean": mean - 0.5,
        "failure_rate_6": 0.03,
        "missed": 0,
        "pose_mae": 3.58,
        "boxes": "true",
    } | changes


RESULTS = {
    "fast_dhm": {"original": row(3.54), "pts": row(2.96)},
    "fast_dhm (2 passes)": {"original": row(3.58), "pts": row(2.96)},
    "fast_dhm (2 passes, detected boxes)": {"original": row(4.24, missed=6), "pts": row(3.5)},
}


def test_a_short_row_has_both_label_sets_and_the_detected_boxes() -> None:
    (found,) = short_rows(RESULTS, ("fast_dhm",))
    assert found.pop("file") == "0.59 MB"
    assert found == {
        "model": "`fast_dhm`",
        "true boxes": "3.54 / 2.96",
        "detected boxes": "4.24",
        "beyond 60°": "5.24",
    }


def test_an_evaluation_without_detected_boxes_leaves_their_cells_empty() -> None:
    (found,) = short_rows({"fast_dhm": RESULTS["fast_dhm"]}, ("fast_dhm",))
    assert (found["detected boxes"], found["beyond 60°"]) == (None, None)


def test_tables_are_filled_in(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    documents = {name: tmp_path / f"{name}.md" for name in ("readme", "document")}
    card = tmp_path / "models" / "fast_dhm" / "README.md"
    card.parent.mkdir(parents=True)
    for path in (*documents.values(), card):
        path.write_text("before\n<!-- accuracy -->\nold\n<!-- end of accuracy -->\nafter\n")
    source = tmp_path / "metrics.json"
    source.write_text(json.dumps(RESULTS | {"fast_dhm_x2": RESULTS["fast_dhm"]}))
    write_tables(
        TablesConfig(metrics=source, models=("fast_dhm",), models_dir=tmp_path / "models", **documents)
    )
    long, short = documents["document"].read_text(), documents["readme"].read_text()
    assert "old" not in long + short
    assert "3.54 / 2.96" in short
    (line,) = (line for line in long.splitlines() if "detected boxes" in line and "original" in line)
    cells = [cell.strip() for cell in line.split("|")[1:-1]]
    assert cells[2:] == ["3.24", "4.24", "5.24", "**4.24**", "3.74", "3.0%", "6", "3.58°"]
    assert "8 rows" in capsys.readouterr().out
    rows = [line for line in card.read_text().splitlines() if line.startswith("| fast_dhm")]
    assert len(rows) == 6
    assert not any("x2" in row for row in rows)


@pytest.mark.parametrize(("content", "message"), [(None, "metrics: found no"), ("[]", "expected models")])
def test_mistakes(tmp_path: Path, content: str | None, message: str) -> None:
    path = tmp_path / "metrics.json"
    if content is not None:
        path.write_text(content)
    with pytest.raises(InputError, match=message):
        write_tables(TablesConfig(metrics=path))


def test_a_model_that_was_not_evaluated_is_named() -> None:
    with pytest.raises(InputError, match="found no fast_dhm_x2"):
        short_rows(RESULTS, ("fast_dhm_x2",))
