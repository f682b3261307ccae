"""Faces in a photo: BlazeFace, and its boxes as landmark boxes.

The networks are MediaPipe's (Bazarevsky et al., "BlazeFace: Sub-millisecond neural face detection on
mobile GPUs", 2019), TFLite files that the interpreter of the landmark models runs: nothing here
needs TensorFlow. Their box is not the landmark box, so it is mapped to it here, once. See
docs/detector.md for how the maps and the figures below were measured.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

from tf_dhm.core.types import Array, Image
from tf_dhm.face.geometry import overlaps
from tf_dhm.runtime.images import Photo, Source, read_photo
from tf_dhm.runtime.tflite import NetworkPool

Range = Literal["full", "short"]
"""full: the back-camera network for faces down to 1/20 of the longer side of the photo. short: the
short-range network for faces down to 1/5 of it, in a fifth of the time."""

ASSETS = Path(__file__).parents[1] / "assets"
NETWORK = ASSETS / "face_detection_back.tflite"
"""MediaPipe's network for the back camera; assets/FACE_DETECTION.md has its licence."""
SHORT_NETWORK = ASSETS / "face_detection_short_range.tflite"
SIZE, SHORT_SIZE = 256, 128
"""Sides of their inputs in pixels."""
ANCHORS = ((16, 2), (8, 6))
"""The answers of both: (cells on a side of a grid, answers for a cell)."""
MIN_SCORE = 0.5
LEAST_LOGIT = float(np.log(MIN_SCORE / (1 - MIN_SCORE)))
"""The network's own number for MIN_SCORE: what it answers with less is not looked at."""
SAME_FACE = 0.3
"""Answers whose boxes overlap by more than this (IoU) are of one face."""

KEYPOINTS = ("left eye", "right eye", "nose tip", "mouth", "left ear", "right ear")
"""Keypoints of a detection; left is left in the picture of a frontal face."""

SECOND_LOOK = 2.0
"""If no face is found, the photo is searched again at 1 / SECOND_LOOK of its size: a face that
fills the photo is found only then (60-90 degrees of yaw: 81 % of tight crops found, then 99 %)."""

TILES_ABOVE = 2000
"""Longer side in pixels above which a photo is also searched in tiles by default."""
TILE_SHARE, TILE_STEP = 0.4, 0.7
"""Side of a tile in longer sides of the photo, and distance of two tiles in sides of a tile: in a tile faces
are 2.5 times as large, and one of up to 0.3 of a tile lies whole in one of them."""
TILE_FACE = 0.3
"""Longest side in sides of a tile of the faces that are searched for in tiles; larger ones are found in the
photo as a whole."""
TILE_EDGE = 0.02
"""A detection this near (in sides of a tile) to the edge of a tile may be of a face that the edge cuts."""

# The landmark box from the keypoints, all in units of the side of the network's square box and
# relative to its centre. Least squares (soft L1) on 2,085 detections on wild68.
CENTRE_X = np.array([0.186, -0.152, -0.153])
"""Centre x = CENTRE_X . (x of the middle of the eyes, of the nose tip, of the middle of the ears)."""
CENTRE_Y_AND_SIZE = np.array(
    [
        [0.083, 1.035, 1.253],
        [-0.546, 1.488, 1.400],
        [0.610, -0.988, -1.214],
        [0.421, -0.345, -0.332],
        [-0.089, 0.221, 0.259],
        [-0.126, 0.231, -0.072],
    ]
)
"""(centre y, width, height) = (1, y of the middle of the eyes, of the nose tip, of the middle of the
ears, |x of the nose tip - x of the middle of the eyes|, distance of the ears) @ CENTRE_Y_AND_SIZE."""
SIDE_RANGE = (0.5, 2.0)
"""Limits of width and height. The fit is linear; keypoints unlike those of any face must not give a box
without area."""


@dataclass(frozen=True, eq=False)
class BoxMap:
    """From the keypoints of a network to the landmark box.

    Attributes:
        centre_x: (3,), see CENTRE_X.
        centre_y_and_size: (6, 3), see CENTRE_Y_AND_SIZE.
    """

    centre_x: Array
    centre_y_and_size: Array


FULL_MAP = BoxMap(CENTRE_X, CENTRE_Y_AND_SIZE)
SHORT_MAP = BoxMap(
    np.array([0.302, -0.257, -0.220]),
    np.array(
        [
            [0.002, 1.192, 1.307],
            [-0.818, 2.388, 1.928],
            [0.755, -1.446, -1.409],
            [0.505, -0.545, -0.469],
            [-0.086, 0.243, 0.371],
            [-0.096, 0.249, -0.026],
        ]
    ),
)
"""Fitted in the same way to 1,924 detections of the short-range network."""
NETWORKS: dict[Range, tuple[Path, int, BoxMap]] = {
    "full": (NETWORK, SIZE, FULL_MAP),
    "short": (SHORT_NETWORK, SHORT_SIZE, SHORT_MAP),
}
"""File, side of the input and box map."""


@dataclass(frozen=True, eq=False)
class Detection:
    """A face that was found.

    Attributes:
        box: (4,) float64 landmark box in photo pixels.
        score: 0.5 to 1.
        keypoints: (6, 2) float64 photo pixels, in the order of KEYPOINTS.
    """

    box: Array
    score: float
    keypoints: Array


class FaceDetector:
    """One of the two BlazeFace networks.

    Threads may share a detector.

    Example:
        >>> FaceDetector().detect(np.zeros((120, 160, 3), np.uint8))
        []

    Args:
        threads: of TFLite.
        runtime: see `tflite.load_runtime`.
        reach: which network.
    """

    def __init__(self, threads: int = 1, runtime: str | None = None, reach: Range = "full") -> None:
        path, self._size, self._map = NETWORKS[reach]
        self._networks = NetworkPool(path, threads, runtime)
        self._anchors = anchors(self._size)

    def detect(self, image: Source | Photo) -> list[Detection]:
        """Find the faces of a photo.

        If none is found, the photo is searched once more at half its size.

        Args:
            image: whatever `images.read_photo` takes, for example uint8 (H, W, 3) RGB.

        Returns:
            the faces by falling score, in pixels of the original photo.

        Raises:
            InputError: no readable photo; floating-point pixels are rejected.
        """
        photo = read_photo(image)
        return in_original(photo, self.look(photo.pixels) or self.look(photo.pixels, SECOND_LOOK))

    def look(self, image: Image, margin: float = 1.0) -> list[Detection]:
        """Search a photo once, the surest face first.

        Args:
            image: (H, W, 3) uint8 RGB.
            margin: the photo is searched within a black square whose side is this many times its longer
                side, 1 or more.
        """
        return [
            Detection(
                landmark_box_of_detection(points[0], points[1], points[2:], self._map), score, points[2:]
            )
            for points, score in self.answers(image, margin)
        ]

    def detect_in_tiles(self, image: Source | Photo) -> list[Detection]:
        """Find small faces: search the overlapping tiles of a photo, each as if it were a photo.

        Faces of up to 0.3 of a tile are found, down to 1/50 of the longer side of the photo. It takes seven
        to twelve times as long as one look at the whole photo.

        Args:
            image: as that of `detect`.

        Returns:
            the faces by falling score, each once, in pixels of the original photo.
        """
        photo = read_photo(image)
        found = []
        for x0, y0, x1, y1 in tile_boxes(photo.pixels.shape[1], photo.pixels.shape[0]):
            for face in self.look(photo.pixels[y0:y1, x0:x1]):
                small = (face.box[2:] - face.box[:2]).max() < TILE_FACE * max(x1 - x0, y1 - y0)
                if small and not self._is_cut(face, x0, y0, x1, y1, photo):
                    found.append(moved(face, x0, y0))
        return in_original(photo, distinct_faces(found))

    @staticmethod
    def _is_cut(face: Detection, x0: int, y0: int, x1: int, y1: int, photo: Photo) -> bool:
        """Whether a face, in pixels of its tile, may continue beyond the edge of the tile in the photo."""
        height, width = photo.pixels.shape[:2]
        edge = TILE_EDGE * max(x1 - x0, y1 - y0)
        low = (face.box[:2] < edge) & (np.array([x0, y0]) > 0)
        high = (face.box[2:] > np.array([x1 - x0, y1 - y0]) - 1 - edge) & (
            np.array([x1, y1]) < [width, height]
        )
        return bool((low | high).any())

    def answers(self, image: Image, margin: float = 1.0) -> list[tuple[Array, float]]:
        """What the network itself says of a photo.

        Args:
            image: as that of `look`.
            margin: as that of `look`.

        Returns:
            of each face (8, 2) photo pixels, two corners of the network's box and the six keypoints, and
            the score; by falling score.
        """
        canvas, scale, offset = letterbox(image, self._size, margin)

        def fill(values: NDArray[np.float32]) -> None:
            np.divide(canvas, np.float32(127.5), out=values[0])
            values -= 1.0

        with self._networks.borrow() as network:
            outputs = network.run_filled(fill)
        # By the last dimension: 16 coordinates, or 1 score.
        named = {output.shape[-1]: output[0] for output in outputs}
        logits = named[1][:, 0]
        rows = np.flatnonzero(logits > LEAST_LOGIT)
        scores = 1.0 / (1.0 + np.exp(-np.minimum(logits[rows], 80.0)))
        found = merge_answers(decode(named[16][rows], self._anchors[rows]), scores)
        return [((merged - offset) / scale - 0.5, score) for merged, score in found]


def tile_boxes(width: int, height: int) -> list[tuple[int, int, int, int]]:
    """Overlapping squares that cover a picture, as x0, y0, x1, y1.

    >>> tile_boxes(1000, 400)
    [(0, 0, 400, 400), (300, 0, 700, 400), (600, 0, 1000, 400)]
    """
    side = max(round(TILE_SHARE * max(width, height)), 1)

    def starts(length: int) -> list[int]:
        free = max(length - side, 0)
        count = int(np.ceil(free / (TILE_STEP * side)))
        return [round(free * number / count) for number in range(count + 1)] if count else [0]

    return [
        (x, y, min(x + side, width), min(y + side, height)) for y in starts(height) for x in starts(width)
    ]


def moved(face: Detection, x: float, y: float) -> Detection:
    """A detection moved by (x, y) pixels."""
    return Detection(face.box + [x, y, x, y], face.score, face.keypoints + [x, y])


def distinct_faces(detections: Sequence[Detection]) -> list[Detection]:
    """The detections by falling score, without those that overlap with a better one."""
    kept: list[Detection] = []
    for face in sorted(detections, key=lambda found: -found.score):
        boxes = np.array([other.box for other in kept]).reshape(-1, 4)
        if not (overlaps(face.box[None], boxes) > SAME_FACE).any():
            kept.append(face)
    return kept


def in_original(photo: Photo, detections: Sequence[Detection]) -> list[Detection]:
    """Detections in the decoded pixels of a photo, in pixels of the original."""
    return [
        Detection(
            photo.to_original(face.box.reshape(2, 2)).reshape(4),
            face.score,
            photo.to_original(face.keypoints),
        )
        for face in detections
    ]


def anchors(size: int = SIZE) -> Array:
    """The centres (896, 2) of the cells that a network's answers are of, in pixels of its input."""
    grids = []
    for cells, repeats in ANCHORS:
        middle = (np.arange(cells) + 0.5) * (size / cells)
        y, x = np.meshgrid(middle, middle, indexing="ij")
        grids.append(np.repeat(np.stack([x, y], -1).reshape(-1, 2), repeats, axis=0))
    return np.concatenate(grids)


def decode(answers: ArrayLike, centres: Array) -> Array:
    """The points of the network's answers.

    Args:
        answers: (N, 16): centre and size of a box, then six keypoints; pixels from the cell's centre.
        centres: (N, 2) of the cells.

    Returns:
        (N, 8, 2) pixels of the input, from edge to edge: two corners of the box, six keypoints.
    """
    points = np.asarray(answers, np.float64).reshape(-1, 8, 2)
    size = points[:, 1].copy()
    points = points + centres[:, None]
    middle = points[:, 0].copy()
    points[:, 0], points[:, 1] = middle - size / 2, middle + size / 2
    return points


def merge_answers(points: Array, scores: Array) -> list[tuple[Array, float]]:
    """One answer for each face: the mean of all that overlap with the surest, weighted by their scores.

    Args:
        points: (N, 8, 2), see `decode`.
        scores: (N,); those of MIN_SCORE or less are left out.

    Returns:
        points (8, 2) of each face and the score of its surest answer, by falling scores.
    """
    valid = (scores > MIN_SCORE) & (points[:, 1] > points[:, 0]).all(1)
    order = np.flatnonzero(valid)[np.argsort(-scores[valid], kind="stable")]
    boxes = points[:, :2].reshape(-1, 4)
    found = []
    while len(order):
        same = overlaps(boxes[order[:1]], boxes[order])[0] > SAME_FACE
        weights = scores[order[same]]
        merged = (weights / weights.sum()) @ points[order[same]].reshape(len(weights), -1)
        found.append((merged.reshape(-1, 2), float(scores[order[0]])))
        order = order[~same]
    return found


def letterbox(image: Image, size: int, margin: float = 1.0) -> tuple[Image, Array, Array]:
    """Fit a photo into the middle of a black square.

    Args:
        image: (H, W, 3) uint8.
        size: side of the square.
        margin: the longer side of the photo takes size / margin pixels.

    Returns:
        the square (size, size, 3), and scale (2,) and offset (2,) for x and y: edge coordinates of
        the square = edge coordinates of the photo x scale + offset.
    """
    height, width = image.shape[:2]
    factor = size / margin / max(height, width)
    columns, rows = max(round(width * factor), 1), max(round(height * factor), 1)
    x, y = (size - columns) // 2, (size - rows) // 2
    halved = 1
    # Halved, and then sampled from no more than twice the size: several times as quick as INTER_AREA.
    while width > 2 * columns and height > 2 * rows:
        width, height, halved = width // 2, height // 2, 2 * halved
        # Of an odd number the last row or column is left out.
        whole = image[: 2 * height, : 2 * width]
        image = np.asarray(cv2.resize(whole, (width, height), interpolation=cv2.INTER_AREA), np.uint8)
    square = np.zeros((size, size, 3), np.uint8)
    cv2.resize(image, (columns, rows), square[y : y + rows, x : x + columns])
    scale = np.array([columns / width, rows / height]) / halved
    return square, scale, np.array([float(x), float(y)])


def landmark_box_of_detection(
    low: ArrayLike, high: ArrayLike, keypoints: ArrayLike, box_map: BoxMap = FULL_MAP
) -> Array:
    """Map a detection to the landmark box.

    Args:
        low, high: (2,) corners of the network's box in photo pixels.
        keypoints: (6, 2) photo pixels, in the order of KEYPOINTS.
        box_map: of the network.

    Returns:
        (4,) float64 box x0, y0, x1, y1 in photo pixels.
    """
    centre, side, across, along = box_features(low, high, keypoints)
    x, y = centre[0] + side * (box_map.centre_x @ across), centre[1]
    down, *sides = (along @ box_map.centre_y_and_size).tolist()
    half_width, half_height = (side * min(max(value, SIDE_RANGE[0]), SIDE_RANGE[1]) / 2 for value in sides)
    y += side * down
    return np.array([x - half_width, y - half_height, x + half_width, y + half_height])


def box_features(low: ArrayLike, high: ArrayLike, keypoints: ArrayLike) -> tuple[Array, float, Array, Array]:
    """What the maps to the landmark box are linear in.

    Args:
        low, high, keypoints: as those of `landmark_box_of_detection`.

    Returns:
        centre (2,) and side of the network's box in photo pixels, and in units of the side, from the
        centre, the features (3,) of CENTRE_X and (6,) of CENTRE_Y_AND_SIZE.
    """
    # Plain numbers: so few of them are no work for arrays.
    x0, y0, x1, y1 = (float(value) for value in (*np.asarray(low), *np.asarray(high)))
    middle_x, middle_y, side = (x0 + x1) / 2, (y0 + y1) / 2, (x1 - x0 + y1 - y0) / 2
    points = np.asarray(keypoints, np.float64).tolist()
    left, right, nose, _, left_ear, right_ear = ((x - middle_x, y - middle_y) for x, y in points)
    eyes_x, eyes_y = (left[0] + right[0]) / 2, (left[1] + right[1]) / 2
    ears_x, ears_y = (left_ear[0] + right_ear[0]) / 2, (left_ear[1] + right_ear[1]) / 2
    between_ears = math.hypot(right_ear[0] - left_ear[0], right_ear[1] - left_ear[1])
    across = np.array([eyes_x, nose[0], ears_x]) / side
    along = np.array([side, eyes_y, nose[1], ears_y, abs(nose[0] - eyes_x), between_ears]) / side
    return np.array([middle_x, middle_y]), side, across, along
