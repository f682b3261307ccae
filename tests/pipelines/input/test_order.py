"""The order of training faces: shares, balance, and what never changes."""

from __future__ import annotations

import dataclasses
import doctest
import hashlib

import numpy as np
import pytest

from pipelines.input import order as orders
from pipelines.input.order import EpochOrder, make_order
from tests.made_faces import made_faces
from tf_dhm.core.errors import InputError
from tf_dhm.training.config import TrainConfig


def test_examples_in_docstrings() -> None:
    assert doctest.testmod(orders).failed == 0


def test_every_order_keeps_its_own_two_epochs() -> None:
    first, second = (EpochOrder(seed, 6, 2, 0.0, (0,) * 6) for seed in (1, 2))
    drawn = first.epoch(0)
    for epoch in range(5):
        second.epoch(epoch)
    assert first.epoch(0) is drawn
    assert second.epoch(4) is second.epoch(4)
    for epoch in (1, 2):
        first.epoch(epoch)
    assert first.epoch(0) is not drawn
    np.testing.assert_array_equal(first.epoch(0), drawn)


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
        # Within a bin all faces equally often: each of the 60 of bin 2 is drawn 82 times on average.
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
        with pytest.raises(
            InputError, match=r"batch_size: found 32, expected at most the 5 faces .*--batch-size 4"
        ):
            EpochOrder(0, 5, 32, 0.0, (0,) * 5)

    def test_an_epoch_of_another_length_repeats_each_face_as_often(self) -> None:
        order = EpochOrder(0, 10, 4, 0.0, (0,) * 10, length=32)
        epoch = order.epoch(0)
        assert epoch.shape == (8, 4)
        counts = np.bincount(epoch.ravel(), minlength=10)
        assert set(counts) == {3, 4}
        assert EpochOrder(0, 10, 4, 0.0, (0,) * 10, length=8).epoch(0).shape == (2, 4)
        faces = made_faces(4, yaw=np.zeros(4))
        assert make_order(faces, TrainConfig(batch_size=2, epoch_faces=6)).steps == 3

    def test_bins_come_from_the_yaw(self) -> None:
        faces = made_faces(4, yaw=np.array([-10, 45, -80, np.nan]))
        assert make_order(faces, TrainConfig(batch_size=4)).bins == (0, 1, 2, -1)
