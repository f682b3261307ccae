"""Every preset through the same path: build, train, export, reload; and what each one can learn."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from dataclasses import fields, replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from pipelines.datasets import crop_sets
from pipelines.datasets.samples import FaceSample, Rejection
from pipelines.input import batches
from pipelines.input.order import make_order
from pipelines.prepared import prepare, records
from pipelines.prepared.arrays import FaceArrays
from pipelines.prepared.config import StoreConfig
from pipelines.synthetic import series as synthetic
from tests.faces import face_arrays
from tf_dhm.export.description import Description, read_description
from tf_dhm.export.saved_model import read_weights, save_model
from tf_dhm.face.geometry import unit_to_pixels
from tf_dhm.face.mean_face import mean_landmarks
from tf_dhm.networks.config import ModelConfig
from tf_dhm.networks.models import build_model, constant_heatmap, weight_bytes
from tf_dhm.runtime.saved_model import SavedModelPredictor
from tf_dhm.training.config import NO_AUGMENTATION, TrainConfig
from tf_dhm.training.presets import PRESETS, find_preset
from tf_dhm.training.trainer import Trainer
from tf_dhm.training.validation import Validation

MEGABYTE = 1e6
SMALL = sorted(name for name in PRESETS if name.endswith("_small"))
LARGE = sorted(set(PRESETS) - set(SMALL))
QUICK = ("fast_dhm", "fast_dhm_m", "fast_dhm_s", "fast_dhm_x2", "fast_dhm_paper", "dhm", "tiny")
"""The others have the layers of these in other widths, or take long."""
BYTES = {
    "fast_dhm": (0.85, 0.95),
    "fast_dhm_x2": (2.1, 2.3),
    "fast_dhm_paper": (0.0, 1.0),
    "dhm": (0.95 * 193.7, 1.05 * 193.7),
    "dhm_rhg": (0.95 * 221.9, 1.05 * 221.9),
}
"""Megabytes that the paper gives."""


def make_trainer(name: str, faces: FaceArrays, recipe: TrainConfig, run_dir: Path) -> Trainer:
    """The trainer of a preset's network over faces on which it is also validated, unchanged."""
    size = find_preset(name).model.input_size
    order = make_order(faces, recipe)
    crops, landmarks = batches.plain_crops(faces, size)

    def source(first_step: int, end_step: int) -> tf.data.Dataset:
        return batches.training_batches(faces, order, size, recipe, NO_AUGMENTATION, first_step, end_step)

    validation = Validation(crops, landmarks, faces.pose[:, 1])
    return Trainer(find_preset(name).model, recipe, order.steps, source, validation, run_dir)


def train_export_reload(name: str, batch_size: int, folder: Path) -> None:
    faces = face_arrays(batch_size)
    recipe = replace(find_preset(name).train, epochs=1, batch_size=batch_size, warmup_epochs=0.0)
    trainer = make_trainer(name, faces, recipe, folder / "run")
    before = trainer.model.get_weights()
    loss = float(trainer.train_step(next(iter(trainer.batches(0, 1)))))
    assert math.isfinite(loss)
    after = trainer.model.get_weights()
    moved = [bool(np.any(a != b)) for a, b in zip(before, after, strict=True)]
    assert all(moved), [w.name for w, m in zip(trainer.model.weights, moved, strict=True) if not m]
    del before

    config = find_preset(name).model
    weights = trainer.average.get_weights()
    description = Description(name, config, {}, "train", {}, batch_size, 0.0, "test", {})
    save_model(weights, config, description, folder / name / "1")
    assert read_description(folder / name).model == config
    for a, b in zip(read_weights(folder / name), weights, strict=True):
        np.testing.assert_array_equal(a, b)
    predictor = SavedModelPredictor(folder / name)
    assert predictor.input_size == config.input_size
    crops = trainer.validation.crops
    expected = unit_to_pixels(trainer.predict(crops), config.input_size)
    np.testing.assert_allclose(predictor.predict(crops).landmarks, expected, atol=0.01)
    again = predictor.predict(crops, np.stack([mean_landmarks(config.input_size)] * len(crops))).landmarks
    np.testing.assert_allclose(again, expected, atol=0.05)  # the map of the layer and of NumPy


# Networks


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=[pytest.mark.slow] * (n not in QUICK)) for n in LARGE]
)
def test_large_networks_build(name: str) -> None:
    model = build_model(find_preset(name).model)
    low, high = BYTES.get(name, (0.0, 220.0))
    assert low <= weight_bytes(model) / MEGABYTE <= high
    assert model.output_shape == (None, 68, 3)
    tf.keras.backend.clear_session()


# Networks that are passed four times take long to trace, however narrow they are.
@pytest.mark.slow
@pytest.mark.parametrize("name", SMALL)
def test_small_networks_train_export_and_reload(name: str, tmp_path: Path) -> None:
    train_export_reload(name, 4, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["fast_dhm", "fast_dhm_m", "fast_dhm_paper"])
def test_large_networks_train_export_and_reload(name: str, tmp_path: Path) -> None:
    """The others have the layers of these or of a small twin, in other widths."""
    train_export_reload(name, 4, tmp_path)


# Recipes


# Learning


@pytest.fixture(scope="module")
def eight_faces(tmp_path_factory: pytest.TempPathFactory) -> FaceArrays:
    """Eight real faces if available, else rendered ones; each 25 times, for longer epochs."""
    data = os.environ.get("TF_DHM_TEST_DATA")
    samples: Iterator[FaceSample | Rejection] = (
        crop_sets.read_wild68(Path(data) / "wild68") if data else synthetic.read(8, seed=3)
    )
    folder = tmp_path_factory.mktemp("faces")
    prepare.prepare("eight", islice(samples, 8), folder, StoreConfig())
    faces = records.load(folder)
    assert len(faces) == 8
    values: dict[str, Any] = {f.name: np.concatenate([getattr(faces, f.name)] * 25) for f in fields(faces)}
    return FaceArrays(**values)


@pytest.mark.slow
@pytest.mark.parametrize("name", SMALL)
def test_eight_faces_are_learnt_by_heart(name: str, eight_faces: FaceArrays, tmp_path: Path) -> None:
    recipe = replace(find_preset(name).train, epochs=10, batch_size=8, balance=0.0, warmup_epochs=1.0)
    trainer = make_trainer(name, eight_faces, recipe, tmp_path)
    metrics = trainer.fit()
    tf.keras.backend.clear_session()
    assert metrics["nme_mean"] < 2.0


def test_the_mean_face_alone_is_far_from_them(eight_faces: FaceArrays) -> None:
    # What the networks of the test above begin with.
    size = 64
    crops, landmarks = batches.plain_crops(eight_faces, size)
    validation = Validation(crops, landmarks, eight_faces.pose[:, 1])
    model: ModelConfig = find_preset("fast_dhm_small").model
    network = build_model(model)
    heatmap = tf.constant(constant_heatmap(size))
    summary = validation.summarize(lambda x: network({"image": tf.cast(x, tf.float32), "heatmap": heatmap}))
    assert summary["nme_mean"] is not None
    assert summary["nme_mean"] > 5.0
