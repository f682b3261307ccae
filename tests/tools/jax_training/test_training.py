"""Joint training in JAX: optimizer and rate against those of Keras, folds, and a few steps."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest
import tensorflow as tf

from tests.faces import TINY_RECIPE
from tests.jax_faces import FACES, STORED
from tests.trainers import MODEL
from tf_dhm.core.errors import InputError
from tf_dhm.training.config import NO_AUGMENTATION
from tf_dhm.training.optimizers import WarmupCosine, make_optimizer
from tools.jax_training.batches import Batch
from tools.jax_training.finding import HeldOut
from tools.jax_training.image_ops import draw_heatmaps
from tools.jax_training.network import initial_weights, layout
from tools.jax_training.training import JointTrainer, Learner, Recipe, Report, adamw, batch_loss, rate_at

RECIPE = Recipe(
    learning_rate=1e-2,
    warmup_steps=2,
    weight_decay=0.05,
    depth_weight=0.25,
    ema=0.9,
    seed=0,
    steps_at_once=3,
    augment=dataclasses.replace(NO_AUGMENTATION, shift=0.05),
)
WEIGHTS = initial_weights(MODEL, np.random.default_rng(0))


def test_the_rate_is_that_of_keras() -> None:
    schedule = WarmupCosine(1e-2, 2, 10)
    found = [float(rate_at(jnp.int32(step), RECIPE, 10)) for step in range(10)]
    assert found == pytest.approx([float(schedule(tf.constant(step))) for step in range(10)], rel=1e-5)


@pytest.mark.parametrize("name", ["kernel", "gamma"])
def test_a_step_is_that_of_keras(name: str) -> None:
    config = dataclasses.replace(TINY_RECIPE, weight_decay=0.3, epochs=5, warmup_epochs=0.0)
    optimizer = make_optimizer(config, 1)
    rng = np.random.default_rng(0)
    variable = tf.Variable(rng.normal(size=6).astype(np.float32), name=name)
    weight, first, second = jnp.asarray(variable.numpy()), jnp.zeros(6), jnp.zeros(6)
    optimizer.build([variable])
    recipe = dataclasses.replace(RECIPE, learning_rate=config.learning_rate, warmup_steps=0)
    for step in range(5):
        gradient = rng.normal(size=6).astype(np.float32)
        optimizer.apply_gradients([(tf.constant(gradient), variable)])
        rate = rate_at(jnp.int32(step), recipe, 5)
        decay = config.weight_decay if name == "kernel" else 0.0
        number = jnp.float32(step + 1)
        weight, first, second = adamw(weight, jnp.asarray(gradient), first, second, rate, number, decay)
        np.testing.assert_allclose(weight, variable.numpy(), rtol=1e-5, atol=1e-6)


def test_weights_that_decay_are_those_of_keras() -> None:
    parts = layout(MODEL)
    assert {part.kind for part in parts if part.decayed} == {
        "stem",
        "depthwise",
        "pointwise",
        "dense",
        "landmarks",
    }
    assert not any(part.trained for part in parts if part.fixed)


def test_left_out_faces_teach_nothing() -> None:
    size = MODEL.input_size
    landmarks = np.tile(np.asarray(FACES.landmarks[:1]) * (size / 40), (2, 1, 1))
    image = np.random.default_rng(0).uniform(0, 255, (2, size, size, 3)).astype(np.float32)
    heatmap = draw_heatmaps(jnp.asarray(landmarks), size)
    counts = jnp.array([1.0, 0.0])
    weights = [jnp.asarray(weight) for weight in WEIGHTS]

    def loss(labels: Any) -> float:
        batch = Batch(jnp.asarray(image), heatmap, jnp.asarray(labels))
        return float(batch_loss(Learner("one", MODEL, WEIGHTS), weights, batch, counts, RECIPE))

    before = loss(landmarks)
    assert loss(landmarks + np.array([[[0.0]], [[3.0]]])) == before
    assert loss(landmarks + np.array([[[3.0]], [[0.0]]])) != before


def make_trainer() -> JointTrainer:
    folds = jnp.array([0, 1, 0, 1, 0, 1], jnp.int32)
    learners = [
        Learner("all", MODEL, WEIGHTS, teacher_share=0.5),
        Learner("some", MODEL, WEIGHTS, left_out=1),
    ]
    orders = np.array([[0, 1, 2, 3], [4, 5, 0, 1], [2, 3, 4, 5]], np.int32)
    return JointTrainer(learners, RECIPE, STORED._replace(folds=folds), orders)


@pytest.mark.slow
def test_networks_learn_from_the_same_batches() -> None:
    reports: list[Report] = []
    held_out = HeldOut(STORED.images, FACES.landmarks, np.zeros(len(FACES)))

    def validate(weights: list) -> list[float]:
        return [held_out.measure(MODEL, learned, mirrored=True)["nme_mean"] for learned in weights]

    weights = make_trainer().fit(reports.append, validate)
    (report,) = reports
    assert report.step == 3
    assert report.losses[0] != report.losses[1]
    assert report.val is not None
    assert np.isfinite(report.val).all()
    for learned in weights:
        for part, before, after in zip(layout(MODEL), WEIGHTS, learned, strict=True):
            assert (np.abs(after - before).max() > 0) == (not part.fixed), part


def test_a_loss_that_is_not_finite_ends_the_training(monkeypatch: pytest.MonkeyPatch) -> None:
    trainer = make_trainer()

    class Compiled:
        def lower(self, *arguments: Any) -> Compiled:
            return self

        def compile(self) -> Any:
            return lambda states, *others: (states, np.array([[0.1, np.nan]]))

    monkeypatch.setattr(trainer, "_make_steps", Compiled())
    with pytest.raises(InputError, match=r"loss: .*'some': nan"):
        trainer.fit(lambda report: None, lambda weights: [])
