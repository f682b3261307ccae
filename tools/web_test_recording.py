"""Made faces, and a recorded tracking of them that the browser's tracker has to repeat."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from tf_dhm.core.types import Array, Image
from tf_dhm.face import geometry
from tf_dhm.face.expression import expressions
from tf_dhm.face.fit import FaceFit
from tf_dhm.face.mean_face import mean_shape
from tf_dhm.runtime import detector
from tf_dhm.runtime.detector import Detection
from tf_dhm.runtime.faces import Face
from tf_dhm.runtime.tracking import Tracker
from tools.web_test_pictures import FRAME_RATE


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


def exact_fit(fit: FaceFit) -> dict[str, Any]:
    """A fit as JSON types, not rounded."""
    (expression,) = expressions([fit])
    return {
        "p": fit.p, "vertices": fit.vertices, "head": fit.head, "landmarks": fit.landmarks,
        "matrix": fit.matrix, "pose": fit.pose, "residual": fit.residual, "expression": expression,
    }  # fmt: skip


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
        return self.search(image, "detections")

    def glance(self, image: Image) -> list[Detection]:
        return self.search(image, "glance")

    def search(self, image: Image, kind: str) -> list[Detection]:
        found = []
        for landmarks in self.visible(image):
            if self.rng.uniform() < 0.85:
                box = geometry.landmark_box(landmarks) + self.rng.normal(0, 6, 4)
                found.append(Detection(box, float(self.rng.uniform(0.5, 1)), np.zeros((6, 2))))
        if self.rng.uniform() < 0.1:
            x, y = self.rng.uniform([0, 0], [500, 350])
            found.append(Detection(np.array([x, y, x + 90, y + 80]), 0.6, np.zeros((6, 2))))
        detections = [{"box": detection.box, "score": detection.score} for detection in found]
        self.calls.append({"turned": is_turned(image), kind: detections})
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
    tracker = Tracker(recording.detect, recording.align, glance=recording.glance)
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
