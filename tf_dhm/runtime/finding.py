"""Finding the faces of photos: looks of the detector, landmarks in what they find, one entry for each face.

One look of the detector errs in ways that its score does not show: in a photo that a face fills, it takes an
eye or a mouth for a face, or finds the face twice. The confidence of the landmarks does show it. So every
look is judged by the landmarks found, further looks follow while no face is beyond doubt, and of candidates
whose landmarks share a place the most confident stays. docs/detector.md has the figures.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tf_dhm.core.types import Array, Image
from tf_dhm.face import geometry
from tf_dhm.runtime.detector import Detection, FaceDetector, Range, distinct_faces, in_original
from tf_dhm.runtime.images import Photo, Source, read_photo
from tf_dhm.runtime.predictor import Prediction, join_predictions
from tf_dhm.runtime.settings import Choice

Predict = Callable[[Sequence[Image], Sequence[Array]], list[Prediction]]
"""Photos, and of each the boxes (N, 4) -> of each what is in its boxes."""

LOOKS: dict[Choice, tuple[tuple[Range, float], ...]] = {
    "full": (("full", 1.0), ("short", 1.5), ("short", 2.0), ("full", 2.0)),
    "short": (("short", 1.0), ("short", 1.5), ("short", 2.0)),
    "auto": (("short", 1.0), ("short", 1.5), ("full", 1.0), ("full", 2.0)),
}
"""(network, margin) of the looks in their order. A face that fills the photo is found with a margin, and is
large enough for the short range."""
SURE = 0.8
"""A face of this confidence is beyond doubt, and ends the search."""
SAME_PLACE = 0.3
"""Candidates whose boxes of landmarks overlap by more than this (IoU) are one face."""
INSIDE = 0.6
"""So are two of which this share of the smaller one's box lies in the other's."""


@dataclass(frozen=True, eq=False)
class Found:
    """The faces found in a photo so far, N of them.

    Attributes:
        boxes: (N, 4) landmark boxes of the detections in pixels.
        scores: (N,) of the detections.
        prediction: of the model in those boxes.
    """

    boxes: Array
    scores: Array
    prediction: Prediction

    @property
    def trust(self) -> Array:
        """(N,) confidence, or the detection's score from a model without confidence."""
        confidence = self.prediction.confidence
        return self.scores if confidence is None else np.asarray(confidence, np.float64)

    def take(self, rows: ArrayLike) -> Found:
        """Some of the faces, in this order."""
        index = np.asarray(rows, np.intp)
        values = {field.name: getattr(self.prediction, field.name) for field in fields(Prediction)}
        taken: dict[str, Any] = {
            name: None if value is None else value[index] for name, value in values.items()
        }
        return Found(self.boxes[index], self.scores[index], Prediction(**taken))


class FaceFinder:
    """Searches photos for faces and their landmarks.

    Args:
        choice: see `Choice`.
        max_faces: most faces of a photo that are wanted; None: all.
        threads: of the detector.
    """

    def __init__(self, choice: Choice = "auto", max_faces: int | None = None, threads: int = 1) -> None:
        self.choice, self.max_faces, self._threads = choice, max_faces, threads
        self._looks = LOOKS["full" if choice == "auto" and max_faces != 1 else choice]
        self._detectors: dict[Range, FaceDetector] = {}

    def detect(self, image: Source | Photo, tiles: bool = False) -> list[Detection]:
        """Find the boxes of a photo's faces: all those of the first look that sees one.

        Args:
            image: whatever `images.read_photo` takes, for example uint8 (H, W, 3) RGB.
            tiles: whether small faces are found, too; see `FaceDetector.detect_in_tiles`.

        Returns:
            the faces by falling score, in pixels of the original photo.

        Raises:
            InputError: no readable photo.
        """
        photo = read_photo(image)
        small = self._detector("full").detect_in_tiles(photo) if tiles else []
        for reach, margin in self._looks:
            detections = self._detector(reach).look(photo.pixels, margin)
            if detections:
                return distinct_faces([*in_original(photo, detections), *small])
        return small

    def glance(self, image: Source | Photo) -> list[Detection]:
        """Find the boxes of large faces in one look of the short range; as `detect`."""
        photo = read_photo(image)
        return in_original(photo, self._detector("short").look(photo.pixels))

    def find(self, images: Sequence[Image], predict: Predict) -> list[Found]:
        """Find the faces of photos and their landmarks.

        Args:
            images: (H, W, 3) uint8 RGB.
            predict: finds the landmarks in boxes of several photos.

        Returns:
            of each photo its faces, by falling score of their detection.
        """
        found: dict[int, Found] = {}
        pending = list(range(len(images)))
        for reach, margin in self._looks:
            if not pending:
                break
            looks = [self._detector(reach).look(images[row], margin) for row in pending]
            boxes = [np.array([face.box for face in faces]).reshape(-1, 4) for faces in looks]
            predictions = predict([images[row] for row in pending], boxes)
            for row, faces, box, prediction in zip(pending, looks, boxes, predictions, strict=True):
                new = Found(box, np.array([face.score for face in faces]), prediction)
                found[row] = merge([found[row], new] if row in found else [new])
            pending = [row for row in pending if not (found[row].trust >= SURE).any()]
        return [found[row] for row in range(len(images))]

    def find_in_tiles(self, images: Sequence[Image], predict: Predict) -> list[Found]:
        """Find the small faces of photos and their landmarks; see `FaceDetector.detect_in_tiles`."""
        if not images:
            return []
        looks = [self._detector("full").detect_in_tiles(image) for image in images]
        boxes = [np.array([face.box for face in faces]).reshape(-1, 4) for faces in looks]
        return [
            merge([Found(box, np.array([face.score for face in faces]), prediction)])
            for faces, box, prediction in zip(looks, boxes, predict(images, boxes), strict=True)
        ]

    def _detector(self, reach: Range) -> FaceDetector:
        if reach not in self._detectors:
            self._detectors[reach] = FaceDetector(self._threads, reach=reach)
        return self._detectors[reach]


def merge(looks: Sequence[Found]) -> Found:
    """Join the candidates of looks; of those whose landmarks share a place the most trusted one stays.

    Returns:
        the others by falling score.
    """
    # A look that found nothing lacks optional outputs.
    looks = [found for found in looks if len(found.boxes)] or looks[:1]
    together = Found(
        np.concatenate([found.boxes for found in looks]),
        np.concatenate([found.scores for found in looks]),
        join_predictions([found.prediction for found in looks]),
    )
    if len(together.boxes) < 2:
        return together
    boxes = geometry.landmark_box(together.prediction.landmarks)
    same = same_place(boxes, boxes)
    kept: list[int] = []
    for row in np.argsort(-together.trust, kind="stable").tolist():
        if not same[row, kept].any():
            kept.append(row)
    return together.take(sorted(kept, key=lambda row: -together.scores[row]))


def same_place(a: Array, b: Array) -> NDArray[np.bool_]:
    """Whether boxes (N, 4) and (M, 4) are of one face: (N, M)."""
    low, high = np.maximum(a[:, None, :2], b[None, :, :2]), np.minimum(a[:, None, 2:], b[None, :, 2:])
    common = np.maximum(high - low, 0).prod(-1)
    areas = (a[:, 2:] - a[:, :2]).prod(-1)[:, None], (b[:, 2:] - b[:, :2]).prod(-1)[None]
    return (common > SAME_PLACE * (areas[0] + areas[1] - common)) | (common > INSIDE * np.minimum(*areas))
