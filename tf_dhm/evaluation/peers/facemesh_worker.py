"""The process that `facemesh` starts: run by a Python that has the package mediapipe, and nothing of tf_dhm.

`python facemesh_worker.py IMAGES.npz` prints one JSON line when it is ready, and then answers each line
`[stage, count]` on its standard input with the seconds of that many calls.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

FaceMeshStage = Literal["photo", "video_frame"]
NETWORKS = (
    "modules/face_detection/face_detection_short_range.tflite",
    "modules/face_landmark/face_landmark.tflite",
)


def make_call(mesh: Any, images: Any) -> Callable[[], None]:
    """A call that finds the face of each image."""

    def call() -> None:
        for image in images:
            if mesh.process(image).multi_face_landmarks is None:
                raise SystemExit("found no face, expected one")

    return call


def main(path: str) -> None:
    import mediapipe
    import numpy as np

    arrays = np.load(path)
    face_mesh = mediapipe.solutions.face_mesh.FaceMesh
    images = {"photo": [arrays["photo"]], "video_frame": list(arrays["frames"])}
    calls = {
        stage: make_call(face_mesh(static_image_mode=stage == "photo", max_num_faces=1), images[stage])
        for stage in images
    }
    folder = Path(mediapipe.__file__).parent
    size = sum((folder / name).stat().st_size for name in NETWORKS)
    answer({"runtime": f"mediapipe {mediapipe.__version__}", "file_bytes": size})
    for line in sys.stdin:
        stage, count = json.loads(line)
        calls[stage]()
        seconds = []
        for _ in range(count):
            begin = time.perf_counter()
            calls[stage]()
            seconds.append(time.perf_counter() - begin)
        answer({"seconds": seconds})


def answer(value: dict[str, Any]) -> None:
    print(json.dumps(value), flush=True)


if __name__ == "__main__":
    main(sys.argv[1])
