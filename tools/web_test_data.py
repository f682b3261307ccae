"""Write the test data of the browser package: `python tools/web_test_data.py`.

`web/test/data` receives pictures, a video and a recording of a camera, made from the test portrait, and
`expected.json` with the answers of the Python package, to which the tests in `web/` compare theirs.
"""

from __future__ import annotations

import json
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tf_dhm.core.cli import run_script

import cv2

from tf_dhm import Aligner
from tf_dhm.core.command_line import parse_options
from tf_dhm.face import geometry
from tf_dhm.face.expression import face_units
from tf_dhm.face.fit import open_face_fitter
from tf_dhm.face.heatmap import diffusion_heatmap
from tf_dhm.face.mean_face import mean_shape
from tf_dhm.runtime import crops, detector, store, tracking
from tf_dhm.runtime.finding import Found, merge
from tf_dhm.runtime.images import read_photo
from tf_dhm.runtime.predictor import Prediction
from tf_dhm.runtime.settings import SmoothingConfig
from tf_dhm.runtime.smoothing import OneEuroFilter
from tf_dhm.runtime.tflite import find_tflite
from tools.web_test_pictures import (
    close_up,
    crowd,
    moving_face,
    save_png,
    two_faces,
    write_camera,
    write_video,
)
from tools.web_test_recording import exact, exact_fit, expected_tracking, random_faces

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


# Functions --------------------------------------------------------------------------------------------


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
        ((-20.4, -9.2, 30.3, 40.1), 24, 0.0),
        ((60.3, 40.6, 90.1, 80.2), 8, 0.0),
        ((3.2, 4.1, 13.3, 15.2), 32, 0.0),
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


def main() -> None:
    config = parse_options(Config, description=__doc__)
    write(config.output)
    print(f"written: {config.output}")


if __name__ == "__main__":
    run_script(main)
