"""Write the tables of errors in README.md, docs/accuracy.md and model cards from a metrics.json.

cp runs/evaluation/metrics.json docs/accuracy.json
    python -m tools.studies.accuracy_tables
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tf_dhm.core.cli import run_script

from tf_dhm.core.command_line import parse_options
from tf_dhm.core.configuration import check_fields
from tf_dhm.core.errors import InputError
from tf_dhm.core.markdown import fill_in, markdown_table
from tf_dhm.export.card import CARD_FILE
from tf_dhm.face import metrics
from tf_dhm.runtime.tflite import find_tflite

MARK = "accuracy"
ORIGINAL = "original"
DETECTED = "detected boxes"
"""Label set, and boxes, as rows of evaluate.py name them."""
Rows = list[dict[str, object]]


@dataclass(frozen=True)
class TablesConfig:
    """The file of errors, and the documents with the tables."""

    metrics: Path = Path("docs/accuracy.json")
    """File metrics.json that evaluate.py wrote."""
    readme: Path = Path("README.md")
    """Document with the place of the short table: one row per model, mean of the yaw bins."""
    document: Path = Path("docs/accuracy.md")
    """Document with the place of the table of every row."""
    models_dir: Path = Path("savedmodels")
    """Folder of the models, in whose cards is the place of a table of the model's rows."""
    models: tuple[str, ...] = (
        "fast_dhm_s",
        "fast_dhm_m",
        "fast_dhm",
        "fast_dhm_x2",
        "fast_dhm_synthetic",
    )
    """Rows of the short table, and models whose cards are filled in."""

    def __post_init__(self) -> None:
        check_fields(self)


def read_metrics(path: Path) -> dict[str, dict[str, dict[str, Any]]]:
    """Model -> label set -> metric -> number; InputError if evaluate.py did not write the file."""
    if not path.is_file():
        raise InputError(f"metrics: found no {path}, expected a metrics.json of evaluate.py")
    results = json.loads(path.read_text())
    if not isinstance(results, dict) or not all(isinstance(row, dict) for row in results.values()):
        raise InputError(f"{path}: found {type(results).__name__}, expected models with their label sets")
    return results


def every_row(results: dict[str, dict[str, dict[str, Any]]]) -> Rows:
    """One row for each model and label set, as `evaluate.py` names them."""
    rows: Rows = []
    for name, by_labels in results.items():
        for labels, row in by_labels.items():
            bins = {f"{title.replace('_', '–')}°": row[f"nme_{title}"] for title in metrics.YAW_BINS}
            rows.append(
                {
                    "model": name,
                    "labels": labels,
                    **{title: f"{value:.2f}" for title, value in bins.items()},
                    "mean of bins": f"**{metrics.headline(row):.2f}**",
                    "mean of images": f"{row['nme_mean']:.2f}",
                    "above 6 %": f"{row['failure_rate_6']:.1%}",
                    "missed": row["missed"],
                    "pose error": f"{row['pose_mae']:.2f}°",
                }
            )
    return rows


def short_rows(results: dict[str, dict[str, dict[str, Any]]], models: tuple[str, ...]) -> Rows:
    """The short table: one row for each of `models`."""
    rows: Rows = []
    for model in models:
        if model not in results:
            raise InputError(f"models: found no {model} in the metrics, expected one of {', '.join(results)}")
        true = results[model]
        detected = results.get(f"{model} (2 passes, {DETECTED})", {}).get(ORIGINAL)
        others = [f"{metrics.headline(row):.2f}" for labels, row in true.items() if labels != ORIGINAL]
        rows.append(
            {
                "model": f"`{model}`",
                "file": f"{find_tflite(model).stat().st_size / 1e6:.2f} MB",
                "true boxes": " / ".join([f"{metrics.headline(true[ORIGINAL]):.2f}", *others]),
                "detected boxes": None if detected is None else f"{metrics.headline(detected):.2f}",
                "beyond 60°": None if detected is None else f"{detected['nme_60_90']:.2f}",
            }
        )
    return rows


def write_tables(config: TablesConfig) -> None:
    """Fill in the tables of the documents and of the model cards."""
    results = read_metrics(config.metrics)
    fill_in(config.readme, MARK, markdown_table(short_rows(results, config.models)).rstrip())
    rows = every_row(results)
    fill_in(config.document, MARK, markdown_table(rows).rstrip())
    for model in config.models:
        own = [row for row in rows if str(row["model"]).split(" (")[0] == model]
        fill_in(config.models_dir / model / CARD_FILE, MARK, markdown_table(own).rstrip())
    cards = f"{len(config.models)} model cards"
    print(f"written: {config.readme}, {config.document} and {cards}, {len(rows)} rows")


def main() -> None:
    write_tables(parse_options(TablesConfig, description=__doc__))


if __name__ == "__main__":
    run_script(main)
