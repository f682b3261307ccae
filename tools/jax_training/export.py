"""Exports networks that were trained in JAX as SavedModels, with a description of their training."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from pipelines.runs.description import portable_command
from tf_dhm.core.configuration import from_dict, read_json
from tf_dhm.core.machine import software_versions
from tf_dhm.export.description import Description
from tf_dhm.export.saved_model import save_model
from tf_dhm.networks.config import ModelConfig
from tf_dhm.networks.models import build_model
from tools.jax_training import files
from tools.jax_training.files import Pack, Results
from tools.jax_training.options import ExportOptions, TrainOptions, network


def export(options: ExportOptions) -> list[Path]:
    """Write a SavedModel of every network in the results; returns their version folders.

    Raises:
        InputError: the folder has no results, or a model exists.
    """
    pack = read_json(Pack, options.folder / files.PACK_FILE)
    file = options.folder / files.RESULTS_FILE
    results = read_json(Results, file)
    train = from_dict(TrainOptions, results.options, f"{file}: options")
    versions = []
    for name in results.networks:
        config = network(name, train)
        shapes = [tuple(weight.shape) for weight in build_model(config).get_weights()]
        weights = files.read_weights(options.folder / f"{name}.npz", shapes)
        version_dir = options.models_dir / name / "1"
        description = describe(name, config, pack, results, train, beginning(options.folder, name, train))
        save_model(weights, config, description, version_dir)
        print(f"{version_dir}: {sum(weight.size for weight in weights):,} weights")
        versions.append(version_dir)
    return versions


def beginning(folder: Path, name: str, options: TrainOptions) -> dict[str, Any] | None:
    """The description of the model whose weights a network began with; None for new weights."""
    file = folder / files.INITIAL_FOLDER / f"{name}.json"
    if options.new_weights or not file.exists():
        return None
    return dataclasses.asdict(read_json(Description, file))


def describe(
    name: str,
    config: ModelConfig,
    pack: Pack,
    results: Results,
    options: TrainOptions,
    initial: dict[str, Any] | None,
) -> Description:
    """The description of a network that was trained by `train`.

    Args:
        name, config: the network.
        pack: the faces.
        results: of the training.
        options: of the training.
        initial: description of the model whose weights it began with.
    """
    others = [other for other in results.networks if other != name]
    together = f", at once with {', '.join(others)}" if others else ""
    datasets = {name: pack.datasets[name] for name in options.dataset or pack.dataset}
    values = {
        key: value for key, value in results.options.items() if key not in ("folder", "threads", "augment")
    }
    return Description(
        preset=name,
        model=config,
        options={
            "preset": name,
            "data": {"dataset": list(datasets), "image_quality": pack.quality},
            "train": values,
            "augment": dataclasses.asdict(options.augment),
        },
        command=" && ".join(portable_command(command) for command in (pack.command, results.command)),
        datasets=datasets,
        faces_seen=options.steps * options.batch_size,
        hours=results.seconds / 3600.0,
        machine=results.machine + together,
        val=results.networks[name].val,
        initialized_from=initial,
        software=software_versions(),
    )
