"""Batches that other machines make, through tf.data service. Run one such service on each of them.

python -m pipelines.input.data_service --host 10.0.0.7 --port 5050
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from tf_dhm.core.cli import run_script

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from pipelines.prepared.arrays import JoinedImages
from tf_dhm.core.command_line import parse_options
from tf_dhm.core.configuration import Port, check_fields
from tf_dhm.core.errors import InputError
from tf_dhm.core.files import atomic_write
from tf_dhm.core.types import Tensor
from tf_dhm.training.config import TrainConfig

SCHEME = "grpc://"
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


def check_options(addresses: Sequence[str], config: TrainConfig) -> None:
    """Reject addresses and options that a data service cannot work with; InputError names the option."""
    for address in addresses:
        if not re.fullmatch(re.escape(SCHEME) + r"[^/]+:\d+", address):
            raise InputError(f"data_service: found {address!r}, expected {SCHEME}HOST:PORT")
    for option, expected in (("image_ops", "graph"), ("map_source", "layer")):
        if addresses and getattr(config, option) != expected:
            raise InputError(
                f"{option}: found {getattr(config, option)} with a data service, expected {expected}: "
                "functions of Python cannot leave their process"
            )


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


@dataclass(frozen=True)
class Options:
    """Addresses at which a service listens."""

    port: Port = 5050
    """Port at which trainers ask for batches."""
    worker_port: Port = 0
    """Port at which the service hands out batches; 0 for any free port."""
    host: str = "localhost"
    """Name or address by which trainers reach this machine."""

    def __post_init__(self) -> None:
        check_fields(self)


def serve(options: Options) -> None:
    """Make batches for trainers until the process is ended.

    Raises:
        InputError: it cannot listen there.
    """
    service = tf.data.experimental.service
    try:
        dispatcher = service.DispatchServer(service.DispatcherConfig(port=options.port))
        worker = service.WorkerServer(
            service.WorkerConfig(
                dispatcher_address=f"localhost:{options.port}",
                worker_address=f"{options.host}:{options.worker_port or '%port%'}",
                port=options.worker_port,
            )
        )
    except (RuntimeError, tf.errors.OpError) as error:
        raise InputError(f"port: found that {options.port} cannot be listened at: {error}") from error
    print(f"making batches for --data-service {SCHEME}{options.host}:{options.port}", flush=True)
    worker.join()
    dispatcher.join()


def main() -> None:
    serve(parse_options(Options, description=__doc__))


if __name__ == "__main__":
    run_script(main)
