"""Train the small twins of the DHM family alike, measure them alike, and write docs/family.md's tables.

    python -m tools.studies.family_study --data-dir wild68 --test-dir AFLW2000-3D
    python -m tools.studies.family_study --steps latency table
    python -m tools.studies.family_study --steps sizes

There is one run for each preset and seed, in a folder of its own. Finished runs are not repeated, and a run
that was stopped resumes from its last checkpoint.
"""

from __future__ import annotations

import dataclasses
import json
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from tf_dhm.core.cli import run_script

import numpy as np
import pandas as pd
import tensorflow as tf

from pipelines.datasets import aflw2000_3d
from pipelines.runs import run as training_run
from pipelines.runs.checks import EXPORT_FOLDER
from pipelines.runs.options import OPTIONS_FILE, DataOptions, Options, read_options
from pipelines.runs.results import EVALUATION_FOLDER
from tf_dhm.core.command_line import parse_options
from tf_dhm.core.configuration import AtLeastOne, Count, Seed, check_fields
from tf_dhm.core.errors import InputError
from tf_dhm.core.files import atomic_write
from tf_dhm.core.markdown import fill_in, markdown_table
from tf_dhm.evaluation import benchmark
from tf_dhm.evaluation.benchmark import BenchmarkConfig
from tf_dhm.evaluation.entries import load_entries, model_size
from tf_dhm.evaluation.evaluate import evaluate
from tf_dhm.evaluation.report import METRICS_FILE, write_report
from tf_dhm.export.description import CARD_FILE, read_description
from tf_dhm.face import metrics
from tf_dhm.networks.models import build_model, weight_bytes
from tf_dhm.training.presets import PRESETS, find_preset
from tools.studies.family_tables import study_text

Step = Literal["train", "latency", "table", "sizes"]
TWINS = (
    "dhm_small",
    "cnn_3d_small",
    "fast_dhm_small",
    "fast_cnn_vanilla_rnn_small",
    "rnn_2d_small",
    "dhm_rhg_small",
)
"""Presets in the order in which they are trained."""
LATENCY_FILE = "latency.json"
RUNS_FILE = "family.csv"
TEST_DATASET = "aflw2000_3d"
RUN_METRICS = (*(f"nme_{name}" for name in metrics.YAW_BINS), "nme_mean_of_bins")


@dataclass(frozen=True)
class StudyConfig:
    """Steps, data and folders of the study."""

    data_dir: Path | None = None
    """Folder of the dataset to train with."""
    test_dir: Path | None = None
    """Folder of AFLW2000-3D, to test on."""
    steps: tuple[Step, ...] = ("train", "table")
    """train: train and test unfinished runs. latency: time the trained models; needs an idle machine.
    table: write the CSV of all runs and the table of the document. sizes: the document's table of
    parameters and bytes."""
    output_dir: Path = Path("runs/family")
    """Folder of the runs."""
    document: Path = Path("docs/family.md")
    """Document with the tables, between their marks; the CSV file is written beside it."""
    dataset: str = "wild68"
    """Name of the dataset in data_dir."""
    cache_dir: Path = Path("data/prepared")
    """Folder in which the dataset is kept in prepared form."""
    presets: tuple[str, ...] = TWINS
    """Presets to train."""
    seeds: tuple[Seed, ...] = (1, 2)
    """Each preset is trained once per seed; all presets with the first seed come first."""
    epochs: AtLeastOne | None = None
    """Epochs in place of those of the presets."""
    limit: AtLeastOne | None = None
    """Use at most this many faces of the dataset."""
    threads: Count = 0
    """Threads of the computation; 0 for all cores."""
    rounds: AtLeastOne = 20
    """Rounds in which every model is timed."""

    def __post_init__(self) -> None:
        check_fields(self)
        for preset in self.presets:
            find_preset(preset)
        for name in ("presets", "seeds", "steps"):
            values = getattr(self, name)
            if not values or len(set(values)) < len(values):
                raise InputError(f"{name}: found {values}, expected one or more, each once")


@dataclass(frozen=True)
class Run:
    """One training of the study."""

    preset: str
    seed: int
    folder: Path

    @property
    def version_dir(self) -> Path:
        return self.folder / EXPORT_FOLDER / self.preset / "1"

    @property
    def is_trained(self) -> bool:
        return (self.version_dir.parent / CARD_FILE).exists()

    @property
    def metrics_file(self) -> Path:
        return self.folder / EVALUATION_FOLDER / METRICS_FILE


def study(config: StudyConfig) -> None:
    """Do the steps that `config` names, in the order of `Step`.

    Raises:
        InputError: a missing folder or document, nothing to time or to show, a run that was begun
            with other options, or anything its parts reject.
    """
    if {"table", "sizes"} & set(config.steps) and not config.document.is_file():
        raise InputError(f"document: found no {config.document}, expected a file with marks for the tables")
    for step in get_args(Step):
        if step in config.steps:
            STEPS[step](config)


def runs(config: StudyConfig) -> Iterator[Run]:
    """All runs of a study, in their order."""
    for seed in config.seeds:
        for preset in config.presets:
            yield Run(preset, seed, config.output_dir / f"{preset}_seed{seed}")


def train_all(config: StudyConfig) -> None:
    """Train and test all unfinished runs."""
    for name in ("data_dir", "test_dir"):
        folder = getattr(config, name)
        if folder is None or not folder.is_dir():
            raise InputError(
                f"{name}: found {'none' if folder is None else f'no {folder}'}, expected a folder"
            )
    for run in runs(config):
        train(config, run)
        test(config, run)


def options_of(config: StudyConfig, run: Run) -> Options:
    """The options of `train.py` for a run."""
    preset = find_preset(run.preset)
    recipe = dataclasses.replace(preset.train, seed=run.seed)
    if config.epochs is not None:
        recipe = dataclasses.replace(recipe, epochs=config.epochs)
    return Options(
        preset=run.preset,
        data=DataOptions(
            dataset=(config.dataset,),
            data_dir=() if config.data_dir is None else (config.data_dir,),
            limit=config.limit,
            cache_dir=config.cache_dir,
        ),
        runs_dir=run.folder.parent,
        name=run.folder.name,
        threads=config.threads,
        quality_crops=0,  # nothing of the study is about visibility or confidence
        model=preset.model,
        train=recipe,
        augment=preset.augment,
    )


def command_of(options: Options) -> str:
    """The command line of `train.py` that has `options`."""
    words: list[Any] = [
        "--preset",
        options.preset,
        "--dataset",
        *options.data.dataset,
        "--data-dir",
        *options.data.data_dir,
    ]
    words += ["--seed", options.train.seed, "--quality-crops", options.quality_crops, "--name", options.name]
    if options.train.epochs != find_preset(options.preset).train.epochs:
        words += ["--epochs", options.train.epochs]
    if options.data.limit is not None:
        words += ["--limit", options.data.limit]
    return shlex.join(["python", "train.py", *map(str, words)])


def train(config: StudyConfig, run: Run) -> None:
    """Train a run to its end, from its last checkpoint if it has one."""
    options, file = options_of(config, run), run.folder / OPTIONS_FILE
    if file.exists():
        begun = read_options(file)
        if (begun.model, begun.train, begun.data.limit) != (options.model, options.train, options.data.limit):
            raise InputError(
                f"{run.folder}: found a run begun with other options, expected those of this study"
            )
    if not run.is_trained:
        print(f"{run.preset}, seed {run.seed}: training in {run.folder}", flush=True)
        training_run.run_to_end(options, command_of(options))


def test(config: StudyConfig, run: Run) -> None:
    """Measure the model of a run on AFLW2000-3D with its original labels."""
    if run.metrics_file.exists():
        return
    assert config.test_dir is not None
    entries = load_entries([run.version_dir])
    faces = aflw2000_3d.read(config.test_dir, wrap_pose=False)
    result = evaluate(entries, {"original": faces})
    write_report(result, TEST_DATASET, run.metrics_file.parent)


def time_all(config: StudyConfig) -> None:
    """Time the models of all presets that are trained, each alternately with MediaPipe's."""
    models = {run.preset: str(run.version_dir) for run in runs(config) if run.is_trained}
    if not models:
        raise InputError(f"{config.output_dir}: found no trained model, expected some of {config.presets}")
    timing = BenchmarkConfig(
        models=tuple(models.values()),
        kinds=("saved_model",),
        stages=("model",),
        threads=(1,),
        batches=(1,),
        rounds=config.rounds,
        output=config.output_dir / LATENCY_FILE,
    )
    print(benchmark.run(timing))


def read_latency(path: Path) -> dict[str, dict[str, Any]]:
    """Preset -> its measurement by `time_all` on one thread of the CPU; empty if there is none."""
    if not path.exists():
        return {}
    report = json.loads(path.read_text())
    results = [row for row in report["results"] if row["device"] == "cpu"]
    return {row["model"]: {**row, "cpu": report["machine"]["cpu"]} for row in results}


def collect(config: StudyConfig) -> pd.DataFrame:
    """One row for each run that is trained and tested.

    Columns: preset, seed, faces_seen, hours, machine, images, val_* and test_* (percent, see
    `metrics.summarize`), parameters, weight_bytes, ms and ratio (NaN until timed).
    """
    latency = read_latency(config.output_dir / LATENCY_FILE)
    rows = []
    for run in runs(config):
        if not run.metrics_file.exists():
            continue
        description = read_description(run.version_dir)
        (by_labels,) = json.loads(run.metrics_file.read_text()).values()
        found = by_labels["original"]
        size = model_size(run.version_dir)
        timed = latency.get(run.preset, {})
        rows.append(
            {
                "preset": run.preset,
                "seed": run.seed,
                "faces_seen": description.faces_seen,
                "hours": description.hours,
                "machine": description.machine,
                "images": found["images"],
                **{f"val_{name}": description.val[name] for name in RUN_METRICS},
                **{f"test_{name}": found[name] for name in RUN_METRICS},
                "parameters": size.parameters,
                "weight_bytes": size.bytes,
                "ms": timed.get("ms", np.nan),
                "ratio": timed.get("ratio", np.nan),
            }
        )
    if not rows:
        raise InputError(f"{config.output_dir}: found no finished run, expected some of {config.presets}")
    return pd.DataFrame(rows)


def write_table(config: StudyConfig) -> None:
    """Write the CSV of all finished runs, and the table of the document from it."""
    table = collect(config)
    with atomic_write(config.document.with_name(RUNS_FILE)) as path:
        table.to_csv(path, index=False, float_format="%.5g")
    latency = read_latency(config.output_dir / LATENCY_FILE)
    fill_in(config.document, "family study", study_text(table, latency))
    print(f"{len(table)} of {len(list(runs(config)))} runs are in {config.document}")


def write_sizes(config: StudyConfig) -> None:
    """Build every preset and write its parameters and bytes into the document."""
    rows = []
    for name, preset in PRESETS.items():
        network = build_model(preset.model)
        count = weight_bytes(network)
        rows.append(
            {
                "preset": f"`{name}`",
                "what": preset.summary,
                "input": f"{preset.model.input_size} × {preset.model.input_size}",
                "steps": str(preset.model.recurrent_steps),
                "parameters": f"{count // 4:,}",
                "float32 weights": f"{count / 1e6:.2f} MB",
            }
        )
        tf.keras.backend.clear_session()
    fill_in(config.document, "family sizes", markdown_table(rows).strip())


STEPS = {"train": train_all, "latency": time_all, "table": write_table, "sizes": write_sizes}


def main() -> None:
    config = parse_options(StudyConfig, description=__doc__)
    if config.threads:  # before TensorFlow computes anything
        tf.config.threading.set_intra_op_parallelism_threads(config.threads)
    study(config)


if __name__ == "__main__":
    run_script(main)
