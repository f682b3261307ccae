"""Tables of errors from the metrics.json of an evaluation."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from tf_dhm.core.errors import InputError
from tools.studies.accuracy_tables import (
    TablesConfig,
    network_times,
    short_peer_rows,
    short_rows,
    write_tables,
)

ROOT = Path(__file__).parents[3]


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
    "fast_dhm (default passes, detected boxes)": {"original": row(4.24, missed=6), "pts": row(3.5)},
}


BENCHMARK = [
    {"model": model, "stage": stage, "threads": threads, "batch": batch, "device": "cpu"}
    | {"ratio": ratio, "file_bytes": 2_500_000}
    for model, stage, threads, batch, ratio in (
        ("fast_dhm", "crop", 1, 1, 0.9),
        ("fast_dhm", "model", 1, 1, 0.25),
        ("fast_dhm", "model", 2, 1, 0.7),
        ("fast_dhm", "model", 1, 32, 0.8),
        ("mediapipe face_landmark", "model", 1, 1, 1.0),
    )
]


def test_only_times_of_one_face_on_one_thread_count() -> None:
    assert network_times(BENCHMARK) == {"fast_dhm": 0.25, "mediapipe face_landmark": 1.0}


def test_peers_in_the_short_table() -> None:
    peers = {
        "MediaPipe face_landmark (2 passes)": {"original": row(8.7), "pts": row(8.8)},
        "MediaPipe face_landmark (2 passes, detected boxes)": {"original": row(9.0)},
        "dlib ERT": {"original": row(9.95), "pts": row(9.82)},
    }
    third, mediapipe, dlib = short_peer_rows(peers, BENCHMARK)
    assert third["true boxes"] == "3.62 / 2.97"  # of published.csv
    assert mediapipe == {
        "model": "MediaPipe face mesh",
        "file": "2.50 MB",
        "network": "× 1.00",
        "true boxes": "8.70 / 8.80",
        "detected boxes": "9.00",
        "beyond 60°": "10.00",
        "weights": "Apache-2.0",
    }
    assert (dlib["file"], dlib["network"], dlib["true boxes"]) == ("99.69 MB", None, "9.95 / 9.82")
    assert dlib["detected boxes"] is None


def test_a_short_row_has_both_label_sets_and_the_detected_boxes() -> None:
    (found,) = short_rows(RESULTS, ("fast_dhm",), {"fast_dhm": 0.25})
    assert found.pop("file") == "0.59 MB"
    assert found == {
        "model": "`fast_dhm`",
        "network": "× 0.25",
        "true boxes": "3.54 / 2.96",
        "detected boxes": "4.24",
        "beyond 60°": "5.24",
        "weights": "research",
    }


def test_weights_made_of_free_data_alone() -> None:
    (found,) = short_rows({"fast_dhm_synthetic": RESULTS["fast_dhm"]}, ("fast_dhm_synthetic",), {})
    assert (found["weights"], found["network"]) == ("any use", None)


def test_an_evaluation_without_detected_boxes_leaves_their_cells_empty() -> None:
    (found,) = short_rows({"fast_dhm": RESULTS["fast_dhm"]}, ("fast_dhm",), {})
    assert (found["detected boxes"], found["beyond 60°"]) == (None, None)


def test_tables_are_filled_in(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    documents = {name: tmp_path / f"{name}.md" for name in ("readme", "document")}
    peers, benchmark = tmp_path / "peers.json", tmp_path / "benchmark.json"
    peers_document = tmp_path / "peers.md"
    peers_document.write_text("<!-- peers -->\n<!-- end of peers -->\n")
    peers.write_text(
        json.dumps(
            {
                "fast_dhm": RESULTS["fast_dhm"],
                "dlib ERT": {"original": row(9.9, pose_mae=None)},
                "MediaPipe face_landmark (2 passes)": {"original": row(8.7)},
            }
        )
    )
    benchmark.write_text(json.dumps({"results": BENCHMARK}))
    card = tmp_path / "models" / "fast_dhm" / "README.md"
    card.parent.mkdir(parents=True)
    for path in (*documents.values(), card):
        path.write_text("before\n<!-- accuracy -->\nold\n<!-- end of accuracy -->\nafter\n")
    source = tmp_path / "metrics.json"
    source.write_text(json.dumps(RESULTS | {"fast_dhm_x2": RESULTS["fast_dhm"]}))
    write_tables(
        TablesConfig(
            metrics=source,
            peers=peers,
            benchmark=benchmark,
            models=("fast_dhm",),
            models_dir=tmp_path / "models",
            peers_document=peers_document,
            **documents,
        )
    )
    of_peers = [line.split("|")[1:] for line in peers_document.read_text().splitlines() if "original" in line]
    assert [cells[0].strip() for cells in of_peers] == ["dlib ERT", "MediaPipe face_landmark (2 passes)"]
    assert of_peers[0][-2].strip() == "–"
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


def test_the_committed_tables_are_up_to_date(tmp_path: Path) -> None:
    documents = [ROOT / "README.md", ROOT / "docs" / "accuracy.md", ROOT / "docs" / "peers.md"]
    documents += sorted(ROOT.glob("savedmodels/*/README.md"))
    for path in documents:
        target = tmp_path / path.relative_to(ROOT)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, target)
    write_tables(
        TablesConfig(
            metrics=ROOT / "docs" / "accuracy.json",
            peers=ROOT / "docs" / "peers.json",
            benchmark=ROOT / "docs" / "benchmark.json",
            readme=tmp_path / "README.md",
            document=tmp_path / "docs" / "accuracy.md",
            peers_document=tmp_path / "docs" / "peers.md",
            models_dir=tmp_path / "savedmodels",
        )
    )
    for path in documents:
        assert (tmp_path / path.relative_to(ROOT)).read_text() == path.read_text(), path


@pytest.mark.parametrize(("content", "message"), [(None, "metrics: found no"), ("[]", "expected models")])
def test_mistakes(tmp_path: Path, content: str | None, message: str) -> None:
    path = tmp_path / "metrics.json"
    if content is not None:
        path.write_text(content)
    with pytest.raises(InputError, match=message):
        write_tables(TablesConfig(metrics=path))


def test_a_model_that_was_not_evaluated_is_named() -> None:
    with pytest.raises(InputError, match="found no fast_dhm_x2"):
        short_rows(RESULTS, ("fast_dhm_x2",), {})
