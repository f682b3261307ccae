"""The fast recurrent module: Eq. 7 by hand."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from tf_dhm.networks.fast_dhm import Evolution, FastRecurrentCell

BATCH = 2
STATE = (4, 4, 6)


def test_two_steps_of_equation_7_by_hand() -> None:
    # On a single pixel a 3 x 3 depthwise convolution is its centre: a factor for each channel.
    cell = FastRecurrentCell(1, 1, 2)
    cell.build(None)
    input_depthwise = np.zeros((3, 3, 2, 1))
    input_depthwise[1, 1, :, 0] = [0.1, 0.2]
    hidden_depthwise = np.zeros((3, 3, 2, 1))
    hidden_depthwise[1, 1, :, 0] = [2.0, -1.0]
    cell.input_depthwise.set_weights([input_depthwise])
    cell.hidden_pointwise.set_weights([np.array([[[[1.0, 2.0], [3.0, 4.0]]]])])  # (1, 1, in, out)
    cell.hidden_depthwise.set_weights([hidden_depthwise])
    features = tf.reshape([1.0, 2.0], (1, 1, 1, 2))
    hidden = tf.reshape([0.5, -0.25], (1, 1, 1, 2))

    # W h = (0.5 - 0.75, 1 - 1) = (-0.25, 0); D_h W h = (-0.5, 0)
    # F_1 = (1 + tanh(0.1 - 0.5), 2 + tanh(0.4))
    first = [1.0 + np.tanh(-0.4), 2.0 + np.tanh(0.4)]
    output, states = cell(features, [features, hidden])
    np.testing.assert_allclose(tf.reshape(output, [-1]), first, rtol=1e-6)
    np.testing.assert_allclose(tf.reshape(states[0], [-1]), first, rtol=1e-6)
    np.testing.assert_allclose(tf.reshape(states[1], [-1]), [-0.5, 0.0], atol=1e-6)
    # W h = (-0.5, -1); D_h W h = (-1, 1)
    second = [
        first[0] + np.tanh(0.1 * first[0] - 1.0),
        first[1] + np.tanh(0.2 * first[1] + 1.0),
    ]
    output, states = cell(output, states)
    np.testing.assert_allclose(tf.reshape(output, [-1]), second, rtol=1e-6)
    np.testing.assert_allclose(tf.reshape(states[1], [-1]), [-1.0, 1.0], rtol=1e-6)

    two_steps = Evolution(cell, 2)([features, hidden])
    np.testing.assert_allclose(tf.reshape(two_steps, [-1]), second, rtol=1e-6)


def test_the_depthwise_convolutions_see_the_neighbours() -> None:
    # All ones: on 3 x 3 pixels a 3 x 3 sum with zero padding is 4 at a corner, 6 at an edge, 9.
    cell = FastRecurrentCell(3, 3, 1)
    cell.build(None)
    for weight in cell.weights:
        weight.assign(tf.fill(weight.shape, 0.1))
    ones = tf.ones((1, 3, 3, 1))
    output, (_, hidden) = cell(ones, [ones, ones])
    neighbours = np.array([[4.0, 6.0, 4.0], [6.0, 9.0, 6.0], [4.0, 6.0, 4.0]])
    np.testing.assert_allclose(hidden[0, :, :, 0], 0.01 * neighbours, rtol=1e-5)
    np.testing.assert_allclose(output[0, :, :, 0], 1.0 + np.tanh(0.11 * neighbours), rtol=1e-5)


@pytest.mark.parametrize("steps", [1, 3])
@pytest.mark.parametrize("unroll", [False, True])
def test_evolution_is_what_keras_rnn_does(steps: int, unroll: bool) -> None:
    cell = FastRecurrentCell(*STATE)
    states = [tf.random.stateless_normal((BATCH, *STATE), (0, seed)) for seed in (1, 2)]
    evolved = Evolution(cell, steps)(states)
    # The input of a step is ignored; it only gives the sequence its length.
    sequence = tf.random.stateless_normal((BATCH, steps, 1), (0, 3))
    recurrent = tf.keras.layers.RNN(cell, return_state=True, unroll=unroll)
    output, features, hidden = recurrent(sequence, initial_state=states)
    np.testing.assert_allclose(output, evolved, atol=1e-5)
    np.testing.assert_allclose(features, evolved, atol=1e-5)
    assert hidden.shape == states[1].shape


def test_the_weights_of_the_cell_are_shared_by_all_steps() -> None:
    states = [tf.zeros((1, *STATE)), tf.zeros((1, *STATE))]
    counts = []
    for steps in (1, 5):
        evolution = Evolution(FastRecurrentCell(*STATE), steps)
        evolution(states)
        counts.append(evolution.count_params())
    channels = STATE[-1]
    expected = 9 * channels + channels**2 + 9 * channels  # D_i, W_hh, D_h: Eq. 7 has no bias
    assert counts == [expected, expected]


def test_evolution_of_no_steps_is_the_initial_state() -> None:
    states = [tf.ones((1, *STATE)), tf.zeros((1, *STATE))]
    np.testing.assert_array_equal(Evolution(FastRecurrentCell(*STATE), 0)(states), states[0])
