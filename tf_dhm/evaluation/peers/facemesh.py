"""MediaPipe's FaceMesh end to end, detection included, timed in a process of its own.

The package `mediapipe` requires other versions of OpenCV and protobuf than this project, so it may live
in another environment: `facemesh=PYTHON` names that environment's Python, plain `facemesh` uses this one.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, get_args

import numpy as np

from tf_dhm.core.errors import InputError
from tf_dhm.core.types import Image
from tf_dhm.evaluation.peers.facemesh_worker import FaceMeshStage
from tf_dhm.evaluation.timing import Seconds, Timer

FACEMESH = "facemesh"
NAME = "MediaPipe FaceMesh"
INPUT_SIZE = 192
STAGES: tuple[FaceMeshStage, ...] = get_args(FaceMeshStage)
WORKER = Path(__file__).with_name("facemesh_worker.py")


def is_facemesh(text: str) -> bool:
    """Whether a peer's name on the command line is that of FaceMesh."""
    return text.partition("=")[0] == FACEMESH


def start(text: str, photo: Image, frames: Sequence[Image]) -> Worker:
    """Start FaceMesh.

    Args:
        text: "facemesh" or "facemesh=PYTHON".
        photo: (H, W, 3) uint8 RGB with one face, for the stage photo.
        frames: of the same shape, for the stage video_frame.

    Raises:
        InputError: no such Python, no package mediapipe, or no face found.
    """
    return Worker(text.partition("=")[2] or sys.executable, photo, frames)


class Worker:
    """A process that times FaceMesh.

    Attributes:
        runtime: package and version.
        file_bytes: of its two networks.
    """

    def __init__(self, python: str, photo: Image, frames: Sequence[Image]) -> None:
        self._folder = tempfile.TemporaryDirectory()
        images, log = Path(self._folder.name) / "images.npz", Path(self._folder.name) / "log"
        np.savez(images, photo=photo, frames=np.stack(frames))
        self._log = log
        try:
            with log.open("wb") as errors:
                self._process = subprocess.Popen(
                    [python, str(WORKER), str(images)],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=errors,
                    text=True,
                )
        except OSError as error:
            raise InputError(f"{FACEMESH}: {python}: {error.strerror}, expected a Python") from error
        described = self._read()
        self.runtime, self.file_bytes = str(described["runtime"]), int(described["file_bytes"])

    def timer(self, stage: FaceMeshStage) -> Timer:
        """Times calls of one stage inside the process, so that no transfer is counted."""

        def time(count: int) -> Seconds:
            assert self._process.stdin is not None
            self._process.stdin.write(json.dumps([stage, count]) + "\n")
            self._process.stdin.flush()
            return np.array(self._read()["seconds"])

        return time

    def _read(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            self._process.wait()
            last = self._log.read_text(errors="replace").strip().splitlines()[-1:] or ["no message"]
            raise InputError(f"{FACEMESH}: its process ended: {last[0]}")
        return json.loads(line)

    def close(self) -> None:
        """End the process."""
        self._process.communicate()
        self._folder.cleanup()

    def __del__(self) -> None:
        if hasattr(self, "_process") and self._process.poll() is None:
            self.close()
