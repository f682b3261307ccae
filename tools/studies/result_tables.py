"""Write tables of the documents: tuning.md, runtime.md, tracking.md, and those with a table from docs/tables.

python -m tools.studies.result_tables

Their figures are in docs/tuning.csv (of tune.py), docs/runtime.json and docs/tracking.json (of
tools.studies.runtime_measures and tracking_measures) and docs/tables, which holds figures of single runs as a
table for each place.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tf_dhm.core.cli import run_script

import pandas as pd

from pipelines.search.trials import chosen_trials, effects_of_choices
from tf_dhm.core.command_line import parse_options
from tf_dhm.core.configuration import check_fields
from tf_dhm.core.errors import InputError
from tf_dhm.core.markdown import fill_in, markdown_table

Rows = list[dict[str, object]]
STORED = re.compile(r"^<!-- table (\w+) -->$", re.M)
"""The place of a table of the folder of tables, by its name."""
CHOICES = {
    "cnn_multiplier": "multiplier of the CNN",
    "rnn_multiplier": "multiplier of the RNN",
    "recurrent_steps": "recurrent steps",
    "input_size": "input size",
    "last_channels": "channels of the last stage",
    "hidden_units": "hidden layer",
}


@dataclass(frozen=True)
class TablesConfig:
    """The folder of the documents, in which the figures are too."""

    docs: Path = Path("docs")
    """Folder with the documents, tuning.csv, tuning_presets.csv, runtime.json, tracking.json and tables."""

    def __post_init__(self) -> None:
        check_fields(self)


def front_rows(trials: pd.DataFrame, presets: pd.DataFrame) -> Rows:
    """The trials that no other beats in both NME and time, and the presets, by time."""
    front = trials[trials["trial"].isin(chosen_trials(trials, "pareto", 0.0))]
    rows = pd.concat([front, presets]).sort_values("latency_ratio")
    return [
        {
            "trial": row["trial"],
            "CNN ×": f"{row['cnn_multiplier']:g}",
            "RNN ×": f"{row['rnn_multiplier']:g}",
            "steps": int(row["recurrent_steps"]),
            "input": int(row["input_size"]),
            "last stage": int(row["last_channels"]),
            "hidden": int(row["hidden_units"]),
            "NME on `val`": f"{row['nme']:.2f}",
            "time / MediaPipe's": f"{row['latency_ratio']:.3f}",
            "weights": f"{row['weight_bytes'] / 1e6:.2f} MB",
        }
        for row in rows.to_dict("records")
    ]


def effect_rows(trials: pd.DataFrame) -> Rows:
    """The effect of one step of each choice, the largest gain first."""
    effects = effects_of_choices(trials).sort_values("nme")
    return [
        {
            "choice": CHOICES[row["choice"]],
            "step": row["step"].replace("x", "×") + (" units" if "+" in row["step"] else ""),
            "NME": f"{row['nme']:+.2f}".replace("-", "−"),
            "time": f"× {row['time']:.1f}",
            "bytes": f"× {row['bytes']:.1f}",
        }
        for row in effects.to_dict("records")
    ]


def format_rows(measured: dict[str, Any]) -> Rows:
    """Bytes, errors, and differences to the SavedModel of each format."""
    return [
        {
            "format": row["format"].replace("_", " "),
            "bytes": row["bytes"],
            **{name.replace("_", "–"): f"{row[name]:.2f}" for name in ("0_30", "30_60", "60_90")},
            "mean of bins": f"**{row['mean_of_bins']:.2f}**",
            "pixels, mean": f"{row['crop px, mean']:.3f}",
            "greatest": f"{row['crop px, greatest']:.3f}",
            **{key: f"{row[key]:.3f}" for key in row if key.split(",")[0] in ("visibility", "confidence")},
        }
        for row in measured["formats"]
    ]


def pose_rows(measured: dict[str, Any]) -> Rows:
    """Mean absolute errors in degrees."""
    return [
        {
            "pose of": row["pose of"],
            r"\|yaw\|": row["|yaw|"].replace("-", "–"),
            **{key: f"{row[key]:.2f}" for key in ("pitch", "yaw", "roll", "mean")},
            "faces": row["faces"],
        }
        for row in measured["pose"]
    ]


def confidence_rows(measured: dict[str, Any]) -> Rows:
    """Shares of faces, and of places without one, over some confidences."""
    return [
        {"AUC": f"{row['AUC']:.4f}"} | {key: f"{row[key]:.1%}" for key in row if " over " in key}
        for row in measured["confidence"]
    ]


def visibility_rows(measured: dict[str, Any]) -> Rows:
    """How well visibility agrees with flags by people."""
    decimals = ("AUC", "balanced accuracy", "accuracy")
    return [
        row | {key: f"{row[key]:.3f}" for key in decimals} | {"visible": f"{row['visible']:.1%}"}
        for row in measured["visibility"]
    ]


def memory_rows(measured: dict[str, Any]) -> Rows:
    """Peak memory of a process."""
    return [
        {key: f"{value:.0f}" if isinstance(value, float) else value for key, value in row.items()}
        for row in measured["memory"]
    ]


def tracking_rows(measured: dict[str, Any]) -> Rows:
    """Behaviour in time of each system in each scene, raw and smoothed side by side."""
    found = {(row["system"], row["scene"], row["smoothed"]): row for row in measured["rows"]}

    def columns(row: dict[str, Any], prefix: str) -> dict[str, object]:
        jitter, delay = row["jitter"], row["delay"]
        return {
            f"{prefix}: jitter, %": "–" if jitter is None else f"{jitter:.3f}",
            f"{prefix}: error, %": f"{row['error']:.2f}",
            f"{prefix}: delay, ms": "–" if delay is None else f"{round(delay)}",
        }

    return [
        {
            "system": system,
            "scene": scene,
            **columns(row, "raw"),
            **columns(found[system, scene, True], "smoothed"),
        }
        for (system, scene, smoothed), row in found.items()
        if not smoothed
    ]


def read_json(path: Path, command: str) -> dict[str, Any]:
    if not path.is_file():
        raise InputError(f"docs: found no {path}, expected the file of {command} --json")
    content: dict[str, Any] = json.loads(path.read_text())
    return content


def read_csv(path: Path, **options: Any) -> pd.DataFrame:
    if not path.is_file():
        raise InputError(f"docs: found no {path}, expected a table")
    return pd.read_csv(path, **options)


def write_tables(config: TablesConfig) -> None:
    """Fill in all tables."""
    trials = read_csv(config.docs / "tuning.csv", dtype={"trial": str})
    presets = read_csv(config.docs / "tuning_presets.csv", dtype={"trial": str})
    fill_in(config.docs / "tuning.md", "front", markdown_table(front_rows(trials, presets)).rstrip())
    fill_in(config.docs / "tuning.md", "effects", markdown_table(effect_rows(trials)).rstrip())
    measured = read_json(config.docs / "runtime.json", "runtime_measures")
    tracking = read_json(config.docs / "tracking.json", "tracking_measures")
    fill_in(config.docs / "tracking.md", "tracking", markdown_table(tracking_rows(tracking)).rstrip())
    tables = {
        "formats": format_rows,
        "pose": pose_rows,
        "confidence": confidence_rows,
        "visibility": visibility_rows,
        "memory": memory_rows,
    }
    for name, rows_of in tables.items():
        fill_in(config.docs / "runtime.md", name, markdown_table(rows_of(measured)).rstrip())
    number = 3 + len(tables)
    for document in sorted(config.docs.glob("*.md")):
        for name in STORED.findall(document.read_text()):
            table = read_csv(config.docs / "tables" / f"{name}.csv", dtype=str, keep_default_na=False)
            fill_in(document, f"table {name}", markdown_table(table.to_dict("records")).rstrip())
            number += 1
    print(f"written: {number} tables in {config.docs}")


def main() -> None:
    write_tables(parse_options(TablesConfig, description=__doc__))


if __name__ == "__main__":
    run_script(main)
