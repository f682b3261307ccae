"""Write the tables of times in README.md and docs/runtime.md from a JSON file of benchmark.py.

    python benchmark.py --kinds float16 --threads 1 --batches 1 --photo tests/data/astronaut.jpg \\
        --peers mb05_120x120.tflite facemesh=MEDIAPIPE_ENV/bin/python --output docs/benchmark.json
    python -m tools.studies.speed_tables
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tf_dhm.core.cli import run_script

from tf_dhm.core.command_line import parse_options
from tf_dhm.core.configuration import check_fields
from tf_dhm.core.errors import InputError
from tf_dhm.core.markdown import fill_in, markdown_table

README_MARK, RUNTIME_MARK, OPERATIONS_MARK = "speed", "speed by format", "speed of operations"
STAGES = {
    "model": "network",
    "crop": "crop + network",
    "photo": "photo, all faces",
    "photo_one_face": "photo, one face",
    "video_frame": "video frame",
}
"""Columns, by stage."""


@dataclass(frozen=True)
class TablesConfig:
    """The file of times, and the documents with the tables."""

    benchmark: Path = Path("docs/benchmark.json")
    """JSON file that benchmark.py wrote."""
    readme: Path = Path("README.md")
    """Document with the place of the short table: one thread, one face."""
    runtime: Path = Path("docs/runtime.md")
    """Document with the place of the table of all measurements."""

    def __post_init__(self) -> None:
        check_fields(self)


def read_benchmark(path: Path) -> dict[str, Any]:
    """The content of a JSON file of benchmark.py; InputError if it is not one."""
    if not path.is_file():
        raise InputError(f"benchmark: found no {path}, expected a file that benchmark.py --output wrote")
    report = json.loads(path.read_text())
    if not isinstance(report, dict) or not report.get("results"):
        raise InputError(f"{path}: found no results, expected those of benchmark.py")
    return report


def short_rows(results: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """One row for each system: the ratio of each stage to its reference, one thread, one face."""
    single = [row for row in results if (row["device"], row["threads"]) == ("cpu", 1)]
    rows = []
    for model, precision in dict.fromkeys((row["model"], row["precision"]) for row in single):
        mine = [row for row in single if (row["model"], row["precision"]) == (model, precision)]
        cells = {
            title: next((short_cell(row) for row in mine if row["stage"] == stage and is_single(row)), None)
            for stage, title in STAGES.items()
        }
        rows.append(
            {"system": model, "format": precision, **cells, "file": f"{mine[0]['file_bytes'] / 1e6:.2f} MB"}
        )
    return rows


def is_single(row: dict[str, Any]) -> bool:
    """Whether a measurement is of one face at a time; the frames of a video are one face each."""
    return row["batch"] == 1 or row["stage"] == "video_frame"


def short_cell(row: dict[str, Any]) -> str:
    """The ratio, or for the reference its time."""
    return f"1 = {row['ms_per_face']:.2f} ms" if is_reference(row) else ratio_cell(row)


def is_reference(row: dict[str, Any]) -> bool:
    """Whether this measurement is the reference of the ratios."""
    return bool(row["reference"] == f"{row['model']}, {row['stage']}")


def ratio_cell(row: dict[str, Any]) -> str:
    """The ratio with its spread; a reference has none."""
    if is_reference(row):
        return "1"
    return f"× {row['ratio']:.2f} ({row['ratio_10']:.2f}–{row['ratio_90']:.2f})"


def long_rows(results: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """One row for each measurement."""
    return [
        {
            "system": row["model"],
            "format": row["precision"],
            "threads": row["threads"],
            "stage": row["stage"],
            "batch": row["batch"],
            "ms each": f"{row['ms_per_face']:.2f}",
            "ratio": ratio_cell(row),
            "to": row["reference"],
        }
        for row in results
    ]


def operation_rows(profiles: dict[str, list[dict[str, Any]]]) -> list[dict[str, Any]]:
    """One row for each kind of operation: its microseconds in each profiled file, number and share."""
    kinds = dict.fromkeys(row["operation"] for profile in profiles.values() for row in profile)
    rows: list[dict[str, Any]] = []
    for kind in (*kinds, "all"):
        cells = {}
        for name, profile in profiles.items():
            every = sum(row["us"] for row in profile)
            mine = [row["us"] for row in profile if kind in (row["operation"], "all")]
            cells[name] = f"{sum(mine):.0f} µs, {len(mine)} ({sum(mine) / every:.0%})" if mine else None
        rows.append({"operation": kind, **cells})
    return rows


def caption(report: dict[str, Any]) -> str:
    """The machine on which the times were measured."""
    machine = report["machine"]
    return (
        f"{machine['cpu']}, {machine['cpus']} CPUs, Python {machine['python']}; load average "
        f"{report['load_average']:.1f}; {report['rounds']} rounds of {report['turn_ms']:g} ms. Ratios are "
        "medians over the rounds (10–90 %)."
    )


def write_tables(config: TablesConfig) -> None:
    """Fill both tables in."""
    report = read_benchmark(config.benchmark)
    results = report["results"]
    short, every = (markdown_table(rows).rstrip() for rows in (short_rows(results), long_rows(results)))
    fill_in(config.readme, README_MARK, caption(report) + "\n\n" + short)
    fill_in(config.runtime, RUNTIME_MARK, caption(report) + "\n\n" + every)
    if "op_profile" in report:
        fill_in(
            config.runtime, OPERATIONS_MARK, markdown_table(operation_rows(report["op_profile"])).rstrip()
        )
    print(f"written: {config.readme} and {config.runtime}, {len(results)} measurements")


def main() -> None:
    write_tables(parse_options(TablesConfig, description=__doc__))


if __name__ == "__main__":
    run_script(main)
