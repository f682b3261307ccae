"""`python tune.py`: mistakes, a search that is killed and resumed, and one shared by two workers."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tf_dhm.core.cli import run_script

import pandas as pd
import pytest

import tune
from tests.faces import write_faces

ROOT = Path(__file__).resolve().parents[1]
LIMIT_SECONDS = 600


def command(folder: Path, *options: str) -> list[str]:
    space = ["--rnn-multiplier", "1", "--recurrent-steps", "1", "2", "--input-size", "32"]
    space += ["--cnn-multiplier", "1", "2", "--last-channels", "16", "--hidden-units", "0"]
    data = ["--dataset", "csv", "--data-dir", str(folder / "faces"), "--preset", "tiny", "--threads", "1"]
    return [sys.executable, str(ROOT / "tune.py"), *data, *space, "--tuner", "random", *options]


def environment(**more: str) -> dict[str, str]:
    return {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", **more}


@contextmanager
def started(folder: Path, name: str, *options: str, **variables: str) -> Iterator[subprocess.Popen[bytes]]:
    """A search in the background; its output goes to <name>.log."""
    with (folder / f"{name}.log").open("wb") as log:
        process = subprocess.Popen(
            # A shell has its jobs in the background ignore Ctrl-C, and their children with them.
            ["env", "--default-signal=INT", *command(folder, *options)],
            cwd=folder,
            env=environment(**variables),
            stdout=log,
            stderr=log,
        )
        try:
            yield process
        finally:
            process.kill()
            process.wait()


def wait_for(condition: object, folder: Path, processes: list[subprocess.Popen[bytes]]) -> None:
    """Wait until `condition()`; fail with the output of the processes if all end before."""
    deadline = time.monotonic() + LIMIT_SECONDS
    while not condition():  # type: ignore[operator]
        said = "\n".join(path.read_text()[-2000:] for path in sorted(folder.glob("*.log")))
        assert any(process.poll() is None for process in processes), said
        assert time.monotonic() < deadline, said
        time.sleep(0.05)


def kill_when(condition: object, folder: Path, *options: str, number: signal.Signals = signal.SIGKILL) -> int:
    """Run a search until `condition()`, then send it a signal; returns its exit code."""
    with started(folder, "killed", *options) as process:
        wait_for(condition, folder, [process])
        process.send_signal(number)
        return process.wait()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--trials", "0"], "trials: found 0"),
        (["--trails", "2"], "--trails"),
        (["--output-dir", "tune"], "faces, expected the folder of csv"),
        (["--resume", "tune"], "tune: found no tune.json, expected the folder of a search"),
    ],
)
def test_mistakes_end_with_a_message(
    options: list[str],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    arguments = options if "--resume" in options else command(tmp_path, *options)[2:]
    # This process has threads already.
    monkeypatch.setattr(sys, "argv", ["tune.py", *arguments, "--threads", "0"])
    with pytest.raises(SystemExit) as caught:
        run_script(tune.main)
    assert caught.value.code == 2
    printed = capsys.readouterr()
    assert message in printed.err + printed.out
    assert not (tmp_path / "tune").exists()


@pytest.mark.slow
def test_a_killed_search_resumes_where_it_was(tmp_path: Path) -> None:
    write_faces(tmp_path / "faces", 40, 9)
    options = ("--trials", "2", "--images", "1500", "--output-dir", "tune")
    second = tmp_path / "tune/trials/1"
    kill_when((second / "history.csv").exists, tmp_path, *options)
    assert not (second / "result.json").exists()
    first = (tmp_path / "tune/trials/0/result.json").read_bytes()
    done = subprocess.run(
        command(tmp_path, *options), cwd=tmp_path, env=environment(), capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert "resuming tune/trials/1 at step" in done.stdout
    assert (tmp_path / "tune/trials/0/result.json").read_bytes() == first
    table = pd.read_csv(tmp_path / "tune/trials.csv")
    assert table["status"].tolist() == ["trained", "trained"]
    assert len(pd.read_csv(second / "history.csv")) == 47  # 1,500 images in passes of 32, none twice


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_one_that_is_killed_in_its_first_trial_resumes_with_the_same_network(
    number: signal.Signals, tmp_path: Path
) -> None:
    write_faces(tmp_path / "faces", 40, 9)
    options = ("--trials", "1", "--images", "1500", "--output-dir", "tune")
    first = tmp_path / "tune/trials/0"
    code = kill_when((first / "history.csv").exists, tmp_path, *options, number=number)
    assert code == (130 if number == signal.SIGINT else -number)
    if number == signal.SIGINT:
        said = (tmp_path / "killed.log").read_text()
        assert said.endswith("interrupted\n")
        assert "Traceback" not in said
    began = (first / "options.json").read_bytes()
    resume = [sys.executable, str(ROOT / "tune.py"), "--resume", "tune"]
    done = subprocess.run(resume, cwd=tmp_path, env=environment(), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "resuming tune/trials/0 at step" in done.stdout
    assert (first / "options.json").read_bytes() == began
    assert len(pd.read_csv(tmp_path / "tune/trials.csv")) == 1


@pytest.mark.slow
def test_two_workers_share_a_search_and_one_that_is_killed_costs_its_trial(tmp_path: Path) -> None:
    write_faces(tmp_path / "faces", 40, 9)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    shared = {"KERASTUNER_ORACLE_IP": "127.0.0.1", "KERASTUNER_ORACLE_PORT": port}
    options = ("--trials", "3", "--images", "400", "--output-dir", "tune")
    results = tmp_path / "tune" / "trials"
    with (
        started(tmp_path, "chief", *options, **shared, KERASTUNER_TUNER_ID="chief"),
        started(tmp_path, "worker0", *options, **shared, KERASTUNER_TUNER_ID="tuner0") as first,
        started(tmp_path, "worker1", *options, **shared, KERASTUNER_TUNER_ID="tuner1") as second,
    ):
        both = [first, second]
        wait_for(lambda: len(list(results.glob("*/history.csv"))) == 2, tmp_path, both)
        second.send_signal(signal.SIGKILL)
        second.wait()
        table = tmp_path / "tune/trials.csv"
        wait_for(lambda: table.exists() and len(pd.read_csv(table)) == 2, tmp_path, [first])
    assert set(pd.read_csv(table)["status"]) == {"trained"}
