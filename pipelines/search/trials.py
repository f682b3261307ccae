"""The trials of a search: results on disk, the table and figure, and the effect of each choice."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
from filelock import FileLock

from pipelines.search.options import SPACE
from tf_dhm.core.configuration import differences
from tf_dhm.core.errors import InputError
from tf_dhm.core.files import atomic_write
from tf_dhm.evaluation.figures import TradeoffPoint, pareto_front, save_figure, tradeoff_figure

RESULT_FILE = "result.json"
TABLE_FILE = "trials.csv"
HIDDEN_STEP = 136
"""Units of the hidden layer that `effects_of_choices` counts as one step."""
TO_THE_END = "committed, trained to the end: NME on val"


def chosen(trial: Any) -> dict[str, Any]:
    """The network of a trial by the options in `SPACE`."""
    return {name: trial.hyperparameters.values[name] for name in SPACE}


def read_result(folder: Path, trial: Any) -> dict[str, Any] | None:
    """The result of a finished trial, or None if it is not finished.

    Raises:
        InputError: the result is of another network.
    """
    path = folder / RESULT_FILE
    if not path.is_file():
        return None
    result: dict[str, Any] = json.loads(path.read_text())
    if before := differences(result, chosen(trial)):
        raise InputError(f"{path}: found another network, {before} in this trial; move {folder} away")
    return result


def write_result(folder: Path, trial: Any, found: dict[str, Any]) -> dict[str, Any]:
    result = {"trial": trial.trial_id, **chosen(trial), **found}
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / RESULT_FILE, result)
    return result


def write_json(path: Path, content: Any) -> None:
    with atomic_write(path) as temporary:
        temporary.write_text(json.dumps(content, indent=2) + "\n")


def read_table(output_dir: Path) -> pd.DataFrame:
    """All finished trials, one row each: options and results."""
    files = sorted(output_dir.glob(f"trials/*/{RESULT_FILE}"))
    return pd.DataFrame([json.loads(file.read_text()) for file in files])


def write_table(output_dir: Path) -> None:
    """Write all finished trials to `trials.csv`; workers may finish one at the same time."""
    # Without the lock a worker that read the results earlier may replace a newer table.
    with FileLock(output_dir / "trials.lock"), atomic_write(output_dir / TABLE_FILE) as path:
        read_table(output_dir).to_csv(path, index=False)


def trained(table: pd.DataFrame) -> pd.DataFrame:
    """The trials that have both objectives; InputError if there is none."""
    if not len(table):
        raise InputError("trials: found none that is finished, expected some")
    found = table[table["status"] == "trained"]
    if not len(found):
        reasons = "; ".join(f"{row['trial']} {row['status']}" for row in table.head(3).to_dict("records"))
        more = f"; and {len(table) - 3} more" if len(table) > 3 else ""
        raise InputError(
            f"trials: found none that was trained among {len(table)}, expected some ({reasons}{more})"
        )
    return found


def points(table: pd.DataFrame, column: str, unit: float = 1.0) -> list[TradeoffPoint]:
    """Trials in a plot of `column` (x unit) against NME, grouped by the multiplier of the CNN."""
    return [
        TradeoffPoint(
            row["trial"], f"CNN × {row['cnn_multiplier']:g}", unit * row[column], row["nme"], "single"
        )
        for row in trained(table).to_dict("records")
    ]


def draw_figure(table: pd.DataFrame, marked: list[dict[str, Any]], path: Path) -> None:
    """Time and bytes of the trials against their NME on `val`.

    Published systems are not drawn: their NME is of other faces and labels.

    Only trials on the front are labelled. Times are the ratio to the reference times the median of the
    reference's times, so a slow hour of the machine does not count against a trial.
    """
    plots = []
    reference = float(trained(table)["reference_ms"].median())
    costs = [
        ("one core, TFLite float32 (ms)", "latency_ratio", reference),
        ("float32 weights (bytes)", "weight_bytes", 1.0),
    ]
    for label, column, unit in costs:
        own = sorted(points(table, column, unit), key=lambda point: point.group)
        front = pareto_front(own)
        own = [point if point in front else replace(point, name="") for point in own]
        own += [
            TradeoffPoint(row["name"], TO_THE_END, unit * row[column], row["nme"], "apart") for row in marked
        ]
        plots.append((label, own))
    title = "NME on val after a short training"
    save_figure(tradeoff_figure(plots, title), path)


def chosen_trials(table: pd.DataFrame, which: Literal["best", "pareto"], weight: float) -> list[str]:
    """Trials to train to the end: the least sum of the objectives, or the front of time and NME."""
    found = trained(table)
    if which == "best":
        cost = found["nme"] + weight * found["latency_ratio"]
        return [str(found.loc[cost.idxmin(), "trial"])]
    return [point.name for point in pareto_front(points(found, "latency_ratio"))]


def effects_of_choices(table: pd.DataFrame) -> pd.DataFrame:
    """The effect of one step of each choice on error, time and bytes, all other choices being equal.

    A linear fit over the trials that were trained: NME, and logarithms of latency and bytes, as sums
    of effects of the doublings of each choice (of the hidden layer, of each HIDDEN_STEP units).

    Returns:
        a row for each choice of which the trials have several values: choice, step, nme (change in
        percent), time and bytes (factors); empty unless there are more trials than such choices.
    """
    found = trained(table)
    varied = [name for name in SPACE if found[name].nunique() > 1]
    columns = [
        found[name] / HIDDEN_STEP if name == "hidden_units" else np.log2(found[name]) for name in varied
    ]
    inputs = np.stack([np.ones(len(found)), *columns], 1)
    if len(found) <= inputs.shape[1]:
        return pd.DataFrame(columns=["choice", "step", "nme", "time", "bytes"])
    measured = found[["nme", "latency_ratio", "weight_bytes"]].to_numpy(float, copy=True)
    measured[:, 1:] = np.log2(measured[:, 1:])
    effects = np.linalg.lstsq(inputs, measured, rcond=None)[0][1:]
    return pd.DataFrame(
        {
            "choice": varied,
            "step": [f"+ {HIDDEN_STEP}" if name == "hidden_units" else "x 2" for name in varied],
            "nme": effects[:, 0],
            "time": 2 ** effects[:, 1],
            "bytes": 2 ** effects[:, 2],
        }
    )


def describe(table: pd.DataFrame) -> str:
    """The trials as text, the most accurate first, and the effect of each choice."""
    columns = [name for name in ("trial", *SPACE, "nme", "latency_ratio", "weight_bytes") if name in table]
    found = trained(table).sort_values("nme")
    lines = [as_text(found[columns]), f"{len(found)} trained, {len(table) - len(found)} not"]
    effects = effects_of_choices(table)
    if len(effects):
        lines += ["", "one step of each choice, the others being equal (linear fit):", as_text(effects)]
    else:
        lines += ["", "effects of the choices: too few trials to fit them"]
    return "\n".join(lines)


def describe_result(result: dict[str, Any]) -> str:
    """A trial in one line."""
    network = ", ".join(f"{name} {result[name]:g}" for name in SPACE)
    if result["status"] != "trained":
        return f"trial {result['trial']} ({network}): {result['status']}"
    return (
        f"trial {result['trial']} ({network}): NME {result['nme']:.2f} %, {result['latency_ratio']:.3f} x "
        f"MediaPipe's time, {result['weight_bytes']:,} bytes"
    )


def as_text(table: pd.DataFrame) -> str:
    formats = {"nme": "{:.2f}".format, "latency_ratio": "{:.3f}".format}
    return table.to_string(
        index=False,
        formatters={name: text for name, text in formats.items() if name in table},
        float_format=lambda value: f"{value:.3g}",
    )
