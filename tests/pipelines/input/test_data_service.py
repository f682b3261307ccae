"""The command of a data service, and the options that it needs."""

from __future__ import annotations

import dataclasses
import socket

import pytest

from pipelines.input.data_service import Options, check_options, serve
from tf_dhm.core.errors import InputError
from tf_dhm.training.config import TrainConfig

CONFIG = TrainConfig(image_ops="graph", map_source="layer")


@pytest.mark.parametrize("address", ["localhost:5050", "grpc://localhost", "grpc://a/b:1", "http://a:1"])
def test_addresses_are_checked(address: str) -> None:
    with pytest.raises(InputError, match=r"data_service: found .*, expected grpc://HOST:PORT"):
        check_options(["grpc://fine:1", address], CONFIG)


def test_functions_of_python_are_rejected() -> None:
    with pytest.raises(InputError, match="image_ops: found opencv with a data service, expected graph"):
        check_options(["grpc://a:1"], TrainConfig())
    with pytest.raises(InputError, match="map_source: found py_function with a data service"):
        check_options(["grpc://a:1"], dataclasses.replace(CONFIG, map_source="py_function"))
    check_options(["grpc://a:1"], CONFIG)
    check_options([], TrainConfig())


def test_a_port_that_is_taken_is_named() -> None:
    with socket.socket() as taken:
        taken.bind(("0.0.0.0", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(InputError, match=f"port: found that {port} cannot be listened at"):
            serve(Options(port=port))
