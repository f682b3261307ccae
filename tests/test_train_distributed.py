"""`python train.py --distribute`: several workers and devices learn what one does; one that is killed."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from pipelines.datasets.csv_landmarks import read
from pipelines.prepared import prepare
from tests.faces import write_faces
from tf_dhm.export.saved_model import read_weights
from tf_dhm.networks.keras_compat import MULTI_WORKER

ROOT = Path(__file__).resolve().parents[1]
LIMIT_SECONDS = 300
COMPARED = ["epoch", "loss", "val_nme", "learning_rate"]
TOLERANCE = 5e-3
"""Largest relative difference of an epoch's loss and error, from sums in another order."""

pytestmark = pytest.mark.slow
needs_workers = pytest.mark.skipif(not MULTI_WORKER, reason="Keras 3 does not train on several machines")


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small dataset as prepare.py writes it: 64 faces to train and 9 to validate with."""
    folder = tmp_path_factory.mktemp("faces")
    prepare.prepare("csv", read(write_faces(folder / "faces", 64, 9)), folder / "prepared")
    return folder / "prepared"


def options(prepared: Path, *more: str) -> list[str]:
    """4 steps in an epoch; every fourth face has a map of its own."""
    data = ["--dataset", "csv", "--data-dir", str(prepared), "--name", "run", "--quality-crops", "64"]
    network = ["--preset", "tiny", "--input-size", "32", "--batch-size", "16", "--hidden-units", "16"]
    return [*data, *network, "--second-pass", "0.25", "--epochs", "5", *more]


def together(prepared: Path, *more: str) -> list[str]:
    return options(prepared, "--distribute", "multi_worker", *more)


def environment(**more: str) -> dict[str, str]:
    """One thread: sums in another order differ in the last bit."""
    threads = {"TF_NUM_INTRAOP_THREADS": "1", "TF_NUM_INTEROP_THREADS": "1", "OMP_NUM_THREADS": "1"}
    return {**os.environ, **threads, **more}


@contextmanager
def workers(folder: Path, count: int, *arguments: str) -> Iterator[list[subprocess.Popen[bytes]]]:
    """Workers on this machine that train together; their output goes to worker<i>.log."""
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for free in sockets:
            free.bind(("127.0.0.1", 0))
        addresses = [f"127.0.0.1:{free.getsockname()[1]}" for free in sockets]
    command = [sys.executable, str(ROOT / "train.py"), *arguments]
    processes = []
    try:
        for index in range(count):
            place = {"cluster": {"worker": addresses}, "task": {"type": "worker", "index": index}}
            variables = environment(TF_CONFIG=json.dumps(place))
            with (folder / f"worker{index}.log").open("ab") as log:
                processes.append(subprocess.Popen(command, cwd=folder, env=variables, stdout=log, stderr=log))
        yield processes
    finally:
        for process in processes:
            process.kill()
            process.wait()


def said(folder: Path) -> str:
    return "\n".join(path.read_text()[-3000:] for path in sorted(folder.glob("worker*.log")))


def wait(processes: list[subprocess.Popen[bytes]], folder: Path) -> list[int]:
    """The exit codes of all."""
    deadline = time.monotonic() + LIMIT_SECONDS
    while any(process.poll() is None for process in processes):
        assert time.monotonic() < deadline, said(folder)
        time.sleep(0.05)
    return [process.returncode for process in processes]


@pytest.fixture(scope="module")
def single(prepared: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run on one device."""
    folder = tmp_path_factory.mktemp("single")
    command = [sys.executable, str(ROOT / "train.py"), *options(prepared)]
    done = subprocess.run(command, cwd=folder, env=environment(), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture(scope="module")
def pair(prepared: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run of two workers."""
    folder = tmp_path_factory.mktemp("pair")
    with workers(folder, 2, *together(prepared)) as both:
        assert wait(both, folder) == [0, 0], said(folder)
    return folder


def assert_learned_alike(found: Path, expected: Path, tolerance: float = TOLERANCE) -> None:
    tables = [pd.read_csv(folder / "runs/run/history.csv")[COMPARED] for folder in (found, expected)]
    pd.testing.assert_frame_equal(*tables, rtol=tolerance)
    weights = [read_weights(folder / "runs/run/export/tiny") for folder in (found, expected)]
    for one, other in zip(*weights, strict=True):
        # Not the largest difference: the optimizer divides each gradient by its own size, so that rounding
        # decides on the step of a weight whose gradient is almost 0.
        assert np.quantile(np.abs(one - other), 0.99) <= 10 * tolerance * np.abs(other).max()


@needs_workers
def test_two_workers_learn_what_one_does(single: Path, pair: Path) -> None:
    assert_learned_alike(pair, single)
    # The chief alone has something to say about epochs and the export.
    assert "exported to" in (pair / "worker0.log").read_text()
    assert "exported to" not in (pair / "worker1.log").read_text()


MIRRORED = """
import sys
import tensorflow as tf
cpu, = tf.config.list_physical_devices("CPU")
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
import train
from tf_dhm.core.cli import run_script
run_script(train.main)
"""


def test_two_devices_learn_what_one_does(single: Path, prepared: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-c", MIRRORED, *options(prepared, "--distribute", "mirrored")]
    variables = environment(PYTHONPATH=str(ROOT))
    done = subprocess.run(command, cwd=tmp_path, env=variables, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert_learned_alike(tmp_path, single)


@needs_workers
@pytest.mark.parametrize("killed", [0, 1])
def test_a_killed_worker_ends_the_other_and_they_resume(
    killed: int, single: Path, pair: Path, prepared: Path, tmp_path: Path
) -> None:
    arguments = together(prepared, "--checkpoint-minutes", "0")
    with workers(tmp_path, 2, *arguments) as both:
        while not (tmp_path / "runs/run/history.csv").exists():
            assert all(process.poll() is None for process in both), said(tmp_path)
            time.sleep(0.01)
        both[killed].send_signal(signal.SIGKILL)
        codes = wait(both, tmp_path)
    assert codes[killed] == -signal.SIGKILL
    assert codes[1 - killed] not in (0, None)
    assert not (tmp_path / "runs/run/export").exists()
    if killed == 0:
        # By the same command.
        with workers(tmp_path, 2, *arguments) as both:
            assert wait(both, tmp_path) == [0, 0], said(tmp_path)
        assert_learned_alike(tmp_path, pair, 1e-6)
    else:
        # On another number of machines.
        with workers(tmp_path, 1, "--resume", "runs/run") as one:
            assert wait(one, tmp_path) == [0], said(tmp_path)
        assert_learned_alike(tmp_path, single)
    log = (tmp_path / "worker0.log").read_text()
    assert 0 < int(log.split("resuming runs/run at step ")[1].split()[0]) < 20
