"""Validation of a network on held-out faces."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import tensorflow as tf

from tests.trainers import HELD_OUT, SIZE
from tf_dhm.face import geometry, metrics
from tf_dhm.face.mean_face import mean_landmarks, mean_shape
from tf_dhm.training.trainer import Trainer
from tf_dhm.training.validation import Validation, prediction_function


def test_validation_of_the_mean_face() -> None:
    truth = mean_landmarks(SIZE)[None] + np.array([[[0, 0, 0]], [[1, 0, 0]], [[0, 2, 0]]], np.float32)
    crops = np.zeros((3, SIZE, SIZE, 3), np.uint8)
    validation = Validation(crops, truth, np.array([0.0, 45.0, -90.0], np.float32))
    unit = tf.constant(mean_shape())
    found = validation.summarize(lambda crops: tf.tile(unit[None], [len(crops), 1, 1]), batch_size=2)
    size = geometry.box_size(geometry.landmark_box(truth[0]))
    expected = [0.0, 100 / size, 200 / size]
    assert [found[f"nme_{name}"] for name in metrics.YAW_BINS] == pytest.approx(expected, abs=1e-3)
    assert found["nme_mean_of_bins"] == pytest.approx(100 / size, abs=1e-3)


def test_prediction_is_that_of_the_network(whole: Trainer) -> None:
    crops = whole.validation.crops
    inputs = {"image": tf.cast(crops, tf.float32), "heatmap": whole.heatmap}
    expected = whole.average(inputs, training=False)
    predict = prediction_function(whole.average, SIZE)
    np.testing.assert_allclose(predict(crops), expected, atol=1e-5)
    np.testing.assert_allclose(predict(crops[:2]), expected[:2], atol=1e-5)


def test_faces_without_pose_are_validated_by_their_mean(whole: Trainer) -> None:
    unknown = np.full(len(HELD_OUT), np.nan, np.float32)
    found = dataclasses.replace(whole.validation, yaw=unknown).summarize(whole.predict)
    assert found["nme_mean_of_bins"] is None
    assert metrics.headline(found) == found["nme_mean"] != 0.0
