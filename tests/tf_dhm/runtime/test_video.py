"""Tests of tf_dhm.runtime.video."""

from __future__ import annotations

import doctest
import itertools
import os
import subprocess
import sys
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from tf_dhm.core.errors import InputError
from tf_dhm.runtime import video
from tf_dhm.runtime.video import Frame, VideoReader
from tf_dhm.runtime.video_writer import VideoWriter, fit


def grey(value: int, height: int = 48, width: int = 64) -> NDArray[np.uint8]:
    return np.full((height, width, 3), value, np.uint8)


def write(path: Path, *frames: NDArray[np.uint8], fps: float = 20.0) -> Path:
    with VideoWriter(path, fps) as writer:
        for frame in frames:
            writer.write(frame)
    return path


def read(path: Path) -> list[Frame]:
    with VideoReader(path) as reader:
        return list(reader)


class TestRoundTrip:
    def test_frames_and_times(self, tmp_path: Path) -> None:
        frames = read(write(tmp_path / "deep" / "clip.mp4", *(grey(20 * k) for k in range(10))))
        assert [frame.index for frame in frames] == list(range(10))
        np.testing.assert_allclose([frame.time for frame in frames], np.arange(10) / 20, atol=1e-3)
        for frame in frames:
            assert frame.pixels.shape == (48, 64, 3)
            np.testing.assert_allclose(frame.pixels, 20 * frame.index, atol=6)

    def test_what_the_file_says(self, tmp_path: Path) -> None:
        path = write(tmp_path / "clip.mp4", *[grey(0)] * 7)
        with VideoReader(path) as reader:
            assert (reader.name, reader.fps, reader.frame_count) == (f"video {path}", 20.0, 7)

    def test_colours(self, tmp_path: Path) -> None:
        red = np.zeros((48, 64, 3), np.uint8)
        red[..., 0] = 220
        (frame,) = read(write(tmp_path / "clip.mp4", red))
        np.testing.assert_allclose(frame.pixels.mean((0, 1)), [220, 0, 0], atol=8)

    @pytest.mark.parametrize(("height", "width"), [(47, 63), (1, 1), (2, 300)])
    def test_odd_sizes(self, tmp_path: Path, height: int, width: int) -> None:
        (frame,) = read(write(tmp_path / "clip.mp4", grey(100, height, width)))
        assert frame.pixels.shape == (height + height % 2, width + width % 2, 3)
        np.testing.assert_allclose(frame.pixels, 100, atol=6)

    def test_frames_of_another_size_are_fitted(self, tmp_path: Path) -> None:
        frames = read(write(tmp_path / "clip.mp4", grey(100), grey(200, 48, 32), grey(150, 96, 128)))
        assert {frame.pixels.shape for frame in frames} == {(48, 64, 3)}
        np.testing.assert_allclose(frames[1].pixels[:, 20:44], 200, atol=20)
        np.testing.assert_allclose(frames[1].pixels[:, :12], 0, atol=20)
        np.testing.assert_allclose(frames[2].pixels, 150, atol=20)

    def test_memory_does_not_hold_the_frames(self, tmp_path: Path) -> None:
        with VideoReader(write(tmp_path / "clip.mp4", *[grey(0)] * 30)) as reader:
            assert len(list(itertools.islice(reader, 3))) == 3
            # The rest continues after the first ones.
            assert len(list(reader)) == 27


MJPEG_TIMES = b"".join(cv2.imencode(".jpg", grey(40 * k))[1].tobytes() for k in range(5))


def test_a_format_without_times_and_length(tmp_path: Path) -> None:
    path = tmp_path / "camera.mjpeg"
    path.write_bytes(MJPEG_TIMES)
    with VideoReader(path) as reader:
        assert reader.frame_count is None
        np.testing.assert_allclose([frame.time for frame in reader], np.arange(5) / reader.fps)


def test_a_stream_that_changes_its_size(tmp_path: Path) -> None:
    pictures = [np.full((height, 64, 3), 90, np.uint8) for height in (48, 48, 96, 32)]
    stream = b"".join(cv2.imencode(".jpg", picture)[1].tobytes() for picture in pictures)
    (tmp_path / "call.mjpeg").write_bytes(stream)
    with VideoReader(tmp_path / "call.mjpeg") as video:
        shapes = [frame.pixels.shape for frame in video]
    assert shapes == [picture.shape for picture in pictures]


@pytest.mark.parametrize("name", ["100%03d.mp4", "file:x.mp4", "a?b#c.mp4", "-y.mp4"])
def test_odd_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.chdir(tmp_path)
    assert len(read(write(Path(name), grey(0)))) == 1


def encode(
    path: Path, frames: list[NDArray[np.uint8]], ticks: list[int], codec: str = "mpeg4", **options: str
) -> Path:
    """Write frames shown at milliseconds with PyAV; options are of the container."""
    with av.open(str(path), "w", options=options) as container:
        stream: Any = container.add_stream(
            codec, rate=25, options={"flags": "+qscale", "global_quality": "236"}
        )
        stream.height, stream.width = frames[0].shape[:2]
        stream.pix_fmt = "yuv420p"
        if codec == "mpeg4":
            stream.codec_context.time_base = Fraction(1, 1000)
        for pixels, tick in zip(frames, ticks, strict=True):
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            frame.pts, frame.time_base = tick, Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def corners(height: int = 48, width: int = 64) -> NDArray[np.uint8]:
    """A picture whose quarters are red, green, blue and white, in the order of reading."""
    picture = np.zeros((height, width, 3), np.uint8)
    colours = [(230, 0, 0), (0, 230, 0), (0, 0, 230), (230, 230, 230)]
    for number, colour in enumerate(colours):
        y, x = number // 2 * height // 2, number % 2 * width // 2
        picture[y : y + height // 2, x : x + width // 2] = colour
    return picture


UNIT, LAST = 1 << 16, 1 << 30
MATRICES = {
    # (a, b, c, d) of the display matrix -> what a viewer does with the stored picture
    "upright": ((1, 0, 0, 1), lambda picture: picture),
    "90": ((0, 1, -1, 0), lambda picture: np.rot90(picture, -1)),
    "180": ((-1, 0, 0, -1), lambda picture: np.rot90(picture, 2)),
    "270": ((0, -1, 1, 0), lambda picture: np.rot90(picture, 1)),
    "mirrored": ((-1, 0, 0, 1), lambda picture: picture[:, ::-1]),
    "mirrored, 90": ((0, 1, 1, 0), lambda picture: picture.transpose(1, 0, 2)),
}


def with_matrix(path: Path, matrix: tuple[int, int, int, int]) -> Path:
    """Write a display matrix into the track header of an MP4 or MOV file."""
    a, b, c, d = (UNIT * value for value in matrix)
    plain, turned = (
        np.array([p, q, 0, r, s, 0, 0, 0, LAST], ">i4").tobytes()
        for p, q, r, s in ((UNIT, 0, 0, UNIT), (a, b, c, d))
    )
    content = path.read_bytes()
    start = content.index(b"tkhd")
    at = content.index(plain, start)
    path.write_bytes(content[:at] + turned + content[at + len(plain) :])
    return path


class TestOrientation:
    @pytest.mark.parametrize("name", MATRICES)
    @pytest.mark.parametrize("suffix", ["mp4", "mov"])
    def test_frames_are_as_a_player_shows_them(self, tmp_path: Path, suffix: str, name: str) -> None:
        matrix, show = MATRICES[name]
        path = with_matrix(encode(tmp_path / f"a.{suffix}", [corners()], [0]), matrix)
        (frame,) = read(path)
        assert frame.pixels.shape == show(corners()).shape
        np.testing.assert_allclose(frame.pixels.astype(int), show(corners()), atol=60)
        assert np.abs(frame.pixels.astype(int) - show(corners())).mean() < 8

    def test_matroska(self, tmp_path: Path) -> None:
        source = with_matrix(encode(tmp_path / "a.mp4", [corners()], [0]), MATRICES["90"][0])
        with av.open(str(source)) as given, av.open(str(tmp_path / "a.mkv"), "w") as copied:
            stream = copied.add_stream_from_template(given.streams.video[0])
            for packet in given.demux():
                if packet.dts is not None:
                    packet.stream = stream
                    copied.mux(packet)
        (frame,) = read(tmp_path / "a.mkv")
        assert np.abs(frame.pixels.astype(int) - np.rot90(corners(), -1)).mean() < 8

    def test_pixels_that_are_not_square(self, tmp_path: Path) -> None:
        path = tmp_path / "a.mkv"
        with av.open(str(path), "w") as container:
            stream = container.add_stream("mpeg4", rate=25)
            stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
            stream.codec_context.sample_aspect_ratio = Fraction(3, 2)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(corners(), format="rgb24")))
            container.mux(stream.encode(None))
        (frame,) = read(path)
        assert frame.pixels.shape == (48, 96, 3)


class TestTimes:
    ticks = [0, 33, 66, 400, 433, 2000]  # noqa: RUF012
    frames = [grey(40 * k) for k in range(6)]  # noqa: RUF012

    @pytest.mark.parametrize("suffix", ["mp4", "mov", "mkv"])
    def test_a_variable_rate_is_read_and_written(self, tmp_path: Path, suffix: str) -> None:
        source = encode(tmp_path / f"a.{suffix}", self.frames, self.ticks)
        with VideoReader(source) as reader, VideoWriter(tmp_path / "b.mp4", reader.fps) as writer:
            times = []
            for frame in reader:
                times.append(frame.time)
                writer.write(frame.pixels, frame.time)
            reader.check_complete()
        np.testing.assert_allclose(times, np.array(self.ticks) / 1000, atol=1e-3)
        with VideoReader(tmp_path / "b.mp4") as again:
            np.testing.assert_allclose([frame.time for frame in again], times, atol=1e-3)
            again.check_complete()
        with av.open(str(tmp_path / "b.mp4")) as container:
            # The last frame is shown as long as the one before it.
            assert container.duration is not None
            assert container.duration / av.time_base == pytest.approx(2.0 + 1.567, abs=0.01)

    def test_a_clock_is_not_taken_for_a_rate(self, tmp_path: Path) -> None:
        """A browser's WebM states no rate, and its clock has 1000 ticks a second."""
        with VideoReader(encode(tmp_path / "a.mkv", self.frames, self.ticks, live="1")) as reader:
            assert reader.fps < video.MAX_FPS

    def test_times_start_at_the_first_frame(self, tmp_path: Path) -> None:
        path = encode(tmp_path / "a.mkv", self.frames, [tick + 5000 for tick in self.ticks])
        np.testing.assert_allclose(
            [frame.time for frame in read(path)], np.array(self.ticks) / 1000, atol=1e-3
        )

    def test_avi_with_frames_that_are_stored_out_of_order(self, tmp_path: Path) -> None:
        path = tmp_path / "a.avi"
        with av.open(str(path), "w") as container:
            stream = container.add_stream("mpeg4", rate=25, options={"bf": "2"})
            stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
            for k in range(12):
                container.mux(stream.encode(av.VideoFrame.from_ndarray(grey(20 * k), format="rgb24")))
            container.mux(stream.encode(None))
        frames = read(path)
        np.testing.assert_allclose([frame.time for frame in frames], np.arange(12) / 25, atol=1e-3)
        np.testing.assert_allclose([frame.pixels.mean() for frame in frames], 20 * np.arange(12), atol=6)


class TestCompleteness:
    def noise(self, count: int = 40) -> list[NDArray[np.uint8]]:
        generator = np.random.default_rng(0)
        return [generator.integers(0, 256, (48, 64, 3)).astype(np.uint8) for _ in range(count)]

    def check(self, path: Path) -> int:
        with VideoReader(path) as reader:
            count = len(list(reader))
            reader.check_complete()
        return count

    @pytest.mark.parametrize("suffix", ["mp4", "mov", "mkv", "avi", "mpg", "ts"])
    def test_whole_files(self, tmp_path: Path, suffix: str) -> None:
        codec = {"mpg": "mpeg2video", "ts": "mpeg2video"}.get(suffix, "mpeg4")
        path = encode(tmp_path / f"a.{suffix}", self.noise(), [40 * k for k in range(40)], codec)
        assert self.check(path) == 40

    @pytest.mark.parametrize(
        ("suffix", "share"),
        # The last tenth of the AVI is its index.
        [
            ("mp4", 0.3),
            ("mp4", 0.6),
            ("mp4", 0.9),
            ("mkv", 0.3),
            ("mkv", 0.6),
            ("mkv", 0.9),
            ("avi", 0.3),
            ("avi", 0.6),
        ],
    )
    def test_cut_off(self, tmp_path: Path, suffix: str, share: float) -> None:
        options = {"movflags": "faststart"} if suffix == "mp4" else {}
        path = encode(tmp_path / f"a.{suffix}", self.noise(), [40 * k for k in range(40)], **options)
        content = path.read_bytes()
        path.write_bytes(content[: int(len(content) * share)])
        with pytest.raises(InputError, match=rf"video {path}: found .*(cut off|damaged)"):
            self.check(path)

    def test_sound_that_outlasts_the_pictures(self, tmp_path: Path) -> None:
        path = tmp_path / "a.mkv"
        with av.open(str(path), "w") as container:
            pictures, sound = (
                container.add_stream("mpeg4", rate=25),
                container.add_stream("pcm_s16le", rate=8000),
            )
            pictures.width, pictures.height, pictures.pix_fmt = 64, 48, "yuv420p"
            container.mux(pictures.encode(av.VideoFrame.from_ndarray(grey(9), format="rgb24")))
            container.mux(pictures.encode(None))
            for k in range(30):
                part = av.AudioFrame.from_ndarray(np.zeros((1, 800), np.int16), format="s16", layout="mono")
                part.sample_rate, part.pts, part.time_base = 8000, 800 * k, Fraction(1, 8000)
                container.mux(sound.encode(part))
            container.mux(sound.encode(None))
        assert self.check(path) == 1

    def test_an_edit_list_that_shows_a_part(self, tmp_path: Path) -> None:
        """As phones trim a recording: all frames are stored, the last ones are shown."""
        path = encode(tmp_path / "a.mp4", self.noise(), [40 * k for k in range(40)], use_editlist="1")
        content = bytearray(path.read_bytes())
        at = content.index(b"elst") + 12  # segment duration (movie time scale, ms), media time, rate
        scale = int.from_bytes(content[content.index(b"mdhd") + 16 : content.index(b"mdhd") + 20], "big")
        content[at : at + 8] = (600).to_bytes(4, "big") + scale.to_bytes(4, "big")
        path.write_bytes(bytes(content))
        with VideoReader(path) as reader:
            assert reader.frame_count == pytest.approx(15, abs=1)
        assert self.check(path) == 15

    def test_not_judged_before_the_end(self, tmp_path: Path) -> None:
        path = encode(tmp_path / "a.mkv", self.noise(), [40 * k for k in range(40)])
        path.write_bytes(path.read_bytes()[:-20_000])
        with VideoReader(path) as reader:
            next(iter(reader))
            reader.check_complete()


class TestStreams:
    def test_url_of_another_kind(self) -> None:
        with pytest.raises(InputError, match=r"URL of the kind s3, expected one of rtsp"):
            VideoReader("s3://bucket/clip.mp4")

    def test_no_server(self) -> None:
        with pytest.raises(
            InputError, match=r"video http://127\.0\.0\.1:9/clip\.mp4: cannot be opened"
        ) as error:
            VideoReader("http://user:secret@127.0.0.1:9/clip.mp4")
        assert "secret" not in str(error.value)

    def test_doctests(self) -> None:
        assert doctest.testmod(video).failed == 0


FULL_DISK = """
import resource, signal, sys
import numpy as np
from pathlib import Path
from tf_dhm.runtime.video_writer import VideoWriter
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
generator = np.random.default_rng(0)
try:
    with VideoWriter(Path(sys.argv[1]), 25) as writer:
        for _ in range(int(sys.argv[2])):
            writer.write(generator.integers(0, 256, (96, 128, 3)).astype(np.uint8))
except OSError as error:
    print(type(error).__name__, error.filename)
"""


@pytest.mark.parametrize("frames", [2, 60])  # the error comes at the end, or on the way
def test_a_full_disk(tmp_path: Path, frames: int) -> None:
    path = tmp_path / "a.mp4"
    done = subprocess.run(
        [sys.executable, "-c", FULL_DISK, str(path), str(frames)],
        capture_output=True, text=True, check=True, cwd=Path(__file__).parents[3], env={**os.environ},
    )  # fmt: skip
    assert done.stdout == f"OSError {path}\n"


def unreadable(tmp_path: Path, kind: str) -> Path:
    path = tmp_path / "clip.mp4"
    whole = write(tmp_path / "whole.mp4", *(grey(9 * k) for k in range(20))).read_bytes()
    if kind == "missing":
        return path
    if kind == "folder":
        path.mkdir()
        return path
    if kind == "without frames":
        path = tmp_path / "clip.avi"
        cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 25, (64, 48)).release()
        return path
    path.write_bytes(
        {
            "empty": b"",
            "text": b"no video\n" * 99,
            "zeros": bytes(5000),
            "cut off": whole[: len(whole) // 2],
            "header only": whole[:40],
        }[kind]
    )
    return path


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("missing", "cannot be read: No such file"),
        ("folder", "cannot be read: Is a directory"),
        ("empty", "found an empty file"),
        ("text", "found no readable video"),
        ("zeros", "found no readable video"),
        ("cut off", "found no readable video"),
        ("header only", "found no (readable video|pictures)"),
        ("without frames", "found no frame that can be decoded"),
    ],
)
def test_rejected(tmp_path: Path, kind: str, message: str) -> None:
    path = unreadable(tmp_path, kind)
    with pytest.raises(InputError, match=f"video {path}: {message}"):
        VideoReader(path)


def test_nothing_written_makes_no_file(tmp_path: Path) -> None:
    assert not write(tmp_path / "clip.mp4").exists()


def test_a_video_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "clip.mp4").mkdir()
    with pytest.raises(OSError, match="Is a directory"):
        write(tmp_path / "clip.mp4", grey(0))


def test_fit() -> None:
    fitted = fit(grey(9, 10, 20), 40, 30)
    assert fitted.shape == (30, 40, 3)
    assert (fitted[5:25] == 9).all()
    assert not fitted[:5].any()
    assert not fitted[25:].any()
    assert fit(grey(9, 1, 1000), 40, 30).any()
