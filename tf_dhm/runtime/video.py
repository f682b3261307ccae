"""Video files and cameras, frame by frame, through OpenCV."""

from __future__ import annotations

import math
import os
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType

import cv2
import numpy as np

from tf_dhm.core.errors import InputError
from tf_dhm.core.types import Image

VIDEO_SUFFIXES = frozenset(
    [".mp4", ".m4v", ".mov", ".avi", ".mkv", ".webm", ".mpg", ".mpeg", ".wmv", ".flv"]
    + [".3gp", ".ogv", ".mts", ".m2ts", ".mjpg", ".mjpeg"]
)
"""Suffixes by which a file is taken for a video."""

DEFAULT_FPS = 25.0
"""Frames per second where neither the file nor the camera says."""
MAX_FPS = 1000.0
CODEC = "mp4v"
"""MPEG-4 part 2: the codec for .mp4 that every build of OpenCV can write."""


@dataclass(frozen=True, eq=False)
class Frame:
    """A frame of a video.

    Attributes:
        index: 0, 1, ...
        time: seconds since the first frame; rises from frame to frame.
        pixels: (H, W, 3) uint8 RGB, turned as the file says.
    """

    index: int
    time: float
    pixels: Image = field(repr=False)


class VideoReader:
    """The frames of a video file or of a camera, one in memory at a time.

    >>> with VideoReader("clip.mp4") as video:  # doctest: +SKIP
    ...     for frame in video:
    ...         print(frame.time, frame.pixels.shape)

    Args:
        source: path of a file, or the number of a camera.

    Attributes:
        name: for messages and records.
        fps: frames per second, as the file or camera says.
        frame_count: as the file says; None for a camera, or where it does not say.

    Raises:
        InputError: no file, no video, a video without frames, or no such camera.
    """

    def __init__(self, source: str | Path | int) -> None:
        self._is_camera = isinstance(source, int)
        self.name = f"camera {source}" if self._is_camera else f"video {source}"
        if isinstance(source, int):
            self._capture = cv2.VideoCapture(source)
            if not self._capture.isOpened():
                raise InputError(
                    f"{self.name}: cannot be opened, expected the number of a camera (0, 1, ...)"
                )
        else:
            self._capture = open_file(Path(source), self.name)
        # Read here, so that a file without frames is refused before anything is made of it.
        read, first = self._capture.read()
        if not read:
            self._capture.release()
            raise InputError(f"{self.name}: found no frame that can be decoded, expected at least one")
        self._first: np.ndarray | None = first
        self._opened = time.monotonic()
        fps = self._capture.get(cv2.CAP_PROP_FPS)
        self.fps = fps if 0 < fps <= MAX_FPS else DEFAULT_FPS
        count = self._capture.get(cv2.CAP_PROP_FRAME_COUNT)
        self.frame_count = int(count) if not self._is_camera and 0 < count < 2**31 else None

    def __enter__(self) -> VideoReader:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._capture.release()

    def __iter__(self) -> Iterator[Frame]:
        """The frames that are left; a camera's never end."""
        index, last = 0, -math.inf
        while True:
            if self._first is not None:
                picture: np.ndarray = self._first
                self._first = None
            else:
                read, picture = self._capture.read()
                if not read:
                    return
            last = self._frame_time(last)
            yield Frame(index, last, to_rgb(picture))
            index += 1

    def _frame_time(self, last: float) -> float:
        if self._is_camera:
            now = time.monotonic() - self._opened
        else:
            # The file's own times, which need not be even; some formats have none.
            now = self._capture.get(cv2.CAP_PROP_POS_MSEC) / 1000.0
            if not 0 <= now < 1e7:
                now = -math.inf
        # Never the same twice: some cameras and broken files repeat themselves.
        if now > last:
            return now
        return 0.0 if last == -math.inf else last + 1.0 / self.fps


def open_file(path: Path, name: str) -> cv2.VideoCapture:
    """Open a video file, or raise InputError."""
    try:
        with path.open("rb") as file:
            if not file.read(1):
                raise InputError(f"{name}: found an empty file, expected a video")
    except OSError as error:
        raise InputError(f"{name}: cannot be read: {error.strerror or error}") from error
    # FFmpeg only: other readers take a name with % in it for a series of pictures.
    capture = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG)
    if not capture.isOpened():
        raise InputError(f"{name}: found no readable video, expected one (MP4, WebM, AVI, ...)")
    return capture


def to_rgb(picture: np.ndarray) -> Image:
    """OpenCV's BGR, or a camera's grey, to RGB."""
    grey = picture.ndim == 2 or picture.shape[2] == 1
    code = cv2.COLOR_GRAY2RGB if grey else cv2.COLOR_BGR2RGB
    return np.asarray(cv2.cvtColor(picture, code), np.uint8)


class VideoWriter:
    """Writes frames to an .mp4 file (MPEG-4, no sound) of the size of the first one.

    Frames of another size are fitted into it with black borders. Sides are made even, as the codec
    needs it, by repeating the last row or column.

    Args:
        path: of the file, ending in .mp4.
        fps: frames per second.
    """

    def __init__(self, path: Path, fps: float) -> None:
        self.path, self.fps = path, fps
        self._writer: cv2.VideoWriter | None = None
        self._size = (0, 0)  # width, height

    def __enter__(self) -> VideoWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._writer is not None:
            self._writer.release()

    def write(self, image: Image) -> None:
        """Append a frame (H, W, 3) uint8 RGB.

        Raises:
            OSError: the file cannot be written.
        """
        if self._writer is None:
            self._size = image.shape[1], image.shape[0]
            even = (self._size[0] + self._size[0] % 2, self._size[1] + self._size[1] % 2)
            self.path.parent.mkdir(parents=True, exist_ok=True)
            code = cv2.VideoWriter.fourcc(*CODEC)
            self._writer = cv2.VideoWriter(str(self.path), cv2.CAP_FFMPEG, code, self.fps, even)
            if not self._writer.isOpened():
                raise OSError(
                    None, f"a video of {even[0]} x {even[1]} pixels cannot be written", str(self.path)
                )
        if (image.shape[1], image.shape[0]) != self._size:
            image = fit(image, *self._size)
        right, bottom = self._size[0] % 2, self._size[1] % 2
        padded = cv2.copyMakeBorder(image, 0, bottom, 0, right, cv2.BORDER_REPLICATE)
        self._writer.write(cv2.cvtColor(padded, cv2.COLOR_RGB2BGR))


def fit(image: Image, width: int, height: int) -> Image:
    """Scale a picture to fit into width x height and centre it on black."""
    factor = min(width / image.shape[1], height / image.shape[0])
    new_width = min(max(round(image.shape[1] * factor), 1), width)
    new_height = min(max(round(image.shape[0] * factor), 1), height)
    method = cv2.INTER_AREA if factor < 1 else cv2.INTER_LINEAR
    resized = cv2.resize(image, (new_width, new_height), interpolation=method)
    canvas = np.zeros((height, width, 3), np.uint8)
    x, y = (width - new_width) // 2, (height - new_height) // 2
    canvas[y : y + new_height, x : x + new_width] = resized
    return canvas


def check_display() -> None:
    """Raise InputError where no window can be shown: OpenCV would end the whole process."""
    if sys.platform.startswith("linux") and not any(map(os.environ.get, ("DISPLAY", "WAYLAND_DISPLAY"))):
        raise InputError("--show: found no display, expected one (or write the video with --output)")


class Window:
    """A window that shows frames; `show` returns False once the user has asked to stop (q or Esc)."""

    def __init__(self, title: str) -> None:
        self.title = title

    def __enter__(self) -> Window:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        cv2.destroyAllWindows()

    def show(self, image: Image) -> bool:
        cv2.imshow(self.title, cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
        return cv2.waitKey(1) & 0xFF not in (ord("q"), 27)
