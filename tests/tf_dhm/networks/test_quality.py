"""The head of visibility and confidence: its answer by hand, its fit, and its measures."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import tensorflow as tf
from numpy.testing import assert_allclose
from numpy.typing import NDArray

from tests.faces import TINY_MODEL
from tf_dhm.face.metrics import balanced_accuracy, roc_auc
from tf_dhm.networks.models import build_model
from tf_dhm.networks.quality import (
    CropFeatures,
    QualityConfig,
    QualityHead,
    fit_head,
    network_with_features,
)
from tf_dhm.training.presets import find_preset


def sigmoid(x: NDArray) -> NDArray:
    return 1.0 / (1.0 + np.exp(-x))


def made_answers(count: int, seed: int = 0) -> CropFeatures:
    """Of 6 features one tells whether the face is right, another whether its left half is seen."""
    rng = np.random.default_rng(seed)
    features = rng.normal(5.0, 3.0, (count, 6)).astype(np.float32)
    features[:, 5] = 2.0  # says nothing, and does not vary
    visibility = np.full((count, 68), 2, np.uint8)
    visibility[:, :34] = np.where(features[:, :1] > 5.0, 2, rng.integers(0, 2, (count, 34)))
    visibility[::3] = 255
    right = features[:, 1] > 5.0
    return CropFeatures(features, visibility, right, np.array(["face"] * count))


def test_its_answer_by_hand() -> None:
    rng = np.random.default_rng(0)
    shapes = [(5, 3), (3,), (3, 68), (68,), (8, 1), (1,)]
    weights = [rng.normal(size=shape).astype(np.float32) for shape in shapes]
    head = QualityHead(*weights)
    assert head.count == 5 * 3 + 3 + 3 * 68 + 68 + 8 + 1
    features = rng.normal(size=(4, 5)).astype(np.float32)
    narrow = np.maximum(features @ weights[0] + weights[1], 0.0)
    found = head.predict(tf.constant(features))
    assert_allclose(found["visibility"], sigmoid(narrow @ weights[2] + weights[3]), rtol=1e-5)
    both = np.concatenate([features, narrow], 1)
    assert found["confidence"].shape == (4,)
    assert_allclose(found["confidence"], sigmoid(both @ weights[4] + weights[5])[:, 0], rtol=1e-5)


def test_it_learns_from_what_is_labelled() -> None:
    config = QualityConfig(narrow=4, epochs=30, batch_size=64)
    head = fit_head(made_answers(1500), config)
    assert all(weight.dtype == np.float32 for weight in head.weights)
    others = made_answers(400, seed=1)
    found = head.predict(tf.constant(others.features))
    labelled = others.visibility[:, :34] != 255
    visible = others.visibility[:, :34][labelled] == 2
    assert (roc_auc(found["visibility"].numpy()[:, :34][labelled], visible) or 0) > 0.97
    assert found["visibility"].numpy()[:, 34:].min() > 0.7
    assert (balanced_accuracy(found["confidence"], others.right) or 0) > 0.95
    again = fit_head(made_answers(1500), config)
    for first, second in zip(head.weights, again.weights, strict=True):
        np.testing.assert_array_equal(first, second)


def test_without_any_flag_it_gives_confidence_alone() -> None:
    answers = made_answers(64)
    unknown = dataclasses.replace(answers, visibility=np.full((64, 68), 255, np.uint8))
    head = fit_head(unknown, QualityConfig(narrow=4, epochs=2))
    assert [weight.shape for weight in head.weights] == [(6, 4), (4,), (10, 1), (1,)]
    assert head.count == 6 * 4 + 4 + 10 + 1
    assert all(np.isfinite(weight).all() for weight in head.weights)
    found = head.predict(tf.constant(answers.features))
    assert list(found) == ["confidence"]
    again = QualityHead.of(head.weights)
    np.testing.assert_array_equal(
        again.predict(tf.constant(answers.features))["confidence"], found["confidence"]
    )


@pytest.mark.parametrize("flag", [0, 1, 2])
def test_one_flag_is_enough_to_give_visibility(flag: int) -> None:
    answers = made_answers(64)
    visibility = np.full((64, 68), 255, np.uint8)
    visibility[3, 5] = flag
    head = fit_head(dataclasses.replace(answers, visibility=visibility), QualityConfig(narrow=4, epochs=1))
    assert head.predict(tf.constant(answers.features))["visibility"].shape == (64, 68)


def test_answers_are_joined() -> None:
    first, second = made_answers(3), made_answers(4, seed=1)
    both = CropFeatures.join([first, second])
    assert both.kind.shape == (7,)
    np.testing.assert_array_equal(both.features[3:], second.features)


@pytest.mark.parametrize("name", ["dhm_small", "cnn_3d_small", "fast_cnn_vanilla_rnn_small"])
def test_last_features_of_a_network_that_evolves_a_state(name: str) -> None:
    config = find_preset(name).model
    full = network_with_features(build_model(config))
    assert full.output["features"].shape[1] == (config.hidden_units or config.recurrent_channels)


def test_last_features_of_fast_dhm_do_not_change_its_landmarks() -> None:
    network = build_model(TINY_MODEL)
    inputs = {
        "image": np.random.default_rng(0).uniform(0, 255, (2, 32, 32, 3)).astype(np.float32),
        "heatmap": np.zeros((1, 32, 32, 3), np.float32),
    }
    found = network_with_features(network)(inputs, training=False)
    np.testing.assert_array_equal(found["landmarks"], network(inputs, training=False))
    assert found["features"].shape == (2, network.get_layer("flatten").output.shape[1])


@pytest.mark.parametrize("name", ["fast_dhm", "fast_dhm_x2"])
def test_the_head_is_small(name: str) -> None:
    """The whole of Fast DHM stays below 237,000 weights, x 2 below 575,000."""
    full = network_with_features(build_model(find_preset(name).model))
    features, narrow = full.output["features"].shape[1], QualityConfig.narrow
    head = (features + 1) * narrow + (narrow + 1) * 68 + features + narrow + 1
    assert full.count_params() + head < {"fast_dhm": 237_000, "fast_dhm_x2": 575_000}[name]
