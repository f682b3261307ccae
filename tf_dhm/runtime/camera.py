"""Cameras and windows, through OpenCV."""

from __future__ import annotations

import os
import re
import sys
import time
from collections.abc import Iterator
from types import TracebackType

import cv2
import numpy as np

from tf_dhm.core.errors import InputError
from tf_dhm.core.types import Image
from tf_dhm.runtime.video import DEFAULT_FPS, MAX_FPS, Frame


class CameraReader:
    """The frames of a camera, without end; times are those of the clock.

    >>> with CameraReader(0) as camera:  # doctest: +SKIP
    ...     for frame in camera:
    ...         print(frame.time, frame.pixels.shape)

    Args:
        number: of the camera; 0 is the first.

    Attributes:
        name: for messages and records.
        fps: frames per second, as the camera states them.
        frame_count: None, as for a stream.

    Raises:
        InputError: no such camera, or one that gives no picture.
    """

    frame_count = None

    def __init__(self, number: int) -> None:
        self.name = f"camera {number}"
        self._capture = cv2.VideoCapture(number)
        if not self._capture.isOpened():
            raise InputError(f"{self.name}: cannot be opened, expected the number of a camera (0, 1, ...)")
        read, self._first = self._capture.read()
        if not read:
            self._capture.release()
            raise InputError(f"{self.name}: found no picture; is another program using the camera?")
        self._opened = time.monotonic()
        fps = self._capture.get(cv2.CAP_PROP_FPS)
        self.fps = fps if 0 < fps <= MAX_FPS else DEFAULT_FPS

    def __enter__(self) -> CameraReader:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._capture.release()

    def __iter__(self) -> Iterator[Frame]:
        """Frames until the camera stops."""
        picture: np.ndarray | None
        index, last = 0, 0.0
        read, picture = True, self._first
        while read and picture is not None:
            now = time.monotonic() - self._opened
            last = now if index == 0 or now > last else last + 1.0 / self.fps
            yield Frame(index, last, to_rgb(picture))
            index += 1
            read, picture = self._capture.read()


def to_rgb(picture: np.ndarray) -> Image:
    """OpenCV's BGR, or a camera's grey, to RGB."""
    grey = picture.ndim == 2 or picture.shape[2] == 1
    code = cv2.COLOR_GRAY2RGB if grey else cv2.COLOR_BGR2RGB
    return np.asarray(cv2.cvtColor(picture, code), np.uint8)


def check_display() -> None:
    """Raise InputError if no window can be shown: OpenCV would end the whole process."""
    if re.search(r"GUI: *NONE", cv2.getBuildInformation()):
        raise InputError(
            "--show: found opencv-python-headless, which has no windows, expected opencv-python of the extra "
            "gui; if that is installed: pip install --force-reinstall --no-deps 'opencv-python<5'"
        )
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
