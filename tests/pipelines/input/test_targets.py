"""What faces teach beside their labels: weights by hand, and both through the pipeline."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from pipelines.input.batches import training_batches
from pipelines.input.order import make_order
from pipelines.input.targets import Targets, weight_in_crop
from tests.made_faces import made_faces
from tf_dhm.face.geometry import MIRROR_68
from tf_dhm.training.config import AugmentConfig, TrainConfig

SIZE = 24


def test_weights_follow_their_points_into_a_mirrored_crop() -> None:
    weight = tf.reshape(tf.range(136.0), [2, 68])
    plain = [[2.0, 0.0, 1.0], [0.0, 2.0, 5.0]]
    mirrored = [[-2.0, 0.0, 30.0], [0.0, 2.0, 5.0]]
    found = weight_in_crop(weight, tf.constant([plain, mirrored])).numpy()
    np.testing.assert_array_equal(found[0], weight[0])
    np.testing.assert_array_equal(found[1], weight.numpy()[1, MIRROR_68])


@pytest.mark.parametrize("second_pass", [0.0, 0.5])
def test_a_teacher_that_finds_the_labels_teaches_the_labels(second_pass: float) -> None:
    faces = made_faces(10)
    config = TrainConfig(batch_size=4, seed=3)
    order = make_order(faces, config)
    augment = AugmentConfig(second_pass=second_pass)
    weight = np.tile(np.arange(10, dtype=np.float32)[:, None], 68)
    targets = Targets(teacher=faces.landmarks, weight=weight)
    stream = training_batches(faces, order, SIZE, config, augment, 0, 3, targets=targets)
    for step, batch in enumerate(stream):
        np.testing.assert_allclose(batch["teacher"], batch["landmarks"], atol=1e-4)
        np.testing.assert_array_equal(batch["weight"][:, 0], order.batch(step))
    half = slice(1, 3)
    (part,) = training_batches(faces, order, SIZE, config, augment, 0, 1, half, targets=targets)
    np.testing.assert_allclose(part["teacher"], part["landmarks"], atol=1e-4)
    np.testing.assert_array_equal(part["weight"][:, 0], order.batch(0)[half])
