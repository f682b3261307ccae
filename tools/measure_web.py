"""Measure the browser package beside the Python package: `python tools/measure_web.py`.

Both run on the same machine, one after the other in every round, on the test portrait (512 × 512) and on a
moving face (640 × 480), which is also what the camera shows to the page. Build the browser package first:
`npm ci && npm run build` in `web/`.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tf_dhm.core.cli import run_script

from tf_dhm import Aligner
from tf_dhm.core.command_line import parse_options
from tf_dhm.core.errors import InputError
from tf_dhm.runtime.images import read_photo
from tf_dhm.runtime.mesh_pictures import draw_mesh
from tf_dhm.runtime.tflite import find_tflite
from tf_dhm.runtime.tracking import Tracker
from tools.web_test_data import OUTPUT, PORTRAIT, ROOT
from tools.web_test_pictures import moving_face, save_png, write_camera

WARM_UP = 10
ROWS = {
    "network": "Landmark network",
    "short_detector": "Short-range detector",
    "full_detector": "Full detector",
    "photo_with_box": "Photo, box given",
    "photo": "Photo, detected face",
    "video_frame": "Video frame, one face followed",
    "fit": "Fit of the whole face",
    "draw_mesh": "Drawing the whole face",
}


@dataclass(frozen=True)
class Config:
    """Options of the measurement."""

    rounds: int = 3
    """Rounds of the browser and Python, alternately; the 10th percentile of the quickest is reported."""
    json: Path | None = None
    """File to which the times are also written."""


def measure(config: Config) -> str:
    """Measure, and return Markdown tables."""
    frames = moving_face(read_photo(PORTRAIT).pixels)
    folder = OUTPUT / "frames"
    folder.mkdir(parents=True, exist_ok=True)
    for number, frame in enumerate(frames):
        save_png(folder / f"{number}.png", frame)
    write_camera(OUTPUT / "camera.mjpeg", frames)
    browser: list[dict[str, Any]] = []
    python: list[dict[str, list[float]]] = []
    for _ in range(config.rounds):
        browser.append(measure_browser(len(frames)))
        python.append(measure_python(frames))
    if config.json is not None:
        config.json.write_text(json.dumps({"browser": browser, "python": python}))
    in_browser = best([round_["library"] for round_ in browser])
    in_python = best(python)
    lines = [f"Chromium {browser[0]['browser']}, model {Aligner().predictor.name}", ""]
    lines += ["| | browser, ms | Python, ms | ratio |", "|---|---|---|---|"]
    for key, title in ROWS.items():
        there, here = in_browser[key], in_python.get(key)
        rest = " – | – |" if here is None else f" {here:.1f} | {there / here:.1f} |"
        lines.append(f"| {title} | {there:.1f} |{rest}")
    lines += ["", f"Loading runtime and model: {in_browser['load']:.0f} ms in the browser", ""]
    lines += ["| camera at 640 × 480, drawn | frames/s | CPU ms a frame | ms a frame as shown |"]
    lines += ["|---|---|---|---|"]
    for drawn in browser[0]["camera"]:
        speed = min((round_["camera"][drawn] for round_ in browser), key=lambda one: one["cpu"])
        shown = "–" if speed["milliseconds"] is None else f"{speed['milliseconds']:.1f}"
        lines.append(f"| {drawn} | {speed['rate']:.1f} | {speed['cpu']:.1f} | {shown} |")
    lines.append("")
    networks = list(ROWS)[:3]
    lines += ["| build of LiteRT | " + " | ".join(ROWS[key] for key in networks) + " |", "|---|---|---|---|"]
    for name in browser[0]["builds"]:
        times = best([round_["builds"][name] for round_ in browser])
        lines.append(f"| {name} | " + " | ".join(f"{times[key]:.1f}" for key in networks) + " |")
    return "\n".join(lines)


def best(rounds: list[dict[str, list[float]]]) -> dict[str, float]:
    """The 10th percentile of the quickest round: other work on the machine only adds to a time."""
    return {key: min(float(np.percentile(times[key], 10)) for times in rounds) for key in rounds[0]}


def measure_browser(frames: int) -> dict[str, Any]:
    command = ["node", "scripts/measure.mjs", str(frames)]
    try:
        done = subprocess.run(command, cwd=ROOT / "web", capture_output=True, text=True, check=True)
    except subprocess.CalledProcessError as error:
        raise InputError(f"web: the browser could not be measured: {error.stderr.strip()}") from error
    result: dict[str, Any] = json.loads(done.stdout)
    return result


def measure_python(frames: list[Any]) -> dict[str, list[float]]:
    """The same with the Python package, one thread, with the file for browsers."""
    aligner = Aligner(str(find_tflite("fast_dhm_m", "web")))
    photo = read_photo(PORTRAIT).pixels
    (face,) = aligner.align(photo)
    size = aligner.predictor.input_size
    crop = np.zeros((1, size, size, 3), np.uint8)
    tracker = Tracker.of(aligner)
    fit = face.fit()
    count = iter(range(1, 10**6))

    def next_frame() -> None:
        number = next(count)
        tracker.update(frames[number % len(frames)], number / 30)

    return {
        "network": timed(100, lambda: aligner.predictor.predict(crop)),
        "full_detector": timed(20, lambda: aligner.detector.detect(photo)),
        "photo": timed(20, lambda: aligner.align(photo)),
        "photo_with_box": timed(50, lambda: aligner.align(photo, [face.box])),
        "video_frame": timed(2 * len(frames), next_frame),
        "fit": timed(100, face.fit),
        "draw_mesh": timed(50, lambda: draw_mesh(photo, [fit])),
    }


def timed(count: int, task: Callable[[], object]) -> list[float]:
    """Milliseconds of each call."""
    times = []
    for index in range(-WARM_UP, count):
        before = time.perf_counter()
        task()
        if index >= 0:
            times.append(1000 * (time.perf_counter() - before))
    return times


if __name__ == "__main__":
    run_script(lambda: print(measure(parse_options(Config, description=__doc__))))
