"""MediaPipe's FaceMesh in a process of its own, with a stand-in for its package."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from tf_dhm.core.errors import InputError
from tf_dhm.evaluation.peers import facemesh

PHOTO = np.full((8, 8, 3), 200, np.uint8)
PACKAGE = """
import time
from types import SimpleNamespace
__version__ = "0"
class FaceMesh:
    def __init__(self, static_image_mode, max_num_faces):
        self.seconds = 0.02 if static_image_mode else 0.002
    def process(self, image):
        time.sleep(self.seconds)
        return SimpleNamespace(multi_face_landmarks=[1] if image.mean() > 100 else None)
solutions = SimpleNamespace(face_mesh=SimpleNamespace(FaceMesh=FaceMesh))
"""


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "mediapipe"
    for name in ("face_detection/face_detection_short_range", "face_landmark/face_landmark"):
        file = folder / "modules" / f"{name}.tflite"
        file.parent.mkdir(parents=True)
        file.write_bytes(b"12345")
    (folder / "__init__.py").write_text(PACKAGE)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    return folder


def test_calls_are_timed_in_the_process(package: Path) -> None:
    worker = facemesh.start("facemesh", PHOTO, [PHOTO, PHOTO, PHOTO])
    assert (worker.runtime, worker.file_bytes) == ("mediapipe 0", 10)
    photo, video = worker.timer("photo")(3), worker.timer("video_frame")(2)
    assert (len(photo), len(video)) == (3, 2)
    assert (photo >= 0.02).all()
    assert (video >= 3 * 0.002).all()  # of all frames
    worker.close()


def test_a_photo_without_a_face(package: Path) -> None:
    worker = facemesh.start("facemesh", (PHOTO // 4).astype(np.uint8), [PHOTO])
    with pytest.raises(InputError, match="facemesh: its process ended: found no face"):
        worker.timer("photo")(1)


def test_no_package_and_no_python(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mediapipe.py").write_text("raise ModuleNotFoundError('no mediapipe')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with pytest.raises(InputError, match="no mediapipe"):
        facemesh.start(f"facemesh={sys.executable}", PHOTO, [PHOTO])
    with pytest.raises(InputError, match="none/python: No such file"):
        facemesh.start(f"facemesh={tmp_path / 'none' / 'python'}", PHOTO, [PHOTO])


def test_names() -> None:
    assert facemesh.is_facemesh("facemesh")
    assert facemesh.is_facemesh("facemesh=env/bin/python")
    assert not facemesh.is_facemesh("facemesh.json")
