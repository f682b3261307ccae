"""Speed of exported models beside MediaPipe's, in one run.

Every model takes its turns right after a turn of MediaPipe's face_landmark.tflite, round after round,
and the ratio of the two is taken turn by turn: what else the machine does then hits both alike.
"""

from __future__ import annotations

import contextlib
import json
import math
import multiprocessing
import os
import shutil
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, Literal

import cv2
import numpy as np
import pandas as pd
from numpy.typing import NDArray
from tqdm import tqdm

from tf_dhm.core.errors import InputError
from tf_dhm.core.files import atomic_write
from tf_dhm.core.machine import describe_machine, processor_name
from tf_dhm.evaluation.peers.load import load_peer
from tf_dhm.evaluation.peers.mediapipe import mediapipe_file
from tf_dhm.runtime.aligner import Aligner
from tf_dhm.runtime.crops import cut_crops
from tf_dhm.runtime.detector import FaceDetector
from tf_dhm.runtime.images import read_photo
from tf_dhm.runtime.predictor import LandmarkModel, predict_boxes
from tf_dhm.runtime.saved_model import SavedModelPredictor
from tf_dhm.runtime.store import find_savedmodel
from tf_dhm.runtime.tflite import Kind, Network, TFLitePredictor, find_tflite, load_runtime

Stage = Literal["model", "cut", "crop", "detect"]
Precision = Literal["saved_model"] | Kind
Device = Literal["cpu", "gpu"]

INSIDE: dict[Stage, str] = {
    "model": "input copied in, network, landmarks copied out",
    "cut": "crop cut from the decoded photo; no network",
    "crop": "crop cut from the decoded photo, network, landmarks in photo pixels",
    "detect": "face detection, then crop and network, both passes; landmarks and pose (`Aligner.align`)",
}
REFERENCE = "mediapipe face_landmark"
AS_IT_IS = "as it is"
"""The precision of systems of others."""
WARM_UP_CALLS = 3
MIN_CALLS, MAX_CALLS = 3, 1000
"""Bounds of the calls in one turn."""
PERCENTILES = (10, 50, 90)


@dataclass(frozen=True)
class BenchmarkConfig:
    """What to time.

    Attributes:
        models: model folders, or names of models of this project.
        photo: a photo with a face, for all stages but the first.
        kinds: the SavedModel, and TFLite files as export.py puts them beside it.
        stages: model (the network alone), cut (crop alone), crop (crop + network), detect (all that
            `Aligner` does with a decoded photo).
        threads: numbers of threads, each timed in a process of its own; empty: 1 and one per CPU.
        batches: faces in one call of the stage model.
        peers: systems of others as `peers.load_peer` names them, and `.tflite` files, which are timed as
            they are, on random input.
        rounds: turns of every model.
        turn_ms: length of a turn in milliseconds.
        runtime: TFLite interpreter: ai-edge-litert, tflite-runtime or tensorflow; None: the first of
            them that is installed.
        op_profile: also time every operation of the TFLite files, on one thread.
        output: JSON file to write.
    """

    models: tuple[str, ...]
    photo: Path
    kinds: tuple[Precision, ...] = ("saved_model", "float32", "float16", "dynamic_range", "int8")
    stages: tuple[Stage, ...] = ("model", "cut", "crop", "detect")
    threads: tuple[int, ...] = ()
    batches: tuple[int, ...] = (1, 32)
    peers: tuple[str, ...] = ()
    rounds: int = 20
    turn_ms: float = 50.0
    runtime: str | None = None
    op_profile: bool = False
    output: Path | None = None

    def __post_init__(self) -> None:
        for name in ("models", "kinds", "stages", "batches"):
            if not getattr(self, name):
                raise InputError(f"{name}: found none, expected one or more")
        numbers = [("rounds", self.rounds), *(("threads", n) for n in self.threads)]
        numbers += [("batches", n) for n in self.batches]
        for name, number in numbers:
            if number < 1:
                raise InputError(f"{name}: found {number}, expected 1 or more")
        if not 0 < self.turn_ms < math.inf:
            raise InputError(f"turn_ms: found {self.turn_ms}, expected more than 0")


@dataclass(frozen=True)
class Subject:
    """What must be said with a time.

    Attributes:
        model: name.
        runtime: package and version.
        precision: saved_model, a kind of TFLite file, or AS_IT_IS.
        device, threads: what it runs on.
        stage: key of INSIDE.
        batch: faces in a call.
        input_size: side of the crops in pixels.
        file_bytes: of the model on disk.
    """

    model: str
    runtime: str
    precision: str
    device: Device
    threads: int
    stage: Stage
    batch: int
    input_size: int
    file_bytes: int


@dataclass(frozen=True)
class Case(Subject):
    """One thing to time: `call` does it once."""

    call: Callable[[], object] = field(repr=False)


@dataclass(frozen=True)
class Measurement(Subject):
    """Times of one case.

    Attributes:
        inside: what is inside the timing.
        calls: how many were timed.
        ms_10, ms, ms_90: percentiles 10, 50 and 90 of a call in milliseconds.
        ms_per_face: ms / batch.
        ratio_10, ratio, ratio_90: the same percentiles, over the rounds, of the median time per face
            over that of MediaPipe's network in the turn before (batch 1, as many threads, on the CPU).
    """

    inside: str
    calls: int
    ms_10: float
    ms: float
    ms_90: float
    ms_per_face: float
    ratio_10: float
    ratio: float
    ratio_90: float


COLUMNS = (
    "model",
    "runtime",
    "precision",
    "device",
    "threads",
    "stage",
    "batch",
    "input_size",
    "file_bytes",
    "ms_10",
    "ms",
    "ms_90",
    "ms_per_face",
    "ratio",
)
"""Of the printed table; the JSON file holds every field."""


def run(config: BenchmarkConfig) -> str:
    """Time everything, write the JSON file, and return the tables as text.

    Raises:
        InputError: a model, a file or the photo is missing or no such, or no face is on the photo.
    """
    for model in config.models:  # before minutes are spent
        for kind in config.kinds:
            if kind == "saved_model":
                find_savedmodel(model)
            else:
                find_tflite(model, kind)
    threads = config.threads or (1, os.cpu_count() or 1)
    groups: list[tuple[Device, int]] = [("cpu", count) for count in dict.fromkeys(threads)]
    if "saved_model" in config.kinds and shutil.which("nvidia-smi"):
        groups.append(("gpu", max(threads)))
    results = []
    for device, count in groups:
        with environment(thread_environment(device, count)):
            results += in_new_process(measure, config, device, count)
    tables = [format_table(results)]
    report: dict[str, Any] = {
        "machine": describe_machine(),
        "rounds": config.rounds,
        "turn_ms": config.turn_ms,
        "reference": REFERENCE,
        "results": [asdict(result) for result in results],
    }
    if config.op_profile:
        report["op_profile"] = {}
        for model in config.models:
            for kind in config.kinds:
                if kind != "saved_model":
                    path = find_tflite(model, kind)
                    with environment(thread_environment("cpu", 1)):
                        profile = in_new_process(profile_operations, path, config.rounds)
                    report["op_profile"][path.stem] = profile.to_dict("records")
                    tables.append(f"{path.stem}, tensorflow, 1 thread\n{profile.to_string(index=False)}")
    if config.output is not None:
        with atomic_write(config.output) as temporary:
            temporary.write_text(json.dumps(report, indent=2) + "\n")
    return "\n\n".join([f"{processor_name()}, {os.cpu_count()} CPUs", *tables])


def in_new_process(function: Callable[..., Any], *arguments: Any) -> Any:
    """Call a function in a process of its own: TensorFlow's threads are fixed once it is loaded."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        return pool.submit(function, *arguments).result()


def thread_environment(device: Device, threads: int) -> dict[str, str]:
    """Environment variables by which libraries choose their threads and device when loaded."""
    names = ("TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS", "OMP_NUM_THREADS")
    variables = dict.fromkeys(names, str(threads))
    if device == "cpu":
        variables["CUDA_VISIBLE_DEVICES"] = "-1"
    return variables


@contextlib.contextmanager
def environment(variables: dict[str, str]) -> Iterator[None]:
    """Set environment variables for a while."""
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def measure(config: BenchmarkConfig, device: Device, threads: int) -> list[Measurement]:
    """Time all cases of one device and number of threads in this process.

    Returns:
        the reference first, then the cases; nothing where there is no such device.
    """
    cv2.setNumThreads(threads)
    if device == "gpu":
        import tensorflow as tf

        if not tf.config.list_physical_devices("GPU"):
            return []
    reference = tflite_case(REFERENCE, mediapipe_file(), "float32", 1, threads, config.runtime)
    cases = list(make_cases(config, device, threads))
    return take_turns(
        reference, cases, config.rounds, config.turn_ms / 1000.0, f"{device}, {threads} threads"
    )


def make_cases(config: BenchmarkConfig, device: Device, threads: int) -> Iterator[Case]:
    """Load models and peers; on a GPU the SavedModels alone run."""
    photo = read_photo(config.photo).pixels if set(config.stages) - {"model"} else None
    for model in config.models:
        for kind in config.kinds:
            if device == "cpu" or kind == "saved_model":
                yield from model_cases(config, model, kind, photo, device, threads)
    if device == "cpu":
        for text in config.peers:
            path = Path(text)
            if path.suffix == ".tflite":
                yield tflite_case(path.stem, path, AS_IT_IS, 1, threads, config.runtime)
            else:
                yield from peer_cases(config, text, photo, threads)


def peer_cases(
    config: BenchmarkConfig, text: str, photo: NDArray[np.uint8] | None, threads: int
) -> Iterator[Case]:
    """The stages of a system of others; "model" is one pass of its network, the others are all passes."""
    peer = load_peer(text, threads, config.runtime)

    def case(call: Callable[[], object], stage: Stage, batch: int = 1) -> Case:
        size, total = peer.input_size, peer.file_bytes
        return Case(peer.name, peer.runtime, AS_IT_IS, "cpu", threads, stage, batch, size, total, call)

    if "model" in config.stages:
        yield case(peer.network_call(), "model")
    if photo is not None:
        detector = FaceDetector()
        found = detected_boxes(detector, photo, config.photo)
        if "crop" in config.stages:
            yield case(lambda: peer.find([photo], found[:1]), "crop")
        if "detect" in config.stages:
            yield case(
                lambda: peer.find([photo] * len(found), [face.box for face in detector.detect(photo)]),
                "detect",
                len(found),
            )


def detected_boxes(detector: FaceDetector, photo: NDArray[np.uint8], path: Path) -> NDArray[np.floating]:
    """The boxes (N, 4) of the faces on the photo of a benchmark, at least one."""
    detections = detector.detect(photo)
    if not detections:
        raise InputError(f"{path}: found no face, expected one")
    return np.stack([face.box for face in detections])


def model_cases(
    config: BenchmarkConfig,
    model: str,
    kind: Precision,
    photo: NDArray[np.uint8] | None,
    device: Device,
    threads: int,
) -> Iterator[Case]:
    """All stages and batches of one model in one precision."""
    predictor: SavedModelPredictor | TFLitePredictor
    if kind == "saved_model":
        predictor = SavedModelPredictor(model)
        everything = [path for path in predictor.version_dir.rglob("*") if path.is_file()]
        files = [path for path in everything if path.suffix != ".tflite"]
        package = "tensorflow"
        runtime = f"SavedModel, {load_runtime(package)[0]}"
        name = predictor.name
    else:
        predictor = TFLitePredictor(model, kind, threads, config.runtime)
        files, runtime = [predictor.path], f"TFLite, {predictor.runtime}"
        name = predictor.name.removesuffix(f"_{kind}")
    size, total = predictor.input_size, sum(path.stat().st_size for path in files)

    def case(call: Callable[[], object], stage: Stage, batch: int) -> Case:
        return Case(name, runtime, kind, device, threads, stage, batch, size, total, call)

    if "model" in config.stages:
        for batch in config.batches:
            if isinstance(predictor, TFLitePredictor):
                yield tflite_case(name, predictor.path, kind, batch, threads, config.runtime)
            else:
                yield case(predict_call(predictor, batch), "model", batch)
    if photo is not None:
        detector = FaceDetector()
        found = detected_boxes(detector, photo, config.photo)
        if "cut" in config.stages:
            yield case(lambda: cut_crops(photo, found[:1], size), "cut", 1)
        if "crop" in config.stages:
            yield case(lambda: predict_boxes(predictor, photo, found[:1]), "crop", 1)
        if "detect" in config.stages:
            aligner = Aligner(predictor)
            yield case(lambda: aligner.align(photo), "detect", len(found))


def predict_call(predictor: LandmarkModel, batch: int) -> Callable[[], object]:
    crops = random_input((batch, predictor.input_size, predictor.input_size, 3), np.uint8)
    return lambda: predictor.predict(crops)


def tflite_case(name: str, path: Path, precision: str, batch: int, threads: int, runtime: str | None) -> Case:
    """The network of any TFLite file with one input, on random input."""
    network = Network(path, threads, runtime)
    if len(network.inputs) != 1 or len(network.inputs[0]["shape"]) != 4:
        found = [tensor["shape"].tolist() for tensor in network.inputs]
        raise InputError(f"{path}: found inputs of the shapes {found}, expected one image")
    shape = (batch, *network.inputs[0]["shape"][1:].tolist())
    image = random_input(shape, network.inputs[0]["dtype"])
    runtime_name = f"TFLite, {network.runtime}"
    size = path.stat().st_size

    def call() -> list[NDArray[Any]]:
        return network.run(image)

    return Case(name, runtime_name, precision, "cpu", threads, "model", batch, shape[1], size, call)


def random_input(shape: tuple[int, ...], dtype: Any) -> NDArray[Any]:
    """Noise in the range of pixels: 0 to 255 for integers, 0 to 1 for floats."""
    rng = np.random.default_rng(0)
    if np.issubdtype(dtype, np.integer):
        return rng.integers(0, 256, shape).astype(dtype)
    return rng.random(shape).astype(dtype)


def take_turns(
    reference: Case, cases: list[Case], rounds: int, turn_seconds: float, title: str
) -> list[Measurement]:
    """Time the cases in turns, each after a turn of the reference.

    Returns:
        the reference, then the cases in their order.
    """
    counts = [calls_in_turn(case, turn_seconds) for case in (reference, *cases)]
    seconds: list[list[NDArray[np.float64]]] = [[] for _ in counts]
    ratios: list[list[float]] = [[] for _ in counts]
    for _ in tqdm(range(rounds), title, unit="round"):
        for number, case in enumerate(cases, start=1):
            base = time_calls(reference.call, counts[0])
            own = time_calls(case.call, counts[number])
            seconds[0].append(base)
            seconds[number].append(own)
            ratios[number].append(float(np.median(own) / case.batch / np.median(base)))
        if not cases:
            seconds[0].append(time_calls(reference.call, counts[0]))
    ratios[0] = [1.0]
    return [
        summarize(case, np.concatenate(times), shares)
        for case, times, shares in zip((reference, *cases), seconds, ratios, strict=True)
    ]


def calls_in_turn(case: Case, turn_seconds: float) -> int:
    """How many calls fill a turn; also warms up."""
    for _ in range(WARM_UP_CALLS):
        case.call()
    return int(np.clip(turn_seconds / time_calls(case.call, MIN_CALLS).min(), MIN_CALLS, MAX_CALLS))


def time_calls(call: Callable[[], object], count: int) -> NDArray[np.float64]:
    """Seconds of each of `count` calls; one more before them fetches its data into the caches."""
    call()
    seconds = np.empty(count)
    for index in range(count):
        begin = time.perf_counter_ns()
        call()
        seconds[index] = time.perf_counter_ns() - begin
    return seconds * 1e-9


def summarize(case: Case, seconds: NDArray[np.float64], ratios: list[float]) -> Measurement:
    """Percentiles of the calls of a case, and of its ratios to the reference."""
    low, middle, high = (float(value) for value in np.percentile(seconds * 1000.0, PERCENTILES))
    ratio_low, ratio, ratio_high = (float(value) for value in np.percentile(ratios, PERCENTILES))
    return Measurement(
        **{subject.name: getattr(case, subject.name) for subject in fields(Subject)},
        inside=INSIDE[case.stage],
        calls=len(seconds),
        ms_10=low,
        ms=middle,
        ms_90=high,
        ms_per_face=middle / case.batch,
        ratio_10=ratio_low,
        ratio=ratio,
        ratio_90=ratio_high,
    )


def profile_operations(path: Path, rounds: int) -> pd.DataFrame:
    """Time of each operation of a TFLite file on one thread, with tensorflow's interpreter.

    No interpreter tells the times of operations within XNNPACK, so the graph is cut behind every
    operation, and an operation is given what its graph takes more than the one before.

    Args:
        path: of the file; its first signature is timed.
        rounds: turns of every cut graph, of 20 calls each; their fastest decile counts.

    Returns:
        columns operation, output (shape), us, total_us (up to and with it), in their order.
    """
    from tensorflow.lite.tools import flatbuffer_utils

    model = flatbuffer_utils.read_model(str(path))
    model.subgraphs, model.signatureDefs = model.subgraphs[:1], []
    graph = model.subgraphs[0]
    operators = graph.operators
    calls = []
    for count in range(1, len(operators) + 1):
        graph.operators, graph.outputs = operators[:count], operators[count - 1].outputs
        content = bytes(flatbuffer_utils.convert_object_to_bytearray(model))
        network = Network(content, runtime="tensorflow")
        details = network.inputs[0]
        network.run(random_input(tuple(details["shape"]), details["dtype"]))
        calls.append(network.interpreter.invoke)
    turns = [[time_calls(call, 20) for call in calls] for _ in tqdm(range(rounds), path.stem, unit="round")]
    totals = np.percentile(np.concatenate(turns, axis=1), 10, axis=1) * 1e6  # (operations,)
    return pd.DataFrame(
        {
            "operation": [
                flatbuffer_utils.opcode_to_name(model, operator.opcodeIndex) for operator in operators
            ],
            "output": [
                "x".join(map(str, graph.tensors[operator.outputs[0]].shape)) for operator in operators
            ],
            "us": np.diff(totals, prepend=0.0).round(1),
            "total_us": totals.round(1),
        }
    )


def format_table(results: list[Measurement]) -> str:
    """The measurements as text, one line each, and what is inside each stage."""
    table = pd.DataFrame([{name: getattr(result, name) for name in COLUMNS} for result in results])
    lines = [table.to_string(index=False, float_format=lambda value: f"{value:.3f}")]
    stages = dict.fromkeys(result.stage for result in results)
    lines += [f"{stage}: {INSIDE[stage]}" for stage in stages]
    lines.append(f"ratio: time per face over that of {REFERENCE} in the turn before, on as many threads")
    return "\n".join(lines)
