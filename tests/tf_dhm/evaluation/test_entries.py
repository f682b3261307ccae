"""Models as entries of an evaluation."""

from __future__ import annotations

import doctest
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from tests.fakes import write_fake_model
from tests.shift_model import ShiftModel
from tf_dhm.core.errors import InputError
from tf_dhm.evaluation import entries
from tf_dhm.evaluation.entries import (
    ModelSize,
    distinct_names,
    label_set_names,
    load_entries,
    model_size,
    predict_faces,
)
from tf_dhm.runtime.predictor import predict_boxes


def test_names_of_models_and_label_sets() -> None:
    assert distinct_names(["m", "n"], ["x/m", "x/n"]) == ["m", "n"]
    assert distinct_names(["m", "m"], ["x/m", "y/m"]) == ["x/m", "y/m"]
    with pytest.raises(InputError, match="x/m more than once"):
        distinct_names(["m", "m"], ["x/m", "x/m"])
    assert label_set_names(["original", "a/original.npz"]) == ["original", "a/original.npz"]


def test_model_size_is_that_of_the_weights(tmp_path: Path) -> None:
    version = write_fake_model(tmp_path / "fake") / "1"
    assert model_size(version) == ModelSize(bytes=4 * 68 * 3, parameters=68 * 3)


def test_entries_are_one_for_each_model_and_number_of_passes(tmp_path: Path) -> None:
    models = [write_fake_model(tmp_path / name) for name in ("a", "b")]
    entries = load_entries(models, (1, 2))
    assert [e.name for e in entries] == ["a", "a (2 passes)", "b", "b (2 passes)"]
    entries = load_entries(models[:1], (1, 2), mirror=True)
    assert [(e.name, e.is_plain) for e in entries] == [
        ("a", True),
        ("a (mirrored)", False),
        ("a (2 passes)", False),
        ("a (2 passes, mirrored)", False),
    ]
    with pytest.raises(InputError, match="expected a folder with a SavedModel"):
        load_entries([tmp_path / "none"])


def test_photos_are_searched_by_aligners_with_these_passes(tmp_path: Path) -> None:
    entries = load_entries([write_fake_model(tmp_path / "fake")], (1, 2, 3, "default"))
    aligners = [entry.align.args[0] for entry in entries if isinstance(entry.align, partial)]
    assert [(aligner.passes_detected, aligner.settles) for aligner in aligners] == [
        (1, False),
        (2, False),
        (3, False),
        (2, True),
    ]
    assert [entry.find is None for entry in entries] == [False, False, False, True]
    assert entries[-1].name == "fake (default passes)"


@pytest.mark.parametrize("passes", [1, 2, 3])
def test_predict_faces_agrees_with_predict_boxes(passes: int) -> None:
    rng = np.random.default_rng(5)
    images = [rng.integers(0, 255, shape, np.uint8) for shape in [(50, 40, 3), (90, 120, 3), (300, 200, 3)]]
    boxes = np.array([[5, 5, 30, 40], [-10, 20, 60, 100], [20, 30, 180, 250]], float)
    model = ShiftModel(0.7)
    together = predict_faces(model, images, boxes, passes)
    assert model.batches == [3] * passes
    for image, box, landmarks in zip(images, boxes, together, strict=True):
        np.testing.assert_allclose(landmarks, predict_boxes(model, image, box, passes)[0], atol=1e-4)


def test_doctests() -> None:
    assert doctest.testmod(entries).failed == 0
