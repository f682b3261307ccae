"""Tests of tf_dhm.evaluation.timing, with a clock that the timed calls move."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tf_dhm.evaluation import timing
from tf_dhm.evaluation.timing import Case, local_timer, take_turns


class Clock:
    """A clock that stands still but while a case runs."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 0
        self.calls: list[str] = []
        monkeypatch.setattr(timing.time, "perf_counter_ns", lambda: self.now)

    def case(self, name: str, milliseconds: Callable[[], float], batch: int = 1) -> Case:
        def call() -> None:
            self.calls.append(name)
            self.now += round(milliseconds() * 1e6)

        return Case(name, "none", "float32", "cpu", 1, "model", batch, 96, 1000, local_timer(call))


def test_times_and_ratios(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(monkeypatch)
    # The machine is twice as slow in the later half, which the ratios do not see.
    slow = {"factor": 1.0}

    def reference_time() -> float:
        slow["factor"] = 1.0 if len(clock.calls) < 73 else 2.0
        return 2.0 * slow["factor"]

    reference = clock.case("reference", reference_time)
    single = clock.case("single", lambda: 0.5 * slow["factor"])
    batch = clock.case("batch", lambda: 8.0 * slow["factor"], batch=32)
    pairs = [(reference, single), (reference, batch)]
    results = take_turns(pairs, rounds=4, turn_seconds=0.004, title="test")
    assert [result.model for result in results] == ["reference", "single", "batch"]
    assert [result.ratio for result in results] == pytest.approx([1.0, 0.25, 0.125])
    assert results[1].ratio_10 == results[1].ratio_90 == pytest.approx(0.25)
    # 4 ms hold 2, 8 and less than one call; a turn has at least 3.
    assert [result.calls for result in results] == [2 * 4 * 3, 4 * 8, 4 * 3]
    assert results[1].ms_10 == pytest.approx(0.5)
    assert results[1].ms_90 == pytest.approx(1.0)
    assert results[2].ms_per_face == results[2].ms / 32
    assert {result.reference for result in results} == {"reference, model"}


def test_spread_of_ratios(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(monkeypatch)
    # By rounds 1, 2, ... 11 times the reference; a turn has one call before those that count.
    times = iter([1.0] * 8 + [float(round) for round in range(1, 12) for _ in range(4)])
    case = clock.case("case", lambda: next(times))
    (_, result) = take_turns([(clock.case("reference", lambda: 1.0), case)], 11, 0.0001, "test")
    assert (result.ratio_10, result.ratio, result.ratio_90) == pytest.approx((2.0, 6.0, 10.0))


def test_a_turn_of_the_reference_before_each(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(monkeypatch)
    first, a, second, b = (clock.case(name, lambda: 1.0) for name in "rasb")
    results = take_turns([(first, a), (second, b)], rounds=2, turn_seconds=0.003, title="test")
    warm_up = 4 * (1 + 3 + 1 + 3)
    assert "".join(clock.calls[warm_up:]) == 2 * "rrrraaaassssbbbb"
    assert [(result.model, result.reference) for result in results] == [
        ("r", "r, model"),
        ("s", "s, model"),
        ("a", "r, model"),
        ("b", "s, model"),
    ]


def test_reference_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    reference = Clock(monkeypatch).case("r", lambda: 3.0)
    (result,) = take_turns([(reference, reference)], 2, 0.001, "test")
    assert [result.ms, result.ratio, result.calls] == pytest.approx([3.0, 1.0, 6])
