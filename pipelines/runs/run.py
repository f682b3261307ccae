"""A training run from options to an exported model: faces, trainer, export."""

from __future__ import annotations

import dataclasses
import json
import shutil
import tempfile
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from pipelines.input import batches, heat_maps
from pipelines.input.label_weights import landmark_weights
from pipelines.input.order import make_order
from pipelines.input.services import DataService, write_images
from pipelines.input.targets import NO_TARGETS, Targets
from pipelines.prepared import datasets
from pipelines.prepared.arrays import FaceArrays
from pipelines.prepared.datasets import Mixture
from pipelines.runs import quality_crops, teacher
from pipelines.runs.budget import (
    Budget,
    choose_faces,
    choose_passes,
    chooses_faces,
    rendering_rate,
    training_times,
)
from pipelines.runs.checks import (
    TEACHER_FILE,
    check_start,
    exported_version,
    finished,
    initial_description,
    was_begun,
)
from pipelines.runs.description import describe_datasets, machine, portable_command, without_folders
from pipelines.runs.faces import check_faces, count_faces, prepared_folders
from pipelines.runs.options import OPTIONS_FILE, Options
from pipelines.runs.results import test_folder, write_card
from tf_dhm.core import configuration
from tf_dhm.core.files import atomic_write
from tf_dhm.core.machine import software_versions
from tf_dhm.core.words import counted
from tf_dhm.export.description import Description
from tf_dhm.export.saved_model import read_weights, save_model
from tf_dhm.networks.config import ModelConfig
from tf_dhm.networks.models import build_model, precision_policy
from tf_dhm.networks.quality import QualityHead
from tf_dhm.training.config import AugmentConfig, TrainConfig
from tf_dhm.training.distribution import Strategy, find_strategy
from tf_dhm.training.trainer import Trainer, Weights
from tf_dhm.training.validation import Validation

COMMAND_FILE = "command.txt"
FACES_FILE = "faces.json"
INITIAL_FILE = "initialized_from.json"
TEACHER_DATA_FILE = "teacher_data.json"
FEW_VAL_FACES = 10
"""With fewer faces to validate with, a note is printed."""


def run(options: Options, resume: bool, command: str, mixture: Mixture | None = None) -> Path:
    """Train with `options` and export the best weights.

    Args:
        options: of the run; saved beside it.
        resume: continue the run from its last checkpoint.
        command: the command line, for the model card.
        mixture: the faces of the run, if they are in memory already.

    With several workers each of them calls this with the same options. They resume what the chief began
    and did not finish, with `resume` or without: a worker that was killed is started by the same command.

    Returns:
        The version folder of the exported model.

    Raises:
        InputError: a dataset has no folder, a run of that name exists, or an option or a file is rejected
            by the part that reads it.
    """
    resume = check_start(options, resume)
    run_dir = options.run_dir
    version_dir = exported_version(options)
    if not resume:
        heat_maps.check_options(
            options.model.heatmap_input, options.train, options.augment, bool(options.data_service)
        )
    # Before this barrier no worker writes a file that another one looks for above.
    strategy = find_strategy(options.distribute)
    initial, weights = (None, None) if resume else read_initial(options.init, options.model)

    wanted, rate = options, None
    budget = Budget(options.minutes) if options.minutes and not resume else None
    if budget is not None and chooses_faces(options):
        rate = rendering_rate(options.threads, budget.clock)
        options = choose_faces(options, budget, rate)
        test_folder(options)  # now, so that the passes are chosen for the time that is left after it
    if not strategy.chief:
        strategy.wait_for_all()  # the chief prepares the datasets for all
    folders = prepared_folders(options.data, options.model.input_size, options.threads)
    if mixture is None:
        mixture = datasets.load_mixture(folders)
    service = make_service(options.data_service, mixture.train, options.data.cache_dir)
    if strategy.chief:
        if options.teacher and not resume:
            teacher.write_landmarks(run_dir / TEACHER_FILE, options.teacher, mixture.train)
        strategy.wait_for_all()
    counts = np.bincount(mixture.sources, minlength=len(folders)).tolist()
    for name, folder, count in zip(options.data.dataset, folders, counts, strict=True):
        print(f"{name}: {counted(count, 'face')} to train with, from {folder}")
    if len(mixture.val) < FEW_VAL_FACES:
        few = counted(len(mixture.val), "face")
        print(f"note: val has {few}, too few to choose the best weights; {FEW_VAL_FACES} or more are better")
    make = partial(
        make_trainer,
        options.model,
        augment=options.augment,
        mixture=mixture,
        dataset_weights=options.data.dataset_weights,
        strategy=strategy,
        service=service,
        targets=find_targets(options, mixture.train),
    )
    if budget is not None:
        with tempfile.TemporaryDirectory() as scratch:
            times = training_times(lambda: make(train=options.train, run_dir=Path(scratch)), budget.clock)
        tf.keras.backend.clear_session()
        options = choose_passes(options, wanted, budget, len(mixture.train), times, rate)
    trainer = make(train=options.train, run_dir=run_dir)
    if resume:
        check_faces(run_dir / FACES_FILE, mixture.train, mixture.val)
        print(f"resuming {run_dir} at step {trainer.resume()} of {trainer.total_steps}")
        if (run_dir / INITIAL_FILE).exists():
            initial = configuration.read_json(Description, run_dir / INITIAL_FILE)
    else:
        if weights is not None:
            trainer.initialize(weights)
        if strategy.chief:
            begin_run(options, command, trainer, count_faces(mixture.train, mixture.val), initial)
    val = trainer.fit(options.checkpoint_minutes) if options.train.epochs else trainer.best_metrics()
    if strategy.chief:
        if not version_dir.exists():  # a run that was killed before it wrote the card has it
            export(options, trainer, mixture, counts, val, initial, version_dir)
        write_card(options, version_dir)
        if budget is not None:
            print(f"took {budget.seconds_spent() / 60.0:.1f} of {budget.minutes:g} minutes")
    strategy.wait_for_all()
    return version_dir


def run_to_end(options: Options, command: str, mixture: Mixture | None = None) -> Path:
    """`run`, resuming a run that was stopped and leaving one that is finished as it is.

    Raises:
        InputError: as `run`, or there is a run of other options.
    """
    if (version_dir := finished(options)) is not None:
        return version_dir
    resume = was_begun(options)
    if not resume and options.run_dir.exists():
        shutil.rmtree(options.run_dir)  # stopped before its first checkpoint
    tf.keras.backend.clear_session()  # of the runs before it in this process
    return run(options, resume, command, mixture)


def read_initial(init: str | None, model: ModelConfig) -> tuple[Description | None, Weights | None]:
    """The description and the weights of the model from which training starts, if any.

    Raises:
        InputError: no exported model, or one of another network than `model`.
    """
    if init is None:
        return None, None
    return initial_description(init, model), read_weights(Path(init))


def make_service(addresses: tuple[str, ...], faces: FaceArrays, cache_dir: Path) -> DataService | None:
    """The services that make the batches, with the faces in files that they read; None without addresses."""
    if not addresses:
        return None
    folder = write_images(faces.images, cache_dir)
    return DataService(addresses, folder, faces.images.shape)


def make_trainer(
    model: ModelConfig,
    train: TrainConfig,
    augment: AugmentConfig,
    run_dir: Path,
    mixture: Mixture,
    dataset_weights: tuple[float, ...] = (),
    strategy: Strategy | None = None,
    service: DataService | None = None,
    targets: Targets = NO_TARGETS,
) -> Trainer:
    """The trainer of a run over faces in memory.

    Args:
        model, train, augment: the network, its recipe and how faces are changed.
        run_dir: folder of the run.
        mixture: faces to train and to validate with.
        dataset_weights: see `DataOptions`.
        strategy: devices to train on, by default one.
        service: makes the batches, by default this process does.
        targets: what the faces teach beside their labels.
    """
    strategy = Strategy() if strategy is None else strategy
    faces, held_out = mixture.train, mixture.val
    sources = mixture.sources.tolist() if dataset_weights else ()
    order = make_order(faces, train, sources, dataset_weights)
    crops, landmarks = batches.plain_crops(held_out, model.input_size)

    def source(first_step: int, end_step: int, rows: slice = batches.ALL) -> tf.data.Dataset:
        return batches.training_batches(
            faces,
            order,
            model.input_size,
            train,
            augment,
            first_step,
            end_step,
            rows,
            service,
            model.heatmap_input,
            targets,
        )

    return Trainer(
        model,
        train,
        order.steps,
        source,
        Validation(crops, landmarks, held_out.pose[:, 1]),
        run_dir,
        lambda step: faces.name[order.batch(step)].tolist(),
        strategy,
        lambda first_step, end_step: source(first_step, end_step, strategy.rows),
    )


def find_targets(options: Options, faces: FaceArrays) -> Targets:
    """What the training faces of a run teach beside their labels.

    Raises:
        InputError: no file of the teacher's landmarks, or weights of landmarks without any sigma.
    """
    taught = weight = None
    if options.teacher:
        taught = teacher.read_landmarks(options.run_dir / TEACHER_FILE, len(faces))
    if options.train.sigma_floor:
        weight = landmark_weights(faces.landmarks, faces.sigma, options.train.sigma_floor)
    return Targets(taught, weight)


def begin_run(
    options: Options,
    command: str,
    trainer: Trainer,
    faces: dict[str, Any],
    initial: Description | None,
) -> None:
    """Write the first checkpoint, and the files that a resumed run reads (`faces` by `count_faces`)."""
    # A run that is stopped immediately can be resumed too.
    trainer.save()
    texts = {
        COMMAND_FILE: command + "\n",
        FACES_FILE: json.dumps(faces, indent=2) + "\n",
        OPTIONS_FILE: configuration.to_json(options),
    }
    if initial is not None:
        texts = {INITIAL_FILE: configuration.to_json(initial), **texts}
    if options.teacher:
        texts = {TEACHER_DATA_FILE: json.dumps(teacher.data_of(options.teacher), indent=2) + "\n", **texts}
    for name, text in texts.items():
        with atomic_write(options.run_dir / name) as path:
            path.write_text(text)


def export(
    options: Options,
    trainer: Trainer,
    mixture: Mixture,
    counts: list[int],
    val: dict[str, Any],
    initial: Description | None,
    version_dir: Path,
) -> None:
    """Fit visibility and confidence to the best weights, and export all of them.

    Args:
        options: of the run.
        trainer: at the end of the training.
        mixture: the faces of the run, `counts` of each dataset to train with.
        counts: see mixture.
        val: the metrics of the best weights.
        initial: the model from which training started.
        version_dir: folder to write.
    """
    datasets_used = describe_datasets(options.data.dataset, counts, options.data.dataset_weights)
    if (taught := options.run_dir / TEACHER_DATA_FILE).exists():
        datasets_used = {**json.loads(taught.read_text()), **datasets_used}
    weights = trainer.best_weights()
    is_unchanged = initial is not None and options.train.epochs > 0 and not trainer.is_improved
    if is_unchanged:
        print("note: no epoch was better on val than the initial weights, so these are exported")
    head, quality = fit_head(weights, options.model, mixture, options.quality_crops)
    description = Description(
        preset=options.preset,
        model=options.model,
        options=without_folders(json.loads((options.run_dir / OPTIONS_FILE).read_text())),
        command=portable_command((options.run_dir / COMMAND_FILE).read_text().strip()),
        datasets=datasets_used,
        faces_seen=0 if is_unchanged else trainer.total_steps * options.train.batch_size,
        hours=float(trainer.seconds) / 3600.0,
        machine=machine(),
        val=val,
        initialized_from=None if initial is None else dataclasses.asdict(initial),
        quality=quality,
        software=software_versions(),
    )
    save_model(weights, options.model, description, version_dir, head)


def fit_head(
    weights: Weights, model: ModelConfig, mixture: Mixture, crops: int
) -> tuple[QualityHead | None, dict[str, Any] | None]:
    """Visibility and confidence for trained weights, and their measures; neither if `crops` is 0."""
    if not crops:
        return None, None
    with precision_policy("float32"):
        network = build_model(model)
    network.set_weights(weights)
    return quality_crops.fit_quality(network, model.input_size, mixture.train, mixture.val, crops)
