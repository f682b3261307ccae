"""Published systems, and points for plots of cost against error."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import pandas as pd

from tf_dhm.evaluation.evaluate import Metrics
from tf_dhm.evaluation.figures import TradeoffPoint
from tf_dhm.face import metrics

PUBLISHED = Path(__file__).parents[1] / "assets" / "published.csv"
"""Table I of the paper as printed, and systems measured side by side under the same protocol."""
PUBLISHED_DATASET = "aflw2000_3d"
PUBLISHED_IMAGES = 2000


def read_published() -> pd.DataFrame:
    """The published rows as printed: every field a string, empty if nothing is printed."""
    return pd.read_csv(PUBLISHED, dtype=str, keep_default_na=False)


def published_points(column: Literal["ms", "bytes"]) -> list[TradeoffPoint]:
    """The published rows for `figures.tradeoff_figure`, original labels.

    Args:
        column: "ms" of one face on a CPU (from frames per second where those are printed; not the same
            CPU for all), or "bytes". A row without it, or with a bound such as "<1", is left out.
    """
    points = []
    for row in read_published().to_dict("records"):
        try:
            if column == "bytes":
                number, unit = row["size"].replace(",", "").split()
                cost = float(number) * {"MB": 1e6, "bytes": 1.0}[unit]
            else:
                cost = float(row["ms_cpu"].split()[0]) if row["ms_cpu"] else 1000.0 / float(row["fps_cpu"])
            points.append(TradeoffPoint(row["system"], row["source"], cost, float(row["nme_mean"]), "apart"))
        except ValueError:
            continue
    return points


def measured_points(
    results: Metrics, benchmark: Mapping[str, Any], labels: str, column: Literal["ms", "bytes"], group: str
) -> list[TradeoffPoint]:
    """Measured models for `figures.tradeoff_figure`: those with an NME and a time.

    Args:
        results: of `summarize`, or of the file metrics.json.
        benchmark: the JSON file of `benchmark.run`; of each model the fastest runtime on one thread
            of the CPU with batch 1 counts, or the smallest file, of those that answer as the
            SavedModel does: in float32 or float16.
        labels: which label set; its mean of bins, or of images where poses are unknown.
        column: "ms" of the stage "model", or "bytes".
        group: of all points.
    """
    points = []
    for model, by_labels in results.items():
        rows = [
            row
            for row in benchmark["results"]
            if (row["model"], row["device"], row["threads"], row["stage"], row["batch"])
            == (model, "cpu", 1, "model", 1)
            and row["precision"] in ("saved_model", "float32", "float16")
        ]
        if not rows or labels not in by_labels:
            continue
        summary = by_labels[labels]
        cost = min(row["ms" if column == "ms" else "file_bytes"] for row in rows)
        points.append(TradeoffPoint(model, group, float(cost), metrics.headline(summary)))
    return points
