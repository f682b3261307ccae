"""Tables of times from the JSON file of a benchmark."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from tf_dhm.core.errors import InputError
from tools.studies.speed_tables import TablesConfig, ratio_cell, short_rows, write_tables

ROOT = Path(__file__).parents[3]


def row(model: str, stage: str, ms: float, **changes: Any) -> dict[str, Any]:
    return {
        "model": model,
        "precision": "float16",
        "device": "cpu",
        "threads": 1,
        "stage": stage,
        "batch": 1,
        "file_bytes": 700_000,
        "ms_per_face": ms,
        "reference": "net, model",
        "ratio_10": 0.2,
        "ratio": 0.25,
        "ratio_90": 0.3,
    } | changes


RESULTS = [
    row("net", "model", 2.0, precision="float32"),
    row("ours", "model", 0.5),
    row("ours", "model", 0.4, batch=32),
    row("ours", "video_frame", 1.5, batch=10, reference="mesh, video_frame"),
    row("ours", "crop", 0.7, threads=2),
]


def test_rows_by_hand() -> None:
    net, ours = short_rows(RESULTS)
    assert (net["system"], net["network"], net["file"]) == ("net", "1 = 2.00 ms", "0.70 MB")
    assert ours["network"] == "× 0.25 (0.20–0.30)"
    assert ours["video frame"] == "× 0.25 (0.20–0.30)"
    assert ours["crop + network"] is None  # two threads only
    assert ratio_cell(RESULTS[0]) == "1"


def test_documents(tmp_path: Path) -> None:
    report = {
        "machine": {"cpu": "A CPU", "cpus": 2, "python": "3.11"},
        "load_average": 0.5,
        "rounds": 3,
        "turn_ms": 50.0,
        "results": RESULTS,
        "op_profile": {
            "ours_float16": [
                {"operation": "CONV_2D", "us": 6.0},
                {"operation": "ADD", "us": 1.0},
                {"operation": "CONV_2D", "us": 3.0},
            ]
        },
    }
    (tmp_path / "b.json").write_text(json.dumps(report))
    for name, mark in (("r.md", "speed"), ("d.md", "speed by format")):
        (tmp_path / name).write_text(f"before\n<!-- {mark} -->\nold\n<!-- end of {mark} -->\nafter\n")
    with (tmp_path / "d.md").open("a") as document:
        document.write("<!-- speed of operations -->\n<!-- end of speed of operations -->\nafter\n")
    config = TablesConfig(tmp_path / "b.json", tmp_path / "r.md", tmp_path / "d.md")
    write_tables(config)
    readme, runtime = config.readme.read_text(), config.runtime.read_text()
    for text in (readme, runtime):
        assert text.startswith("before\n")
        assert text.endswith("after\n")
        assert "old" not in text
        assert "A CPU, 2 CPUs" in text
    assert "1 = 2.00 ms" in readme
    assert runtime.count("× 0.25") == 4
    assert "9 µs, 2 (90%)" in runtime


def test_the_committed_tables_are_up_to_date(tmp_path: Path) -> None:
    readme, runtime = tmp_path / "README.md", tmp_path / "runtime.md"
    shutil.copy(ROOT / "README.md", readme)
    shutil.copy(ROOT / "docs" / "runtime.md", runtime)
    write_tables(TablesConfig(ROOT / "docs" / "benchmark.json", readme, runtime))
    assert readme.read_text() == (ROOT / "README.md").read_text()
    assert runtime.read_text() == (ROOT / "docs" / "runtime.md").read_text()


def test_what_is_no_benchmark(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="benchmark: found no"):
        write_tables(TablesConfig(tmp_path / "none.json"))
    (tmp_path / "b.json").write_text("{}")
    with pytest.raises(InputError, match="found no results"):
        write_tables(TablesConfig(tmp_path / "b.json"))
