"""Faces made up by tests: smooth pictures, and the mean face as landmarks."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from pipelines.datasets.samples import FaceSample, Split
from pipelines.prepared.arrays import FaceArrays
from tf_dhm.face import geometry
from tf_dhm.face.mean_face import mean_shape


def smooth_image(seed: int, width: int, height: int) -> NDArray[np.uint8]:
    """(height, width, 3) uint8 noise without fine texture, so that sampling it twice is no loss."""
    noise = np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)
    smooth = cv2.GaussianBlur(noise, (0, 0), 4.0).astype(np.float64)
    return np.clip(128.0 + (smooth - 128.0) * 6.0, 0, 255).astype(np.uint8)


def mean_face(x: float, y: float, side: float) -> NDArray[np.float32]:
    """The mean face, (68, 3) pixels, whose crop has that centre and side."""
    return (mean_shape() * (side / 2.0) + [x, y, 0.0]).astype(np.float32)


def encode(image: NDArray[np.uint8], suffix: str = ".png") -> bytes:
    """An RGB image as a file."""
    return cv2.imencode(suffix, cv2.cvtColor(image, cv2.COLOR_RGB2BGR))[1].tobytes()


def made_sample(
    seed: int,
    *,
    name: str | None = None,
    split: Split = "train",
    yaw: float = 0.0,
    landmarks: NDArray[np.float32] | None = None,
    encoded: bytes | None = None,
) -> FaceSample:
    """A face of side 40 about the middle of a 60 x 50 picture."""
    content = encode(smooth_image(seed, 60, 50)) if encoded is None else encoded
    return FaceSample(
        name=name or f"face{seed}",
        read_image=lambda: content,
        landmarks=mean_face(30.0 + seed % 3, 25.0, 40.0) if landmarks is None else landmarks,
        split=split,
        group=f"group{seed}",
        visibility=np.full(68, seed % 3, np.uint8),
        pose=np.array([1.0, yaw, -2.0], np.float32),
    )


def made_faces(count: int, canvas: int = 40, side: float = 28.0, yaw: NDArray | None = None) -> FaceArrays:
    """Faces as `records.load` returns them: pictures unlike each other, crops a little off the middle."""
    centre = (canvas - 1) / 2.0
    landmarks = [mean_face(centre + i % 3 - 1, centre - i % 2, side + i % 4) for i in range(count)]
    pose = np.zeros((count, 3), np.float32)
    pose[:, 1] = 0.0 if yaw is None else yaw
    names = np.array([f"face{i}" for i in range(count)])
    return FaceArrays(
        images=np.stack([smooth_image(i, canvas, canvas) for i in range(count)]),
        landmarks=np.stack(landmarks),
        visibility=np.full((count, geometry.NUM_LANDMARKS), 2, np.uint8),
        pose=pose,
        name=names,
        split=np.full(count, "train"),
        group=names,
        sigma=np.full((count, geometry.NUM_LANDMARKS), np.nan, np.float32),
    )
