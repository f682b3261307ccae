"""The network in JAX against that in TensorFlow: weights, results, loss and gradients."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tensorflow as tf

from tests.exports import random_network
from tests.faces import TINY_MODEL
from tests.trainers import MODEL, TINY_RECIPE
from tf_dhm.core.errors import InputError
from tf_dhm.face.mean_face import mean_landmarks, mean_shape
from tf_dhm.networks.config import ModelConfig
from tf_dhm.networks.layers import DiffusionHeatMap
from tf_dhm.networks.models import build_model
from tf_dhm.training import losses
from tf_dhm.training.config import NO_AUGMENTATION
from tf_dhm.training.presets import find_preset
from tf_dhm.training.trainer import fix_pooled_statistics
from tools.jax_training.batches import Batch
from tools.jax_training.image_ops import draw_heatmaps
from tools.jax_training.network import (
    PooledStatistics,
    check_network,
    forward,
    initial_weights,
    layout,
)
from tools.jax_training.training import Learner, Recipe, batch_loss

COUNT = 4
RECIPE = Recipe(
    learning_rate=TINY_RECIPE.learning_rate,
    warmup_steps=0,
    weight_decay=0.0,
    depth_weight=TINY_RECIPE.depth_weight,
    ema=0.0,
    seed=0,
    steps_at_once=1,
    augment=NO_AUGMENTATION,
)
NETWORKS = [MODEL, dataclasses.replace(MODEL, hidden_units=0, recurrent_steps=2)]


def random_shapes(size: int, seed: int) -> np.ndarray:
    """Mean faces in disorder, (COUNT, 68, 3) pixels."""
    noise = np.random.default_rng(seed).normal(0.0, size / 30, (COUNT, 68, 3))
    return (mean_landmarks(size) + noise).astype(np.float32)


@pytest.mark.parametrize(
    "config",
    [*NETWORKS, TINY_MODEL, dataclasses.replace(TINY_MODEL, recurrent_steps=0, cnn_multiplier=1.7)],
)
def test_the_weights_are_those_of_keras_in_their_order(config: ModelConfig) -> None:
    expected = [weight.shape for weight in build_model(config).get_weights()]
    assert [part.shape for part in layout(config)] == expected


@pytest.mark.parametrize(
    ("config", "pooled"), [(NETWORKS[0], "fixed"), (NETWORKS[1], "fixed"), (NETWORKS[1], "batch")]
)
def test_results_loss_and_gradients_are_those_of_tensorflow(
    config: ModelConfig, pooled: PooledStatistics
) -> None:
    size = config.input_size
    recipe = dataclasses.replace(RECIPE, pooled_statistics=pooled)
    image = np.random.default_rng(0).integers(0, 256, (COUNT, size, size, 3)).astype(np.float32)
    labels, taught, initial = (random_shapes(size, seed) for seed in (1, 2, 3))
    weight = np.random.default_rng(4).uniform(0.5, 2.0, (COUNT, 68)).astype(np.float32)
    network = random_network(config)
    if pooled == "fixed":
        fix_pooled_statistics(network)
    weights = network.get_weights()
    heatmap = DiffusionHeatMap(size)(initial)
    inputs = {"image": tf.constant(image), "heatmap": heatmap}
    expected = network(inputs, training=False).numpy()
    with tf.GradientTape() as tape:
        predicted = network(inputs, training=True)
        targets = {"landmarks": tf.constant(labels), "teacher": tf.constant(taught)}
        targets["weight"] = tf.constant(weight)
        loss = losses.batch_loss(TINY_RECIPE, targets, predicted, size)
    gradients = tape.gradient(loss, network.trainable_variables)

    values = [jnp.asarray(weight) for weight in weights]
    drawn = draw_heatmaps(jnp.asarray(initial), size)
    found, statistics = forward(config, values, jnp.asarray(image), drawn, training=False)
    assert statistics == []
    np.testing.assert_allclose(found, expected, atol=2e-5)
    batch = Batch(jnp.asarray(image), drawn, *map(jnp.asarray, (labels, taught, weight)))
    learner = Learner("tiny", config, weights, teacher_share=TINY_RECIPE.teacher_share)
    trained = [number for number, part in enumerate(layout(config, pooled)) if part.trained]

    def loss_of(values: list[jax.Array]) -> jax.Array:
        merged: list = list(weights)
        for number, value in zip(trained, values, strict=True):
            merged[number] = value
        return batch_loss(learner, merged, batch, jnp.ones(COUNT), recipe)

    found_loss, found_gradients = jax.jit(jax.value_and_grad(loss_of))([weights[row] for row in trained])
    assert float(found_loss) == pytest.approx(float(loss), rel=1e-5)
    for value, other in zip(found_gradients, gradients, strict=True):
        scale = np.abs(other.numpy()).max()
        np.testing.assert_allclose(value, other.numpy(), rtol=0, atol=2e-3 * scale)


def test_new_weights_find_the_mean_face_with_the_distributions_of_keras() -> None:
    config = find_preset("fast_dhm").model
    weights = initial_weights(config, np.random.default_rng(0))
    for part, found, expected in zip(layout(config), weights, build_model(config).get_weights(), strict=True):
        assert found.dtype == np.float32
        if found.size > 5000:
            assert found.std() == pytest.approx(expected.std(), rel=0.05), part
            assert np.abs(found).max() == pytest.approx(np.abs(expected).max(), rel=0.05), part
        elif part.kind not in ("stem", "depthwise", "pointwise"):
            np.testing.assert_allclose(found, expected, atol=1e-6)
    np.testing.assert_allclose(weights[-1], mean_shape().ravel(), rtol=1e-6)


@pytest.mark.parametrize("changes", [{"heatmap_input": False}, {"family": "dhm", "cell": "lstm"}])
def test_other_networks_are_rejected(changes: dict) -> None:
    check_network("tiny", TINY_MODEL)
    with pytest.raises(InputError, match="networks: found tiny"):
        check_network("tiny", dataclasses.replace(TINY_MODEL, **changes))
