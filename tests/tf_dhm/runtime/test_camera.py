"""Tests of tf_dhm.runtime.camera."""

from __future__ import annotations

import itertools
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from tf_dhm.core.errors import InputError
from tf_dhm.runtime import camera
from tf_dhm.runtime.camera import CameraReader
from tf_dhm.runtime.video import DEFAULT_FPS


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
        with CameraReader(0) as reader:
            assert (reader.name, reader.fps, reader.frame_count) == ("camera 0", DEFAULT_FPS, None)
            frames = list(itertools.islice(reader, 5))
        times = [frame.time for frame in frames]
        assert times == sorted(set(times))
        assert frames[0].pixels[0, 0].tolist() == [30, 20, 10]

    def test_none(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(cv2, "VideoCapture", FakeCamera)
        with pytest.raises(InputError, match="camera 7: cannot be opened"):
            CameraReader(7)


def test_grey_cameras() -> None:
    assert (camera.to_rgb(np.full((4, 6), 9, np.uint8)) == np.full((4, 6, 3), 9)).all()


class TestWindow:
    def test_without_a_display(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(camera.sys, "platform", "linux")
        monkeypatch.setattr(cv2, "getBuildInformation", lambda: "  GUI:                 QT5\n")
        monkeypatch.delenv("DISPLAY", raising=False)
        monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
        with pytest.raises(InputError, match="--show: found no display"):
            camera.check_display()
        monkeypatch.setenv("DISPLAY", ":0")
        camera.check_display()

    def test_without_windows(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("DISPLAY", ":0")
        monkeypatch.setattr(cv2, "getBuildInformation", lambda: "  GUI:                 NONE\n")
        with pytest.raises(InputError, match=r"pip install .*opencv-python"):
            camera.check_display()

    @pytest.mark.parametrize(
        ("key", "continues"), [(-1, True), (ord("x"), True), (ord("q"), False), (27, False)]
    )
    def test_keys(self, monkeypatch: pytest.MonkeyPatch, key: int, continues: bool) -> None:
        shown: list[Any] = []
        monkeypatch.setattr(cv2, "imshow", lambda title, image: shown.append((title, image[0, 0].tolist())))
        monkeypatch.setattr(cv2, "waitKey", lambda delay: key)
        monkeypatch.setattr(cv2, "destroyAllWindows", lambda: shown.append("closed"))
        with camera.Window("camera 0") as window:
            assert window.show(np.full((2, 2, 3), (1, 2, 3), np.uint8)) == continues
        assert shown == [("camera 0", [3, 2, 1]), "closed"]
