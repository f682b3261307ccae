"""Pictures and videos for the tests of the browser package, made from the test portrait."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from tf_dhm.core.types import Image

FRAME_SIZE = (640, 480)
FRAMES = 60
FRAME_RATE = 30


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
    """Frames in which the portrait moves on an ellipse and is turned to and fro.

    It moves by 63 pixels a second at most, so that a browser with few frames a second follows it.
    """
    width, height = FRAME_SIZE
    frames = []
    for number in range(FRAMES):
        phase = 2 * np.pi * number / FRAMES
        matrix = cv2.getRotationMatrix2D((224.0, 130.0), 10 * np.sin(phase), 1.4)
        shift = [width / 2 - 224 + 20 * np.cos(phase), height / 2 - 130 + 10 * np.sin(phase)]
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
