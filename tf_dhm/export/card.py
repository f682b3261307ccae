"""The model card of a served model: Markdown made from the model, its description and measured results."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from tf_dhm.core.errors import InputError
from tf_dhm.export.description import Description
from tf_dhm.export.saved_model import read_head, read_points, read_weights
from tf_dhm.networks.quality import GOOD_NME, QualityHead
from tf_dhm.training.presets import PRESETS

CARD_METRICS = (
    "nme_0_30",
    "nme_30_60",
    "nme_60_90",
    "nme_mean_of_bins",
    "nme_mean",
    "auc_6",
    "failure_rate_6",
    "images",
)
"""Columns of a card's table: keys of `metrics.summarize`."""


def card_rows(path: Path, name: str, title: str) -> dict[str, Any]:
    """The results of one model in a `metrics.json` as rows of its card.

    Args:
        path: a file as `evaluation.write_report` writes it: model -> label set -> metrics.
        name: of the model in it; its rows of more passes ("<name> (2 passes)") are taken too.
        title: of the data it was measured on.

    Returns:
        "<title>, labels <label set>[, <n> passes]" -> metrics.

    Raises:
        InputError: no such file, none of this model in it, or not as expected; names what is there.
    """
    if not path.is_file():
        raise InputError(f"{path}: found no such file, expected a metrics.json of evaluate.py")
    try:
        results = json.loads(path.read_text())
    except ValueError as error:
        raise InputError(f"{path}: found {error}, expected JSON") from error
    rows = {}
    for model, by_labels in results.items() if isinstance(results, dict) else ():
        if model != name and not model.startswith(f"{name} ("):
            continue
        passes = model.removeprefix(name).strip(" ()")
        if not isinstance(by_labels, dict):
            raise InputError(f"{path}: {model}: found {by_labels!r}, expected label sets")
        for labels, row in by_labels.items():
            if not isinstance(row, dict):
                raise InputError(f"{path}: {model}, {labels}: found {row!r}, expected metrics")
            if missing := [key for key in CARD_METRICS if key not in row]:
                raise InputError(f"{path}: {model}, {labels}: found no {', '.join(missing)}")
            rows[f"{title}, labels {labels}" + (f", {passes}" if passes else "")] = row
    if not rows:
        found = ", ".join(results) if isinstance(results, dict) else type(results).__name__
        raise InputError(f"{path}: found results of {found or 'no model'}, expected some of {name}")
    return rows


def folder_bytes(folder: Path, pattern: str = "*") -> int:
    """Bytes of all files under `folder` whose names fit the pattern."""
    return sum(path.stat().st_size for path in folder.rglob(pattern) if path.is_file())


def model_card(
    name: str, version_dir: Path, description: Description, metrics: dict[str, Any], version: str
) -> str:
    """The model card as Markdown, from the model, its description and measured results alone.

    Args:
        name: of the model.
        version_dir: the model.
        description: of the model.
        metrics: title -> metrics of `metrics.summarize`, besides those on `val`.
        version: the version that the card names.
    """
    network, head = read_weights(version_dir), read_head(version_dir)
    points = read_points(version_dir)
    count = sum(weight.size for weight in network) + (0 if head is None else head.count)
    count += 0 if points is None else points.kernel.size + points.bias.size
    graph = (version_dir / "saved_model.pb").stat().st_size
    size = description.model.input_size
    lines = [
        f"# {name}",
        "",
        f"Preset `{description.preset}`{changes_of_network(description)}, version {version}. 68 landmarks "
        f"in 3-D from a {size} x {size} RGB crop (square around the face, side sqrt(2) x the "
        "longer side of the landmark box)"
        + (", their visibility" if head and head.visibility_kernel is not None else "")
        + (f", {len(points.bias)} points of another annotation" if points is not None else "")
        + (", and a confidence." if head else "."),
        "",
        f"- Weights: {count:,} float32, {4 * count:,} bytes"
        + (f", of which {head.count:,} for {head.measures}" if head else "")
        + f"; SavedModel {folder_bytes(version_dir) - folder_bytes(version_dir, '*.tflite'):,} bytes with "
        + f"its graph ({graph:,}) and warm-up requests.",
    ]
    lines += training_lines(description, head)
    for path in sorted(version_dir.glob("*.tflite")):
        lines.append(f"- `{path.name}`: {path.stat().st_size:,} bytes.")
    lines += ["", "## Data and licence", ""]
    lines += dataset_lines(description)
    own = "held-out faces of the adaptation" if description.adapted else "val"
    lines += accuracy_lines({own: description.val, **metrics})
    if description.quality:
        lines += quality_lines(description.quality)
    return "\n".join(lines) + "\n"


def changes_of_network(description: Description) -> str:
    """Differences from the preset's network, such as " with cnn_multiplier 2.0"; empty if there are none.

    A preset that no longer exists gives no differences.
    """
    preset = PRESETS.get(description.preset)
    if preset is None or preset.model == description.model:
        return ""
    own, usual = asdict(description.model), asdict(preset.model)
    return " with " + ", ".join(f"{name} {own[name]}" for name in own if own[name] != usual[name])


def _duration(hours: float) -> str:
    """A time as people say it: seconds below two minutes, minutes below two hours."""
    if hours < 2 / 60:
        return f"{hours * 3600:.0f} seconds"
    return f"{hours * 60:.0f} minutes" if hours < 2 else f"{hours:.1f} hours"


def runs_of(description: Description) -> list[dict[str, Any]]:
    """The descriptions of the runs that a model comes from, the last one first."""
    runs = [asdict(description)]
    while runs[-1].get("initialized_from"):
        runs.append(runs[-1]["initialized_from"])
    return runs


def dataset_lines(description: Description) -> list[str]:
    """Lines of a card on the datasets of all runs that a model comes from, each once."""
    last, *earlier = runs_of(description)
    lines = {name: f"- **{name}**: {note}" for name, note in last["datasets"].items()}
    for run in earlier:
        for name, note in run["datasets"].items():
            lines.setdefault(name, f"- **{name}**, in an earlier run: {note}")
    return list(lines.values())


def training_lines(description: Description, head: QualityHead | None) -> list[str]:
    """Lines of a card on the runs that a model comes from, the last one first."""
    runs = runs_of(description)
    trained = [run for run in runs[1:] if run["faces_seen"]]

    def amount(run: dict[str, Any]) -> str:
        return f"{run['faces_seen']:,} faces in {_duration(run['hours'])}"

    lines = []
    if description.adapted:
        lines.append(f"- Output layer fitted to {description.adapted}: `{description.command}`")
    elif trained and not description.faces_seen:
        first, *trained = trained
        lines.append(
            f"- Network: that of an earlier run of preset `{first['preset']}`, unchanged: {amount(first)} "
            f"({first['machine']}), `{first['command']}`."
        )
        if head:
            lines.append(f"- The head for {head.measures} alone was fitted again: `{description.command}`")
    else:
        lines.append(
            f"- Training: {description.faces_seen:,} faces seen in {_duration(description.hours)} "
            f"({description.machine})."
        )
        lines.append(f"- Command: `{description.command}`")
    if description.software:
        versions = (f"{name} {version}" for name, version in description.software.items())
        lines.append(f"- Exported with {', '.join(versions)}.")
    return lines + [
        f"- Began with the weights of an earlier run of preset `{run['preset']}`: {amount(run)}, "
        f"`{run['command']}`."
        for run in trained
    ]


def accuracy_lines(metrics: dict[str, Any]) -> list[str]:
    """Lines of a card on accuracy: a row for each title."""
    lines = [
        "",
        "## Accuracy",
        "",
        "NME in percent: mean distance in x and y over sqrt(w h) of the box of the scored landmarks. Crops "
        "are cut from the box of the original landmarks if a row names no other boxes. A missed face, one "
        "that the detector does not find, counts as above 6 % and is not in the means.",
        "",
        "| data | 0-30 | 30-60 | 60-90 | mean of bins | mean of images | AUC to 6 % | above 6 % | images "
        "| missed |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for title, row in metrics.items():
        numbers = ["-" if row[key] is None else f"{row[key]:.2f}" for key in CARD_METRICS[:5]]
        tail = [f"{row['auc_6']:.3f}", f"{100 * row['failure_rate_6']:.1f} %", str(row["images"])]
        tail.append(str(row.get("missed", 0)))  # measured before missed faces were counted: none
        lines.append("| " + " | ".join([title, *numbers, *tail]) + " |")
    return lines


def quality_lines(measures: dict[str, Any]) -> list[str]:
    """Lines of a card on confidence and, if it was measured, visibility."""
    visibility = "visibility_auc" in measures
    lines = [
        "",
        "## Visibility and confidence" if visibility else "## Confidence",
        "",
        "Measured on the faces of `val`, to which nothing was fitted. AUC is the area under the ROC curve; "
        "accuracy is balanced, with the limit at 0.5. "
        + ("Visibility is compared with the flags of the dataset, if it has any. " if visibility else "")
        + "Confidence is the probability that a crop holds a face whose landmarks are right (NME up to "
        f"{GOOD_NME:.0f} %). Crops without such a face are made from the same photos (face turned, shifted "
        "or scaled far, tiles shuffled, face painted over) or drawn (backgrounds of the renderer, one "
        "colour, noise).",
        "",
        "| measure | value |",
        "|---|---|",
    ]
    for key, value in measures.items():
        shown = "-" if value is None else str(value) if isinstance(value, int) else f"{value:.3f}"
        lines.append(f"| {key.replace('_', ' ')} | {shown} |")
    return lines
