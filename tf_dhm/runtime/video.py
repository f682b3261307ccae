"""Read video files and streams, frame by frame, through PyAV (FFmpeg)."""

from __future__ import annotations

import math
import re
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from os import PathLike
from pathlib import Path
from types import TracebackType
from typing import Any

import cv2
import numpy as np

from tf_dhm.core.errors import InputError, check_type
from tf_dhm.core.types import Image

VIDEO_SUFFIXES = frozenset(
    [".mp4", ".m4v", ".mov", ".avi", ".mkv", ".webm", ".mpg", ".mpeg", ".wmv", ".flv"]
    + [".3gp", ".ogv", ".mts", ".m2ts", ".mjpg", ".mjpeg"]
)
"""Suffixes by which a file is taken for a video."""
STREAMS = ("rtsp", "rtsps", "rtmp", "rtmps", "http", "https", "udp", "tcp", "srt")
"""Schemes of the URLs that are read as streams."""

DEFAULT_FPS = 25.0
"""Frames per second if the file does not state them."""
MAX_FPS = 500.0
"""Highest stated rate that is believed: WebM files of browsers state their clock, 1000 a second."""
MISSING_SHARE, MISSING_FRAMES = 0.02, 2.0
"""A file is cut off if more than this share of its stated duration and of these frames' time is missing."""
DAMAGED_SHARE, DAMAGED_FRAMES = 0.05, 2
"""A file is damaged if more than this share of its frames and this number cannot be decoded."""
MAX_PIXEL_RATIO = 4.0
"""Most by which a pixel may be wider than high, or higher than wide; other statements are ignored."""
STREAM_TIMEOUT = 15.0
"""Seconds after which a stream that sends nothing has ended."""


@dataclass(frozen=True, eq=False)
class Frame:
    """A frame of a video.

    Attributes:
        index: 0, 1, ...
        time: seconds since the first frame; rises from frame to frame.
        pixels: (H, W, 3) uint8 RGB, turned as the file says and with square pixels.
    """

    index: int
    time: float
    pixels: Image = field(repr=False)


class VideoReader:
    """The frames of a video file or stream, one in memory at a time.

    Frames are turned and mirrored as the file's display matrix says, non-square pixels are stretched, and
    times are the file's own, so that files with a variable frame rate keep their pace.

    >>> with VideoReader("clip.mp4") as video:  # doctest: +SKIP
    ...     for frame in video:
    ...         print(frame.time, frame.pixels.shape)

    Args:
        source: path of a file, or URL of a stream (`rtsp://host/camera`; see STREAMS).

    Attributes:
        name: for messages and records, without the password of a URL.
        fps: average frames per second.
        frame_count: number of frames, partly estimated from the duration; None if it is not known.

    Raises:
        InputError: no such file, no video, a video without frames, or a URL of another kind.
    """

    def __init__(self, source: str | Path) -> None:
        check_type("video", source, "a path or URL; CameraReader(0) reads a camera", str, PathLike)
        self.name = f"video {hide_password(str(source))}"
        self._container = open_container(source, self.name)
        try:
            self._stream = find_stream(self._container, self.name)
            self._has_times = self._container.format.name != "avi"
            self._packets = self._container.demux()
            self._decoded: deque[Any] = deque()
            self._decode_times: deque[float] = deque()
            self._end = -math.inf  # of the packets of all streams, in seconds
            self._packet_count = self._damaged = 0
            self._last_damaged = self._exhausted = False
            self._index, self._origin, self._last = 0, math.nan, -math.inf
            rate = self._stream.average_rate or self._stream.guessed_rate
            self.fps = float(rate) if rate and 0 < rate <= MAX_FPS else DEFAULT_FPS
            self.frame_count = self._count_frames()
            # Read here, so that a file without frames is rejected before anything is made of it.
            self._first = self._next_picture()
            if self._first is None:
                raise InputError(f"{self.name}: found no frame that can be decoded, expected at least one")
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> VideoReader:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the file or stream."""
        self._container.close()

    def __iter__(self) -> Iterator[Frame]:
        """The frames that are left."""
        while True:
            picture, self._first = self._first or self._next_picture(), None
            if picture is None:
                return
            self._last = self._frame_time(picture)
            index, self._index = self._index, self._index + 1
            yield Frame(index, self._last, self._to_rgb(picture))

    def check_complete(self) -> None:
        """Check, once all frames have been read, that the file has the length that it states.

        Raises:
            InputError: it breaks off, or many of its frames cannot be decoded.
        """
        if not self._exhausted:
            return
        duration = self._stated_duration()
        if duration is not None:
            allowed = max(MISSING_SHARE * duration, MISSING_FRAMES / self.fps)
            if self._end < duration - allowed:
                raise InputError(
                    f"{self.name}: found {max(self._end, 0):.2f} s, expected {duration:.2f} s: "
                    "the file is cut off"
                )
        if self._last_damaged or self._damaged > DAMAGED_SHARE * self._packet_count + DAMAGED_FRAMES:
            raise InputError(
                f"{self.name}: found {self._damaged} of {self._packet_count} frames that cannot be decoded: "
                "the file is damaged or cut off"
            )

    def _stated_duration(self) -> float | None:
        import av

        if not self._has_times and self._stream.frames:
            # FFmpeg scales the duration of an AVI by the size of the file; its header has the count.
            return float(self._stream.frames * self._stream.time_base)
        duration = self._container.duration
        return None if duration is None or duration <= 0 else duration / av.time_base

    def _count_frames(self) -> int | None:
        # An edit list shows fewer frames than are stored; an AVI counts empty ones.
        duration = self._stated_duration()
        counts = [self._stream.frames] if self._stream.frames else []
        if duration is not None and self._stream.average_rate:
            counts.append(round(duration * float(self._stream.average_rate)))
        return min(counts, default=0) or None

    def _next_picture(self) -> Any:
        """The next decoded frame; None at the end."""
        import av

        while not self._decoded:
            try:
                packet = next(self._packets)
            except (StopIteration, EOFError):
                self._exhausted = True
                return None
            except av.error.FFmpegError:
                self._exhausted = self._last_damaged = True
                return None
            self._note_end(packet)
            if packet.stream_index != self._stream.index:
                continue
            if packet.dts is not None:
                self._decode_times.append(float(packet.dts * packet.time_base))
                self._packet_count += 1
            try:
                self._decoded.extend(packet.decode())
            except av.error.FFmpegError:
                # What comes before the first key frame cannot be decoded in a whole recording either.
                if self._index or self._decoded:
                    self._damaged += 1
                self._last_damaged = True
            else:
                if packet.dts is not None:
                    self._last_damaged = packet.is_corrupt
        return self._decoded.popleft()

    def _note_end(self, packet: Any) -> None:
        start = packet.dts if packet.pts is None or not self._has_times else packet.pts
        if start is not None and not packet.is_corrupt:
            self._end = max(self._end, float((start + (packet.duration or 0)) * packet.time_base))

    def _frame_time(self, picture: Any) -> float:
        """Seconds since the first frame. A frame without a later time follows at the average rate."""
        time = picture.time if self._has_times else None
        if not self._has_times and self._decode_times:
            # An AVI states in which order frames are decoded, not when they are shown: the n-th frame that
            # is shown has the n-th time.
            time = self._decode_times.popleft()
        if time is not None:
            if math.isnan(self._origin):
                self._origin = time
            time -= self._origin
        if time is not None and time > self._last:
            return time
        return 0.0 if self._last == -math.inf else self._last + 1.0 / self.fps

    def _to_rgb(self, picture: Any) -> Image:
        pixels = picture.to_ndarray(format="rgb24")
        ratio = self._stream.sample_aspect_ratio or Fraction(1)
        if ratio != 1 and 1 / MAX_PIXEL_RATIO <= ratio <= MAX_PIXEL_RATIO:
            height, width = pixels.shape[:2]
            size = (round(width * ratio), height) if ratio > 1 else (width, round(height / ratio))
            pixels = cv2.resize(pixels, size, interpolation=cv2.INTER_LINEAR)
        matrix = picture.side_data.get("DISPLAYMATRIX")
        return pixels if matrix is None else turn(pixels, bytes(matrix))


def open_container(source: str | Path, name: str) -> Any:
    """Open a file or stream, or raise InputError."""
    # Imported here: photos do not need its 0.3 s and 19 MB.
    import av

    scheme = url_scheme(source)
    options: dict[str, Any] = {}
    if scheme is None:
        path = Path(source)
        try:
            with path.open("rb") as file:
                if not file.read(1):
                    raise InputError(f"{name}: found an empty file, expected a video")
        except OSError as error:
            raise InputError(f"{name}: cannot be read: {error.strerror or error}") from error
        # With a protocol, so that FFmpeg takes no part of the name for one.
        address = f"file:{path}"
    elif scheme in STREAMS:
        address, options = str(source), {"timeout": STREAM_TIMEOUT}
    else:
        raise InputError(f"{name}: found a URL of the kind {scheme}, expected one of {', '.join(STREAMS)}")
    try:
        return av.open(address, **options)
    except av.error.FFmpegError as error:
        if scheme is not None:
            raise InputError(f"{name}: cannot be opened: {error.strerror}") from error
        raise InputError(f"{name}: found no readable video, expected one (MP4, WebM, AVI, ...)") from error


def find_stream(container: Any, name: str) -> Any:
    """The stream of pictures of a container, or InputError."""
    stream = container.streams.best("video")
    if stream is None:
        raise InputError(f"{name}: found no pictures in it (only sound?), expected a video")
    return stream


def url_scheme(source: str | Path) -> str | None:
    """The scheme of a URL in lower case; None for a path.

    >>> url_scheme("rtsp://10.0.0.7/door"), url_scheme("clip.mp4"), url_scheme("C:/clip.mp4")
    ('rtsp', None, None)
    """
    found = re.match(r"([a-z][a-z0-9+.-]+)://", str(source), re.IGNORECASE)
    return found[1].lower() if found else None


def hide_password(source: str) -> str:
    """A URL without its user and password.

    >>> hide_password("rtsp://admin:secret@10.0.0.7/door")
    'rtsp://10.0.0.7/door'
    """
    return source if url_scheme(source) is None else re.sub(r"(?<=://)[^/@]*@", "", source)


def turn(pixels: Image, matrix: bytes) -> Image:
    """Turn and mirror a picture as a display matrix says, in quarter turns.

    Args:
        pixels: (H, W, 3) uint8.
        matrix: nine int32, row by row (a b u, c d v, x y w): the point (x, y) of the stored picture is shown
            at (a x + c y, b x + d y).
    """
    a, b, _, c, d, *_ = np.frombuffer(matrix, np.int32).tolist()
    if abs(a) + abs(d) < abs(b) + abs(c):
        pixels, a, d = pixels.transpose(1, 0, 2), c, b
    return np.ascontiguousarray(pixels[:: -1 if d < 0 else 1, :: -1 if a < 0 else 1])
