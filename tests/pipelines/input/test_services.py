"""Batches from tf.data services, each a process of its own: those that this process makes, in order."""

from __future__ import annotations

import dataclasses
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from pipelines.input import batches
from pipelines.input.batches import training_batches
from pipelines.input.order import make_order
from pipelines.input.services import DataService, write_images
from pipelines.prepared import arrays
from tests.made_faces import made_faces
from tf_dhm.training.config import AugmentConfig, TrainConfig

ROOT = Path(__file__).resolve().parents[3]
SIZE = 24
FACES = made_faces(10)
CONFIG = TrainConfig(batch_size=4, seed=3, image_ops="graph", map_source="layer")
AUGMENT = AugmentConfig(second_pass=0.5)


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


@pytest.fixture(scope="module")
def addresses() -> Iterator[tuple[str, ...]]:
    """Two services."""
    processes = []
    found = []
    for port in (free_port(), free_port()):
        command = [sys.executable, "-m", "pipelines.input.data_service", "--port", str(port)]
        processes.append(subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True))
    for process in processes:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line.startswith("making batches for --data-service grpc://localhost:")
        found.append(line.split()[-1])
    yield tuple(found)
    for process in processes:
        process.kill()
        process.wait()


def make(
    service: DataService | None,
    augment: AugmentConfig = AUGMENT,
    rows: slice = batches.ALL,
    first: int = 2,
    config: TrainConfig = CONFIG,
) -> list[dict[str, Any]]:
    """The batches of steps first ... 6, of epochs of 2."""
    order = make_order(FACES, config)
    stream = training_batches(FACES, order, SIZE, config, augment, first, 7, rows, service)
    return [{key: value.numpy() for key, value in batch.items()} for batch in stream]


def assert_equal(first: list[dict], second: list[dict]) -> None:
    assert len(first) == len(second)
    for one, other in zip(first, second, strict=True):
        assert one.keys() == other.keys()
        for key in one:
            np.testing.assert_array_equal(one[key], other[key], key)


@pytest.mark.slow
@pytest.mark.parametrize(("count", "rows"), [(1, batches.ALL), (2, slice(1, None, 2))])
def test_services_give_what_this_process_makes(
    count: int, rows: slice, addresses: tuple[str, ...], tmp_path: Path
) -> None:
    service = DataService(addresses[:count], write_images(FACES.images, tmp_path), FACES.images.shape)
    noisy = dataclasses.replace(AUGMENT, map_noise=0.05)
    assert_equal(make(service, rows=rows), make(None, rows=rows))
    assert_equal(make(service, noisy, rows), make(None, noisy, rows))
    assert make(service, first=7) == []


@pytest.mark.slow
def test_a_second_worker_at_an_address_is_noticed(tmp_path: Path) -> None:
    service = tf.data.experimental.service
    dispatcher = service.DispatchServer()
    address = dispatcher.target.split("://")[1]
    workers = [service.WorkerServer(service.WorkerConfig(dispatcher_address=address)) for _ in range(2)]
    doubled = DataService((dispatcher.target,), write_images(FACES.images, tmp_path), FACES.images.shape)
    with pytest.raises(tf.errors.InvalidArgumentError, match="expected one worker at each address"):
        make(doubled)
    for server in (*workers, dispatcher):
        server._stop()


def test_faces_are_written_once_for_the_same_content(tmp_path: Path) -> None:
    path = write_images(FACES.images, tmp_path)
    assert len(list(path.iterdir())) == len(FACES)
    np.testing.assert_array_equal(np.fromfile(path / "7.raw", np.uint8), FACES.images[7].ravel())
    written = path.stat().st_mtime_ns
    joined = arrays.join([FACES[:3], FACES[3:]])
    assert write_images(joined.images, tmp_path) == path
    assert path.stat().st_mtime_ns == written
    assert write_images(FACES.images[::-1], tmp_path) != path


def test_shares_of_the_workers_make_up_the_batch() -> None:
    config = dataclasses.replace(CONFIG, image_ops="opencv")
    augment = dataclasses.replace(AUGMENT, second_pass=0.25)  # one face, which the second worker has not
    shares = [make(None, augment, slice(worker, None, 2), config=config) for worker in (0, 1)]
    for whole, *parts in zip(make(None, augment, config=config), *shares, strict=True):
        for worker, part in enumerate(parts):
            assert part.keys() == whole.keys()
            for key in ("image", "landmarks", "initial"):
                np.testing.assert_array_equal(part[key], whole[key][worker::2])
