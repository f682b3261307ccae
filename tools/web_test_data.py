"""Write the test data of the browser package: `python tools/web_test_data.py`.

`web/test/data` receives pictures, a video and a recording of a camera, made from the test portrait, and
`expected.json` with the answers of the Python package, to which the tests in `web/` compare theirs.
"""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tf_dhm.core.cli import run_script

import cv2

from tf_dhm import Aligner
from tf_dhm.core.command_line import parse_options
from tf_dhm.core.types import Array, Image
from tf_dhm.face import geometry
from tf_dhm.face.expression import expressions, face_units
from tf_dhm.face.fit import FaceFit, open_face_fitter
from tf_dhm.face.heatmap import diffusion_heatmap
from tf_dhm.face.mean_face import mean_shape
from tf_dhm.runtime import crops, detector, store, tracking
from tf_dhm.runtime.detector import Detection
from tf_dhm.runtime.faces import Face
from tf_dhm.runtime.finding import Found, merge
from tf_dhm.runtime.images import read_photo
from tf_dhm.runtime.predictor import Prediction
from tf_dhm.runtime.settings import SmoothingConfig
from tf_dhm.runtime.smoothing import OneEuroFilter
from tf_dhm.runtime.tflite import find_tflite
from tf_dhm.runtime.tracking import Tracker

ROOT = Path(__file__).resolve().parents[1]
PORTRAIT = ROOT / "tests" / "data" / "astronaut.jpg"
OUTPUT = ROOT / "web" / "test" / "data"
PHOTOS = ("portrait.jpg", "two_faces.png", "upside_down.png", "no_face.png")
CLOSE_UPS = {
    "twice.png": (slice(80, 200), slice(170, 280)),
    "doubtful.png": (slice(95, 150), slice(185, 250)),
    "last_look.png": (slice(110, 180), slice(185, 270)),
}
"""Rows and columns of the portrait in which the first look finds the face twice, finds something that is no
face, and in which only the last look finds anything."""
FRAME_SIZE = (640, 480)
FRAMES = 60
FRAME_RATE = 30


@dataclass(frozen=True)
class Config:
    """Folder to which the test data is written."""

    output: Path = OUTPUT
    """Folder, created if it does not exist."""


def write(folder: Path) -> None:
    """Write everything."""
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copy(PORTRAIT, folder / "portrait.jpg")
    portrait = read_photo(PORTRAIT).pixels
    save_png(folder / "two_faces.png", two_faces(portrait))
    save_png(folder / "upside_down.png", portrait[::-1, ::-1])
    save_png(folder / "no_face.png", np.full((200, 300, 3), 127, np.uint8))
    for name, part in CLOSE_UPS.items():
        save_png(folder / name, close_up(portrait, part))
    save_png(folder / "crowd.png", crowd(portrait))
    (folder / "broken.jpg").write_bytes(PORTRAIT.read_bytes()[:200])
    frames = moving_face(portrait)
    write_camera(folder / "camera.mjpeg", frames)
    write_video(folder / "video.webm", frames)
    write_video(folder / "wide.webm", [frame[60:420] for frame in frames[:30]])
    expected = {
        "photos": expected_photos(folder),
        "geometry": expected_geometry(),
        "sampling": expected_sampling(),
        "detection": expected_detection(),
        "finding": expected_finding(folder),
        "merging": expected_merging(),
        "fits": expected_fits(),
        "smoothing": expected_smoothing(),
        "tracking": [expected_tracking(turned) for turned in (False, True)],
    }
    (folder / "expected.json").write_text(json.dumps(expected, default=to_list), encoding="utf-8")


def to_list(value: Any) -> Any:
    """NumPy values as JSON types."""
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()
    raise TypeError(f"{type(value).__name__} has no JSON type")


# Pictures ---------------------------------------------------------------------------------------------


def save_png(path: Path, image: Image) -> None:
    if not cv2.imwrite(str(path), cv2.cvtColor(image, cv2.COLOR_RGB2BGR)):
        raise OSError(f"{path}: OpenCV could not write the picture")


def two_faces(portrait: Image) -> Image:
    """The head of the portrait twice: as it is, and mirrored, smaller and turned."""
    head = portrait[:256, 100:356]
    size = head.shape[0]
    turn = cv2.getRotationMatrix2D((size / 2, size / 2), 20.0, 0.8)
    other = cv2.warpAffine(head[:, ::-1].copy(), turn, (size, size), borderMode=cv2.BORDER_CONSTANT,
                           borderValue=(200, 195, 190))  # fmt: skip
    return np.concatenate([head, other], axis=1)


def close_up(portrait: Image, part: tuple[slice, slice]) -> Image:
    """A part of the face of the portrait, which fills the picture."""
    return np.asarray(cv2.resize(portrait[part], None, fx=4, fy=4, interpolation=cv2.INTER_CUBIC), np.uint8)


def crowd(portrait: Image) -> Image:
    """A large picture with faces that only tiles show, one of them across the edge of a tile."""
    picture = np.full((1500, 2200, 3), 150, np.uint8)
    head = portrait[:256, 100:356]
    for side, x, y in ((100, 150, 150), (100, 830, 700), (110, 1500, 1200), (400, 1700, 300)):
        small = cv2.resize(head, (side, side), interpolation=cv2.INTER_AREA)
        picture[y : y + side, x : x + side] = small
    return picture


def moving_face(portrait: Image) -> list[Image]:
    """Frames in which the portrait moves on a circle and is turned to and fro."""
    width, height = FRAME_SIZE
    frames = []
    for number in range(FRAMES):
        phase = 2 * np.pi * number / FRAMES
        matrix = cv2.getRotationMatrix2D((224.0, 130.0), 10 * np.sin(phase), 1.4)
        shift = [width / 2 - 224 + 60 * np.cos(phase), height / 2 - 130 + 30 * np.sin(phase)]
        matrix = matrix + np.array([[0, 0, shift[0]], [0, 0, shift[1]]])
        frame = cv2.warpAffine(portrait, matrix, FRAME_SIZE, borderValue=(90, 90, 90))
        frames.append(np.asarray(frame, np.uint8))
    return frames


def write_camera(path: Path, frames: Sequence[Image]) -> None:
    """A file that Chromium plays as its camera: JPEG pictures in a row."""
    encoded = [cv2.imencode(".jpg", cv2.cvtColor(frame, cv2.COLOR_RGB2BGR))[1].tobytes() for frame in frames]
    path.write_bytes(b"".join(encoded))


def write_video(path: Path, frames: Sequence[Image]) -> None:
    height, width = frames[0].shape[:2]
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"VP80"), FRAME_RATE, (width, height))
    if not writer.isOpened():
        raise OSError(f"{path}: OpenCV could not write a VP8 video")
    for frame in frames:
        writer.write(cv2.cvtColor(frame, cv2.COLOR_RGB2BGR))
    writer.release()


def expected_photos(folder: Path) -> dict[str, Any]:
    """Faces of each photo and model: detected, and in given boxes with one and two passes."""
    answers: dict[str, Any] = {}
    for name in web_models():
        model = str(find_tflite(name, "web"))
        aligner, refined = Aligner(model), Aligner(model, passes=2)
        for photo in PHOTOS:
            path = folder / photo
            detected = aligner.align(path)
            boxes = [geometry.landmark_box(face.landmarks) for face in detected]
            answers.setdefault(name, {})[photo] = {
                "detected": [exact(face) for face in detected],
                "boxes": boxes,
                "one_pass": [exact(face) for face in aligner.align(path, boxes)],
                "two_passes": [exact(face) for face in refined.align(path, boxes)],
            }
    return answers


def web_models() -> list[str]:
    """Names of the models with a web file."""
    return sorted(
        folder.name
        for folder in store.SAVEDMODELS.iterdir()
        if folder.is_dir() and any(folder.glob(f"*/{folder.name}_web.tflite"))
    )


def exact(face: Face) -> dict[str, Any]:
    """A face as JSON types, not rounded."""
    return {
        "box": face.box,
        "score": face.score,
        "pose": dict(zip(("pitch", "yaw", "roll"), face.pose.tolist(), strict=True)),
        "landmarks": face.landmarks,
        "visibility": face.visibility,
        "confidence": face.confidence,
        **({} if face.mesh is None else {"mesh": exact_fit(face.mesh)}),
    }


# Functions --------------------------------------------------------------------------------------------


def random_faces(count: int, seed: int) -> list[Array]:
    """The mean face with noise, turned, moved and scaled at random: (68, 3) pixels each."""
    rng = np.random.default_rng(seed)
    flip = np.array([1.0, -1.0, 1.0])
    faces = []
    for _ in range(count):
        angles = rng.uniform([-0.5, -1.4, -3.0], [0.5, 1.4, 3.0])
        shape = (mean_shape() + rng.normal(0, 0.02, mean_shape().shape)) * flip
        turned = shape @ geometry.rotation_matrix(*angles).T * flip
        faces.append(turned * rng.uniform(8, 300) + rng.uniform([0, 0, -9], [600, 400, 9]))
    return faces


def expected_geometry() -> list[dict[str, Any]]:
    cases = []
    for landmarks in random_faces(12, seed=1):
        roll = float(crops.upright_roll(landmarks))
        box = crops.upright_boxes(landmarks[None], np.array([roll]))[0]
        square = geometry.crop_square(box)
        matrix = geometry.crop_to_image(square, 112, roll)
        in_crop = geometry.transform_landmarks(geometry.invert_affine(matrix), landmarks)
        cases.append(
            {
                "landmarks": landmarks,
                "pose": geometry.pose_from_landmarks(landmarks, mean_shape()),
                "residual": tracking.shape_residual(landmarks),
                "roll": roll,
                "box": box,
                "square": square,
                "matrix": matrix,
                "in_crop": in_crop,
                "heatmap": diffusion_heatmap(in_crop, 112)[::4, ::4],
            }
        )
    return cases


def expected_sampling() -> dict[str, Any]:
    """Crops and letterboxes of a smooth picture, as OpenCV samples them."""
    rng = np.random.default_rng(2)
    image = np.asarray(cv2.resize(rng.integers(0, 256, (12, 16, 3)).astype(np.uint8), (80, 60)), np.uint8)
    places: tuple[tuple[tuple[float, ...], int, float], ...] = (
        ((10, 12, 50, 44), 32, 0.0),
        ((10, 12, 50, 44), 14, 0.4),
        ((-20, -9, 30, 40), 24, -0.7),
        ((60, 40, 90, 80), 8, 2.0),
        ((30.3, 20.7, 41.9, 33.3), 40, 0.1),
    )
    cut = []
    for box, size, roll in places:
        (crop,), (matrix,) = crops.cut_crops(image, [box], size, roll)
        cut.append({"box": box, "size": size, "roll": roll, "crop": crop, "matrix": matrix})
    letterboxes = []
    for size, margin in ((32, 1.0), (32, 2.0), (57, 1.5), (128, 1.0), (128, 2.0)):
        square, scale, offset = detector.letterbox(image, size, margin)
        letterboxes.append(
            {"size": size, "margin": margin, "square": square, "scale": scale, "offset": offset}
        )
    return {"image": image, "crops": cut, "letterboxes": letterboxes}


def expected_detection() -> dict[str, Any]:
    rng = np.random.default_rng(3)
    centres = detector.anchors()
    answers = np.zeros((len(centres), 16))
    answers[:, 2:4] = rng.uniform(20, 90, (len(centres), 2))
    answers[:, [0, 1, *range(4, 16)]] = rng.normal(0, 20, (len(centres), 14))
    scores = rng.uniform(0, 1, len(centres)) ** 4
    faces = detector.merge_answers(detector.decode(answers, centres), scores)
    merged = [{"points": points, "score": score} for points, score in faces]
    boxes = {
        reach: [
            detector.landmark_box_of_detection(points[0], points[1], points[2:], box_map)
            for points, _ in faces
        ]
        for reach, (_, _, box_map) in detector.NETWORKS.items()
    }
    tiles = [
        {"width": width, "height": height, "boxes": detector.tile_boxes(width, height)}
        for width, height in ((1000, 400), (333, 1777), (2001, 2001), (1, 1))
    ]
    return {
        "anchors": centres, "answers": answers, "scores": scores, "merged": merged, "boxes": boxes,
        "tiles": tiles,
    }  # fmt: skip


def expected_finding(folder: Path) -> list[dict[str, Any]]:
    """Photos with options of the search, in the names of both packages, and the faces found."""
    cases: tuple[tuple[str, dict[str, Any], dict[str, Any]], ...] = (
        ("crowd.png", {}, {}),
        ("crowd.png", {"tiles": False}, {"tiles": False}),
        *((photo, {}, {}) for photo in CLOSE_UPS),
        *((photo, {"detector": "short"}, {"detector": "short"}) for photo in CLOSE_UPS),
        *((photo, {"max_faces": 1}, {"maxFaces": 1}) for photo in CLOSE_UPS),
        ("two_faces.png", {"detector": "short"}, {"detector": "short"}),
        ("two_faces.png", {"max_faces": 1}, {"maxFaces": 1}),
        ("upside_down.png", {"detector": "short"}, {"detector": "short"}),
        ("portrait.jpg", {"min_confidence": 1.0}, {"minConfidence": 1}),
        ("portrait.jpg", {"mesh": True}, {"mesh": True}),
    )
    model = str(find_tflite(store.DEFAULT_MODEL, "web"))
    return [
        {
            "photo": photo,
            "options": in_browser,
            "faces": [exact(face) for face in Aligner(model, **options).align(folder / photo)],
        }
        for photo, options, in_browser in cases
    ]


def expected_merging() -> list[dict[str, Any]]:
    """Candidates that overlap more or less, and which of them stay."""
    rng = np.random.default_rng(8)
    cases = []
    for has_confidence in (True, False):
        faces = np.array(random_faces(12, seed=9))
        faces[6:, :, :2] = faces[:6, :, :2] * rng.uniform(0.7, 1.4, (6, 1, 1)) + rng.uniform(
            -20, 20, (6, 1, 2)
        )
        scores = rng.uniform(0.5, 1, 12)
        confidence = rng.uniform(0, 1, 12).astype(np.float32) if has_confidence else None
        number = np.arange(12.0)[:, None].repeat(4, 1)  # in place of the boxes, which are not compared
        kept = merge([Found(number, scores, Prediction(faces.astype(np.float32), None, confidence))])
        cases.append(
            {"landmarks": faces, "scores": scores, "confidence": confidence, "kept": kept.boxes[:, 0]}
        )
    return cases


def expected_fits() -> list[dict[str, Any]]:
    """Faces with visibility, their fits, and the fits of the next frame, which start from these."""
    rng = np.random.default_rng(10)
    faces = np.array(random_faces(6, seed=11)) + rng.normal(0, 0.5, (6, 68, 3))
    visibility = rng.uniform(0, 1, (6, 68))
    fitter = open_face_fitter()
    first = fitter.fit(faces, visibility, image_height=480.0)
    moved = faces + rng.normal(0, 2, (6, 1, 3))
    second = fitter.fit(moved, visibility, image_height=480.0, start=first)
    weights = face_units().weights(np.stack([fit.landmarks for fit in first]))
    return [
        {
            "visibility": visibility[row],
            "frames": [
                {"landmarks": landmarks[row], "fit": exact_fit(fits[row])}
                for landmarks, fits in ((faces, first), (moved, second))
            ],
            "weights": weights[row],
        }
        for row in range(len(faces))
    ]


def exact_fit(fit: FaceFit) -> dict[str, Any]:
    """A fit as JSON types, not rounded."""
    (expression,) = expressions([fit])
    return {
        "p": fit.p, "vertices": fit.vertices, "head": fit.head, "landmarks": fit.landmarks,
        "matrix": fit.matrix, "pose": fit.pose, "residual": fit.residual, "expression": expression,
    }  # fmt: skip


def expected_smoothing() -> list[dict[str, Any]]:
    rng = np.random.default_rng(4)
    smooth = OneEuroFilter(SmoothingConfig())
    frames, time = [], 0.0
    points = random_faces(1, seed=5)[0]
    for _ in range(20):
        time += float(rng.uniform(0.01, 0.1))
        points = points + rng.normal(0, 2, (1, 3)) + rng.normal(0, 0.5, points.shape)
        size = float(geometry.box_size(geometry.landmark_box(points)))
        frames.append({"time": time, "points": points, "size": size, "smoothed": smooth(time, points, size)})
    return frames


# Tracking ---------------------------------------------------------------------------------------------


class Recording:
    """Faces that move, a detector that misses some, and a model; every call is recorded.

    The upper left pixel of a frame is white, which tells a frame upside down. Faces are seen one way up only.
    """

    def __init__(self, seed: int, turned: bool) -> None:
        self.rng = np.random.default_rng(seed)
        self.turned = turned
        self.faces: list[Array] = []  # (68, 3) of the current frame
        self.calls: list[dict[str, Any]] = []

    def detect(self, image: Image) -> list[Detection]:
        found = []
        for landmarks in self.visible(image):
            if self.rng.uniform() < 0.85:
                box = geometry.landmark_box(landmarks) + self.rng.normal(0, 6, 4)
                found.append(Detection(box, float(self.rng.uniform(0.5, 1)), np.zeros((6, 2))))
        if self.rng.uniform() < 0.1:
            x, y = self.rng.uniform([0, 0], [500, 350])
            found.append(Detection(np.array([x, y, x + 90, y + 80]), 0.6, np.zeros((6, 2))))
        detections = [{"box": detection.box, "score": detection.score} for detection in found]
        self.calls.append({"turned": is_turned(image), "detections": detections})
        return found

    def visible(self, image: Image) -> list[Array]:
        return self.faces if is_turned(image) == self.turned else []

    def align(self, image: Image, boxes: Array) -> list[Face]:
        faces = []
        for box in boxes:
            landmarks, confidence = self.rng.normal(0, 1, (68, 3)) * 20 + [*box[:2], 0], 0.05
            for truth in self.visible(image):
                if detector.overlaps([box], [geometry.landmark_box(truth)])[0, 0] > 0.3:
                    landmarks = truth + self.rng.normal(0, 0.5, truth.shape)
                    confidence = float(self.rng.uniform(0.2, 1.0))
            points = landmarks.astype(np.float32)
            pose = np.degrees(geometry.pose_from_landmarks(points, mean_shape())).astype(np.float32)
            faces.append(Face(points, np.array(box), None, pose, confidence=confidence))
        faces_found = [exact(face) for face in faces]
        self.calls.append({"turned": is_turned(image), "boxes": boxes, "faces": faces_found})
        return faces


def is_turned(image: Image) -> bool:
    return bool(image[0, 0, 0] == 0)


def expected_tracking(turned: bool) -> list[dict[str, Any]]:
    """Frames of a world with three faces, upside down or not, and the calls and results of a `Tracker`."""
    shapes = [face - face.mean(0) for face in random_faces(3, seed=6)]
    shapes = [shape * 120 / np.ptp(shape[:, :2], axis=0).max() for shape in shapes]
    recording, frames = Recording(7, turned), []
    tracker = Tracker(recording.detect, recording.align)
    image: NDArray[np.uint8] = np.zeros((480, 640, 3), np.uint8)
    image[0, 0] = 255
    for number in range(150):
        centres = [
            [150 + 60 * np.sin(number / 9), 160, 0],
            [420 - 2 * number, 300 + 40 * np.sin(number / 20), 0],  # leaves the picture
            [500, 140 + (150 if number >= 60 else 0), 0],  # jumps
        ]
        present = [number < 80 or number > 95, True, number > 20]
        recording.faces = [
            shape + centre for shape, centre, seen in zip(shapes, centres, present, strict=True) if seen
        ]
        recording.calls = []
        time = (number + 1) / FRAME_RATE
        reported = tracker.update(image, time)
        faces = [exact(face) | {"id": face.id} for face in reported]
        frames.append({"time": time, "calls": recording.calls, "faces": faces})
    return frames


def main() -> None:
    config = parse_options(Config, description=__doc__)
    write(config.output)
    print(f"written: {config.output}")


if __name__ == "__main__":
    run_script(main)
