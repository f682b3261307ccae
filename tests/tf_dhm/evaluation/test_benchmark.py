"""Tests of tf_dhm.evaluation.benchmark, with a tiny model."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import get_args

import cv2
import numpy as np
import pytest

from tests.tiny_models import write_tiny_model
from tf_dhm.core.errors import InputError
from tf_dhm.evaluation import benchmark
from tf_dhm.evaluation.benchmark import BenchmarkConfig, measure
from tf_dhm.evaluation.peers import facemesh
from tf_dhm.evaluation.peers.face_landmark import mediapipe_file
from tf_dhm.evaluation.timing import INSIDE, Stage

STAGES: tuple[Stage, ...] = ("model", "cut", "crop", "photo", "photo_one_face")
"""Not video_frame: the tracker does not follow what an untrained model finds."""
PHOTO = Path(__file__).parents[2] / "data" / "astronaut.jpg"


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models") / "tiny"
    return write_tiny_model(folder, tflite=("float32",))


def config(model: Path, **changes: object) -> BenchmarkConfig:
    default = BenchmarkConfig((str(model),), PHOTO, kinds=("saved_model", "float32"), rounds=1, turn_ms=0.1)
    return replace(default, **changes)  # type: ignore[arg-type]


def test_measure(model: Path) -> None:
    results = measure(config(model, stages=STAGES, batches=(1, 3), runtime="tensorflow"), "cpu", 1)
    found = [(r.model, r.precision, r.stage, r.batch) for r in results]
    assert found == [
        (benchmark.REFERENCE, "float32", "model", 1),
        *(
            ("tiny", kind, stage, batch)
            for kind in ("saved_model", "float32")
            for stage, batch in (
                ("model", 1),
                ("model", 3),
                ("cut", 1),
                ("crop", 1),
                ("photo", 1),
                ("photo_one_face", 1),
            )
        ),
    ]
    assert [r.input_size for r in results] == [192, *[32] * 12]
    assert results[0].file_bytes == mediapipe_file().stat().st_size
    assert results[7].file_bytes == (model / "1" / "tiny_float32.tflite").stat().st_size
    assert results[1].file_bytes > (model / "1" / "saved_model.pb").stat().st_size
    for result in results:
        assert 0 < result.ms_10 <= result.ms <= result.ms_90
        assert result.ratio > 0
        assert "tensorflow 2." in result.runtime
        assert result.inside == INSIDE[result.stage]
    by_stage = {r.stage: r.ms_10 for r in results[7:] if r.batch == 1}  # the least disturbed by others
    assert max(by_stage["model"], by_stage["crop"]) < by_stage["photo"]
    text = benchmark.format_table(results)
    assert text.startswith("| model ")
    for stage in STAGES:
        assert f"{stage}: {INSIDE[stage]}" in text


def test_peers_and_no_gpu(model: Path) -> None:
    peer = mediapipe_file()
    options = config(model, kinds=("float32",), stages=("model",), batches=(1,), peers=(str(peer),))
    assert [r.model for r in measure(options, "cpu", 1)] == [benchmark.REFERENCE, "tiny", "face_landmark"]
    options = replace(options, peers=("mediapipe",), stages=("model", "crop", "photo"))
    found = [r for r in measure(options, "cpu", 1) if r.model == "MediaPipe face_landmark (2 passes)"]
    assert [(r.stage, r.batch, r.precision) for r in found] == [
        ("model", 1, "as it is"),
        ("crop", 1, "as it is"),
        ("photo", 1, "as it is"),
    ]
    assert {r.file_bytes for r in found} == {peer.stat().st_size}
    options = replace(options, stages=("model",))
    assert [r.model for r in measure(replace(options, peers=()), "cpu", 2)] == [benchmark.REFERENCE, "tiny"]


def test_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    with benchmark.environment(benchmark.thread_environment("cpu", 3)):
        assert (os.environ["OMP_NUM_THREADS"], os.environ["CUDA_VISIBLE_DEVICES"]) == ("3", "-1")
    assert os.environ["OMP_NUM_THREADS"] == "7"
    assert "CUDA_VISIBLE_DEVICES" not in os.environ
    assert "CUDA_VISIBLE_DEVICES" not in benchmark.thread_environment("gpu", 3)


def test_a_model_is_timed_in_the_formats_that_it_has(model: Path) -> None:
    assert config(model, kinds=()).kinds_of(str(model)) == ("saved_model", "float32")
    assert config(model, kinds=("float32",)).kinds_of(str(model)) == ("float32",)
    assert BenchmarkConfig(("fast_dhm",)).kinds_of("fast_dhm") == ("saved_model", "float16")


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
    empty = tmp_path / "empty.png"
    cv2.imwrite(str(empty), np.zeros((64, 64, 3), np.uint8))
    with pytest.raises(InputError, match=r"empty.png: found no face, expected one"):
        measure(config(model, photo=empty, stages=("crop",), kinds=("float32",)), "cpu", 1)


def test_video_frame_and_a_reference_of_the_same_stage(monkeypatch: pytest.MonkeyPatch) -> None:
    class Worker:
        runtime, file_bytes = "mediapipe 0", 10

        def timer(self, stage: str) -> Callable[[int], np.ndarray]:
            return lambda count: np.full(count, 1.0)

    monkeypatch.setattr(facemesh, "start", lambda *_: Worker())
    options = BenchmarkConfig(
        ("fast_dhm",),
        PHOTO,
        ("float16",),
        ("model", "video_frame"),
        batches=(1,),
        peers=("facemesh",),
        rounds=1,
        turn_ms=0.1,
    )
    network, mesh, model, frame = measure(options, "cpu", 1)
    assert (mesh.model, mesh.stage, mesh.batch, mesh.ms) == (facemesh.NAME, "video_frame", 30, 1000.0)
    assert model.reference == f"{network.model}, model"
    assert (frame.stage, frame.batch) == ("video_frame", 30)
    assert frame.reference == "MediaPipe FaceMesh, video_frame"
    assert frame.ratio == pytest.approx(frame.ms / 1000.0)


def test_stages_by_what_is_given(model: Path) -> None:
    assert config(model).chosen_stages == get_args(Stage)
    assert config(model, photo=None).chosen_stages == ("model",)
    assert config(model, stages=("cut",)).chosen_stages == ("cut",)
    with pytest.raises(InputError, match="photo: found none"):
        config(model, photo=None, stages=("model", "photo"))
