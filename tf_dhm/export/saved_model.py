"""SavedModels as TF Serving wants them, with their configuration and a model card."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from tf_dhm.core.configuration import read_json
from tf_dhm.core.errors import InputError
from tf_dhm.core.files import atomic_write
from tf_dhm.core.types import Tensor
from tf_dhm.export import serving_graph
from tf_dhm.export.warmup import write_warmup
from tf_dhm.face import geometry
from tf_dhm.networks.config import ModelConfig
from tf_dhm.networks.layers import DiffusionHeatMap
from tf_dhm.networks.models import build_model, constant_heatmap, precision_policy
from tf_dhm.networks.quality import GOOD_NME, QualityHead, network_with_features
from tf_dhm.runtime.store import find_savedmodel
from tf_dhm.training.presets import PRESETS

DESCRIPTION_FILE = Path("assets.extra") / "description.json"
"""Inside a version folder; TF Serving leaves assets.extra alone."""
CARD_FILE = "README.md"
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


@dataclass(frozen=True)
class Description:
    """What a SavedModel says of itself.

    Attributes:
        preset: name of the preset it was built from.
        model: the network.
        options: all options of the training run.
        command: the command line that trained it.
        datasets: name -> what its labels and boxes are, and its licence limits.
        faces_seen: training faces, repeated ones counted again.
        hours: time spent in training.
        machine: CPU or GPU and threads of the training.
        val: metrics on the `val` split.
        initialized_from: description of the model that training began with.
        quality: measures of visibility and confidence on held-out faces; None where it gives neither.
    """

    preset: str
    model: ModelConfig
    options: dict[str, Any]
    command: str
    datasets: dict[str, str]
    faces_seen: int
    hours: float
    machine: str
    val: dict[str, Any]
    initialized_from: dict[str, Any] | None = None
    quality: dict[str, Any] | None = None


class LandmarkModule(tf.Module):
    """A network with the signatures of the served model; holds the weights and no Keras object."""

    def __init__(self, network: tf.keras.Model, size: int, head: QualityHead | None) -> None:
        super().__init__()
        self.network_weights = list(network.weights)
        quality = None
        if head is not None:
            quality = QualityHead.of([tf.Variable(weight) for weight in head.weights])
            self.quality_weights = list(quality.weights)
        full = network_with_features(network)
        constant = constant_heatmap(size)
        draw = DiffusionHeatMap(size, dtype="float32")

        def find(crops: Tensor, heatmap: Tensor) -> dict[str, Tensor]:
            found = full({"image": tf.cast(crops, tf.float32), "heatmap": heatmap}, training=False)
            middle = tf.constant([(size - 1) / 2.0] * 2 + [0.0])
            landmarks = found["landmarks"] * (size / 2.0) + middle
            outputs = {"landmarks": landmarks, "pose": serving_graph.pose(landmarks)}
            return outputs if quality is None else outputs | quality.answer(found["features"])

        crops = tf.TensorSpec([None, size, size, 3], tf.uint8, name="crops")
        landmarks = tf.TensorSpec([None, geometry.NUM_LANDMARKS, 3], tf.float32, name="initial_landmarks")
        photos = tf.TensorSpec([None], tf.string, name="photos")
        boxes = tf.TensorSpec([None, 4], tf.float32, name="boxes")
        # Closures and not attributes: what is an attribute is saved with all its parts.
        self.serve = tf.function(lambda crops: find(crops, tf.constant(constant)), input_signature=[crops])
        self.refine = tf.function(
            lambda crops, initial_landmarks: find(crops, draw(initial_landmarks)),
            input_signature=[crops, landmarks],
        )
        self.align = tf.function(
            lambda photos, boxes: serving_graph.align_photos(photos, boxes, size, self.serve),
            input_signature=[photos, boxes],
        )


def save_model(
    weights: list[NDArray[np.float32]],
    config: ModelConfig,
    description: Description,
    version_dir: Path,
    head: QualityHead | None = None,
) -> None:
    """Write a SavedModel folder atomically.

    Args:
        weights: as `build_model(config).get_weights()` orders them.
        config: the network.
        description: written beside it as JSON.
        version_dir: <model folder>/<integer>; must not exist.
        head: for visibility and confidence; None for a model without these outputs.

    Raises:
        InputError: `version_dir` exists.
    """
    if version_dir.exists():
        raise InputError(f"{version_dir}: found a folder, expected none; versions are never overwritten")
    with atomic_write(version_dir) as folder:
        try:
            write_model(weights, config, description, folder, head)
        except tf.errors.OpError as error:  # a full disk
            raise InputError(f"{version_dir}: found that it cannot be written: {error.message}") from error


def write_model(
    weights: list[NDArray[np.float32]],
    config: ModelConfig,
    description: Description,
    folder: Path,
    head: QualityHead | None,
) -> None:
    """Write a SavedModel as `save_model`, into a folder that has no name yet."""
    with precision_policy("float32"):  # whatever policy trained it
        network = build_model(config)
    network.set_weights(weights)
    module = LandmarkModule(network, config.input_size, head)
    signatures = {"serving_default": module.serve, "refine": module.refine, "align_jpeg": module.align}
    tf.saved_model.save(module, str(folder), signatures)
    path = folder / DESCRIPTION_FILE
    path.parent.mkdir()
    path.write_text(json.dumps(asdict(description), indent=2) + "\n")
    write_warmup(folder, config.input_size)


def read_description(model_dir: Path) -> Description:
    """The description in a SavedModel (a model folder or a version of it)."""
    path = find_savedmodel(model_dir) / DESCRIPTION_FILE
    if not path.is_file():
        raise InputError(f"{path}: found no such file, expected a model exported by this project")
    return read_json(Description, path)


def read_weights(model_dir: Path) -> list[NDArray[np.float32]]:
    """The weights of an exported model, in the order of `build_model(...).get_weights()`."""
    read_description(model_dir)
    loaded = tf.saved_model.load(str(find_savedmodel(model_dir)))
    return [weight.numpy() for weight in loaded.network_weights]


def read_head(model_dir: Path) -> QualityHead | None:
    """The head of an exported model; None where it has none."""
    read_description(model_dir)
    loaded = tf.saved_model.load(str(find_savedmodel(model_dir)))
    weights = getattr(loaded, "quality_weights", None)
    return None if weights is None else QualityHead.of([weight.numpy() for weight in weights])


def next_version(model_folder: Path) -> Path:
    """The first free version folder: <model folder>/<highest + 1>."""
    numbers = [int(p.name) for p in model_folder.glob("*") if p.name.isdecimal()]
    return model_folder / str(max(numbers, default=0) + 1)


def promote(
    source: Path,
    model_folder: Path,
    metrics: dict[str, Any],
    finish: Callable[[Path], object] = lambda folder: None,
    renew: bool = False,
) -> Path:
    """Copy an exported model as the next version of `model_folder` and write its card.

    Args:
        source: an exported model.
        model_folder: savedmodels/<name>; made if needed.
        metrics: measured test results, title -> metrics of `metrics.summarize`, for the card.
        finish: given the new version folder before it has its name, to put more files into it.
        renew: save the weights anew, with the signatures of this version of the project.

    Returns:
        The new version folder.
    """
    version_dir = find_savedmodel(source)
    description = read_description(version_dir)
    target = next_version(model_folder)
    accuracy_lines(metrics)  # first, so that results which do not fit a card leave no version behind
    with atomic_write(target) as folder:
        if renew:
            head = read_head(version_dir)
            write_model(read_weights(version_dir), description.model, description, folder, head)
        else:
            shutil.copytree(version_dir, folder, ignore=shutil.ignore_patterns("*.tflite"))
        finish(folder)
        card = model_card(model_folder.name, folder, description, metrics, target.name)
    with atomic_write(model_folder / CARD_FILE) as path:
        path.write_text(card)
    return target


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
    count = sum(weight.size for weight in network) + (0 if head is None else head.count)
    graph = (version_dir / "saved_model.pb").stat().st_size
    size = description.model.input_size
    lines = [
        f"# {name}",
        "",
        f"Preset `{description.preset}`{changes_of_network(description)}, version {version}. 68 landmarks "
        f"in 3-D from a {size} x {size} RGB crop (square around the face, side sqrt(2) x the "
        "longer side of the landmark box)"
        + (", their visibility" if head and head.visibility_kernel is not None else "")
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
    lines += [f"- **{dataset}**: {note}" for dataset, note in description.datasets.items()]
    lines += accuracy_lines({"val": description.val, **metrics})
    if description.quality:
        lines += quality_lines(description.quality)
    return "\n".join(lines) + "\n"


def changes_of_network(description: Description) -> str:
    """In what a network differs from its preset's, as " with cnn_multiplier 2.0"; empty where it does not.

    A preset that is not known any more has nothing to be compared with.
    """
    preset = PRESETS.get(description.preset)
    if preset is None or preset.model == description.model:
        return ""
    own, usual = asdict(description.model), asdict(preset.model)
    return " with " + ", ".join(f"{name} {own[name]}" for name in own if own[name] != usual[name])


def training_lines(description: Description, head: QualityHead | None) -> list[str]:
    """What a card says of the runs that a model comes from, the last one first."""
    runs = [asdict(description)]
    while runs[-1].get("initialized_from"):
        runs.append(runs[-1]["initialized_from"])
    trained = [run for run in runs[1:] if run["faces_seen"]]

    def amount(run: dict[str, Any]) -> str:
        return f"{run['faces_seen']:,} faces in {run['hours']:.2f} hours"

    lines = []
    if trained and not description.faces_seen:
        first, *trained = trained
        lines.append(
            f"- Network: that of an earlier run of preset `{first['preset']}`, unchanged: {amount(first)} "
            f"({first['machine']}), `{first['command']}`."
        )
        if head:
            lines.append(f"- The head for {head.measures} alone was fitted anew: `{description.command}`")
    else:
        lines.append(
            f"- Training: {description.faces_seen:,} faces seen in {description.hours:.2f} hours "
            f"({description.machine})."
        )
        lines.append(f"- Command: `{description.command}`")
    return lines + [
        f"- Began with the weights of an earlier run of preset `{run['preset']}`: {amount(run)}, "
        f"`{run['command']}`."
        for run in trained
    ]


def accuracy_lines(metrics: dict[str, Any]) -> list[str]:
    """What a card says of accuracy: a row for each title."""
    lines = [
        "",
        "## Accuracy",
        "",
        "NME in percent: mean distance in x and y over sqrt(w h) of the box of the scored landmarks. Crops "
        "are cut from the box of the original landmarks if a row names no other boxes. A missed face, one "
        "that the detector does not find, counts as above 6 % and is not in the means.",
        "",
        "| data | 0-30 | 30-60 | 60-90 | mean of bins | mean | AUC to 6 % | above 6 % | faces | missed |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for title, row in metrics.items():
        numbers = ["-" if row[key] is None else f"{row[key]:.2f}" for key in CARD_METRICS[:5]]
        tail = [f"{row['auc_6']:.3f}", f"{100 * row['failure_rate_6']:.1f} %", str(row["images"])]
        tail.append(str(row.get("missed", 0)))  # measured before missed faces were counted: none
        lines.append("| " + " | ".join([title, *numbers, *tail]) + " |")
    return lines


def quality_lines(measures: dict[str, Any]) -> list[str]:
    """What a card says of confidence and, where they were measured, of visibility."""
    visibility = "visibility_auc" in measures
    lines = [
        "",
        "## Visibility and confidence" if visibility else "## Confidence",
        "",
        "On `val`, whose faces were not fitted to; AUC is the area under the ROC curve, accuracy is "
        "balanced and at 0.5. "
        + ("Visibility: against the flags of the dataset, where it has some. " if visibility else "")
        + f"Confidence: that a crop holds a face whose landmarks are right (NME up to {GOOD_NME:.0f} %). "
        "Crops without one are made of the same photos (face turned, shifted or scaled far, tiles "
        "shuffled, face painted over) or drawn (backgrounds of the renderer, one colour, noise).",
        "",
        "| measure | value |",
        "|---|---|",
    ]
    for key, value in measures.items():
        shown = "-" if value is None else str(value) if isinstance(value, int) else f"{value:.3f}"
        lines.append(f"| {key.replace('_', ' ')} | {shown} |")
    return lines
