from __future__ import annotations

import dataclasses
import gc
import itertools
import weakref
from typing import Literal

import numpy as np
import pytest
import tensorflow as tf

from pipelines.input.batches import plain_crops, training_batches
from pipelines.input.order import EpochOrder, make_order
from pipelines.prepared import arrays
from pipelines.prepared.arrays import FaceArrays
from tests.made_faces import made_faces
from tf_dhm.face import geometry, metrics
from tf_dhm.face.mean_face import mean_landmarks
from tf_dhm.runtime.crops import upright_roll
from tf_dhm.training.config import NO_AUGMENTATION, AugmentConfig, TrainConfig

SIZE = 24
CONFIG = TrainConfig(batch_size=4, seed=3)
LAYER = dataclasses.replace(CONFIG, map_source="layer")


@pytest.fixture(scope="module")
def faces() -> FaceArrays:
    return made_faces(10, yaw=np.array([0, 5, 10, 15, 20, 40, 50, 55, 70, 80]))


def order_of(faces: FaceArrays, config: TrainConfig = CONFIG) -> EpochOrder:
    return make_order(faces, config)


def run(
    faces: FaceArrays,
    config: TrainConfig = CONFIG,
    augment: AugmentConfig | None = None,
    first: int = 0,
    last: int | None = 5,
) -> list[dict[str, np.ndarray]]:
    dataset = training_batches(
        faces, order_of(faces, config), SIZE, config, augment or AugmentConfig(), first, last
    )
    return [{key: value.numpy() for key, value in batch.items()} for batch in dataset]


def assert_equal(first: list[dict], second: list[dict]) -> None:
    assert len(first) == len(second)
    for one, other in zip(first, second, strict=True):
        assert one.keys() == other.keys()
        for key in one:
            assert np.array_equal(one[key], other[key]), key


def test_faces_live_as_long_as_their_batches() -> None:
    faces = made_faces(10)
    alive = weakref.ref(faces)
    batches_left = iter(training_batches(faces, order_of(faces), SIZE, CONFIG, AugmentConfig()).take(3))
    del faces
    gc.collect()
    assert len(list(batches_left)) == 3
    del batches_left
    gc.collect()
    assert alive() is None


@pytest.mark.parametrize("image_ops", ["opencv", "graph"])
def test_joined_faces_are_cut_like_others(faces: FaceArrays, image_ops: Literal["opencv", "graph"]) -> None:
    config = dataclasses.replace(CONFIG, image_ops=image_ops)
    joined = arrays.join([faces[:3], faces[3:]])
    assert_equal(run(joined, config, last=2), run(faces, config, last=2))
    for part in (0, 1):
        assert np.array_equal(plain_crops(joined, SIZE)[part], plain_crops(faces, SIZE)[part])


def test_what_a_batch_holds(faces: FaceArrays) -> None:
    found = run(faces)
    assert [int(batch["step"]) for batch in found] == [0, 1, 2, 3, 4]
    for batch in found:
        assert set(batch) == {"step", "image", "landmarks", "heatmap"}
        assert batch["image"].shape == (4, SIZE, SIZE, 3)
        assert batch["image"].dtype == np.uint8
        assert batch["landmarks"].shape == (4, 68, 3)
        assert batch["landmarks"].dtype == np.float32
        assert batch["heatmap"].shape == (4, SIZE, SIZE, 3)
        assert batch["heatmap"].dtype == np.float32
    dataset = training_batches(faces, order_of(faces), SIZE, CONFIG, AugmentConfig())
    assert dataset.element_spec["image"] == tf.TensorSpec((4, SIZE, SIZE, 3), tf.uint8)
    assert dataset.element_spec["landmarks"] == tf.TensorSpec((4, 68, 3), tf.float32)


def test_another_seed_or_step_gives_another_batch(faces: FaceArrays) -> None:
    first = run(faces)
    other = run(faces, dataclasses.replace(CONFIG, seed=4))
    for one, two in [*zip(first, other, strict=True), *itertools.pairwise(first)]:
        assert not np.array_equal(one["image"], two["image"])
        assert not np.array_equal(one["landmarks"], two["landmarks"])


@pytest.mark.parametrize("image_ops", ["opencv", "graph"])
def test_resuming_gives_the_same_batches(faces: FaceArrays, image_ops: Literal["opencv", "graph"]) -> None:
    config = dataclasses.replace(CONFIG, image_ops=image_ops)
    augment = AugmentConfig(map_noise=0.05)
    through = run(faces, config, augment, 0, 5)
    assert_equal(through[3:], run(faces, config, augment, 3, 5))


def test_it_is_endless_without_a_last_step(faces: FaceArrays) -> None:
    dataset = training_batches(faces, order_of(faces), SIZE, CONFIG, AugmentConfig(), 10**6)
    steps = [int(batch["step"]) for batch in dataset.take(3)]
    assert steps == [10**6, 10**6 + 1, 10**6 + 2]


def test_images_belong_to_their_landmarks(faces: FaceArrays) -> None:
    crops, landmarks = plain_crops(faces, SIZE)
    for image_ops in ("opencv", "graph"):
        config = dataclasses.replace(CONFIG, image_ops=image_ops)
        for step, batch in enumerate(run(faces, config, NO_AUGMENTATION)):
            chosen = order_of(faces).batch(step)
            assert batch["landmarks"] == pytest.approx(landmarks[chosen], abs=1e-4)
            assert np.abs(batch["image"].astype(int) - crops[chosen]).mean() < 0.5


def test_both_image_ops_agree(faces: FaceArrays) -> None:
    graph = run(faces, dataclasses.replace(CONFIG, image_ops="graph"))
    for one, other in zip(run(faces), graph, strict=True):
        assert np.array_equal(one["landmarks"], other["landmarks"])
        assert np.abs(one["image"].astype(int) - other["image"]).mean() < 0.8


@pytest.mark.parametrize("map_noise", [0.0, 0.08])
def test_a_share_of_the_faces_is_shown_as_a_second_pass_sees_them(
    faces: FaceArrays, map_noise: float
) -> None:
    augment = AugmentConfig(map_noise=map_noise, second_pass=0.5)
    plain = run(faces, LAYER, dataclasses.replace(augment, second_pass=0.0))
    for one, without in zip(run(faces, LAYER, augment), plain, strict=True):
        assert one["initial"].shape == (4 if map_noise else 2, 68, 3)
        assert np.array_equal(one["landmarks"][2:], without["landmarks"][2:])
        assert np.array_equal(one["image"][2:], without["image"][2:])
        # These faces stand upright, whatever the rotation of the others.
        rolls = upright_roll(one["landmarks"][:2])
        assert np.abs(rolls).max() < 0.05
        errors = metrics.nme(one["initial"][:2], one["landmarks"][:2])
        assert (errors < 6.0).all()
        if map_noise:
            assert np.array_equal(one["initial"][2:], without["initial"][2:])
    again = run(faces, CONFIG, augment, 3, 5)
    assert_equal(again, run(faces, CONFIG, augment)[3:])


def test_a_face_without_depth_has_no_second_pass(faces: FaceArrays) -> None:
    flat = dataclasses.replace(faces, landmarks=faces.landmarks * np.array([1, 1, np.nan], np.float32))
    plain, second = (run(flat, LAYER, AugmentConfig(second_pass=share)) for share in (0.0, 1.0))
    for one, other in zip(plain, second, strict=True):
        assert np.array_equal(one["landmarks"][..., :2], other["landmarks"][..., :2])
        assert other["initial"] == pytest.approx(np.tile(mean_landmarks(SIZE), (4, 1, 1)), abs=1e-4)


def test_plain_crops(faces: FaceArrays) -> None:
    crops, landmarks = plain_crops(faces, SIZE)
    assert crops.shape == (10, SIZE, SIZE, 3)
    assert crops.dtype == np.uint8
    # Each face by its own box: in its crop that is the crop itself.
    squares = geometry.crop_square(geometry.landmark_box(landmarks))
    assert squares == pytest.approx(np.tile([(SIZE - 1) / 2, (SIZE - 1) / 2, SIZE], (10, 1)), abs=1e-3)
