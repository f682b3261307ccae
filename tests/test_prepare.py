"""`python prepare.py` from end to end on a small landmark table."""

from __future__ import annotations

import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
from filelock import FileLock

from pipelines.prepared import datasets, records
from pipelines.prepared.config import StoreConfig
from tests.made_faces import encode, mean_face, smooth_image
from tests.scripts import ROOT, run_script_here
from tf_dhm.runtime.store import DEFAULT_MODEL
from tf_dhm.training.presets import find_preset

ENVIRONMENT = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "2", "TF_NUM_INTRAOP_THREADS": "1"}


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    """Twelve faces, one of which has no image."""
    folder = tmp_path / "photos"
    folder.mkdir()
    rows = []
    for i in range(12):
        row = {"image": f"{i}.png", "split": "val" if i % 4 == 0 else "train"}
        points = mean_face(30.0, 25.0, 40.0)
        row |= {f"{axis}{k}": points[k, a] for a, axis in enumerate("xyz") for k in range(68)}
        rows.append(row)
        (folder / f"{i}.png").write_bytes(encode(smooth_image(i, 60, 50)))
    (folder / "5.png").unlink()
    pd.DataFrame(rows).to_csv(folder / "landmarks.csv", index=False)
    return folder


def run_with_little_room(*arguments: str | Path, largest_file: int) -> subprocess.CompletedProcess[str]:
    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (largest_file, largest_file))

    return subprocess.run(
        [sys.executable, str(ROOT / "prepare.py"), *map(str, arguments)],
        capture_output=True,
        text=True,
        env=ENVIRONMENT,
        cwd=ROOT,
        preexec_fn=limit,
        check=False,
    )


def test_prepares_and_says_what_it_did(data_dir: Path, tmp_path: Path) -> None:
    output = tmp_path / "prepared"
    options = ("--dataset", "csv", "--data-dir", data_dir, "--output-dir", output, "--crop-side", "32")
    result = run_script_here("prepare.py", *options)
    assert result.returncode == 0, result.stderr
    lines = result.stdout.splitlines()
    assert lines == [
        f"csv: 11 faces (8 train, 3 val) in {output}",
        f"1 rejected; reasons in {output / 'rejected.csv'}",
    ]
    assert "preparing csv: 12 faces" in result.stderr
    rejected = pd.read_csv(output / "rejected.csv")
    assert rejected["name"].tolist() == ["5.png"]
    assert "5.png" in rejected["reason"][0]
    assert len(records.load(output, "train")) == 8
    assert records.load(output).images.shape == (11, 40, 40, 3)


def test_faces_are_stored_for_the_default_network_by_default(data_dir: Path, tmp_path: Path) -> None:
    output = tmp_path / "prepared"
    result = run_script_here("prepare.py", "--dataset", "csv", "--data-dir", data_dir, "--output-dir", output)
    assert result.returncode == 0, result.stderr
    expected = StoreConfig.for_input(find_preset(DEFAULT_MODEL).model.input_size)
    assert records.load(output).images.shape[1] == expected.canvas


def test_bad_arguments_are_one_line_and_code_2(data_dir: Path, tmp_path: Path) -> None:
    options = ("--dataset", "csv", "--data-dir", tmp_path / "none", "--output-dir", tmp_path / "a")
    result = run_script_here("prepare.py", *options)
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr.splitlines()[-1] == (
        f"error: data-dir: found no {tmp_path / 'none'}, expected the folder of csv or its file"
    )
    assert "Traceback" not in result.stderr
    assert not (tmp_path / "a").exists()


def test_a_disk_without_room(data_dir: Path, tmp_path: Path) -> None:
    # No file may grow beyond 8 kB: the writer meets the same failure as on a full disk.
    output = tmp_path / "prepared"
    options = ("--dataset", "csv", "--data-dir", data_dir, "--output-dir", output)
    result = run_with_little_room(*options, largest_file=8_000)
    assert result.returncode == 2, result.stderr
    last = result.stderr.splitlines()[-1]
    assert last.startswith("error: ")
    assert last.endswith(f": {output / 'shard-00000.tfrecord'}")
    assert "Traceback" not in result.stderr
    assert sorted(p.name for p in output.iterdir()) == [".lock", "plan.json"]


PREPARE_SLOWLY = """
import sys, time
from pathlib import Path
from pipelines.prepared import datasets, records
from pipelines.prepared.config import StoreConfig
encode = records.encode_record
def slow(sample, config):
    time.sleep(0.1)
    return encode(sample, config)
records.encode_record = slow
store = StoreConfig(crop_side=32, shard_size=3)
datasets.prepare_dataset("csv", Path(sys.argv[1]), Path(sys.argv[2]), store)
"""


STORE = StoreConfig(crop_side=32, shard_size=3)  # that of PREPARE_SLOWLY


def wait_until(condition: Callable[[], bool], process: subprocess.Popen[bytes]) -> None:
    """Wait until `condition()`, for at most two minutes and as long as the process is at work."""
    deadline = time.monotonic() + 120
    while not condition():
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_killed_and_called_again(data_dir: Path, tmp_path: Path) -> None:
    """kill -9 in the middle of the second shard; the next call ends in the files of a whole run."""
    folder = tmp_path / "killed"
    script = [sys.executable, "-c", PREPARE_SLOWLY, str(data_dir), str(folder)]
    with subprocess.Popen(script, env=ENVIRONMENT, cwd=ROOT, stderr=subprocess.DEVNULL) as process:
        wait_until(lambda: bool(list(folder.glob(".shard-00001.*.tmp.tfrecord"))), process)
        process.send_signal(signal.SIGKILL)
    first = folder / "shard-00000.tfrecord"
    written = first.stat().st_mtime_ns
    assert not (folder / "shard-00001.tfrecord").exists()
    assert len(list(folder.glob(".shard-*"))) == 1  # the half shard
    assert len(list(folder.glob(".*"))) == 2  # and the lock

    for output in (folder, tmp_path / "whole"):
        datasets.prepare_dataset("csv", data_dir, output, STORE)
    assert first.stat().st_mtime_ns == written
    killed, whole = ({p.name: p.read_bytes() for p in f.iterdir()} for f in (folder, tmp_path / "whole"))
    assert killed == whole


def test_one_that_another_process_prepares_is_waited_for(data_dir: Path, tmp_path: Path) -> None:
    folder, whole, log = tmp_path / "shared", tmp_path / "whole", tmp_path / "log"
    index = datasets.prepare_dataset("csv", data_dir, whole, STORE)
    folder.mkdir()
    script = [sys.executable, "-c", PREPARE_SLOWLY, str(data_dir), str(folder)]
    message = f"{folder}: another process writes to it; waiting until that ends"
    with (
        log.open("wb") as said,
        subprocess.Popen(script, env=ENVIRONMENT, cwd=ROOT, stderr=said) as process,
        FileLock(folder / ".lock"),
    ):
        wait_until(lambda: message in log.read_text(), process)
        assert list(folder.iterdir()) == [folder / ".lock"]
        shutil.copytree(whole, folder, dirs_exist_ok=True)
        written = (folder / "dataset.json").stat().st_ino
    assert process.returncode == 0, log.read_text()
    assert (folder / "dataset.json").stat().st_ino == written
    assert "preparing csv" not in log.read_text()
    pd.testing.assert_frame_equal(records.read_index(folder), index)
