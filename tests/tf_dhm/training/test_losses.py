"""Losses by hand on a face of three points, with unknown depth, and their gradients."""

from __future__ import annotations

import math

import numpy as np
import pytest
import tensorflow as tf

from tf_dhm.core.errors import InputError
from tf_dhm.face import geometry, metrics
from tf_dhm.face.mean_face import mean_shape
from tf_dhm.training.config import TrainConfig
from tf_dhm.training.losses import (
    LOSSES,
    WING_CURVATURE,
    WING_WIDTH,
    batch_loss,
    loss_function,
    masked_error,
)

# The box is 0.8 x 0.2, so its size is 0.4.
TRUTH = np.array([[[0.0, 0.0, 0.1], [0.8, 0.0, 0.2], [0.4, 0.2, 0.3]]], np.float32)
ERROR = np.array([[[0.03, -0.04, 0.02], [0.0, 0.2, 0.0], [0.0, 0.0, -0.3]]], np.float32)
DEPTH = 0.5


def losses_of(name: str, truth: np.ndarray, predicted: np.ndarray, depth: float = DEPTH) -> np.ndarray:
    return loss_function(name)(tf.constant(truth), tf.constant(predicted), depth).numpy()


def test_nme() -> None:
    # Distances 0.05, 0.2, 0 and depths 0.02, 0, 0.3 at half weight: (0.06 + 0.2 + 0.15) / 3 / 0.4.
    assert losses_of("nme", TRUTH, TRUTH + ERROR) == pytest.approx([0.41 / 3 / 0.4], rel=1e-3)


def test_nme_is_the_metric() -> None:
    expected = metrics.nme(TRUTH + ERROR, TRUTH) / 100.0
    assert losses_of("nme", TRUTH, TRUTH + ERROR, 0.0) == pytest.approx(expected, rel=1e-3)


@pytest.mark.parametrize("name", LOSSES)
def test_weights_of_landmarks(name: str) -> None:
    function = loss_function(name)

    def loss(weight: list[float] | None) -> float:
        weights = None if weight is None else tf.constant([weight])
        return function(tf.constant(TRUTH), tf.constant(TRUTH + ERROR), DEPTH, weights).numpy().item()

    single = [loss(row) for row in np.eye(3, dtype=np.float32).tolist()]
    assert sum(single) == pytest.approx(loss(None), rel=1e-5)
    assert loss([1.0, 1.0, 1.0]) == pytest.approx(loss(None), rel=1e-6)
    assert loss([2.0, 0.5, 0.0]) == pytest.approx(2.0 * single[0] + 0.5 * single[1], rel=1e-5)
    if name == "nme":
        assert single[1] == pytest.approx(0.2 / 3 / 0.4, rel=1e-3)


def test_squared() -> None:
    # 0.0009 + 0.0016 + 0.5 * 0.0004, 0.04, 0.5 * 0.09
    assert losses_of("squared", TRUTH, TRUTH + ERROR) == pytest.approx(
        [(0.0027 + 0.04 + 0.045) / 3], rel=1e-4
    )


def test_smooth_l1() -> None:
    # e^2 / 0.06 below 0.03, else e - 0.015.
    first = 0.015 + 0.025 + 0.5 * 0.0004 / 0.06
    assert losses_of("smooth_l1", TRUTH, TRUTH + ERROR) == pytest.approx(
        [(first + 0.185 + 0.5 * 0.285) / 3], rel=1e-3
    )


def test_wing() -> None:
    # w ln(1 + e / epsilon) below w = 0.15, else e - w + w ln(1 + w / epsilon); w / epsilon = 5.
    assert (WING_WIDTH, WING_CURVATURE) == (0.15, 0.03)
    first = 0.15 * (math.log(2.0) + math.log(7.0 / 3.0) + 0.5 * math.log(5.0 / 3.0))
    offset = 0.15 - 0.15 * math.log(6.0)
    expected = (first + (0.2 - offset) + 0.5 * (0.3 - offset)) / 3
    assert losses_of("wing", TRUTH, TRUTH + ERROR) == pytest.approx([expected], rel=1e-4)


@pytest.mark.parametrize(("name", "bend"), [("wing", WING_WIDTH), ("smooth_l1", WING_CURVATURE)])
def test_there_is_no_jump_at_the_bend(name: str, bend: float) -> None:
    both = [
        losses_of(name, TRUTH, TRUTH + np.array([bend + step, 0, 0], np.float32))[0] for step in (-1e-5, 1e-5)
    ]
    assert both[0] == pytest.approx(both[1], abs=5e-5)


@pytest.mark.parametrize("name", LOSSES)
class TestEveryLoss:
    def test_one_value_for_each_face(self, name: str) -> None:
        truth = np.concatenate([TRUTH, TRUTH])
        values = losses_of(name, truth, truth + np.concatenate([ERROR, 2 * ERROR]))
        assert values.shape == (2,)
        assert values[0] == pytest.approx(losses_of(name, TRUTH, TRUTH + ERROR)[0])
        assert values[1] > values[0] > 0.0

    def test_unknown_depth_is_left_out(self, name: str) -> None:
        flat = TRUTH.copy()
        flat[..., 2] = np.nan
        predicted = TRUTH + ERROR
        assert losses_of(name, flat, predicted) == pytest.approx(losses_of(name, TRUTH, predicted, 0.0))

        variable = tf.Variable(predicted)
        with tf.GradientTape() as tape:
            loss = loss_function(name)(tf.constant(flat), variable, DEPTH)
        gradient = tape.gradient(loss, variable).numpy()
        assert np.isfinite(gradient).all()
        assert np.all(gradient[..., 2] == 0.0)
        assert np.any(gradient[..., :2] != 0.0)

    def test_one_unknown_depth_leaves_the_others(self, name: str) -> None:
        holed = TRUTH.copy()
        holed[0, 2, 2] = np.nan
        error = ERROR.copy()
        error[0, 2, 2] = 0.0
        assert losses_of(name, holed, TRUTH + ERROR) == pytest.approx(losses_of(name, TRUTH, TRUTH + error))

    def test_no_error(self, name: str) -> None:
        variable = tf.Variable(TRUTH)
        with tf.GradientTape() as tape:
            loss = loss_function(name)(tf.constant(TRUTH), variable, DEPTH)
        assert loss.numpy() == pytest.approx([0.0], abs=1e-3)
        assert np.isfinite(tape.gradient(loss, variable).numpy()).all()

    def test_the_gradient_is_the_slope(self, name: str) -> None:
        function = loss_function(name)
        variable = tf.Variable(TRUTH + ERROR)
        with tf.GradientTape() as tape:
            loss = function(tf.constant(TRUTH), variable, DEPTH)
        gradient = tape.gradient(loss, variable).numpy()
        step = np.zeros_like(ERROR)
        step[0, 0, 0] = 1e-3
        up, down = (losses_of(name, TRUTH, TRUTH + ERROR + sign * step)[0] for sign in (1.0, -1.0))
        assert gradient[0, 0, 0] == pytest.approx((up - down) / 2e-3, rel=0.05)

    def test_depth_without_weight(self, name: str) -> None:
        deeper = TRUTH + ERROR + np.array([0.0, 0.0, 0.7], np.float32)
        assert losses_of(name, TRUTH, deeper, 0.0) == pytest.approx(
            losses_of(name, TRUTH, TRUTH + ERROR, 0.0)
        )


def test_masked_error() -> None:
    truth = np.array([[[1.0, 2.0, np.nan]]], np.float32)
    predicted = np.array([[[1.5, 1.0, 9.0]]], np.float32)
    assert masked_error(truth, predicted).numpy().tolist() == [[[0.5, -1.0, 0.0]]]


def test_an_unknown_name_lists_the_known_ones() -> None:
    with pytest.raises(InputError, match=r"loss: found 'l2', expected one of .*'squared'"):
        loss_function("l2")


def test_a_batch_by_hand() -> None:
    """The mean face is predicted; each label lies one pixel of a crop of 32 beside it."""
    unit = np.tile(mean_shape().astype(np.float32), (4, 1, 1))
    pixels = tf.constant(geometry.unit_to_pixels(unit, 32) + [1.0, 0.0, 0.0], tf.float32)
    config = TrainConfig(loss="squared", depth_weight=0.25)
    loss = batch_loss(config, {"landmarks": pixels}, tf.constant(unit), 32)
    assert float(loss) == pytest.approx((2 / 32) ** 2, rel=1e-3)


@pytest.mark.parametrize("share", [0.0, 0.25, 1.0])
def test_the_teacher_has_its_share_of_the_loss(share: float) -> None:
    landmarks = tf.random.stateless_uniform((4, 68, 3), (0, 1), 0.0, 32.0)
    moved = landmarks + tf.constant([1.0, 0.0, 0.0])
    config = TrainConfig(teacher_share=share)

    def loss(truth: tf.Tensor = landmarks, **others: tf.Tensor) -> float:
        return float(batch_loss(config, {"landmarks": truth, **others}, tf.zeros_like(moved), 32))

    labels, taught = loss(), loss(moved)
    assert loss(teacher=landmarks) == pytest.approx(labels, rel=1e-6)
    assert loss(teacher=moved) == pytest.approx((1 - share) * labels + share * taught, rel=1e-5)
    assert loss(weight=tf.fill([4, 68], 0.5)) == pytest.approx(0.5 * labels, rel=1e-6)
