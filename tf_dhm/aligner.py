"""`Aligner`: the faces of a photo, with landmarks, box, score and pose."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tf_dhm import geometry
from tf_dhm.detector import FaceDetector
from tf_dhm.errors import InputError
from tf_dhm.geometry import Array
from tf_dhm.images import Photo, Source, read_photo
from tf_dhm.mean_face import mean_shape
from tf_dhm.predictor import LandmarkModel, Predictor, predict_boxes


@dataclass(frozen=True)
class Face:
    """A face of a photo or of a frame.

    Attributes:
        landmarks: (68, 3) float32, x and y in 0-based pixels of the photo, turned as its EXIF
            orientation says; z in pixels, larger is nearer to the camera.
        box: (4,) float64 landmark box x0, y0, x1, y1 in photo pixels, given or detected.
        score: of the detection, 0.5 to 1; None where the box was given or followed.
        pose: (3,) float32 pitch, yaw, roll in degrees, in the signs of 300W-LP's `Pose_Para`:
            roll is positive where the head is turned clockwise in the picture.
        id: in a video, of the face over its frames; None in a photo.
    """

    landmarks: NDArray[np.float32]
    box: Array
    score: float | None
    pose: NDArray[np.float32]
    id: int | None = None

    def as_dict(self) -> dict[str, Any]:
        """The face as JSON types; pixels to 1/1000, angles to 1/100. `id` only where there is one."""
        pose = zip(("pitch", "yaw", "roll"), self.pose.tolist(), strict=True)
        return {
            **({} if self.id is None else {"id": self.id}),
            "box": [round(value, 3) for value in self.box.tolist()],
            "score": None if self.score is None else round(self.score, 4),
            "pose": {name: round(angle, 2) for name, angle in pose},
            "landmarks": [[round(value, 3) for value in point] for point in self.landmarks.tolist()],
        }


class Aligner:
    """Finds faces and their landmarks.

    >>> faces = Aligner("fast_dhm").align("photo.jpg")  # doctest: +SKIP
    >>> faces[0].landmarks.shape  # doctest: +SKIP
    (68, 3)

    Args:
        model: a model's name, its folder or version folder, or a loaded model.
        passes: 2 runs the model once more on a crop normalised by the first landmarks.

    Raises:
        InputError: no such model, or one that cannot run `passes` passes.
    """

    def __init__(self, model: str | Path | LandmarkModel = "fast_dhm", passes: int = 1) -> None:
        self.predictor: LandmarkModel = Predictor(model) if isinstance(model, str | Path) else model
        if passes < 1:
            raise InputError(f"passes: found {passes}, expected 1 or more")
        if passes > 1 and not self.predictor.can_refine:
            raise InputError(f"model {self.predictor.name}: has no signature refine, so passes must be 1")
        self.passes = passes

    @cached_property
    def detector(self) -> FaceDetector:
        return FaceDetector()

    def align(self, image: Source | Photo, boxes: ArrayLike | None = None) -> list[Face]:
        """Find the landmarks of the faces of a photo.

        Args:
            image: path, encoded bytes, uint8 array (H, W, 3) RGB (others see `read_photo`), or
                what `read_photo` returned.
            boxes: (N, 4) landmark boxes x0, y0, x1, y1 in pixels of the photo; None: detected.

        Returns:
            the faces in the order of `boxes`, or by falling score; none is found: an empty list.

        Raises:
            InputError: an unreadable photo, or a box that is not finite, has no area or lies
                outside the photo.
        """
        photo = image if isinstance(image, Photo) else read_photo(image)
        scores: list[float | None]
        if boxes is None:
            detections = self.detector.detect(photo.pixels)
            scores = [detection.score for detection in detections]
            inner = np.array([detection.box for detection in detections]).reshape(-1, 4)
        else:
            given = check_boxes(boxes, photo)
            scores = [None] * len(given)
            inner = photo.boxes_to_pixels(given)
        landmarks = photo.to_original(predict_boxes(self.predictor, photo.pixels, inner, self.passes))
        # A box is two points.
        outer = photo.to_original(inner.reshape(-1, 2, 2)).reshape(-1, 4)
        poses = np.degrees(geometry.pose_from_landmarks(landmarks, mean_shape()))
        return [
            Face(points.astype(np.float32), box, score, pose.astype(np.float32))
            for points, box, score, pose in zip(landmarks, outer, scores, poses, strict=True)
        ]


def check_boxes(boxes: ArrayLike, photo: Photo) -> Array:
    """Boxes as (N, 4) float64, each with a part inside the photo, or InputError."""
    array = np.asarray(boxes, np.float64)
    if array.size == 0:
        return np.zeros((0, 4))
    if array.ndim != 2:
        raise InputError(f"boxes: found shape {array.shape}, expected (N, 4)")
    checked = geometry.check_box(array)
    x0, y0, x1, y1 = checked.T
    outside = (x0 >= photo.width) | (y0 >= photo.height) | (x1 <= 0) | (y1 <= 0)
    if outside.any():
        first = checked[np.flatnonzero(outside)[0]]
        raise InputError(
            f"box: found {first.tolist()}, expected a part of it inside the photo of "
            f"{photo.width} x {photo.height} pixels"
        )
    return checked
