"""Models and systems of others as cases of a benchmark: from the network alone to whole photos and video."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Literal

import cv2
import numpy as np

from tf_dhm.core.errors import InputError
from tf_dhm.core.types import Array, Image
from tf_dhm.evaluation.network_cases import predict_call, tflite_case
from tf_dhm.evaluation.peers import facemesh
from tf_dhm.evaluation.peers.load import load_peer
from tf_dhm.evaluation.timing import VIDEO_FRAMES, Case, Device, Stage, local_timer
from tf_dhm.runtime.aligner import Aligner
from tf_dhm.runtime.crops import cut_crops
from tf_dhm.runtime.detector import FaceDetector
from tf_dhm.runtime.images import read_photo
from tf_dhm.runtime.predictor import predict_boxes
from tf_dhm.runtime.saved_model import SavedModelPredictor
from tf_dhm.runtime.tflite import Kind, TFLitePredictor, load_runtime
from tf_dhm.runtime.tracking import Tracker

Precision = Literal["saved_model"] | Kind
AS_IT_IS = "as it is"
"""The precision of systems of others."""
FRAME_SECONDS = 1 / 30


@dataclass(frozen=True)
class Scene:
    """What is aligned: a photo, the boxes (N, 4) of its faces, one or more, and frames made of it."""

    photo: Image
    boxes: Array
    frames: tuple[Image, ...]


def read_scene(path: Path) -> Scene:
    """Read a photo with a face; InputError if none is found."""
    photo = read_photo(path).pixels
    detections = FaceDetector().detect(photo)
    if not detections:
        raise InputError(f"{path}: found no face, expected one")
    return Scene(photo, np.stack([face.box for face in detections]), make_frames(photo))


def make_frames(photo: Image) -> tuple[Image, ...]:
    """VIDEO_FRAMES frames in which the photo moves by two pixels a frame, to the right and back again."""
    size = (photo.shape[1], photo.shape[0])
    shifts = [2 * min(index, VIDEO_FRAMES - index) for index in range(VIDEO_FRAMES)]
    return tuple(
        np.asarray(
            cv2.warpAffine(photo, np.array([[1.0, 0, x], [0, 1, 0]]), size, borderMode=cv2.BORDER_REPLICATE),
            np.uint8,
        )
        for x in shifts
    )


def model_cases(
    model: str,
    kind: Precision,
    stages: Sequence[Stage],
    batches: Sequence[int],
    scene: Scene | None,
    device: Device,
    threads: int,
    runtime: str | None,
) -> Iterator[Case]:
    """All stages and batches of one model in one precision."""
    predictor: SavedModelPredictor | TFLitePredictor
    if kind == "saved_model":
        predictor = SavedModelPredictor(model)
        everything = [path for path in predictor.version_dir.rglob("*") if path.is_file()]
        files = [path for path in everything if path.suffix != ".tflite"]
        runtime_name = f"SavedModel, {load_runtime('tensorflow')[0]}"
        name = predictor.name
    else:
        predictor = TFLitePredictor(model, kind, threads, runtime)
        files, runtime_name = [predictor.path], f"TFLite, {predictor.runtime}"
        name = predictor.name.removesuffix(f"_{kind}")
    size, total = predictor.input_size, sum(path.stat().st_size for path in files)

    def case(call: Callable[[], object], stage: Stage, batch: int = 1) -> Case:
        timer = local_timer(call)
        return Case(name, runtime_name, kind, device, threads, stage, batch, size, total, timer)

    if "model" in stages:
        for batch in batches:
            if isinstance(predictor, TFLitePredictor):
                yield tflite_case(name, predictor.path, kind, batch, threads, runtime)
            else:
                yield case(predict_call(predictor, batch), "model", batch)
    if scene is None:
        return
    photo, box = scene.photo, scene.boxes[:1]
    if "cut" in stages:
        yield case(lambda: cut_crops(photo, box, size), "cut")
    if "crop" in stages:
        yield case(lambda: predict_boxes(predictor, photo, box), "crop")
    if "photo" in stages:
        aligner = Aligner(predictor)
        yield case(lambda: aligner.align(photo), "photo", len(scene.boxes))
    if "photo_one_face" in stages:
        one = Aligner(predictor, max_faces=1)
        yield case(lambda: one.align(photo), "photo_one_face")
    if "video_frame" in stages:
        yield case(video_call(Aligner(predictor), scene.frames), "video_frame", VIDEO_FRAMES)


def video_call(aligner: Aligner, frames: Sequence[Image]) -> Callable[[], None]:
    """A call that follows the face of a video through some more frames."""
    tracker, numbers = Tracker.of(aligner), count()

    def call() -> None:
        for frame in frames:
            if not tracker.update(frame, next(numbers) * FRAME_SECONDS):
                raise InputError("video_frame: the tracker lost the face of the photo")

    return call


def peer_cases(
    text: str, stages: Sequence[Stage], scene: Scene | None, threads: int, runtime: str | None
) -> Iterator[Case]:
    """The stages of a system of others; "model" is one pass of its network, the others are all passes.

    A peer with landmarks only is given the faces of this project's detector in the stage "photo".
    """
    path = Path(text)
    if path.suffix == ".tflite":
        if "model" in stages:
            yield tflite_case(path.stem, path, AS_IT_IS, 1, threads, runtime)
        return
    if facemesh.is_facemesh(text):
        if scene is not None:
            yield from facemesh_cases(text, stages, scene, threads)
        return
    peer = load_peer(text, threads, runtime)

    def case(call: Callable[[], object], stage: Stage, batch: int = 1) -> Case:
        size, total, timer = peer.input_size, peer.file_bytes, local_timer(call)
        return Case(peer.name, peer.runtime, AS_IT_IS, "cpu", threads, stage, batch, size, total, timer)

    if "model" in stages:
        yield case(peer.network_call(), "model")
    if scene is None:
        return
    photo, boxes, detector = scene.photo, scene.boxes, FaceDetector()
    if "crop" in stages:
        yield case(lambda: peer.find([photo], boxes[:1]), "crop")
    if "photo" in stages:
        yield case(
            lambda: peer.find([photo] * len(boxes), [face.box for face in detector.detect(photo)]),
            "photo",
            len(boxes),
        )


def facemesh_cases(text: str, stages: Sequence[Stage], scene: Scene, threads: int) -> Iterator[Case]:
    """The whole of MediaPipe's FaceMesh on the same photo and frames."""
    wanted = [stage for stage in facemesh.STAGES if stage in stages]
    if not wanted:
        return
    worker = facemesh.start(text, scene.photo, scene.frames)
    for stage in wanted:
        batch = VIDEO_FRAMES if stage == "video_frame" else 1
        yield Case(
            facemesh.NAME,
            worker.runtime,
            AS_IT_IS,
            "cpu",
            threads,
            stage,
            batch,
            facemesh.INPUT_SIZE,
            worker.file_bytes,
            worker.timer(stage),
        )
