"""Batches from the services of `data_service`, and the faces that they make them of."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from pipelines.prepared.arrays import JoinedImages
from tf_dhm.core.files import atomic_write
from tf_dhm.core.types import Tensor

OUT_OF_TURN = "data service: found a batch out of its turn, expected one worker at each address"
"""Message of the error that ends a run whose batches come in another order."""
SUFFIX = ".raw"
"""File suffix of a stored face."""


@dataclass(frozen=True)
class DataService:
    """Services that make batches, and the faces they make them of.

    Attributes:
        addresses: of the services, grpc://HOST:PORT each.
        images: folder of `write_images`, which they read by the same path.
        shape: (N, C, C, 3) of the faces in it.
    """

    addresses: tuple[str, ...]
    images: Path
    shape: tuple[int, ...]

    def gather(self, indices: Tensor) -> Tensor:
        """The faces of those indices (B,): (B, C, C, 3) uint8."""

        # A constant would be sent to the services with the whole pipeline, and held there by each.
        def read(index: Tensor) -> Tensor:
            name = tf.strings.join([f"{self.images.resolve()}/", tf.strings.as_string(index), SUFFIX])
            return tf.reshape(tf.io.decode_raw(tf.io.read_file(name), tf.uint8), self.shape[1:])

        return tf.map_fn(read, indices, fn_output_signature=tf.TensorSpec(self.shape[1:], tf.uint8))

    def batches(
        self, make: Callable[[Tensor], dict[str, Tensor]], first_step: int, end_step: int
    ) -> tf.data.Dataset:
        """The results of `make` for first_step ... end_step - 1, in that order.

        N services make every N-th batch each, and the batches are taken from them in turn.

        Raises:
            tf.errors.InvalidArgumentError: when it is read: a batch came out of its turn, as they do
                if a service has more than one worker.
        """
        count = len(self.addresses)
        streams = [
            tf.data.Dataset.range(first_step + number, end_step, count)
            .map(make, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
            .apply(
                tf.data.experimental.service.distribute(
                    tf.data.experimental.service.ShardingPolicy.OFF,
                    address,
                    # Noise does not compress, and this machine has other work.
                    compression=None,
                )
            )
            for number, address in enumerate(self.addresses[: max(end_step - first_step, 1)])
        ]
        turns = tf.data.Dataset.range(len(streams)).repeat()
        stream = tf.data.Dataset.choose_from_datasets(streams, turns, stop_on_empty_dataset=False)

        def check(position: Tensor, batch: dict[str, Tensor]) -> dict[str, Tensor]:
            with tf.control_dependencies(
                [tf.debugging.assert_equal(batch["step"], position, message=OUT_OF_TURN)]
            ):
                return {**batch, "step": tf.identity(batch["step"])}

        return stream.enumerate(first_step).map(tf.autograph.experimental.do_not_convert(check)).prefetch(4)


def write_images(images: NDArray[np.uint8] | JoinedImages, folder: Path) -> Path:
    """Write faces (N, C, C, 3) for `DataService.gather`, one file each; returns their folder in `folder`.

    It is named by their content, and written once.
    """
    digest = hashlib.blake2b(digest_size=8)
    for index in range(len(images)):
        digest.update(images[index].tobytes())
    path = folder / f"faces-{'x'.join(map(str, images.shape))}-{digest.hexdigest()}"
    if not path.exists():
        with atomic_write(path) as temporary:
            temporary.mkdir()
            for index in range(len(images)):
                np.asarray(images[index]).tofile(temporary / f"{index}{SUFFIX}")
    return path
