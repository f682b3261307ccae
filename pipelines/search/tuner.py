"""The tuner of a search: each trial is a training run in a folder of its own.

A search that was killed therefore continues within its unfinished trial.
"""

from __future__ import annotations

import math
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import keras_tuner
import tensorflow as tf
from keras_tuner.engine.base_tuner import BaseTuner

from pipelines.prepared import datasets, records
from pipelines.runs import run as training_run
from pipelines.runs.checks import EXPORT_FOLDER
from pipelines.runs.faces import prepared_folders
from pipelines.runs.options import Options
from pipelines.search.latency import measure_latency
from pipelines.search.options import SPACE, TuneConfig, base_options
from pipelines.search.trials import (
    RESULT_FILE,
    describe_result,
    read_result,
    write_result,
    write_table,
)
from tf_dhm.core.errors import InputError
from tf_dhm.core.progress import Progress
from tf_dhm.export.description import read_description
from tf_dhm.face import metrics
from tf_dhm.networks.config import ModelConfig
from tf_dhm.networks.models import build_model, weight_bytes
from tf_dhm.training.presets import find_preset
from tf_dhm.training.trainer import DivergedError

STATE_FOLDER = "search"
METRICS = tuple(f"nme_{name}" for name in metrics.YAW_BINS)


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
    """Ends a search between two trials, after the given minutes."""


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
        self.progress = Progress(desc="trials", total=self.total, initial=self.done, unit=" trials")

    @property
    def total(self) -> int | None:
        """Trials in all; Hyperband counts them itself."""
        return None if self.config.tuner == "hyperband" else self.config.trials

    @property
    def done(self) -> int:
        """Trials that have a result."""
        return len(list(self.config.output_dir.glob(f"trials/*/{RESULT_FILE}")))

    def on_search_begin(self) -> None:
        # keras-tuner resumes a search that was saved, but saves it for the first time after the first trial.
        self.save()

    def pre_create_trial(self) -> None:
        if time.monotonic() > self.deadline and (self.total is None or self.done < self.total):
            raise TimeIsUp

    def run_trial(self, trial: Any, *args: Any, **kwargs: Any) -> dict[str, float]:
        """Train and time one network; returns both objectives and their sum, NaN if there are none.

        Raises:
            FatalError: the failure is not the network's fault; it is the cause.
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
        """Train a network, or resume its training, and time it."""
        try:
            model = self.hypermodel.model_config(trial.hyperparameters)
            size = weight_bytes(build_model(model))
        except InputError as error:  # each value is valid, but their combination is not
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
        if parent := values.get("tuner/trial_id"):  # Hyperband trains the better ones further
            epochs -= values["tuner/initial_epoch"]
            network = config.output_dir / "trials" / parent / EXPORT_FOLDER / config.preset
            options = replace(options, init=str(network.resolve()))
        return replace(options, train=replace(preset.train, epochs=epochs, seed=config.seed))

    def faces(self, options: Options) -> datasets.Mixture:
        """The faces of the run, kept for the next trial if that wants them at the same size."""
        folders = prepared_folders(options.data, options.model.input_size, options.threads)
        if self.mixture is None or self.folders != folders:
            self.mixture, self.folders = None, folders  # the old ones make room first
            self.mixture = datasets.load_mixture(folders)
        return self.mixture


def passes(config: TuneConfig) -> int:
    """Passes over the training faces that make `config.images`, in whole batches.

    Raises:
        InputError: the dataset cannot be read, or has not the faces of one batch.
    """
    options = base_options(config)
    (folder,) = prepared_folders(options.data, options.model.input_size, options.threads)
    faces = int((records.read_index(folder)["split"] == "train").sum())
    batch_size = find_preset(config.preset).train.batch_size
    if faces < batch_size:
        raise InputError(
            f"{config.data_dir}: found {faces} faces to train with, expected {batch_size} or more"
        )
    return -(-config.images // (faces // batch_size * batch_size))


def make_oracle(config: TuneConfig, epochs: int) -> Any:
    """Create the oracle that proposes trials; `epochs` are the passes of the longest."""
    objectives = [keras_tuner.Objective("nme", "min"), keras_tuner.Objective("latency", "min")]
    # keras-tuner takes 0 for no seed and draws one, so the search would not be reproducible.
    shared: dict[str, Any] = {"objective": objectives, "seed": config.seed + 1}
    # A network over the byte limit counts as failed, and there may be many in a row.
    shared["max_consecutive_failed_trials"] = 10**6
    if config.tuner == "hyperband":
        return keras_tuner.oracles.HyperbandOracle(max_epochs=max(2, epochs), **shared)
    oracles = keras_tuner.oracles
    kind = oracles.BayesianOptimizationOracle if config.tuner == "bayesian" else oracles.RandomSearchOracle
    return kind(max_trials=config.trials, **shared)
