"""Tests of tf_dhm.runtime.video."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from tf_dhm.core.errors import InputError
from tf_dhm.runtime import video
from tf_dhm.runtime.video import Frame, VideoReader, VideoWriter, fit


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
            # The rest comes from where the first ones ended.
            assert len(list(reader)) == 27


MJPEG_TIMES = b"".join(cv2.imencode(".jpg", grey(40 * k))[1].tobytes() for k in range(5))


def test_a_format_without_times_and_length(tmp_path: Path) -> None:
    path = tmp_path / "camera.mjpeg"
    path.write_bytes(MJPEG_TIMES)
    with VideoReader(path) as reader:
        assert reader.frame_count is None
        np.testing.assert_allclose([frame.time for frame in reader], np.arange(5) / reader.fps)


def test_a_stream_that_changes_its_size(tmp_path: Path) -> None:
    """OpenCV gives every frame the size of the first and does not tell: see docs/tracking.md."""
    pictures = [np.full((height, 64, 3), 90, np.uint8) for height in (48, 48, 96, 32)]
    stream = b"".join(cv2.imencode(".jpg", picture)[1].tobytes() for picture in pictures)
    (tmp_path / "call.mjpeg").write_bytes(stream)
    with VideoReader(tmp_path / "call.mjpeg") as video:
        shapes = [frame.pixels.shape for frame in video]
    assert shapes == [(48, 64, 3)] * 4


def test_percent_in_a_name(tmp_path: Path) -> None:
    assert len(read(write(tmp_path / "100%03d.mp4", grey(0)))) == 1


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
        ("header only", "found no readable video"),
        ("without frames", "found no frame that can be decoded"),
    ],
)
def test_refused(tmp_path: Path, kind: str, message: str) -> None:
    path = unreadable(tmp_path, kind)
    with pytest.raises(InputError, match=f"video {path}: {message}"):
        VideoReader(path)


def test_nothing_written_makes_no_file(tmp_path: Path) -> None:
    assert not write(tmp_path / "clip.mp4").exists()


def test_a_video_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "clip.mp4").mkdir()
    with pytest.raises(OSError, match="a video of 64 x 48 pixels cannot be written"):
        write(tmp_path / "clip.mp4", grey(0))


class FakeCamera:
    """What OpenCV gives for a camera: frames without end, and no times."""

    def __init__(self, number: int) -> None:
        self.number, self.released = number, False

    def isOpened(self) -> bool:
        return self.number == 0

    def read(self) -> tuple[bool, NDArray[np.uint8]]:
        return True, np.full((4, 6, 3), (10, 20, 30), np.uint8)

    def get(self, name: int) -> float:
        return 0.0

    def release(self) -> None:
        self.released = True


class TestCamera:
    def test_frames(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(cv2, "VideoCapture", FakeCamera)
        with VideoReader(0) as reader:
            assert (reader.name, reader.fps, reader.frame_count) == ("camera 0", video.DEFAULT_FPS, None)
            frames = list(itertools.islice(reader, 5))
        times = [frame.time for frame in frames]
        assert times == sorted(set(times))
        assert frames[0].pixels[0, 0].tolist() == [30, 20, 10]

    def test_none(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(cv2, "VideoCapture", FakeCamera)
        with pytest.raises(InputError, match="camera 7: cannot be opened"):
            VideoReader(7)


def test_grey_cameras() -> None:
    assert video.to_rgb(np.full((4, 6), 9, np.uint8)).tolist() == grey(9, 4, 6).tolist()


def test_fit() -> None:
    fitted = fit(grey(9, 10, 20), 40, 30)
    assert fitted.shape == (30, 40, 3)
    assert (fitted[5:25] == 9).all()
    assert not fitted[:5].any()
    assert not fitted[25:].any()
    assert fit(grey(9, 1, 1000), 40, 30).any()


class TestWindow:
    def test_without_a_display(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(video.sys, "platform", "linux")
        monkeypatch.delenv("DISPLAY", raising=False)
        monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
        with pytest.raises(InputError, match="--show: found no display"):
            video.check_display()
        monkeypatch.setenv("DISPLAY", ":0")
        video.check_display()

    @pytest.mark.parametrize(
        ("key", "goes_on"), [(-1, True), (ord("x"), True), (ord("q"), False), (27, False)]
    )
    def test_keys(self, monkeypatch: pytest.MonkeyPatch, key: int, goes_on: bool) -> None:
        shown: list[Any] = []
        monkeypatch.setattr(cv2, "imshow", lambda title, image: shown.append((title, image[0, 0].tolist())))
        monkeypatch.setattr(cv2, "waitKey", lambda delay: key)
        monkeypatch.setattr(cv2, "destroyAllWindows", lambda: shown.append("closed"))
        with video.Window("camera 0") as window:
            assert window.show(np.full((2, 2, 3), (1, 2, 3), np.uint8)) == goes_on
        assert shown == [("camera 0", [3, 2, 1]), "closed"]
