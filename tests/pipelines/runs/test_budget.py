"""A time budget: what it chooses at given rates, by a fake clock, and a run with one."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from pipelines.prepared import datasets, records
from pipelines.prepared.config import DATASET_FILE, StoreConfig
from pipelines.runs import budget as budgets
from pipelines.runs import run as training_run
from pipelines.runs.budget import Budget, TrainingTimes, choose_faces, choose_passes, chooses_faces
from pipelines.runs.options import DataOptions, Options, read_options
from pipelines.runs.run import run
from tests.faces import TINY_MODEL, TINY_RECIPE, write_faces
from tf_dhm.core.errors import InputError
from tf_dhm.export.saved_model import read_weights
from tf_dhm.training.config import TrainConfig

TIMES = TrainingTimes(start=10.0, step=0.2, epoch_end=2.0)


class FakeClock:
    """Seconds that pass when they are told to."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def options(cache_dir: Path, **train: Any) -> Options:
    return Options(
        minutes=10.0,
        data=DataOptions(faces=26_400, cache_dir=cache_dir),
        train=TrainConfig(epochs=200, batch_size=128, **train),
    )


def test_time_left_by_hand() -> None:
    clock = FakeClock()
    budget = Budget(10.0, clock)
    assert budget.seconds_left() == pytest.approx(540.0)
    clock.now = 100.0
    assert budget.seconds_spent() == 100.0
    assert budget.seconds_left() == pytest.approx(440.0)
    assert budget.seconds_left(3.0) == pytest.approx(1520.0)
    clock.now = 700.0
    assert budget.seconds_left() == 0.0


@pytest.mark.parametrize(
    ("rate", "faces", "tests"),
    [
        (200.0, 26_400, 1000),  # 108,000 in the time left: a limit of 31,950
        (45.0, 6600, 1000),  # limits of 6,840 and 1,458
        (14.0, 1100, 250),  # 1,818 and 454
        (10.0, 1100, 250),  # 1,170 and 324
        (3.0, 275, 62),  # 36 and 97
        (0.1, 275, 62),  # the fewest
    ],
)
def test_slower_machines_render_fewer_faces(tmp_path: Path, rate: float, faces: int, tests: int) -> None:
    chosen = choose_faces(options(tmp_path), Budget(10.0, FakeClock()), rate)
    assert (chosen.data.faces, chosen.data.test_faces) == (faces, tests)
    assert chosen.train == options(tmp_path).train


def test_given_numbers_are_the_largest(tmp_path: Path) -> None:
    wanted = options(tmp_path)
    data = dataclasses.replace(wanted.data, faces=100, test_faces=0)
    wanted = dataclasses.replace(wanted, data=data)
    assert choose_faces(wanted, Budget(10.0, FakeClock()), 45.0).data == data


def test_faces_that_are_rendered_already_cost_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    missing = {8800: 0, 9900: 1100}
    monkeypatch.setattr(
        budgets.faces, "faces_to_render", lambda data, size: missing.get(data.faces, data.faces)
    )
    chosen = [choose_faces(options(tmp_path), Budget(10.0, FakeClock()), rate) for rate in (0.1, 10.0)]
    assert [choice.data.faces for choice in chosen] == [8800, 9900]


def test_a_budget_decides_on_no_faces_of_other_datasets() -> None:
    data = DataOptions()
    assert chooses_faces(Options(data=data))
    for change in (
        {"dataset": ("synthetic", "csv"), "data_dir": (Path("a"),)},
        {"data_dir": (Path("prepared"),)},
        {"limit": 5},
    ):
        assert not chooses_faces(Options(data=dataclasses.replace(data, **change)))


def test_passes_by_hand(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    clock = FakeClock()
    budget = Budget(10.0, clock)
    wanted = options(tmp_path)
    chosen = dataclasses.replace(wanted, data=dataclasses.replace(wanted.data, faces=2200))
    clock.now = 100.0
    found = choose_passes(chosen, wanted, budget, 2000, TIMES, rate=20.0)
    # 440 s are left, 30 for the start and the export, 12.5 for 4,000 crops at 320/s. A step takes 0.2 s, and
    # its share of the validation after 10,000 faces 2 s / 78.1.
    steps = int((440 - 30 - 12.5) / (0.2 + 2 * 128 / 10_000))
    assert steps == 1761
    assert found.train.epochs == steps * 128 // 10_000 == 22
    assert found.train.epoch_faces == steps // 22 * 128 == 10_240
    assert found.train.warmup_epochs == wanted.train.warmup_epochs
    assert found.data == chosen.data
    # 1,620 s of 30 minutes: 30 % for 9,720 faces, so 8,800, of which every eleventh is held out.
    printed = capsys.readouterr().out
    # 352.2 s are 1761 steps: 225,408 images at 640/s. With the other minutes they are the budget.
    assert "10, of which 1.7 are spent, 5.9 are for 112.7 passes over 2,000 faces at 640 images/s" in printed
    assert "1.5 for validation, export and evaluation, and 1.0 in reserve; --minutes 30 would" in printed
    assert "passes over 8,000 faces\n" in printed


def test_at_least_one_pass_and_at_most_those_given(tmp_path: Path) -> None:
    clock = FakeClock()
    budget = Budget(0.5, clock)  # 27 s of which 30 are needed elsewhere
    wanted = options(tmp_path)
    slow = choose_passes(wanted, wanted, budget, 2000, TIMES, None)
    assert (slow.train.epochs, slow.train.epoch_faces) == (1, 128)
    assert slow.train.warmup_epochs == pytest.approx(0.1)
    few = dataclasses.replace(wanted, train=dataclasses.replace(wanted.train, epochs=3))
    found = choose_passes(few, few, Budget(10.0, clock), 2000, TIMES, None).train
    assert found.epochs * found.epoch_faces == 3 * 15 * 128
    # An epoch is not shorter than a pass.
    found = choose_passes(wanted, wanted, Budget(10.0, clock), 100_000, TIMES, None).train
    assert (found.epochs, found.epoch_faces) == (2, 853 * 128)


def test_less_than_one_pass_is_warned_of(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    wanted = options(tmp_path)
    choose_passes(wanted, wanted, Budget(0.5, FakeClock()), 250, TIMES, None)
    warning = capsys.readouterr().err
    assert "0.5 passes over 250 faces" in warning
    assert "--minutes" in warning
    # Enough time, or no more passes wanted.
    once = dataclasses.replace(wanted, train=dataclasses.replace(wanted.train, epochs=1))
    for chosen in (wanted, once):
        choose_passes(chosen, chosen, Budget(10.0, FakeClock()), 250, TIMES, None)
    assert capsys.readouterr().err == ""


def test_the_rate_of_rendering(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = FakeClock()
    closed = []

    def read(count: int, workers: int) -> Iterator[int]:
        try:
            for number in range(count):
                clock.now += 5.0 if number == 0 else 0.25  # the first waits for the processes
                yield number
        finally:
            closed.append(workers)

    monkeypatch.setattr(budgets.series, "read", read)
    monkeypatch.setattr(records, "encode_record", lambda sample, store: b"")
    assert budgets.rendering_rate(2, clock, 4.0) == pytest.approx(4.0)
    assert closed == [2]


class FakeTrainer:
    """A trainer whose first steps and first end of an epoch take longer."""

    def __init__(self, clock: FakeClock) -> None:
        self.clock, self.step = clock, 0
        self.ends = 0
        clock.now += 3.0
        self.strategy = SimpleNamespace(split=lambda batch: batch)
        self.validation = SimpleNamespace(summarize=self.summarize)
        self.predict = None

    def own_batches(self, first: int, end: int) -> Iterator[int]:
        return iter(range(first, end))

    def train_step(self, batch: int) -> float:
        self.step += 1
        self.clock.now += 2.0 if batch < 2 else 0.5
        return 0.0

    def calibrate(self) -> None:
        self.clock.now += 0.1 * min(self.step, 20) + (0 if self.ends else 7.0)

    def summarize(self, predict: Callable[..., Any]) -> None:
        self.clock.now += 0.3
        self.ends += 1


def test_the_times_of_a_training() -> None:
    clock = FakeClock()
    make: Any = lambda: FakeTrainer(clock)  # noqa: E731
    # 3 s to build it and 4 for two steps; then 8 steps, 10 batches to calibrate on in place of 20.
    found = budgets.training_times(make, clock, 4.0)
    assert dataclasses.astuple(found) == pytest.approx((7.0, 0.5, 2 * 1.0 + 0.3))


@pytest.fixture
def base(tmp_path: Path) -> Options:
    return Options(
        preset="tiny",
        minutes=1.0,
        data=DataOptions(
            ("csv",), (write_faces(tmp_path / "faces", 48, 9),), cache_dir=tmp_path / "prepared"
        ),
        runs_dir=tmp_path / "runs",
        model=TINY_MODEL,
        train=dataclasses.replace(TINY_RECIPE, epochs=50),
        quality_crops=0,
    )


@pytest.mark.slow
def test_a_run_keeps_what_was_chosen_and_learns_the_same_as_if_it_was_given(
    base: Options, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    measured = []

    def measure(*arguments: Any) -> TrainingTimes:
        make, _ = arguments
        measured.append(budgets.training_times(make, time.monotonic, 0.1))
        return TrainingTimes(0.0, 9.0, 0.0)  # 54 s: 6 steps

    monkeypatch.setattr(training_run, "training_times", measure)
    monkeypatch.setattr(training_run, "Budget", lambda minutes: Budget(minutes, FakeClock()))
    version_dir = run(base, False, "python train.py --minutes 1")
    (times,) = measured
    assert min(times.start, times.step, times.epoch_end) > 0.0
    kept = read_options(base.run_dir / training_run.OPTIONS_FILE)
    assert (kept.minutes, kept.train.epochs, kept.train.epoch_faces) == (1.0, 1, 96)
    assert kept.train.warmup_epochs == pytest.approx(0.1)
    assert "of 1 minutes" in capsys.readouterr().out.splitlines()[-1]
    tf.keras.backend.clear_session()
    given = dataclasses.replace(base, minutes=0.0, name="given", train=kept.train)
    weights = [read_weights(folder) for folder in (version_dir, run(given, False, "python train.py"))]
    for found, expected in zip(*weights, strict=True):
        np.testing.assert_allclose(found, expected, atol=1e-4)


@pytest.mark.parametrize(
    "changes",
    [
        {"distribute": "multi_worker"},
        {"data_service": ("grpc://a:1",)},
        {"train": TrainConfig(epochs=0), "init": "savedmodels/fast_dhm"},
    ],
)
def test_runs_without_passes_to_choose(base: Options, changes: dict[str, Any]) -> None:
    if "data_service" in changes:
        train = dataclasses.replace(base.train, image_ops="graph", map_source="layer")
        changes = {**changes, "train": train}
    with pytest.raises(InputError, match="minutes: found 1, expected 0"):
        run(dataclasses.replace(base, **changes), False, "python train.py")


def test_faces_left_to_render(tmp_path: Path) -> None:
    store = StoreConfig(crop_side=32, shard_size=3)
    series = budgets.series.training_series(8, 0, 32)
    assert datasets.faces_to_render(tmp_path, store, series) == 8
    assert datasets.faces_to_render(tmp_path, store, series, limit=4) == 4
    folder = datasets.prepared_folder("synthetic", None, tmp_path, store, None, series, 1)
    assert datasets.faces_to_render(tmp_path, store, series) == 0
    # As if it was stopped in the second shard.
    (folder / DATASET_FILE).unlink()
    for name in ("shard-00000.parquet", "shard-00001.parquet"):
        (folder / name).touch()
    (folder / "shard-00001.tfrecord").unlink()
    assert datasets.faces_to_render(tmp_path, store, series) == 5
