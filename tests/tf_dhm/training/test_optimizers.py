"""Schedules and optimizers."""

from __future__ import annotations

import math
from typing import Any

import pytest
import tensorflow as tf

from tf_dhm.training.config import TrainConfig
from tf_dhm.training.optimizers import WarmupCosine, make_optimizer


def test_warm_up_and_cosine_by_hand() -> None:
    rate = WarmupCosine(peak=0.8, warmup=4, total=12)
    half_root = math.sqrt(0.5)
    expected = {
        0: 0.2,
        1: 0.4,
        3: 0.8,
        4: 0.8,
        6: 0.4 * (1 + half_root),
        8: 0.4,
        10: 0.4 * (1 - half_root),
        12: 0.0,
        15: 0.0,
    }
    for step, value in expected.items():
        assert float(rate(step)) == pytest.approx(value, abs=1e-6)
    again = WarmupCosine.from_config(rate.get_config())
    assert float(again(tf.constant(6, tf.int64))) == pytest.approx(expected[6], abs=1e-6)


def test_cosine_without_warm_up_begins_at_the_peak() -> None:
    assert float(WarmupCosine(0.8, 0, 10)(0)) == pytest.approx(0.8)


def rate_at(optimizer: Any, step: int) -> float:
    return float(optimizer._learning_rate(tf.constant(step, tf.int64)))


def test_the_paper_s_schedule_falls_after_half_of_the_epochs() -> None:
    config = TrainConfig(
        epochs=4, schedule="step", optimizer="adam", learning_rate=5e-3, learning_rate_late=1e-5
    )
    optimizer = make_optimizer(config, steps_per_epoch=10)
    assert type(optimizer) is tf.keras.optimizers.Adam
    # Steps 0 to 19 are epochs 1 and 2.
    assert [rate_at(optimizer, step) for step in (0, 19, 20, 39)] == pytest.approx([5e-3, 5e-3, 1e-5, 1e-5])


def test_the_cosine_schedule_ends_with_the_last_epoch() -> None:
    optimizer = make_optimizer(TrainConfig(epochs=4, warmup_epochs=0.5, learning_rate=0.1), 10)
    rates = [rate_at(optimizer, step) for step in (0, 4, 5, 40)]
    assert rates == pytest.approx([0.02, 0.1, 0.1, 0.0], abs=1e-7)


def test_biases_and_normalisations_do_not_decay() -> None:
    # With no gradient AdamW moves a weight by its decay alone: w - rate x decay x w.
    config = TrainConfig(epochs=1, warmup_epochs=0.0, learning_rate=0.1, weight_decay=0.5)
    optimizer = make_optimizer(config, 1000)
    variables = [tf.Variable(2.0, name=name) for name in ("kernel", "bias", "gamma", "beta")]
    optimizer.build(variables)
    optimizer.apply_gradients((tf.zeros([]), variable) for variable in variables)
    assert [float(variable) for variable in variables] == pytest.approx([1.9, 2.0, 2.0, 2.0])
