"""Tests of tf_dhm.evaluation.benchmark: with a clock that the timed calls move, and with a tiny model."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.tiny_models import write_tiny_model
from tf_dhm.core.errors import InputError
from tf_dhm.evaluation import benchmark
from tf_dhm.evaluation.benchmark import BenchmarkConfig, Case, measure, take_turns, tflite_case
from tf_dhm.export.tflite import convert

PHOTO = Path(__file__).parents[2] / "data" / "astronaut.jpg"


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = write_tiny_model(tmp_path_factory.mktemp("models") / "tiny")
    convert(folder, kinds=["float32"])
    return folder


def config(model: Path, **changes: object) -> BenchmarkConfig:
    default = BenchmarkConfig((str(model),), PHOTO, kinds=("saved_model", "float32"), rounds=1, turn_ms=0.1)
    return replace(default, **changes)  # type: ignore[arg-type]


class Clock:
    """A clock that stands still but while a case runs."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 0
        self.calls: list[str] = []
        monkeypatch.setattr(benchmark.time, "perf_counter_ns", lambda: self.now)

    def case(self, name: str, milliseconds: Callable[[], float], batch: int = 1) -> Case:
        def call() -> None:
            self.calls.append(name)
            self.now += round(milliseconds() * 1e6)

        return Case(name, "none", "float32", "cpu", 1, "model", batch, 96, 1000, call)


class TestTakeTurns:
    def test_times_and_ratios(self, monkeypatch: pytest.MonkeyPatch) -> None:
        clock = Clock(monkeypatch)
        # The machine is twice as slow in the later half, which the ratios do not see.
        slow = {"factor": 1.0}

        def reference_time() -> float:
            slow["factor"] = 1.0 if len(clock.calls) < 70 else 2.0
            return 2.0 * slow["factor"]

        reference = clock.case("reference", reference_time)
        single = clock.case("single", lambda: 0.5 * slow["factor"])
        batch = clock.case("batch", lambda: 8.0 * slow["factor"], batch=32)
        results = take_turns(reference, [single, batch], rounds=4, turn_seconds=0.004, title="test")
        assert [result.model for result in results] == ["reference", "single", "batch"]
        assert [result.ratio for result in results] == pytest.approx([1.0, 0.25, 0.125])
        assert results[1].ratio_10 == results[1].ratio_90 == pytest.approx(0.25)
        # 4 ms hold 2, 8 and less than one call; a turn has at least 3.
        assert [result.calls for result in results] == [2 * 4 * 3, 4 * 8, 4 * 3]
        assert results[1].ms_10 == pytest.approx(0.5)
        assert results[1].ms_90 == pytest.approx(1.0)
        assert results[2].ms_per_face == results[2].ms / 32

    def test_a_turn_of_the_reference_before_each(self, monkeypatch: pytest.MonkeyPatch) -> None:
        clock = Clock(monkeypatch)
        cases = [clock.case(name, lambda: 1.0) for name in "rab"]
        take_turns(cases[0], cases[1:], rounds=2, turn_seconds=0.003, title="test")
        warm_up = 3 * (3 + 1 + 3)
        assert "".join(clock.calls[warm_up:]) == 2 * "rrrraaaarrrrbbbb"

    def test_reference_alone(self, monkeypatch: pytest.MonkeyPatch) -> None:
        clock = Clock(monkeypatch)
        (result,) = take_turns(clock.case("r", lambda: 3.0), [], 2, 0.001, "test")
        assert [result.ms, result.ratio, result.calls] == pytest.approx([3.0, 1.0, 6])


def test_measure(model: Path) -> None:
    results = measure(config(model, batches=(1, 3), runtime="tensorflow"), "cpu", 1)
    found = [(r.model, r.precision, r.stage, r.batch) for r in results]
    assert found == [
        (benchmark.REFERENCE, "float32", "model", 1),
        *(
            ("tiny", kind, stage, batch)
            for kind in ("saved_model", "float32")
            for stage, batch in (("model", 1), ("model", 3), ("cut", 1), ("crop", 1), ("detect", 1))
        ),
    ]
    assert [r.input_size for r in results] == [192, *[32] * 10]
    assert results[0].file_bytes == benchmark.mediapipe_file().stat().st_size
    assert results[6].file_bytes == (model / "1" / "tiny_float32.tflite").stat().st_size
    assert results[1].file_bytes > (model / "1" / "saved_model.pb").stat().st_size
    for result in results:
        assert 0 < result.ms_10 <= result.ms <= result.ms_90
        assert result.ratio > 0
        assert "tensorflow 2." in result.runtime
        assert result.inside == benchmark.INSIDE[result.stage]
    by_stage = {r.stage: r.ms for r in results[6:] if r.batch == 1}
    assert max(by_stage["model"], by_stage["cut"]) < by_stage["crop"] < by_stage["detect"]
    text = benchmark.format_table(results)
    assert "input_size" in text
    assert "ratio: time per face over that of mediapipe" in text


def test_peers_and_no_gpu(model: Path) -> None:
    peer = benchmark.mediapipe_file()
    options = config(model, kinds=("float32",), stages=("model",), batches=(1,), peers=(str(peer),))
    assert [r.model for r in measure(options, "cpu", 1)] == [benchmark.REFERENCE, "tiny", "face_landmark"]
    options = replace(options, peers=("mediapipe",), stages=("model", "crop", "detect"))
    found = [r for r in measure(options, "cpu", 1) if r.model == "MediaPipe face_landmark (2 passes)"]
    assert [(r.stage, r.batch, r.precision) for r in found] == [
        ("model", 1, "as it is"),
        ("crop", 1, "as it is"),
        ("detect", 1, "as it is"),
    ]
    assert {r.file_bytes for r in found} == {peer.stat().st_size}
    options = replace(options, stages=("model",))
    assert [r.model for r in measure(replace(options, peers=()), "cpu", 2)] == [benchmark.REFERENCE, "tiny"]


def test_profile_operations(model: Path) -> None:
    profile = benchmark.profile_operations(model / "1" / "tiny_float32.tflite", rounds=1)
    assert profile["operation"][:3].tolist() == ["CAST", "CONV_2D", "ADD"]
    assert profile["output"].iloc[[1, -1]].tolist() == ["1x16x16x8", "1x68x3"]
    assert (profile["total_us"] > 0).all()
    np.testing.assert_allclose(profile["us"].cumsum(), profile["total_us"], atol=0.1 * len(profile))


def test_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    with benchmark.environment(benchmark.thread_environment("cpu", 3)):
        assert (os.environ["OMP_NUM_THREADS"], os.environ["CUDA_VISIBLE_DEVICES"]) == ("3", "-1")
    assert os.environ["OMP_NUM_THREADS"] == "7"
    assert "CUDA_VISIBLE_DEVICES" not in os.environ
    assert "CUDA_VISIBLE_DEVICES" not in benchmark.thread_environment("gpu", 3)


def test_random_input() -> None:
    pixels = benchmark.random_input((2, 8, 8, 3), np.uint8)
    assert pixels.dtype == np.uint8
    assert pixels.shape == (2, 8, 8, 3)
    assert pixels.max() > 200
    values = benchmark.random_input((8,), np.float32)
    assert values.dtype == np.float32
    assert values.max() < 1


def test_errors(model: Path, tmp_path: Path) -> None:
    for name, value in {
        "rounds": 0,
        "batches": (0,),
        "threads": (1, -1),
        "models": (),
        "turn_ms": 0.0,
    }.items():
        with pytest.raises(InputError, match=f"{name}: found"):
            config(model, **{name: value})
    with pytest.raises(InputError, match=r"found tiny_float32.tflite, expected tiny_int8.tflite"):
        benchmark.run(config(model, kinds=("int8",)))
    with pytest.raises(InputError, match="found nothing, expected a folder"):
        benchmark.run(config(tmp_path / "none"))
    with pytest.raises(InputError, match=r"peer.tflite: found no such file"):
        tflite_case("peer", tmp_path / "peer.tflite", "float32", 1, 1, None)
    (tmp_path / "peer.tflite").write_bytes(b"nothing of the kind")
    with pytest.raises(InputError, match=r"peer.tflite: found no readable TFLite model"):
        tflite_case("peer", tmp_path / "peer.tflite", "float32", 1, 1, None)
    empty = tmp_path / "empty.png"
    benchmark.cv2.imwrite(str(empty), np.zeros((64, 64, 3), np.uint8))
    with pytest.raises(InputError, match=r"empty.png: found no face, expected one"):
        measure(config(model, photo=empty, stages=("crop",), kinds=("float32",)), "cpu", 1)
