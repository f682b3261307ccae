from __future__ import annotations

import dataclasses
import gc
import hashlib
import itertools
import weakref
from typing import Literal

import numpy as np
import pytest
import tensorflow as tf

from pipelines.input import batches
from pipelines.input.batches import EpochOrder, plain_crops, training_batches
from pipelines.prepared import records
from pipelines.prepared.records import FaceArrays
from tests.made_faces import made_faces
from tf_dhm.core.errors import InputError
from tf_dhm.face import geometry, metrics
from tf_dhm.face.mean_face import mean_landmarks
from tf_dhm.runtime.crops import upright_roll
from tf_dhm.training.config import AugmentConfig, TrainConfig

SIZE = 24
CONFIG = TrainConfig(batch_size=4, seed=3)
LAYER = dataclasses.replace(CONFIG, map_source="layer")


@pytest.fixture(scope="module")
def faces() -> FaceArrays:
    return made_faces(10, yaw=np.array([0, 5, 10, 15, 20, 40, 50, 55, 70, 80]))


def order_of(faces: FaceArrays, config: TrainConfig = CONFIG) -> EpochOrder:
    return batches.make_order(faces, config)


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


class TestEpochOrder:
    bins = tuple(np.repeat([0, 1, 2, -1], [700, 200, 60, 40]))

    def order(self, balance: float, seed: int = 0, batch_size: int = 32) -> EpochOrder:
        return EpochOrder(seed, 1000, batch_size, balance, self.bins)

    def test_is_a_function_of_seed_and_epoch(self) -> None:
        first, second = self.order(0.5), self.order(0.5)
        assert np.array_equal(first.epoch(3), second.epoch(3))
        assert not np.array_equal(first.epoch(3), first.epoch(4))
        assert not np.array_equal(first.epoch(3), self.order(0.5, seed=1).epoch(3))

    def test_steps_run_through_the_epochs(self) -> None:
        order = self.order(0.5)
        assert order.steps == 31
        for step, (epoch, position) in {0: (0, 0), 30: (0, 30), 31: (1, 0), 100: (3, 7)}.items():
            assert np.array_equal(order.batch(step), order.epoch(epoch)[position])

    def test_without_balance_no_face_comes_twice(self) -> None:
        faces = self.order(0.0).epoch(0).ravel()
        assert len(faces) == 31 * 32 == len(set(faces.tolist()))

    def test_the_plain_share_has_no_duplicates(self) -> None:
        # A rare face can come twice only out of the balanced half; the other 496 are distinct.
        order = self.order(0.5)
        counts = np.bincount(order.epoch(0).ravel(), minlength=1000)
        generator = np.random.default_rng((0, 0))
        plain = generator.permutation(1000)[:496]
        assert len(set(plain.tolist())) == 496
        assert (counts[plain] >= 1).all()
        assert counts.sum() == 992

    def test_the_balanced_share_is_even_over_the_bins(self) -> None:
        drawn = np.concatenate([self.order(1.0).epoch(epoch).ravel() for epoch in range(20)])
        bins = np.array(self.bins)[drawn]
        shares = [(bins == b).mean() for b in (0, 1, 2, -1)]
        assert shares == pytest.approx([0.25] * 4, abs=0.01)
        # Within a bin every face alike: each of the 60 of bin 2 is drawn 82 times on average.
        counts = np.bincount(drawn, minlength=1000)[np.array(self.bins) == 2]
        assert counts.min() > 45
        assert counts.max() < 125

    def test_half_and_half(self) -> None:
        drawn = np.concatenate([self.order(0.5).epoch(epoch).ravel() for epoch in range(20)])
        bins = np.array(self.bins)[drawn]
        shares = [(bins == b).mean() for b in (0, 1, 2, -1)]
        assert shares == pytest.approx([0.475, 0.225, 0.155, 0.145], abs=0.01)

    def test_batches_mix_both_shares(self) -> None:
        rare = np.isin(np.array(self.bins)[self.order(0.5).epoch(0)], (2, -1)).mean(1)
        assert rare.min() > 0.05

    @pytest.mark.parametrize(
        ("balance", "digest"),
        [(0.0, "ce0df5227d85ad75"), (0.5, "f8de8f9a3648e514"), (1.0, "295eb64f63c67137")],
    )
    def test_the_order_of_one_dataset_never_changes(self, balance: float, digest: str) -> None:
        # Runs are resumed in it.
        order = self.order(balance, seed=3)
        drawn = np.concatenate([order.epoch(0), order.epoch(7)]).astype("<i8")
        assert hashlib.sha256(drawn.tobytes()).hexdigest().startswith(digest)
        weighted = dataclasses.replace(order, sources=(0,) * 1000, weights=(0.3,))
        assert np.array_equal(weighted.epoch(7), order.epoch(7))

    def weighted(self, balance: float, weights: tuple[float, ...] = (2.0, 1.0, 1.0)) -> EpochOrder:
        """Three datasets of 100, 500 and 400 faces."""
        sources = tuple(np.repeat([0, 1, 2], [100, 500, 400]).tolist())
        return EpochOrder(0, 1000, 32, balance, self.bins, sources, weights)

    @pytest.mark.parametrize("balance", [0.0, 0.5, 1.0])
    def test_weights_are_shares_of_what_is_drawn(self, balance: float) -> None:
        order = self.weighted(balance)
        assert np.array_equal(order.epoch(5), self.weighted(balance).epoch(5))
        assert not np.array_equal(order.epoch(5), order.epoch(6))
        drawn = np.concatenate([order.epoch(epoch).ravel() for epoch in range(20)])
        shares = np.bincount(np.asarray(order.sources)[drawn], minlength=3) / len(drawn)
        assert shares == pytest.approx([0.5, 0.25, 0.25], abs=0.01)

    def test_the_plain_share_goes_through_a_dataset_again(self) -> None:
        counts = np.bincount(self.weighted(0.0).epoch(0).ravel(), minlength=1000)
        # 496 of 992 from the first 100 faces, and 248 each from the others, no face twice.
        assert counts[:100].sum() == 496
        assert set(counts[:100].tolist()) == {4, 5}
        assert (counts[100:600].sum(), counts[600:].sum()) == (248, 248)
        assert counts[100:].max() == 1

    def test_the_balanced_share_is_even_in_each_dataset(self) -> None:
        order = self.weighted(1.0)
        drawn = np.concatenate([order.epoch(epoch).ravel() for epoch in range(20)])
        # The faces of datasets 0 and 1 are all of bin 0; 2 has 100, 200, 60 and 40 in the four bins.
        bins = np.asarray(self.bins)[drawn[drawn >= 600]]
        assert [(bins == b).mean() for b in (0, 1, 2, -1)] == pytest.approx([0.25] * 4, abs=0.02)

    @pytest.mark.parametrize(
        ("weights", "message"),
        [
            ((1.0, 1.0), "weights: found 2, expected one for each of 3 datasets"),
            ((), "weights: found 0, expected one for each of 3 datasets"),
            ((1.0, 0.0, 1.0), r"weights: found \(1.0, 0.0, 1.0\), expected each more than 0"),
            ((1.0, float("nan"), 1.0), "expected each more than 0"),
            ((1.0, float("inf"), 1.0), "expected each more than 0"),
        ],
    )
    def test_wrong_weights(self, weights: tuple[float, ...], message: str) -> None:
        with pytest.raises(InputError, match=message):
            self.weighted(0.5, weights)

    def test_fewer_faces_than_a_batch(self) -> None:
        with pytest.raises(InputError, match="batch_size: found 32, expected at most the 5 faces"):
            EpochOrder(0, 5, 32, 0.0, (0,) * 5)

    def test_bins_come_from_the_yaw(self) -> None:
        faces = made_faces(4, yaw=np.array([-10, 45, -80, np.nan]))
        assert order_of(faces).bins == (0, 1, 2, -1)


@pytest.mark.parametrize("image_ops", ["opencv", "graph"])
def test_joined_faces_are_cut_like_others(faces: FaceArrays, image_ops: Literal["opencv", "graph"]) -> None:
    config = dataclasses.replace(CONFIG, image_ops=image_ops)
    joined = records.join([faces[:3], faces[3:]])
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
    none = AugmentConfig(**{field.name: 0.0 for field in dataclasses.fields(AugmentConfig)})
    crops, landmarks = plain_crops(faces, SIZE)
    for image_ops in ("opencv", "graph"):
        config = dataclasses.replace(CONFIG, image_ops=image_ops)
        for step, batch in enumerate(run(faces, config, none)):
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
