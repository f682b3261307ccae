"""The training of a folder: teachers that each leave out a part of the faces, then the networks.

What a teacher finds in faces that it has not seen is a second label, whose errors are not those of the first.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from pipelines.input.label_weights import landmark_weights
from pipelines.input.order import EpochOrder
from tf_dhm.core.configuration import read_json, to_json
from tf_dhm.core.errors import InputError
from tf_dhm.core.files import atomic_write
from tf_dhm.core.machine import processor_name
from tf_dhm.face import metrics
from tf_dhm.networks.config import ModelConfig
from tf_dhm.runtime.crops import upright_roll
from tf_dhm.training.presets import find_preset
from tools.jax_training import files
from tools.jax_training.batches import Faces
from tools.jax_training.files import NetworkResult, Pack, PackedFaces, Results
from tools.jax_training.finding import HeldOut, find_landmarks
from tools.jax_training.network import Weights, check_network, initial_weights, layout
from tools.jax_training.options import TrainOptions, network
from tools.jax_training.training import JointTrainer, Learner, Recipe, Report

LARGEST_INDEX = 2**31
"""Pixels of all faces together must be fewer: JAX counts them in 32 bits."""


def train(options: TrainOptions, command: str) -> Results:
    """Train the networks of `options`, and write their weights and results to the folder.

    Raises:
        InputError: the folder has no packed faces or holds results already, a network does not fit them, or a
            loss is not finite.
    """
    if (options.folder / files.RESULTS_FILE).exists():
        raise InputError(f"{options.folder}: found results of an earlier training; pack into another folder")
    pack = read_json(Pack, options.folder / files.PACK_FILE)
    networks = read_networks(options, pack.input_size)
    beginnings = {
        name: read_beginning(options, name, config, np.random.default_rng((options.seed, number)))
        for number, (name, config) in enumerate(networks.items())
    }
    rows = rows_of(options.dataset, pack)
    packed = files.read_faces(options.folder / files.TRAIN_FILE)[rows]
    held_out = put_held_out(files.read_faces(options.folder / files.VAL_FILE), options.threads)
    faces = put_faces(packed, options)
    history: list[dict[str, Any]] = []
    print(f"{len(rows):,} faces to train with, {pack.val:,} of val, on {machine()}", flush=True)
    teachers: dict[str, Any] = {}
    if options.teacher_steps:
        taught, teachers = train_teachers(options, packed, faces, held_out, history)
        with atomic_write(options.folder / files.TEACHER_FILE) as path:
            np.savez_compressed(path, landmarks=np.rint(taught * files.COORDINATE_STEPS).astype(np.int16))
        faces = faces._replace(teacher=jnp.asarray(taught))
    share = options.teacher_share if options.teacher_steps else 0.0
    learners = [Learner(name, config, beginnings[name], share) for name, config in networks.items()]
    orders = make_orders(packed, options, options.batch_size, options.steps, options.seed + 2)
    recipe = make_recipe(options, options.learning_rate, options.seed + 2)
    weights = fit(learners, recipe, faces, orders, held_out, history)
    results = Results(
        command=command,
        options=json.loads(to_json(options)),
        networks={
            name: NetworkResult(
                held_out.measure(config, found), held_out.measure(config, found, mirrored=True)
            )
            for (name, config), found in zip(networks.items(), weights, strict=True)
        },
        teachers=teachers,
        machine=machine(),
        seconds=history[-1]["seconds"],
        history=history,
    )
    for name, found in zip(networks, weights, strict=True):
        files.write_weights(options.folder / f"{name}.npz", found)
    with atomic_write(options.folder / files.RESULTS_FILE) as path:
        path.write_text(to_json(results))
    for name, result in results.networks.items():
        alone, mirrored = metrics.headline(result.val), metrics.headline(result.val_mirrored)
        print(f"{name}: val {alone:.4f}, with mirror images {mirrored:.4f}")
    return results


def train_teachers(
    options: TrainOptions,
    packed: PackedFaces,
    faces: Faces,
    held_out: HeldOut,
    history: list[dict[str, Any]],
) -> tuple[NDArray[np.float32], dict[str, Any]]:
    """Train the teachers, each without one fold.

    Returns:
        The landmarks (N, 68, 3) that each face's teacher finds in it, in pixels of the stored images, and
        what is known of the teachers.
    """
    config = teacher_config(options)
    learners = [
        Learner(
            f"teacher{fold + 1}",
            config,
            initial_weights(config, np.random.default_rng((options.seed, 100 + fold))),
            left_out=fold,
        )
        for fold in range(options.teachers)
    ]
    orders = make_orders(packed, options, options.teacher_batch_size, options.teacher_steps, options.seed + 1)
    recipe = make_recipe(options, options.teacher_learning_rate, options.seed + 1)
    weights = fit(learners, recipe, faces, orders, held_out, history)
    folds = np.asarray(faces.folds)
    found = np.empty_like(packed.landmarks)
    for fold, learned in enumerate(weights):
        rows = np.flatnonzero(folds == fold)
        found[rows] = find_landmarks(config, learned, faces.images, packed.landmarks, rows, mirrored=True)
    known = {
        "model": dataclasses.asdict(config),
        "seconds": history[-1]["seconds"],
        "nme_of_left_out_faces": float(metrics.nme(found, packed.landmarks).mean()),
        "val_mirrored": [held_out.measure(config, learned, mirrored=True) for learned in weights],
    }
    print(f"teachers: NME of the faces that they left out {known['nme_of_left_out_faces']:.4f}", flush=True)
    return found, known


def fit(
    learners: Sequence[Learner],
    recipe: Recipe,
    faces: Faces,
    orders: NDArray[np.int32],
    held_out: HeldOut,
    history: list[dict[str, Any]],
) -> list[Weights]:
    """Train learners to the end; prints the lines of the log and appends them to `history`."""

    def validate(weights: list[Weights]) -> list[float]:
        return [
            metrics.headline(held_out.measure(learner.config, learned))
            for learner, learned in zip(learners, weights, strict=True)
        ]

    return JointTrainer(learners, recipe, faces, orders).fit(logger(learners, len(orders), history), validate)


def logger(
    learners: Sequence[Learner], steps: int, history: list[dict[str, Any]]
) -> Callable[[Report], None]:
    """A function that prints the reports of a training and appends them to `history`."""
    names = [learner.name for learner in learners]

    def by_name(values: list[float]) -> dict[str, float]:
        return dict(zip(names, values, strict=True))

    def log(report: Report) -> None:
        row = {"step": report.step, "loss": by_name(report.losses)}
        row |= {"faces_per_second": report.faces_per_second, "seconds": report.seconds}
        losses = " ".join(f"{name} {loss:.5f}" for name, loss in by_name(report.losses).items())
        line = f"{report.step}/{steps} {losses} {report.faces_per_second:,.0f} faces/s {report.seconds:.0f} s"
        if report.val is not None:
            row["val"] = by_name(report.val)
            line += " val " + " ".join(f"{name} {error:.4f}" for name, error in by_name(report.val).items())
        history.append(row)
        print(line, flush=True)

    return log


def rows_of(datasets: Sequence[str], pack: Pack) -> NDArray[np.int64]:
    """The rows of the training faces of some datasets, of all for none.

    Raises:
        InputError: a dataset that is not packed.
    """
    if unknown := [name for name in datasets if name not in pack.dataset]:
        raise InputError(f"dataset: found {', '.join(unknown)}, expected some of {', '.join(pack.dataset)}")
    sources = np.repeat(np.asarray(pack.dataset), pack.train_of_each)
    return np.flatnonzero(np.isin(sources, datasets or pack.dataset))


def read_networks(options: TrainOptions, input_size: int) -> dict[str, ModelConfig]:
    """The networks of presets, with the widths of `options`.

    Raises:
        InputError: an unknown preset, or one with another family or crop.
    """
    networks = {name: network(name, options) for name in options.networks}
    for name, config in networks.items():
        check_network(name, config)
        if config.input_size != input_size:
            raise InputError(
                f"networks: found {name} with input_size {config.input_size}, expected {input_size}, for "
                "which the faces are packed"
            )
    return networks


def read_beginning(
    options: TrainOptions, name: str, config: ModelConfig, generator: np.random.Generator
) -> Weights:
    """The weights of the folder that a network begins with, or new ones."""
    file = options.folder / files.INITIAL_FOLDER / f"{name}.npz"
    if options.new_weights or not file.exists():
        print(f"{name}: new weights")
        return initial_weights(config, generator)
    print(f"{name}: weights of {file}")
    return files.read_weights(file, [part.shape for part in layout(config)])


def teacher_config(options: TrainOptions) -> ModelConfig:
    """The network of the teachers.

    Raises:
        InputError: it cannot have crops of `teacher_input_size`.
    """
    config = find_preset(options.networks[-1]).model
    return dataclasses.replace(
        config,
        input_size=options.teacher_input_size or config.input_size,
        cnn_multiplier=options.teacher_cnn_multiplier,
        rnn_multiplier=options.teacher_rnn_multiplier,
    )


def make_orders(
    packed: PackedFaces, options: TrainOptions, batch_size: int, steps: int, seed: int
) -> NDArray[np.int32]:
    """The faces in the batch of each step: (steps, batch_size)."""
    bins = tuple(metrics.yaw_bins(packed.yaw).tolist())
    order = EpochOrder(seed, len(bins), batch_size, options.balance, bins)
    epochs = [order.epoch(epoch) for epoch in range(-(-steps // order.steps))]
    return np.concatenate(epochs)[:steps].astype(np.int32)


def make_recipe(options: TrainOptions, learning_rate: float, seed: int) -> Recipe:
    """The recipe of the teachers or of the networks."""
    return Recipe(
        learning_rate=learning_rate,
        warmup_steps=options.warmup_steps,
        weight_decay=options.weight_decay,
        depth_weight=options.depth_weight,
        ema=options.ema,
        seed=seed,
        steps_at_once=options.steps_at_once,
        augment=options.augment,
        pooled_statistics=options.pooled_statistics,
    )


def put_faces(packed: PackedFaces, options: TrainOptions) -> Faces:
    """The training faces in the memory of the GPU.

    Raises:
        InputError: they are too many.
    """
    images = files.decode_images(packed.images, options.threads)
    if images.size >= LARGEST_INDEX:
        most = LARGEST_INDEX // images[0].size
        raise InputError(f"folder: found {len(images):,} faces, expected at most {most:,} of their size")
    weight = None
    if options.sigma_floor:
        weight = jnp.asarray(landmark_weights(packed.landmarks, packed.sigma, options.sigma_floor))
    folds = np.random.default_rng((options.seed, 5)).integers(0, options.teachers, len(images))
    return Faces(
        images=jnp.asarray(images),
        landmarks=jnp.asarray(packed.landmarks),
        rolls=jnp.asarray(upright_roll(packed.landmarks), jnp.float32),
        folds=jnp.asarray(folds, jnp.int32),
        weight=weight,
    )


def put_held_out(packed: PackedFaces, threads: int) -> HeldOut:
    """The faces of `val`, with their images in the memory of the GPU."""
    images = jnp.asarray(files.decode_images(packed.images, threads))
    return HeldOut(images, packed.landmarks, packed.yaw)


def machine() -> str:
    """The device that JAX uses, and the version of JAX."""
    device = jax.devices()[0]
    name = processor_name() if device.platform == "cpu" else device.device_kind
    return f"{name}, JAX {jax.__version__}"
