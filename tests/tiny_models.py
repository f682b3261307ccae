"""Very small exported networks whose every weight matters to the answer."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path

import numpy as np

from tests.faces import TINY_MODEL
from tests.shared import shared_folder
from tf_dhm.export.description import Description
from tf_dhm.export.saved_model import save_model
from tf_dhm.export.tflite import convert
from tf_dhm.networks.models import build_model
from tf_dhm.networks.quality import QualityHead
from tf_dhm.runtime.tflite import Kind


def random_head(features: int, seed: int = 0, narrow: int = 4, visibility: bool = True) -> QualityHead:
    """A head whose answers lie between 0 and 1 and differ from crop to crop."""
    rng = np.random.default_rng(seed)
    shapes = [(features, narrow), (narrow,), (features + narrow, 1), (1,)]
    if visibility:
        shapes[2:2] = [(narrow, 68), (68,)]
    return QualityHead.of([rng.normal(0.0, 0.3, shape).astype(np.float32) for shape in shapes])


def write_tiny_model(
    folder: Path,
    version: int = 1,
    heatmap_input: bool = True,
    quality: bool = False,
    visibility: bool = True,
    tflite: tuple[Kind, ...] = (),
) -> Path:
    """Export `TINY_MODEL` with random weights and statistics as folder/version; return folder.

    The processes that run the tests share what they export, and copy it.

    Args:
        folder: the model folder.
        version: name of the version folder, and the seed.
        heatmap_input: of the model.
        quality: whether it gives confidence,
        visibility: and visibility with that.
        tflite: kinds of TFLite files to convert it to, named by the folder.
    """
    arguments = (version, heatmap_input, quality, visibility)
    name = "-".join(map(str, ("tiny", *arguments)))
    source = shared_folder(name, lambda new: export_tiny_model(new, *arguments))
    if tflite:

        def convert_copy(new: Path) -> None:
            shutil.copytree(source, new)
            convert(new, kinds=tflite, name=folder.name)

        source = shared_folder("-".join((name, folder.name, *tflite)), convert_copy)
    shutil.copytree(source, folder, dirs_exist_ok=True)
    return folder


def export_tiny_model(
    folder: Path, version: int, heatmap_input: bool, quality: bool, visibility: bool
) -> None:
    config = dataclasses.replace(TINY_MODEL, heatmap_input=heatmap_input)
    network = build_model(config)
    rng = np.random.default_rng(version)
    weights = []
    for variable in network.weights:
        if "moving_variance" in variable.name or "gamma" in variable.name:
            value = rng.uniform(0.5, 1.5, variable.shape)
        elif "kernel" in variable.name:
            value = rng.normal(0.0, np.sqrt(2.0 / np.prod(variable.shape[:-1])), variable.shape)
        else:  # biases, and what batch normalisation shifts by
            value = variable.numpy() + rng.normal(0.0, 0.1, variable.shape)
        weights.append(value.astype(np.float32))
    description = Description(
        preset="tiny",
        model=config,
        options={},
        command="none",
        datasets={},
        faces_seen=0,
        hours=0.0,
        machine="none",
        val={},
    )
    features = network.get_layer("flatten").output.shape[1]
    head = random_head(features, version, visibility=visibility) if quality else None
    save_model(weights, config, description, folder / str(version), head)
