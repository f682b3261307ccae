"""Measure training, export and TFLite on the packages of this Python, and write the table of docs/python.md.

python -m tools.studies.lanes --dataset wild68 --data-dir wild68 --limit 2000

Run it once in the environment of each TensorFlow: the measurements are added to a JSON file, and the table
has a column for each of them.
"""

from __future__ import annotations

import json
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tf_dhm.core.cli import run_script

import numpy as np

from pipelines.prepared import datasets
from pipelines.prepared.config import StoreConfig
from pipelines.runs.budget import training_times
from pipelines.runs.run import make_trainer
from tf_dhm.core.command_line import parse_options
from tf_dhm.core.configuration import AtLeastOne, Positive, check_fields
from tf_dhm.core.files import atomic_write
from tf_dhm.core.machine import describe_machine, software_versions
from tf_dhm.core.markdown import fill_in, markdown_table
from tf_dhm.export.description import read_description
from tf_dhm.export.saved_model import read_head, read_weights, save_model
from tf_dhm.export.tflite import convert
from tf_dhm.runtime.tflite import TFLitePredictor
from tf_dhm.training.presets import find_preset

MARK = "lanes"
TFLITE_CALLS = 400


@dataclass(frozen=True)
class LanesConfig:
    """Options of the measurement."""

    dataset: str = "wild68"
    """Name of the dataset to train on."""
    data_dir: Path | None = None
    """Folder of the dataset; without it the table is only written again."""
    limit: AtLeastOne = 2000
    """Use at most this many faces."""
    preset: str = "fast_dhm"
    """Network to train, and model of `savedmodels` to export."""
    seconds: Positive = 20.0
    """Time for which training is measured."""
    cache_dir: Path = Path("data/prepared")
    """Directory in which datasets are kept in prepared form."""
    measurements: Path = Path("docs/lanes.json")
    """JSON file of the measurements."""
    document: Path = Path("docs/python.md")
    """Document with the place of the table."""

    def __post_init__(self) -> None:
        check_fields(self)


def measure(config: LanesConfig, data_dir: Path) -> dict[str, Any]:
    """The measurements of this environment."""
    preset = find_preset(config.preset)
    folder = datasets.prepared_folder(config.dataset, data_dir, config.cache_dir, StoreConfig(), config.limit)
    mixture = datasets.load_mixture([folder])
    with tempfile.TemporaryDirectory() as scratch:
        times = training_times(
            lambda: make_trainer(preset.model, preset.train, preset.augment, Path(scratch), mixture),
            time.monotonic,
            config.seconds,
        )
        version_dir = Path(scratch) / config.preset / "1"
        description = read_description(Path(config.preset))
        began = time.monotonic()
        save_model(
            read_weights(Path(config.preset)),
            description.model,
            description,
            version_dir,
            read_head(Path(config.preset)),
        )
        convert(version_dir, None, ("float16",))
        export_seconds = time.monotonic() - began
        saved = sum(file.stat().st_size for file in version_dir.rglob("*") if file.suffix != ".tflite")
        (tflite,) = version_dir.glob("*.tflite")
        return {
            "software": software_versions(),
            "machine": describe_machine(),
            "preset": config.preset,
            "data": f"{len(mixture.train)} faces of {config.dataset}",
            "images_per_second": preset.train.batch_size / times.step,
            "start_seconds": times.start,
            "export_seconds": export_seconds,
            "savedmodel_bytes": saved,
            "tflite_bytes": tflite.stat().st_size,
            "tflite_ms": tflite_milliseconds(tflite),
        }


def tflite_milliseconds(file: Path) -> float:
    """Median time of one crop through a TFLite file, on one thread."""
    predictor = TFLitePredictor(file)
    size = predictor.input_size
    crop = np.random.default_rng(0).integers(0, 256, (1, size, size, 3)).astype(np.uint8)
    times = []
    for _ in range(TFLITE_CALLS):
        began = time.perf_counter()
        predictor.predict(crop)
        times.append(time.perf_counter() - began)
    return 1000.0 * float(np.median(times))


def add(file: Path, found: dict[str, Any]) -> None:
    """Add a measurement to a file, in place of an earlier one with the same TensorFlow."""
    kept = json.loads(file.read_text()) if file.is_file() else []
    kept = [row for row in kept if row["software"]["tensorflow"] != found["software"]["tensorflow"]]
    rows = sorted([*kept, found], key=lambda row: tuple(map(int, row["software"]["tensorflow"].split("."))))
    with atomic_write(file) as path:
        path.write_text(json.dumps(rows, indent=2) + "\n")


def table(measured: list[dict[str, Any]]) -> str:
    """The measurements as Markdown, a column for each TensorFlow."""
    lines = {
        "Python": lambda row: row["software"]["python"],
        "Keras": lambda row: row["software"]["keras"],
        "training, images/s": lambda row: f"{row['images_per_second']:.0f}",
        "until the first steps are made, s": lambda row: f"{row['start_seconds']:.1f}",
        "export with a TFLite file, s": lambda row: f"{row['export_seconds']:.1f}",
        "SavedModel, MB": lambda row: f"{row['savedmodel_bytes'] / 1e6:.2f}",
        "TFLite in float16, MB": lambda row: f"{row['tflite_bytes'] / 1e6:.3f}",
        "a crop through the TFLite file, ms": lambda row: f"{row['tflite_ms']:.2f}",
    }
    return markdown_table(
        [
            {"": title} | {f"TensorFlow {row['software']['tensorflow']}": cell(row) for row in measured}
            for title, cell in lines.items()
        ]
    )


def study(config: LanesConfig) -> None:
    """Measure if there is a dataset, and write the table."""
    if config.data_dir is not None:
        add(config.measurements, measure(config, config.data_dir))
    measured = json.loads(config.measurements.read_text())
    first = measured[0]
    where = (
        f"`{first['preset']}` on {first['data']}, {first['machine']['cpu']}, {first['machine']['cpus']} CPUs"
    )
    fill_in(config.document, MARK, f"{where}:\n\n{table(measured)}".rstrip())


def main() -> None:
    study(parse_options(LanesConfig, description=__doc__))


if __name__ == "__main__":
    run_script(main)
