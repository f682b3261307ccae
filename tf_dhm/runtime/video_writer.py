"""Write videos with PyAV (FFmpeg); each frame keeps its time."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Any

import cv2
import numpy as np

from tf_dhm.core.types import Image
from tf_dhm.runtime.video import DEFAULT_FPS

CLOCK = Fraction(1, 30000)
"""Unit of the times in written videos: whole for 24, 25, 29.97, 30, 50, 59.94 and 60 frames per second."""
QUALITY = 3
"""Quantiser of written frames, 1 (best) to 31."""
QUANTISER_UNIT = 118  # FFmpeg's FF_QP2LAMBDA


class VideoWriter:
    """Writes frames to an .mp4 file (MPEG-4 part 2, no sound) of the size of the first one.

    Frames of another size are fitted into it with black borders. Sides are made even, as the codec
    needs it, by repeating the last row or column.

    Args:
        path: of the file, ending in .mp4.
        fps: frames per second of frames that are written without a time.
    """

    def __init__(self, path: Path, fps: float = DEFAULT_FPS) -> None:
        self.path, self.fps = path, fps
        self._container: Any = None
        self._stream: Any = None
        self._width = self._height = 0
        self._count, self._ticks, self._interval = 0, -1, max(round(1 / (fps * CLOCK)), 1)

    def __enter__(self) -> VideoWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def write(self, image: Image, time: float | None = None) -> None:
        """Append a frame.

        Args:
            image: (H, W, 3) uint8 RGB.
            time: at which it is shown, in seconds since the first frame; it must rise. None: one interval of
                `fps` after the last frame.

        Raises:
            OSError: the file cannot be written.
        """
        import av

        if self._container is None:
            self._open(image)
        if image.shape[:2] != (self._height, self._width):
            image = fit(image, self._width, self._height)
        padded = cv2.copyMakeBorder(
            image, 0, self._height % 2, 0, self._width % 2, borderType=cv2.BORDER_REPLICATE
        )
        ticks = self._ticks + self._interval if time is None else round(time / CLOCK)
        if self._count == 0:
            ticks = max(ticks, 0) if time is not None else 0
        ticks = max(ticks, self._ticks + 1)
        if self._count and time is not None:
            self._interval = ticks - self._ticks
        frame: Any = av.VideoFrame.from_ndarray(np.asarray(padded, np.uint8), format="rgb24")
        frame.pts, frame.time_base = ticks, CLOCK
        self._count, self._ticks = self._count + 1, ticks
        self._send(frame)

    def close(self) -> None:
        """Write what is left and close the file.

        Raises:
            OSError: the file cannot be written.
        """
        import av

        if self._container is None:
            return
        container, self._container = self._container, None
        try:
            for packet in self._stream.encode(None):
                container.mux(self._timed(packet))
        except av.error.FFmpegError as error:
            raise self._os_error(error) from error
        finally:
            try:
                container.close()
            except av.error.FFmpegError as error:
                raise self._os_error(error) from error

    def _open(self, image: Image) -> None:
        import av

        self._height, self._width = image.shape[:2]
        width, height = self._width + self._width % 2, self._height + self._height % 2
        self.path.parent.mkdir(parents=True, exist_ok=True)
        try:
            self._container = av.open(f"file:{self.path}", "w", format="mp4")
            self._stream = self._container.add_stream(
                "mpeg4", rate=Fraction(self.fps).limit_denominator(1001),
                options={"flags": "+qscale", "global_quality": str(QUALITY * QUANTISER_UNIT)},
            )  # fmt: skip
            self._stream.width, self._stream.height, self._stream.pix_fmt = width, height, "yuv420p"
            self._stream.codec_context.time_base = CLOCK
            self._stream.codec_context.open()
        except (av.error.FFmpegError, ValueError) as error:
            self._container = None
            raise OSError(
                None, f"a video of {width} x {height} pixels cannot be written", str(self.path)
            ) from error

    def _send(self, frame: Any) -> None:
        import av

        try:
            for packet in self._stream.encode(frame):
                self._container.mux(self._timed(packet))
        except av.error.FFmpegError as error:
            raise self._os_error(error) from error

    def _timed(self, packet: Any) -> Any:
        # The last frame is shown as long as the one before it.
        packet.duration = self._interval
        return packet

    def _os_error(self, error: Any) -> OSError:
        return OSError(error.errno, error.strerror, str(self.path))


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
