"""Items that every dataset reader yields: one face with its labels, or the reason why it was rejected."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from tf_dhm.core.errors import InputError
from tf_dhm.face.geometry import NUM_LANDMARKS, landmark_box

Split = Literal["train", "val", "test"]

SELF_OCCLUDED, OCCLUDED, VISIBLE, UNLABELLED = 0, 1, 2, 255
"""Values of `FaceSample.visibility`."""


def unknown_visibility() -> NDArray[np.uint8]:
    return np.full(NUM_LANDMARKS, UNLABELLED, np.uint8)


def unknown_pose() -> NDArray[np.float32]:
    return np.full(3, np.nan, np.float32)


def unknown_sigma() -> NDArray[np.float32]:
    return np.full(NUM_LANDMARKS, np.nan, np.float32)


def unknown_manual() -> NDArray[np.float32]:
    return np.full((NUM_LANDMARKS, 2), np.nan, np.float32)


@dataclass(frozen=True)
class FaceSample:
    """One face of one image.

    Attributes:
        name: unique in its dataset.
        read_image: returns the encoded image (JPEG, PNG, BMP); raises InputError or OSError.
        landmarks: (68, 3) float32, 0-based pixels of the image; z is NaN where there is none.
        split: "train", "val" or "test".
        group: photos that show the same base photo share it, and so share their split.
        visibility: (68,) uint8, SELF_OCCLUDED, OCCLUDED, VISIBLE or UNLABELLED.
        pose: (3,) float32 degrees pitch, yaw, roll in the signs of `Pose_Para`; NaN if unknown.
        sigma: (68,) float32 pixels of the image, how uncertain each landmark is; NaN if unknown.
        manual: (68, 2) float32 pixels of the image, points marked by a person in a style of their own;
            NaN where there is none.
        photo: x0, y0, x1, y1, the pixels x0 <= x < x1, y0 <= y < y1 of the image that show a photo, if
            the others are a black border; None if all do.
        box_landmarks: (68, 2 or 3) float32 landmarks whose box crops are cut from in an evaluation, if
            `landmarks` are of another label set; None: `landmarks`.
    """

    name: str
    read_image: Callable[[], bytes]
    landmarks: NDArray[np.float32]
    split: Split
    group: str
    visibility: NDArray[np.uint8] = field(default_factory=unknown_visibility)
    pose: NDArray[np.float32] = field(default_factory=unknown_pose)
    sigma: NDArray[np.float32] = field(default_factory=unknown_sigma)
    manual: NDArray[np.float32] = field(default_factory=unknown_manual)
    photo: tuple[int, int, int, int] | None = None
    box_landmarks: NDArray[np.float32] | None = None


@dataclass(frozen=True)
class Rejection:
    """A face that cannot be used: its name and the reason."""

    name: str
    reason: str


@dataclass(frozen=True)
class Series:
    """Samples that can be read from any index on, so that none is made twice.

    Attributes:
        count: number of samples.
        source: what the samples depend on, as JSON has it; equal sources give equal samples.
        read: the samples from a number (0 for the first) on.
    """

    count: int
    source: dict[str, Any]
    read: Callable[[int], Iterator[FaceSample | Rejection]]


def check_landmarks(landmarks: NDArray[np.floating], source: str) -> NDArray[np.float32]:
    """Landmarks as (68, 3) float32 (z NaN if only x and y are given).

    Raises:
        InputError: wrong shape, x or y not finite, z infinite, or a box without area; names `source`.
    """
    array = np.asarray(landmarks, np.float32)
    if array.shape not in ((NUM_LANDMARKS, 2), (NUM_LANDMARKS, 3)):
        raise InputError(f"{source}: found landmarks of shape {array.shape}, expected (68, 2) or (68, 3)")
    try:
        landmark_box(array)
    except InputError as error:
        raise InputError(f"{source}: {error}") from error
    if np.isinf(array).any():
        raise InputError(f"{source}: landmarks: found an infinite z, expected pixels, or NaN where unknown")
    if array.shape[1] == 2:
        array = np.concatenate([array, np.full((NUM_LANDMARKS, 1), np.nan, np.float32)], 1)
    return array
