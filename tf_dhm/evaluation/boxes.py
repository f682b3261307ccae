"""The boxes that crops are cut from: true ones, those of the face detector, or true ones disturbed."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Literal

import numpy as np

from tf_dhm.core.errors import InputError
from tf_dhm.core.types import Array, Image
from tf_dhm.evaluation.labelled_faces import Face, true_box
from tf_dhm.runtime.detector import FaceDetector

NEAR = 0.6
"""Longer sides of a true box within which a detection is one of that face."""


DETECTED = "detected boxes"
"""Name of the boxes that the face detector finds, beside the names of models."""


@dataclass(frozen=True)
class Boxes:
    """Landmark boxes to cut crops from.

    Attributes:
        name: beside the names of models, "" for the true ones.
        source: in words.
        find: a face and its image (H, W, 3) -> its box (4,); None for a missed face.
        detected: whether they are found without the labels. A model that can search a photo by itself
            then does so, as `Aligner` does, and only other systems take these boxes.
    """

    name: str
    source: str
    find: Callable[[Face, Image], Array | None]
    detected: bool = False


def row_name(entry: str, boxes: str) -> str:
    """The name of a model with boxes of some kind in a table.

    >>> row_name("fast_dhm", TRUE_BOXES.name)
    'fast_dhm'
    >>> row_name("fast_dhm (2 passes)", DETECTED)
    'fast_dhm (2 passes, detected boxes)'
    """
    if not boxes:
        return entry
    return f"{entry[:-1]}, {boxes})" if entry.endswith(")") else f"{entry} ({boxes})"


TRUE_BOXES = Boxes("", "the box of the original landmarks", lambda face, image: true_box(face))


def chosen_boxes(
    kinds: Iterable[Literal["true", "detected"]], error: tuple[float, float] | None = None
) -> list[Boxes]:
    """Boxes of the given kinds, each once, and `disturbed_boxes` if their `error` is given."""
    boxes = [TRUE_BOXES if kind == "true" else detected_boxes() for kind in dict.fromkeys(kinds)]
    return boxes if error is None else [*boxes, disturbed_boxes(*error)]


def detected_boxes() -> Boxes:
    """The faces that are found in a photo, without its labels; `nearest_box` chooses among them."""
    detector = FaceDetector()

    def find(face: Face, image: Image) -> Array | None:
        boxes = np.array([detection.box for detection in detector.detect(image)]).reshape(-1, 4)
        row = nearest_box(boxes, face)
        return None if row is None else boxes[row]

    return Boxes(DETECTED, "the boxes of the face detector", find, detected=True)


def nearest_box(boxes: Array, face: Face) -> int | None:
    """The row of the box (N, 4) whose centre is nearest to that of the true box.

    Returns:
        None if none lies within NEAR times the longer side of the true box.
    """
    true = true_box(face)
    off = np.linalg.norm((boxes[:, :2] + boxes[:, 2:] - true[:2] - true[2:]) / 2.0, axis=1)
    if not len(boxes) or off.min() > NEAR * (true[2:] - true[:2]).max():
        return None
    return int(off.argmin())


def disturbed_boxes(shift: float, scale: float) -> Boxes:
    """True boxes with normal errors, always the same for a face.

    Args:
        shift: standard deviation of each coordinate of the centre, in longer sides of the true box.
        scale: that of the logarithm of the size.
    """
    if not (0 <= shift < np.inf and 0 <= scale < np.inf):
        raise InputError(f"box_error: found {shift} and {scale}, expected 0 or more")

    def find(face: Face, image: Image) -> Array:
        true = true_box(face)
        errors = np.random.default_rng(zlib.crc32(face.name.encode())).normal(size=3)
        centre, half = (true[:2] + true[2:]) / 2.0, (true[2:] - true[:2]) / 2.0
        centre += 2.0 * half.max() * shift * errors[:2]
        half *= np.exp(scale * errors[2])
        return np.concatenate([centre - half, centre + half])

    source = f"the true boxes shifted by a normal error of {shift:g} sides and scaled by one of {scale:g}"
    return Boxes("disturbed boxes", source, find)
