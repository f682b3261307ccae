"""Batches that other machines make, through tf.data service. Run one such service on each of them.

python -m pipelines.input.data_service --host 10.0.0.7 --port 5050
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from tf_dhm.core.cli import run_script

from tf_dhm.core.command_line import parse_options
from tf_dhm.core.configuration import Port, check_fields
from tf_dhm.core.errors import InputError
from tf_dhm.training.config import TrainConfig

SCHEME = "grpc://"


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
    import tensorflow as tf  # after the options, so that --help is quick

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
