"""`python align_archive.py`: mistakes, a worker that is killed, and a job that is killed and resumed."""

from __future__ import annotations

import dataclasses
import importlib.util
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pandas as pd
import psutil
import pyarrow.parquet as pq
import pytest
from PIL import Image

from tests.fakes import draw_cartoon_face
from tf_dhm.commands import archive as archive_command
from tf_dhm.commands.archive import (
    MAX_SOCKET_BYTES,
    SHORT_FOLDER,
    SOCKET_BELOW,
    ArchiveConfig,
    align_archive,
    engine_folder,
    locked,
    open_job,
)
from tf_dhm.commands.archive_parts import Folder, align_part
from tf_dhm.core.errors import InputError
from tf_dhm.runtime.aligner import Aligner

ROOT = Path(__file__).resolve().parents[1]
PHOTOS, PART_ROWS = 200, 5
PARTS = PHOTOS // PART_ROWS
LIMIT_SECONDS = 300


def command(folder: Path, output: str) -> list[str]:
    script = [sys.executable, str(ROOT / "align_archive.py"), str(folder / "manifest.csv")]
    return [*script, "--output-dir", str(folder / output), "--workers", "2", "--part-rows", str(PART_ROWS)]


def write_manifest(folder: Path, rows: int = 3) -> Path:
    path = folder / "manifest.csv"
    pd.DataFrame({"path": [f"{row}.png" for row in range(rows)]}).to_csv(path, index=False)
    return path


def test_a_mistake_ends_with_a_message(tmp_path: Path) -> None:
    (tmp_path / "manifest.csv").write_text("photo\na.jpg\n")
    found = subprocess.run(command(tmp_path, "out"), capture_output=True, text=True)
    assert found.returncode == 2
    assert "error: manifest " in found.stderr
    assert "found no column path among photo, expected path" in found.stderr
    assert "Traceback" not in found.stderr


def test_mistakes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = ArchiveConfig(write_manifest(tmp_path), tmp_path / "out")
    with pytest.raises(InputError, match=r"manifest .*absent.csv: found no file"):
        align_archive(dataclasses.replace(config, manifest=tmp_path / "absent.csv"))
    with pytest.raises(InputError, match=r"--photo-dir: found no folder .*absent"):
        align_archive(dataclasses.replace(config, photo_dir=tmp_path / "absent"))
    with pytest.raises(InputError, match="model absent"):
        align_archive(dataclasses.replace(config, model="absent"))
    with pytest.raises(InputError, match="--workers: found 0, expected 1 or more"):
        dataclasses.replace(config, workers=0)
    with pytest.raises(InputError, match="--passes: found 4, expected 1 to 3"):
        dataclasses.replace(config, passes=4)
    assert not config.output_dir.exists()  # no job, no folder
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "ray" else find(name))
    with pytest.raises(InputError, match=r"no package ray.*\.\[archive\]"):
        align_archive(config)


def test_a_folder_holds_one_job(tmp_path: Path) -> None:
    config = ArchiveConfig(write_manifest(tmp_path), tmp_path / "out")
    folder = Folder(config.output_dir)
    job = open_job(config, folder)
    assert (job.rows, job.parts, job.photo_dir) == (3, 1, str(tmp_path))
    assert open_job(dataclasses.replace(config, workers=7), folder) == job
    for change, message in [
        ({"part_rows": 2}, "job.json: part_rows: found 2, expected 1000, with which"),
        ({"passes": 2}, "passes: found 2, expected None"),
        ({"photo_dir": ROOT}, "photo_dir: found .*, expected "),
        ({"model": "fast_dhm_x2"}, "model: found fast_dhm_x2_float16.tflite, expected fast_dhm_m_float"),
    ]:
        with pytest.raises(InputError, match=message):
            open_job(dataclasses.replace(config, **change), folder)  # type: ignore[arg-type]
    write_manifest(tmp_path, 4)
    with pytest.raises(InputError, match=r"manifest_sha256: found .*choose another --output-dir"):
        open_job(config, folder)
    with locked(folder), pytest.raises(InputError, match="found a job at work on it"):
        align_archive(config)
    folder.parts.mkdir()
    folder.job.unlink()
    with pytest.raises(InputError, match=r"found .*/parts without job\.json, expected a new folder"):
        open_job(config, folder)


def test_a_folder_that_was_there_stays_though_the_job_is_rejected(tmp_path: Path) -> None:
    config = ArchiveConfig(write_manifest(tmp_path), tmp_path / "out", model="absent")
    config.output_dir.mkdir()
    with pytest.raises(InputError, match="model absent"):
        align_archive(config)
    assert not list(config.output_dir.iterdir())


@pytest.mark.parametrize("address", ["nonsense", "host:", ":6379", "ray://host:10001", "host:port"])
def test_an_address_that_is_none(tmp_path: Path, address: str) -> None:
    with pytest.raises(InputError, match=f"--address: found {address}, expected HOST:PORT"):
        ArchiveConfig(tmp_path / "manifest.csv", tmp_path / "out", address=address)


def test_a_cluster_that_does_not_answer_is_said_at_once(tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    config = ArchiveConfig(write_manifest(tmp_path), tmp_path / "out", address=address)
    began = time.monotonic()
    with pytest.raises(
        InputError, match=f"--address: found no answer from {address} .*refused.*, expected a"
    ):
        align_archive(config)
    assert time.monotonic() - began < 15
    assert not config.output_dir.exists()


class TestEngineFolder:
    def test_the_systems_temporary_folder(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(tempfile, "tempdir", "/tmp")
        assert engine_folder() == Path("/tmp/ray")

    def test_a_long_one_is_not_taken(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        long = tmp_path / ("x" * 60)
        long.mkdir()
        monkeypatch.setattr(tempfile, "tempdir", str(long))
        assert engine_folder() == SHORT_FOLDER / "ray"
        monkeypatch.setattr(archive_command, "SHORT_FOLDER", tmp_path / "absent")
        with pytest.raises(InputError, match=r"TMPDIR: found .*xxx"):
            engine_folder()

    def test_the_longest_socket(self, monkeypatch: pytest.MonkeyPatch) -> None:
        limit = MAX_SOCKET_BYTES - len(SOCKET_BELOW)
        for length, folder in ((limit, Path("/" + "x" * (limit - 1))), (limit + 1, SHORT_FOLDER)):
            monkeypatch.setattr(tempfile, "tempdir", "/" + "x" * (length - 1))
            assert engine_folder() == folder / "ray"


@pytest.mark.slow
def test_a_long_temporary_folder(tmp_path: Path) -> None:
    Image.fromarray(draw_cartoon_face()).save(tmp_path / "0.png")
    write_manifest(tmp_path, 1)
    long = tmp_path / ("x" * 60)
    long.mkdir()
    environment = {**os.environ, "TMPDIR": str(long)}
    done = subprocess.run(command(tmp_path, "out"), env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "photos: 1, faces: 1" in done.stdout


@pytest.mark.slow
def test_the_end_says_why_photos_failed_and_that_workers_had_nothing_to_do(tmp_path: Path) -> None:
    manifest = write_manifest(tmp_path, 5)  # of photos that are not there
    script = [sys.executable, str(ROOT / "align_archive.py"), str(manifest), "--workers", "2"]
    found = subprocess.run([*script, "--output-dir", str(tmp_path / "out")], capture_output=True, text=True)
    assert found.returncode == 0, found.stderr
    assert "photos failed: 5, parts: 1 in " in found.stdout
    assert "more workers (2) than parts (1)" in found.stderr
    assert "--part-rows 1 " in found.stderr
    for row in range(3):
        assert (
            f"row {row}, {row}.png: photo {tmp_path}/{row}.png: cannot be read: No such file" in found.stderr
        )
    assert "and 2 more: the rows of the parts with an `error`" in found.stderr
    assert "UserWarning" not in found.stderr


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A manifest of photos, every tenth of them broken or absent, and `undisturbed`, its parts."""
    folder = tmp_path_factory.mktemp("archive")
    rng = np.random.default_rng(0)
    names = [f"{number:03d}.jpg" for number in range(PHOTOS)]
    for number, name in enumerate(names):
        centre = (float(rng.uniform(150, 490)), float(rng.uniform(150, 490)))
        Image.fromarray(draw_cartoon_face(640, centre, float(rng.uniform(50, 110)))).save(folder / name)
        if number % 20 == 3:
            (folder / name).write_bytes((folder / name).read_bytes()[:400])
        elif number % 20 == 13:
            (folder / name).unlink()
        elif number % 20 == 14:
            Image.new("RGB", (640, 640), (90, 120, 160)).save(folder / name)
    pd.DataFrame({"path": names}).to_csv(folder / "manifest.csv", index=False)
    output = Folder(folder / "undisturbed")
    job = open_job(ArchiveConfig(folder / "manifest.csv", output.root, part_rows=PART_ROWS), output)
    aligner = Aligner()
    for part in range(job.parts):
        align_part(aligner, output, job, part)
    return folder


def check(archive: Path, output: Folder) -> None:
    """Every photo is there once, and all is as if nothing had happened."""
    table = pq.read_table(output.parts)
    rows, faces = table["row"].to_pylist(), table["face"].to_pylist()
    assert set(rows) == set(range(PHOTOS))
    assert len(set(zip(rows, faces, strict=True))) == len(rows)
    assert sum(error is not None for error in table["error"].to_pylist()) == PHOTOS // 10
    assert sum(face is not None for face in faces) > PHOTOS // 2
    undisturbed = Folder(archive / "undisturbed")
    for part in range(PARTS):
        assert output.part(part).read_bytes() == undisturbed.part(part).read_bytes()
    assert sorted(path.name for path in output.root.iterdir()) == [
        "job.json",
        "lock",
        "manifest.arrow",
        "parts",
    ]


@contextmanager
def started(archive: Path, output: Folder) -> Iterator[subprocess.Popen[bytes]]:
    """A job in the background; its output goes to <output>.log."""
    with output.root.with_suffix(".log").open("wb") as log:
        process = subprocess.Popen(command(archive, output.root.name), stdout=log, stderr=log)
        try:
            yield process
        finally:
            process.kill()
            process.wait()


def wait_for(condition: Callable[[], bool], said: Path) -> None:
    deadline = time.monotonic() + LIMIT_SECONDS
    while not condition():
        assert time.monotonic() < deadline, said.read_text()
        time.sleep(0.005)


def workers_of(process: psutil.Process) -> list[psutil.Process]:
    return [child for child in process.children(recursive=True) if "MapWorker" in "".join(child.cmdline())]


@pytest.mark.slow
def test_a_killed_worker_is_replaced_and_nothing_is_lost(archive: Path) -> None:
    output = Folder(archive / "worker")
    said = output.root.with_suffix(".log")
    with started(archive, output) as process:
        wait_for(lambda: len(output.done()) >= 4 or process.poll() is not None, said)
        worker, *_ = workers_of(psutil.Process(process.pid))
        worker.send_signal(signal.SIGKILL)
        assert len(output.done()) < PARTS, said.read_text()
        assert process.wait(LIMIT_SECONDS) == 0, said.read_text()
    check(archive, output)
    assert f"photos: {PHOTOS}, faces: " in said.read_text()
    assert f"photos failed: {PHOTOS // 10}, parts: {PARTS} in" in said.read_text()


@pytest.mark.slow
def test_a_killed_job_resumes_where_it_was(archive: Path) -> None:
    output = Folder(archive / "job")
    said = output.root.with_suffix(".log")
    with started(archive, output) as process:
        wait_for(lambda: len(output.done()) >= 4 or process.poll() is not None, said)
        engine = psutil.Process(process.pid).children(recursive=True)
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert psutil.wait_procs(engine, LIMIT_SECONDS)[1] == []  # none of the engine outlives the job
    times = {part: output.part(part).stat().st_mtime_ns for part in output.done()}
    assert 4 <= len(times) < PARTS
    assert json.loads(output.job.read_text())["rows"] == PHOTOS
    done = subprocess.run(command(archive, "job"), capture_output=True, text=True, timeout=LIMIT_SECONDS)
    assert done.returncode == 0, done.stderr
    assert f"parts done before: {len(times)} of {PARTS}" in done.stdout
    assert {part: output.part(part).stat().st_mtime_ns for part in times} == times
    check(archive, output)
    again = subprocess.run(command(archive, "job"), capture_output=True, text=True, timeout=LIMIT_SECONDS)
    assert again.returncode == 0, again.stderr
    assert again.stdout.splitlines()[0] == f"parts done before: {PARTS} of {PARTS}"
