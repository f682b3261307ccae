"""A keras-tuner search for the trade-off between accuracy and speed.

Every trial is a training run of `training_run` in a folder of its own, so a search that was killed
goes on inside the trial it was in. Its two objectives are the NME on `val` and the time of one face,
measured with TFLite on one core beside MediaPipe's network in the same pass.
"""

from __future__ import annotations

import json
import math
import os
import sys
import time
import warnings
from dataclasses import dataclass, fields, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal

import keras_tuner
import tensorflow as tf
from filelock import FileLock
from keras_tuner.engine.base_tuner import BaseTuner

from pipelines.prepared import catalogue as datasets
from pipelines.prepared import records
from pipelines.runs import run as training_run
from pipelines.runs.run import Options
from pipelines.search.trials import (
    RESULT_FILE,
    SPACE,
    chosen_trials,
    describe,
    describe_result,
    draw_figure,
    read_result,
    read_table,
    trained,
    write_json,
    write_result,
    write_table,
)
from tf_dhm.core import configuration
from tf_dhm.core.configuration import AtLeastOne, Count, NotNegative, Positive, Seed, check_fields
from tf_dhm.core.errors import InputError
from tf_dhm.core.files import atomic_write
from tf_dhm.core.progress import Progress
from tf_dhm.evaluation.benchmark import REFERENCE
from tf_dhm.evaluation.entries import model_size
from tf_dhm.evaluation.network_cases import tflite_case
from tf_dhm.evaluation.peers.face_landmark import mediapipe_file
from tf_dhm.evaluation.timing import Case, take_turns
from tf_dhm.export import tflite as tflite_export
from tf_dhm.export.description import read_description
from tf_dhm.face import metrics
from tf_dhm.networks.config import ModelConfig
from tf_dhm.networks.models import build_model, weight_bytes
from tf_dhm.runtime.store import find_savedmodel
from tf_dhm.training.presets import find_preset
from tf_dhm.training.trainer import DivergedError

CONFIG_FILE = "tune.json"
STATE_FOLDER = "search"
FIGURE_FILE = "tradeoff.png"
MARKED_FILE = "marked.json"
FREE_OPTIONS = (
    *("trials", "minutes", "time_again", "mark", "export", "epochs", "threads"),
    *("data_dir", "cache_dir", "output_dir"),
)
"""What may differ when a search goes on: none of them changes what a trial is."""
ONE_RUN = ("minutes", "time_again", "export", "epochs")
"""Options of `TuneConfig` that are meant for one run of a search, not for those that go on with it."""
LATENCY_ROUNDS, LATENCY_TURN_SECONDS = 20, 0.02
"""Turns of the trial's network and of the reference: 200 calls of each and more."""
METRICS = tuple(f"nme_{name}" for name in metrics.YAW_BINS)


@dataclass(frozen=True)
class TuneConfig:
    """What to search, on which data, and for how long."""

    data_dir: Path
    """Folder of the dataset, as distributed or as prepare.py wrote it."""
    dataset: str = "wild68"
    """Which dataset."""
    preset: str = "fast_dhm"
    """Network and recipe from which the trials differ."""
    output_dir: Path = Path("runs/tune")
    """Folder of the search; a search that lies there goes on."""
    cache_dir: Path = Options.cache_dir
    """Where a dataset that is not prepared yet is kept in prepared form."""
    tuner: Literal["bayesian", "hyperband", "random"] = "bayesian"
    """What proposes trials. Hyperband gives most of them a part of the images, and counts its trials
    itself."""
    trials: AtLeastOne = 40
    """Trials in all."""
    images: AtLeastOne = 100_000
    """Training images of a trial, or so many more as make whole passes over the faces."""
    minutes: NotNegative | None = None
    """No trial begins after so many minutes; None: all of them."""
    max_bytes: AtLeastOne | None = None
    """Largest network, in bytes of its float32 weights; a larger one is not trained."""
    latency_weight: NotNegative = 1.0
    """What the tuner minimises, and what is best, is the NME in percent plus so much for a time of 1 x
    MediaPipe's."""
    cnn_multiplier: tuple[Positive, ...] = (0.5, 0.75, 1.0, 1.5, 2.0, 3.0)
    """Values to try, as in the options below."""
    rnn_multiplier: tuple[Positive, ...] = (0.5, 1.0, 2.0)
    recurrent_steps: tuple[Count, ...] = (1, 2, 3, 4)
    input_size: tuple[AtLeastOne, ...] = (64, 80, 96, 112)
    last_channels: tuple[AtLeastOne, ...] = (96, 128, 160)
    """Channels of the last stage of the CNN, before the multiplier."""
    hidden_units: tuple[Count, ...] = (0, 136, 272, 408)
    """Head: units of the hidden layer; 0 for none."""
    limit: AtLeastOne | None = None
    """Use no more than so many faces of the dataset."""
    seed: Seed = 0
    """Of the tuner and of every training."""
    time_again: bool = False
    """When the search is over, time all networks anew: with nothing else running, the figures of all
    trials are of one hour and one state of the machine."""
    mark: tuple[str, ...] = ("fast_dhm", "fast_dhm_tuned_x1", "fast_dhm_tuned", "fast_dhm_x2")
    """Models to mark in the figure, if they were validated on the same dataset."""
    export: Literal["none", "best", "pareto"] = "none"
    """Train these again, for all epochs of the preset, and export them to
    OUTPUT_DIR/exported/TRIAL/export/PRESET. best: the least sum, see --latency-weight; pareto: those that
    no other beats in both NME and time."""
    epochs: AtLeastOne | None = None
    """Passes of that training in place of the preset's."""
    threads: Count = 0
    """Threads of the computation; 0 for all cores."""

    def __post_init__(self) -> None:
        check_fields(self)
        for name in SPACE:
            values = getattr(self, name)
            if not values or len(set(values)) < len(values):
                raise InputError(f"{name}: found {values}, expected one or more values, each once")
        # What no network can have is refused here, and not by each trial of a search that has begun.
        for name in SPACE:
            for value in getattr(self, name):
                self.network(**{name: value})

    def network(self, last_channels: int | None = None, **others: Any) -> ModelConfig:
        """The network of the preset with these values of options in `SPACE` in place of its own."""
        base = find_preset(self.preset).model
        if last_channels is not None:
            others["stage_channels"] = (*base.stage_channels[:-1], last_channels)
        return replace(base, **others)


class DhmHyperModel(keras_tuner.HyperModel):
    """The networks among which a search chooses."""

    def __init__(self, config: TuneConfig) -> None:
        super().__init__()
        self.config = config

    def model_config(self, hp: Any) -> ModelConfig:
        """The network of keras-tuner's hyperparameters."""
        return self.config.network(
            **{name: hp.Choice(name, list(getattr(self.config, name))) for name in SPACE}
        )

    def build(self, hp: Any) -> tf.keras.Model:
        return build_model(self.model_config(hp))


class TimeIsUp(Exception):
    """Between two trials, after the minutes that were given."""


class Search(BaseTuner):
    """Runs the trials that keras-tuner proposes.

    In keras-tuner's own distribution (KERASTUNER_TUNER_ID, KERASTUNER_ORACLE_IP and _PORT) one
    process, the chief, proposes, and workers with the same folder run this.
    """

    def __init__(self, config: TuneConfig, command: str, epochs: int) -> None:
        self.config = config
        self.command = command
        self.deadline = math.inf if config.minutes is None else time.monotonic() + 60 * config.minutes
        self.folders: list[Path] = []
        self.mixture: datasets.Mixture | None = None
        self.epochs = epochs
        oracle = make_oracle(config, epochs)
        try:
            super().__init__(oracle, DhmHyperModel(config), str(config.output_dir), STATE_FOLDER)
        except ValueError as error:  # keras-tuner writes its state in place
            raise InputError(
                f"{config.output_dir / STATE_FOLDER}: found keras-tuner's state cut off ({error}); remove "
                "that folder: by the same seed the same command proposes the same trials, and does none again"
            ) from error
        self.progress = Progress(desc="trials", total=self.total, initial=self.done, unit="trial")

    @property
    def total(self) -> int | None:
        """Trials in all; Hyperband counts them itself."""
        return None if self.config.tuner == "hyperband" else self.config.trials

    @property
    def done(self) -> int:
        """Trials that have a result."""
        return len(list(self.config.output_dir.glob(f"trials/*/{RESULT_FILE}")))

    def on_search_begin(self) -> None:
        # keras-tuner goes on with a search that was saved, which it does first behind the first trial.
        self.save()

    def pre_create_trial(self) -> None:
        if time.monotonic() > self.deadline and (self.total is None or self.done < self.total):
            raise TimeIsUp

    def run_trial(self, trial: Any, *args: Any, **kwargs: Any) -> dict[str, float]:
        """Train and time one network; returns both objectives and their sum, NaN where there are none.

        Raises:
            FatalError: what went wrong is not the network's fault; it is the cause.
        """
        folder = self.config.output_dir / "trials" / trial.trial_id
        try:
            result = read_result(folder, trial) or self.try_out(trial, folder)
        except Exception as error:  # which keras-tuner would count as a failed network
            raise keras_tuner.errors.FatalError(str(error)) from error
        self.progress.update()
        self.progress.write(describe_result(result))
        write_table(self.config.output_dir)
        nme, ratio = result.get("nme", math.nan), result.get("latency_ratio", math.nan)
        found = {"nme": nme, "latency": self.config.latency_weight * ratio}
        objective = self.oracle.objective
        return found | {objective.name: objective.get_value(found)}

    def try_out(self, trial: Any, folder: Path) -> dict[str, Any]:
        """Train a network, or go on with its training, and time it."""
        try:
            model = self.hypermodel.model_config(trial.hyperparameters)
            size = weight_bytes(build_model(model))
        except InputError as error:  # each value is right, and yet there is no network of them all
            return write_result(folder, trial, {"status": f"failed: {error}"})
        found: dict[str, Any] = {"weight_bytes": size}
        if self.config.max_bytes is not None and size > self.config.max_bytes:
            status = f"not trained: {size} bytes, expected at most {self.config.max_bytes}"
            return write_result(folder, trial, found | {"status": status})
        began = time.monotonic()
        options = self.trial_options(trial, model)
        try:
            version_dir = training_run.run_to_end(options, self.command, self.faces(options))
        except DivergedError as error:
            return write_result(folder, trial, found | {"status": f"failed: {error}"})
        description = read_description(version_dir)
        times = measure_latency(version_dir, self.config.output_dir)
        val = description.val
        found |= {"nme": metrics.headline(val), **{name: val[name] for name in METRICS}, **times}
        found |= {"images": description.faces_seen, "seconds": round(time.monotonic() - began, 1)}
        return write_result(folder, trial, found | {"status": "trained"})

    def trial_options(self, trial: Any, model: ModelConfig) -> Options:
        """The training run of a trial."""
        config, preset = self.config, find_preset(self.config.preset)
        options = replace(base_options(config), name=trial.trial_id, model=model)
        values = trial.hyperparameters.values
        epochs = values.get("tuner/epochs") or self.epochs
        if parent := values.get("tuner/trial_id"):  # Hyperband goes on with the better ones
            epochs -= values["tuner/initial_epoch"]
            network = config.output_dir / "trials" / parent / training_run.EXPORT_FOLDER / config.preset
            options = replace(options, init=str(network.resolve()))
        return replace(options, train=replace(preset.train, epochs=epochs, seed=config.seed))

    def faces(self, options: Options) -> datasets.Mixture:
        """The faces of the run, kept for the next trial if that wants them at the same size."""
        folders = training_run.prepared_folders(options)
        if self.mixture is None or self.folders != folders:
            self.mixture, self.folders = None, folders  # the old ones make room first
            self.mixture = datasets.load_mixture(folders)
        return self.mixture


def base_options(config: TuneConfig) -> Options:
    """What the training runs of all trials share."""
    preset = find_preset(config.preset)
    return Options(
        preset=config.preset,
        dataset=config.dataset,
        data_dir=config.data_dir,
        cache_dir=config.cache_dir,
        limit=config.limit,
        runs_dir=config.output_dir / "trials",
        threads=config.threads,
        quality_crops=0,
        test_faces=0,
        model=preset.model,
        augment=preset.augment,
    )


def passes(config: TuneConfig) -> int:
    """Passes over the training faces that make `config.images`, in whole batches.

    Raises:
        InputError: the dataset cannot be read, or has not the faces of one batch.
    """
    (folder,) = training_run.prepared_folders(base_options(config))
    faces = int((records.read_index(folder)["split"] == "train").sum())
    batch_size = find_preset(config.preset).train.batch_size
    if faces < batch_size:
        raise InputError(
            f"{config.data_dir}: found {faces} faces to train with, expected {batch_size} or more"
        )
    return -(-config.images // (faces // batch_size * batch_size))


def make_oracle(config: TuneConfig, epochs: int) -> Any:
    """What proposes trials; `epochs` are the passes of the longest."""
    objectives = [keras_tuner.Objective("nme", "min"), keras_tuner.Objective("latency", "min")]
    # keras-tuner takes 0 for no seed and draws one, with which a search could not be begun alike again.
    shared: dict[str, Any] = {"objective": objectives, "seed": config.seed + 1}
    # A network over the byte limit counts as failed, and there may be many in a row.
    shared["max_consecutive_failed_trials"] = 10**6
    if config.tuner == "hyperband":
        return keras_tuner.oracles.HyperbandOracle(max_epochs=max(2, epochs), **shared)
    oracles = keras_tuner.oracles
    kind = oracles.BayesianOptimizationOracle if config.tuner == "bayesian" else oracles.RandomSearchOracle
    return kind(max_trials=config.trials, **shared)


def measure_latency(version_dir: Path, output_dir: Path) -> dict[str, float]:
    """Time a model's TFLite file on one thread, beside MediaPipe's network in the same pass.

    Args:
        version_dir: the exported model.
        output_dir: of the search; a lock in it keeps two workers of one machine from timing at once.

    Returns:
        latency_ratio, latency_ms, reference_ms: medians over 200 calls or more, and tflite_bytes.
    """

    def case(name: str, file: Path) -> Case:
        return tflite_case(name, file, "float32", batch=1, threads=1, runtime=None)

    with TemporaryDirectory() as folder, FileLock(output_dir / "latency.lock"):
        (contents,) = tflite_export.convert(version_dir, Path(folder), ("float32",), name="trial").values()
        network = case(REFERENCE, mediapipe_file())
        reference, own = take_turns(
            [(network, case("trial", contents.path))],
            LATENCY_ROUNDS,
            LATENCY_TURN_SECONDS,
            "timing",
        )
    return {
        "latency_ratio": own.ratio,
        "latency_ms": own.ms,
        "reference_ms": reference.ms,
        "tflite_bytes": contents.file_bytes,
    }


def time_again(config: TuneConfig) -> None:
    """Measure the latency of every trained trial anew; its other results stay."""
    for row in trained(read_table(config.output_dir)).to_dict("records"):
        folder = config.output_dir / "trials" / row["trial"]
        version_dir = find_savedmodel(folder / training_run.EXPORT_FOLDER / config.preset)
        result = json.loads((folder / RESULT_FILE).read_text())
        write_json(folder / RESULT_FILE, result | measure_latency(version_dir, config.output_dir))
    write_table(config.output_dir)


def marked_models(config: TuneConfig) -> list[dict[str, Any]]:
    """Name, NME on `val`, latency and bytes of the models to mark, which are timed once.

    A model that was validated on another dataset has no place in the figure.
    """
    path = config.output_dir / MARKED_FILE
    before = {} if config.time_again or not path.is_file() else json.loads(path.read_text())
    found = {}
    for name in config.mark:
        description = read_description(find_savedmodel(name))
        if list(description.datasets) == [config.dataset]:
            found[name] = before.get(name) or {
                "nme": metrics.headline(description.val),
                "weight_bytes": model_size(find_savedmodel(name)).bytes,
                **measure_latency(find_savedmodel(name), config.output_dir),
            }
    write_json(path, found)
    return [{"name": name, **values} for name, values in found.items()]


def tune(config: TuneConfig, command: str) -> str:
    """Search, or go on with a search; returns the table of the trials as text.

    Raises:
        InputError: another search lies in the folder, the dataset cannot be read, or no trial was
            trained.
    """
    if not config.data_dir.exists():  # each trial would fail by it
        raise InputError(f"data-dir: found no {config.data_dir}, expected the folder of {config.dataset}")
    for name in config.mark:  # not at the end of hours
        read_description(find_savedmodel(name))
    check_folder(config)
    epochs = passes(config)
    with atomic_write(config.output_dir / CONFIG_FILE) as temporary:
        temporary.write_text(configuration.to_json(config))
    search = Search(config, command, epochs)
    try:
        with warnings.catch_warnings():  # keras-tuner's, of a network without objectives
            warnings.filterwarnings("ignore", "All-NaN", RuntimeWarning)
            search.search(verbose=0)
        shared = "KERASTUNER_ORACLE_IP" in os.environ  # where others may still be at work
        if search.total is not None and search.done < search.total and not shared:
            print(f"the tuner found {search.done} networks to try, and no other among those to choose from")
    except TimeIsUp:
        print(f"{config.minutes:g} minutes are over; the same command goes on")
    except KeyboardInterrupt:
        print("the same command goes on", file=sys.stderr)
        raise
    except keras_tuner.errors.FatalError as error:
        raise (error.__cause__ or error) from None
    finally:
        search.progress.close()
    trained(read_table(config.output_dir))  # refuses before anything is timed
    if config.time_again:
        time_again(config)
    table = read_table(config.output_dir)
    draw_figure(table, marked_models(config), config.output_dir / FIGURE_FILE)
    if config.export != "none":
        train_to_the_end(config, command, chosen_trials(table, config.export, config.latency_weight), search)
    return describe(table)


def read_search(output_dir: Path) -> TuneConfig:
    """The options of the search in a folder, wherever that was moved to, without those in `ONE_RUN`.

    Raises:
        InputError: there is none.
    """
    file = output_dir / CONFIG_FILE
    if not file.is_file():
        raise InputError(
            f"{output_dir}: found no {CONFIG_FILE}, expected the folder of a search, as runs/tune"
        )
    once: dict[str, Any] = {
        field.name: field.default for field in fields(TuneConfig) if field.name in ONE_RUN
    }
    return replace(configuration.read_json(TuneConfig, file), output_dir=output_dir, **once)


def check_folder(config: TuneConfig) -> None:
    """Refuse to go on with a search of other options."""
    path = config.output_dir / CONFIG_FILE
    if not path.is_file():
        return
    before, now = json.loads(path.read_text()), json.loads(configuration.to_json(config))
    if found := configuration.differences(before, now, FREE_OPTIONS):
        free = ", ".join(name.replace("_", "-") for name in FREE_OPTIONS)
        raise InputError(
            f"{config.output_dir}: found a search with {found}; choose another --output-dir (where a search "
            f"goes on, these may change: {free})"
        )


def train_to_the_end(config: TuneConfig, command: str, trials: list[str], search: Search) -> None:
    """Train the networks of trials anew, as their preset is trained, and export them.

    Raises:
        InputError: one was exported before, after another number of epochs.
    """
    preset = find_preset(config.preset)
    epochs = preset.train.epochs if config.epochs is None else config.epochs
    for name in trials:
        trial_file = config.output_dir / "trials" / name / training_run.OPTIONS_FILE
        trial = configuration.read_json(Options, trial_file)
        options = replace(
            trial,
            data_dir=config.data_dir,
            cache_dir=config.cache_dir,
            threads=config.threads,
            runs_dir=config.output_dir / "exported",
            quality_crops=Options.quality_crops,
            init=None,
            train=replace(preset.train, epochs=epochs, seed=config.seed),
        )
        version_dir = training_run.finished(options)
        if version_dir is not None:
            print(f"trial {name} was exported before, to {version_dir}")
            continue
        version_dir = training_run.run_to_end(options, command, search.faces(options))
        print(f"trial {name} is exported to {version_dir}")
