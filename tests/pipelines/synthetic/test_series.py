"""Series of synthetic faces: worker processes, their order, and what happens when one dies."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator

import cv2
import numpy as np
import psutil
import pytest

from pipelines.datasets.samples import FaceSample
from pipelines.synthetic import series as synthetic
from pipelines.synthetic.config import RenderConfig, SyntheticConfig
from pipelines.synthetic.series import make_series
from tf_dhm.core.errors import InputError

SMALL = RenderConfig(size=24, supersampling=1.0)


@pytest.fixture(autouse=True)
def small_tasks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(synthetic, "FACES_PER_WORKER", 2)
    monkeypatch.setattr(synthetic, "AHEAD_PER_WORKER", 2)


def workers() -> list[psutil.Process]:
    return [p for p in psutil.Process().children() if "pipelines.synthetic.worker" in p.cmdline()]


def pixels(sample: FaceSample) -> np.ndarray:
    image = cv2.imdecode(np.frombuffer(sample.read_image(), np.uint8), cv2.IMREAD_COLOR)
    assert image is not None
    return image


def assert_same(first: FaceSample, second: FaceSample) -> None:
    assert (first.name, first.split, first.group) == (second.name, second.split, second.group)
    assert np.array_equal(pixels(first), pixels(second))
    for field in ("landmarks", "visibility", "pose"):
        assert np.array_equal(getattr(first, field), getattr(second, field)), field


def test_processes_render_the_same_faces_in_order() -> None:
    alone = list(synthetic.read(9, 3, val_every=4, config=SMALL, workers=1))
    assert [sample.name for sample in alone] == [f"synthetic/3/{i}" for i in range(9)]
    assert [sample.split for sample in alone] == ["val" if i % 4 == 0 else "train" for i in range(9)]
    samples = synthetic.read(9, 3, val_every=4, config=SMALL, workers=2)
    first = next(samples)
    assert len(workers()) == 2
    for found, expected in zip([first, *samples], alone, strict=True):
        assert_same(found, expected)
    assert workers() == []
    # From the middle of the series on.
    config = SyntheticConfig(9, 3, val_every=4, render=SMALL)
    for item, expected in zip(make_series(config, 1).read(6), alone[6:], strict=True):
        assert isinstance(item, FaceSample)
        assert_same(item, expected)


def test_a_reader_that_is_left_ends_its_processes() -> None:
    samples = synthetic.read(50, config=SMALL, workers=2)
    next(samples)
    assert isinstance(samples, Iterator)
    samples.close()  # type: ignore[attr-defined]
    assert workers() == []


def test_a_process_that_is_killed_is_an_error() -> None:
    samples = synthetic.read(50, config=SMALL, workers=2)
    next(samples)
    workers()[0].kill()
    with pytest.raises(InputError, match="a process that renders ended with code -9, expected memory for 2"):
        list(samples)
    assert workers() == []


def test_little_work_is_done_here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(synthetic, "FACES_PER_WORKER", 25)
    samples = synthetic.read(49, config=SMALL, workers=2)
    next(samples)
    assert workers() == []


PARENT = """
import signal
from pipelines.synthetic import series as synthetic
from pipelines.synthetic.config import RenderConfig
signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored where the tests run in the background
samples = synthetic.read(10_000, config=RenderConfig(size=24), workers=2)
next(samples)
print("begun", flush=True)
for sample in samples:
    pass
"""


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_processes_end_with_the_one_that_started_them(number: signal.Signals) -> None:
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert parent.stdout is not None
    assert parent.stdout.readline() == "begun\n"
    children = psutil.Process(parent.pid).children()
    assert len(children) == 2
    os.kill(parent.pid, number)
    _, errors = parent.communicate(timeout=60)
    gone, alive = psutil.wait_procs(children, timeout=30)
    assert (len(gone), alive) == (2, [])
    if number == signal.SIGINT:
        assert "KeyboardInterrupt" in errors


def test_workers_do_not_load_tensorflow() -> None:
    code = "import sys, pipelines.synthetic.worker; print('tensorflow' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


def test_the_source_names_all_that_faces_depend_on() -> None:
    source = make_series(SyntheticConfig(5, 1)).source
    assert source["seed"] == 1
    assert source["render"]["max_yaw"] == 90.0
    assert source["renderer"] == synthetic.RENDERER_VERSION
    assert source != make_series(SyntheticConfig(5, 2)).source
