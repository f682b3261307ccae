"""Time exported models and other systems alternately in one run, and write a table and a JSON file.

    python benchmark.py --models fast_dhm fast_dhm_x2 --kinds float16 --threads 1
    python benchmark.py --photo PHOTO --peers mediapipe dlib facemesh=MEDIAPIPE_ENV/bin/python my_adapter.json
    python benchmark.py --reference mb05_120x120.tflite --output benchmark.json

In every round all of them are timed one after another, so that other work on the machine slows them alike.
"""

from __future__ import annotations

import contextlib
import json
import multiprocessing
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, get_args

from tf_dhm.core.cli import run_script

import cv2

from tf_dhm.core.command_line import parse_options
from tf_dhm.core.configuration import AtLeastOne, Positive, check_fields
from tf_dhm.core.errors import InputError
from tf_dhm.core.files import atomic_write
from tf_dhm.core.machine import describe_machine, processor_name
from tf_dhm.core.markdown import markdown_table
from tf_dhm.evaluation.cases import AS_IT_IS, Precision, model_cases, peer_cases, read_scene
from tf_dhm.evaluation.network_cases import tflite_case
from tf_dhm.evaluation.peers import facemesh
from tf_dhm.evaluation.peers.face_landmark import mediapipe_file
from tf_dhm.evaluation.timing import INSIDE, Case, Device, Measurement, Stage, take_turns
from tf_dhm.runtime.store import find_savedmodel, model_name
from tf_dhm.runtime.tflite import KINDS, find_tflite, tflite_name

REFERENCE = "mediapipe face_landmark"


@dataclass(frozen=True)
class BenchmarkConfig:
    """What to time.

    Attributes:
        models: model folders, or names of models of this project.
        photo: a photo with a face, required by all stages but "model".
        kinds: formats to time: the SavedModel, and the TFLite files that export.py writes beside it; empty:
            all that a model has.
        stages: parts of the work to time: model (the network alone), cut (cutting the crop), crop (both),
            photo (all that `Aligner` does with a decoded photo), photo_one_face (the same with
            `max_faces=1`), video_frame (all that `Tracker` does with a frame); empty: all of them, or
            "model" alone if no photo is given.
        threads: numbers of threads, each timed in a process of its own on as many CPUs; empty: 1 and one
            per CPU.
        batches: faces in one call of the stage model.
        peers: other systems (docs/peers.md), `.tflite` files, which are timed on random input, and
            `facemesh[=PYTHON]`, the whole package mediapipe, run by PYTHON if it is in an environment of
            its own.
        reference: TFLite file whose network the ratios are against; by default MediaPipe's
            face_landmark.tflite. Photos and video frames are compared with those of `facemesh` if it is
            among the peers.
        rounds: number of rounds, in each of which every model is timed.
        turn_ms: time of one model in a round, in milliseconds.
        runtime: TFLite interpreter: ai-edge-litert, tflite-runtime or tensorflow; by default the first of
            them that is installed.
        op_profile: also time every operation of the TFLite files, on one thread.
        output: JSON file to write.
    """

    models: tuple[str, ...] = ("fast_dhm_s", "fast_dhm_m", "fast_dhm_l", "fast_dhm", "fast_dhm_x2")
    photo: Path | None = None
    kinds: tuple[Precision, ...] = ()
    stages: tuple[Stage, ...] = ()
    threads: tuple[AtLeastOne, ...] = ()
    batches: tuple[AtLeastOne, ...] = (1, 32)
    peers: tuple[str, ...] = ()
    reference: Path | None = None
    rounds: AtLeastOne = 20
    turn_ms: Positive = 50.0
    runtime: str | None = None
    op_profile: bool = False
    output: Path | None = None

    def __post_init__(self) -> None:
        check_fields(self)
        for name in ("models", "batches"):
            if not getattr(self, name):
                raise InputError(f"{name}: found none, expected one or more")
        if self.photo is None and set(self.stages) - {"model"}:
            raise InputError(f"photo: found none, expected a photo with a face for {', '.join(self.stages)}")

    @property
    def chosen_stages(self) -> tuple[Stage, ...]:
        """The stages that are timed."""
        return self.stages or (get_args(Stage) if self.photo is not None else ("model",))

    def kinds_of(self, model: str) -> tuple[Precision, ...]:
        """The formats in which a model is timed.

        Raises:
            InputError: the model, or a file of a chosen kind, is missing.
        """
        folder = find_savedmodel(model)
        if not self.kinds:
            name = model_name(folder)
            return ("saved_model", *(kind for kind in KINDS if (folder / tflite_name(name, kind)).is_file()))
        for kind in self.kinds:
            if kind != "saved_model":
                find_tflite(model, kind)
        return self.kinds


def run(config: BenchmarkConfig) -> str:
    """Time everything, write the JSON file, and return the tables as text.

    Raises:
        InputError: a model, a file or the photo is missing or no such, or no face is on the photo.
    """
    kinds = {model: config.kinds_of(model) for model in config.models}  # checked before minutes are spent
    threads = config.threads or (1, os.cpu_count() or 1)
    groups: list[tuple[Device, int]] = [("cpu", count) for count in dict.fromkeys(threads)]
    if any("saved_model" in chosen for chosen in kinds.values()) and shutil.which("nvidia-smi"):
        groups.append(("gpu", max(threads)))
    results = []
    for device, count in groups:
        with environment(thread_environment(device, count)):
            results += in_new_process(measure, config, device, count)
    tables = [format_table(results)]
    report: dict[str, Any] = {
        "machine": describe_machine(),
        "load_average": os.getloadavg()[0],
        "rounds": config.rounds,
        "turn_ms": config.turn_ms,
        "results": [asdict(result) for result in results],
    }
    if config.op_profile:
        from tf_dhm.evaluation.operations import profile_operations  # here, because it loads pandas

        report["op_profile"] = {}
        for model in config.models:
            for kind in kinds[model]:
                if kind != "saved_model":
                    path = find_tflite(model, kind)
                    with environment(thread_environment("cpu", 1)):
                        profile = in_new_process(profile_operations, path, config.rounds)
                    report["op_profile"][path.stem] = profile.to_dict("records")
                    tables.append(f"{path.stem}, 1 thread\n{profile.to_string(index=False)}")
    if config.output is not None:
        with atomic_write(config.output) as temporary:
            temporary.write_text(json.dumps(report, indent=2) + "\n")
    head = f"{processor_name()}, {os.cpu_count()} CPUs, load average {report['load_average']:.1f}"
    return "\n\n".join([head, *tables])


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
    """Time all cases of one device and number of threads in this process and those that it starts.

    On Linux they share as many CPUs as threads: some systems of others choose their threads themselves.

    Returns:
        the references first, then the cases; nothing if there is no such device.
    """
    cv2.setNumThreads(threads)
    if device == "gpu":
        import tensorflow as tf

        if not tf.config.list_physical_devices("GPU"):
            return []
    title = f"{device}, {threads} threads"
    with on_cpus(threads):
        pairs = list(pair(make_reference(config, threads), make_cases(config, device, threads)))
        return take_turns(pairs, config.rounds, config.turn_ms / 1000.0, title)


@contextlib.contextmanager
def on_cpus(number: int) -> Iterator[None]:
    """Keep this process, and those it starts, on at most `number` CPUs, if the system can do that."""
    if not hasattr(os, "sched_setaffinity"):
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, sorted(before)[:number])
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def make_reference(config: BenchmarkConfig, threads: int) -> Case:
    """The network that the ratios are against."""
    if config.reference is None:
        return tflite_case(REFERENCE, mediapipe_file(), "float32", 1, threads, config.runtime)
    return tflite_case(config.reference.stem, config.reference, AS_IT_IS, 1, threads, config.runtime)


def pair(network: Case, cases: Iterator[Case]) -> Iterator[tuple[Case, Case]]:
    """Give every case its reference: FaceMesh in the same stage if there is one, else the network."""
    made = list(cases)
    whole = {case.stage: case for case in made if case.model == facemesh.NAME}
    yield network, network
    for case in made:
        stage = "photo" if case.stage == "photo_one_face" else case.stage
        yield whole.get(stage, network), case


def make_cases(config: BenchmarkConfig, device: Device, threads: int) -> Iterator[Case]:
    """Load models and peers; on a GPU the SavedModels alone run."""
    stages = config.chosen_stages
    scene = read_scene(config.photo) if config.photo is not None and set(stages) - {"model"} else None
    for model in config.models:
        for kind in config.kinds_of(model):
            if device == "cpu" or kind == "saved_model":
                yield from model_cases(
                    model, kind, stages, config.batches, scene, device, threads, config.runtime
                )
    if device == "cpu":
        for text in config.peers:
            yield from peer_cases(text, stages, scene, threads, config.runtime)


def format_table(results: list[Measurement]) -> str:
    """The measurements as a Markdown table, and what is inside each stage."""
    rows = [
        {
            "model": result.model,
            "runtime": result.runtime,
            "precision": result.precision,
            "device": result.device,
            "threads": result.threads,
            "stage": result.stage,
            "batch": result.batch,
            "bytes": result.file_bytes,
            "ms, 10–90 %": f"{result.ms_10:.3f}–{result.ms_90:.3f}",
            "ms": f"{result.ms:.3f}",
            "ms each": f"{result.ms_per_face:.3f}",
            "ratio": f"{result.ratio:.3f} ({result.ratio_10:.3f}–{result.ratio_90:.3f})",
            "to": result.reference,
        }
        for result in results
    ]
    stages = dict.fromkeys(result.stage for result in results)
    lines = [markdown_table(rows), *(f"{stage}: {INSIDE[stage]}" for stage in stages)]
    lines.append("ratio: median (10–90 %) over the rounds of the time per face or frame over the reference's")
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run with `arguments` (None: those of the command line) and end the process with the exit code."""
    run_script(lambda: print(run(parse_options(BenchmarkConfig, arguments, description=__doc__))))
