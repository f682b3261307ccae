"""The order of training faces: the faces in the batch of each step."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from pipelines.prepared.arrays import FaceArrays
from tf_dhm.core.errors import InputError
from tf_dhm.face.metrics import yaw_bins
from tf_dhm.training.config import TrainConfig


@dataclass(frozen=True, eq=False)
class EpochOrder:
    """The faces in each batch: a function of seed, epoch and position alone.

    Attributes:
        seed: of the order.
        count: number of faces.
        batch_size: faces in a batch.
        balance: share of an epoch drawn evenly from the yaw bins (faces without a pose count as
            a bin of their own), with replacement; the rest is drawn without.
        bins: (count,) bin of each face.
        sources: (count,) dataset of each face, numbered from 0; empty for one dataset.
        weights: share of each dataset in an epoch, in any unit; empty for one dataset. Both the balanced
            and the plain draws keep to it; faces of a dataset are repeated if its share is larger than
            the dataset.
        length: faces in an epoch, which is length // batch_size batches; 0 for `count`. In a longer epoch
            faces are repeated.

    Example:
        >>> EpochOrder(seed=0, count=5, batch_size=2, balance=0.0, bins=(0,) * 5).epoch(0).shape
        (2, 2)

    Raises:
        InputError: a weight is not more than 0, there is not one for each dataset, or the faces do not
            fill a batch.
    """

    seed: int
    count: int
    batch_size: int
    balance: float
    bins: tuple[int, ...]
    sources: tuple[int, ...] = ()
    weights: tuple[float, ...] = ()
    length: int = 0
    _drawn: dict[int, NDArray[np.int64]] = field(default_factory=dict, init=False, repr=False)

    def __post_init__(self) -> None:
        if not all(0.0 < weight < np.inf for weight in self.weights):
            raise InputError(f"dataset_weights: found {self.weights}, expected each more than 0")
        found = set(self.sources)
        if found != set(range(len(self.weights))):
            raise InputError(
                f"dataset_weights: found {len(self.weights)}, expected one for each of {len(found)} datasets"
            )
        if self.steps < 1:
            faces = self.length or self.count
            raise InputError(
                f"batch_size: found {self.batch_size}, expected at most the {faces} faces of an epoch, for "
                f"example --batch-size {2 ** (faces.bit_length() - 1)}"
            )

    @property
    def steps(self) -> int:
        return (self.length or self.count) // self.batch_size

    def epoch(self, epoch: int) -> NDArray[np.int64]:
        """The faces of an epoch: (steps, batch_size) indices."""
        drawn = self._drawn.get(epoch)
        if drawn is None:
            drawn = self._drawn[epoch] = self._draw(epoch)
            # Two are kept: the last batches of an epoch and the first of the next are made at the same time.
            for other in list(self._drawn)[:-2]:
                self._drawn.pop(other, None)
        return drawn

    def _draw(self, epoch: int) -> NDArray[np.int64]:
        generator = np.random.default_rng((self.seed, epoch))
        total = self.steps * self.batch_size
        balanced = round(total * self.balance)
        sources = np.asarray(self.sources or (0,) * self.count)
        shares = np.asarray(self.weights or (1.0,)) / sum(self.weights or (1.0,))
        counts = np.diff(np.rint(np.cumsum([0.0, *shares]) * (total - balanced)).astype(int))
        bins = np.asarray(self.bins)
        weight = np.empty(self.count)
        drawn: list[NDArray[np.int64]] = []
        for source, share in enumerate(shares):
            rows = np.flatnonzero(sources == source)
            passes = max(1, -(-counts[source] // len(rows)))
            plain = np.concatenate([generator.permutation(len(rows)) for _ in range(passes)])
            drawn.append(rows[plain[: counts[source]]])
            names, inverse, sizes = np.unique(bins[rows], return_inverse=True, return_counts=True)
            weight[rows] = share / (len(names) * sizes[inverse])
        drawn.append(generator.choice(self.count, balanced, p=weight))
        return generator.permutation(np.concatenate(drawn)).reshape(self.steps, self.batch_size)

    def batch(self, step: int) -> NDArray[np.int64]:
        """The faces of a global step, counted from 0 over all epochs: (batch_size,) indices."""
        epoch, position = divmod(int(step), self.steps)
        return self.epoch(epoch)[position]


def make_order(
    faces: FaceArrays,
    config: TrainConfig,
    sources: Sequence[int] = (),
    weights: tuple[float, ...] = (),
) -> EpochOrder:
    """The order in which `config` trains on `faces`; for `sources` and `weights` see `EpochOrder`."""
    bins = tuple(int(b) for b in yaw_bins(faces.pose[:, 1]))
    return EpochOrder(
        config.seed,
        len(faces),
        config.batch_size,
        config.balance,
        bins,
        tuple(sources),
        weights,
        config.epoch_faces,
    )
