"""Every committed model gives the landmarks that it gave on the TensorFlow that it was exported with."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from tf_dhm.core.types import Array
from tf_dhm.export.description import read_description
from tf_dhm.export.saved_model import read_weights
from tf_dhm.face import geometry
from tf_dhm.networks.models import build_model, constant_heatmap
from tf_dhm.runtime.store import SAVEDMODELS, list_models
from tools.reference_landmarks import OUTPUT, load, model_files, predict

TOLERANCE = 0.01
"""Largest difference in pixels of the crop."""


@pytest.fixture(scope="module")
def reference() -> dict[str, Array]:
    with np.load(OUTPUT) as archive:
        return {name: archive[name] for name in archive.files}


def test_every_model_has_reference_landmarks(reference: dict[str, Array]) -> None:
    assert {*reference} - {"crops"} == {*model_files()}
    assert {path.split("/")[0] for path in reference} - {"crops"} == {*list_models()}


@pytest.mark.parametrize(("name", "file"), model_files().items(), ids=model_files())
def test_same_landmarks(name: str, file: Path, reference: dict[str, Array]) -> None:
    found = predict(load(file), reference["crops"].astype(np.uint8))
    assert np.abs(found - reference[name]).max() <= TOLERANCE
    # The face is found, and a second pass changes something.
    assert np.ptp(found[..., 1], axis=-1).min() > 40.0
    assert np.abs(found[0] - found[1]).max() > 1.0 * TOLERANCE


@pytest.mark.parametrize("folder", sorted(SAVEDMODELS.glob("*/1")), ids=lambda folder: folder.parent.name)
def test_the_weights_of_a_savedmodel_are_those_of_the_network_built_here(
    folder: Path, reference: dict[str, Array]
) -> None:
    """What `--init SAVEDMODEL` begins with, on whichever Keras exported it."""
    model = read_description(folder).model
    network = build_model(model)
    network.set_weights(read_weights(folder))
    margin = (reference["crops"].shape[1] - model.input_size) // 2
    crops = reference["crops"][:, margin:, margin:][:, : model.input_size, : model.input_size]
    heatmap = tf.constant(constant_heatmap(model.input_size))
    units = network({"image": tf.cast(crops, tf.float32), "heatmap": heatmap}, training=False).numpy()
    found = geometry.unit_to_pixels(units, model.input_size)
    expected = reference[folder.relative_to(SAVEDMODELS).as_posix()][0]
    assert np.abs(found - expected).max() <= TOLERANCE
