"""Draw docs/figures/turning_heads.webp: rendered heads that turn from profile to profile, with landmarks.

    python tools/draw_turning_heads.py

The heads are rendered from seeds; the landmarks are those that `Tracker` finds in the frames. Takes about
80 seconds of one core.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tf_dhm.core.cli import run_script

import cv2
from PIL import Image as Pictures
from tqdm import tqdm

from pipelines.synthetic.camera import Camera
from pipelines.synthetic.config import RenderConfig
from pipelines.synthetic.lighting import Light
from pipelines.synthetic.renderer import turned_part
from pipelines.synthetic.rig import inset_teeth, load_rig, vertex_normals
from pipelines.synthetic.sampling import Dress, random_looks, random_parameters, random_parts
from pipelines.synthetic.scene import Scene
from tf_dhm import Aligner
from tf_dhm.core.command_line import parse_options
from tf_dhm.core.errors import InputError
from tf_dhm.core.files import atomic_write
from tf_dhm.core.types import Image
from tf_dhm.face.geometry import CROP_SCALE, landmark_box, rotation_matrix
from tf_dhm.runtime.drawing import draw_faces
from tf_dhm.runtime.tracking import Tracker

ROOT = Path(__file__).resolve().parents[1]
MARGIN = 1.6
"""Side of a frame over that of the crop of the face, seen from the front."""
DISTANCE = 90.0
"""Centimetres from the camera to the head."""
MAX_YAW = 85.0
FRAME_RATE = 16
GREY = np.array([0.80, 0.82, 0.84], np.float32)
"""Background colour."""
GAMMA = 2.2
BRIGHTNESS = 0.62
"""Brightness of the middle of the face, before gamma."""


@dataclass(frozen=True)
class Config:
    """Heads to draw, and format of the animation."""

    output: Path = ROOT / "docs" / "figures" / "turning_heads.webp"
    """A WebP or GIF file."""
    seeds: tuple[int, ...] = (0, 4, 5)
    """Seeds of the heads to draw."""
    size: int = 240
    """Side of each head's square in pixels."""
    steps: int = 24
    """Frames from one profile to the other."""
    quality: int = 60
    """Quality of a WebP file, 1 to 100."""

    def __post_init__(self) -> None:
        if not self.seeds or self.size < 64 or self.steps < 2 or not 1 <= self.quality <= 100:
            raise InputError(
                "seeds, size, steps, quality: expected some, 64 or more, 2 or more, and 1 to 100"
            )


class View(NamedTuple):
    """A rendered head."""

    image: Image
    landmarks: NDArray[np.float64]
    """(68, 3) pixels."""


def render_turning(seed: int, yaws: NDArray[np.float64], size: int) -> list[View]:
    """A head at each yaw, in degrees."""
    rng = np.random.default_rng(seed)
    rig = load_rig()
    weights = np.concatenate(random_parameters(rig, rng))
    vertices = (rig.model.mean.ravel() + weights @ rig.basis).reshape(-1, 3).astype(np.float32)
    inset_teeth(rig, vertices)
    normals = vertex_normals(rig, vertices)
    looks = random_looks(rng, has_hair=True)
    dress = Dress(hair=True, hat=False, beard=False)
    worn, _ = random_parts(rig, vertices, normals, looks, dress, RenderConfig(occlusion=0.0), rng)
    landmarks = vertices[rig.model.landmarks].astype(np.float64)
    x0, y0, x1, y1 = landmark_box(landmarks[:, :2])
    scale = size / (MARGIN * CROP_SCALE * max(x1 - x0, y1 - y0))
    # The head turns about the axis between its ears, which stays in the middle of the frame.
    axis = landmarks[[0, 16]].mean(0)
    key = np.array([-0.45, 0.5, 0.75], np.float32)
    fill = np.array([0.7, 0.1, 0.7], np.float32)
    white = np.ones(3, np.float32)
    lights = [
        Light(key / np.linalg.norm(key), 1.1 * white, True),
        Light(fill / np.linalg.norm(fill), 0.5 * white, False),
    ]
    views, level = [], 1.0
    # The front view comes first and sets the exposure of all views.
    order = np.argsort(np.abs(yaws), kind="stable")
    for number in order:
        turn = rotation_matrix(0.0, np.radians(yaws[number]), 0.0).T.astype(np.float32)
        x, _, _ = axis @ turn
        origin = ((size - 1) / 2 - scale * x, (size - 1) / 2 + scale * (y0 + y1) / 2)
        camera = Camera(scale, origin, DISTANCE)
        scene = Scene(rig, vertices, normals, turn, [turned_part(part, turn) for part in worn])
        radiance, depth = scene.radiance(
            camera, size, 2 * size, looks, lights, 0.5 * white, 0.3 * white, np.random.default_rng(seed)
        )
        covered = np.isfinite(depth)
        if number == order[0]:
            middle = slice(3 * size // 4, 5 * size // 4)
            level = BRIGHTNESS**GAMMA / float(radiance[middle, middle].mean())
        colour = np.where(covered[..., None], np.clip(level * radiance, 0, 1) ** (1 / GAMMA), GREY)
        small = cv2.resize(colour.astype(np.float32), (size, size), interpolation=cv2.INTER_AREA)
        image = np.rint(255 * small).astype(np.uint8)
        views.append(View(image, camera.project(landmarks @ turn)))
    return [views[int(place)] for place in np.argsort(order)]


def follow(frames: list[Image], aligner: Aligner) -> list[Image]:
    """The frames, to and fro, with the landmarks of the face in each."""
    first = len(frames) // 2
    way = [*range(first, len(frames)), *range(len(frames) - 2, -1, -1), *range(1, first)]
    tracker, drawn = Tracker.of(aligner), []
    for time, number in enumerate(way):
        faces = tracker.update(frames[number], (time + 1) / FRAME_RATE)
        if len(faces) != 1:
            raise InputError(f"frame {time}: found {len(faces)} faces, expected 1; choose other seeds")
        drawn.append(draw_faces(frames[number], faces, ("contours", "points")))
    return drawn


def draw(config: Config) -> None:
    """Render all heads and write the animation."""
    yaws = np.linspace(-MAX_YAW, MAX_YAW, config.steps + 1)
    aligner = Aligner()
    # Drawn at twice the size, so that points and lines are smooth.
    heads = [
        follow([view.image for view in render_turning(seed, yaws, 2 * config.size)], aligner)
        for seed in tqdm(config.seeds, "heads")
    ]
    size = (config.size * len(heads), config.size)
    frames = [
        Pictures.fromarray(np.hstack(row)).resize(size, Pictures.Resampling.LANCZOS)
        for row in zip(*heads, strict=True)
    ]
    options = {"quality": config.quality, "method": 6} if config.output.suffix == ".webp" else {}
    with atomic_write(config.output) as path:
        frames[0].save(
            path,
            format=config.output.suffix[1:],
            save_all=True,
            append_images=frames[1:],
            duration=round(1000 / FRAME_RATE),
            loop=0,
            **options,
        )
    print(f"{config.output}: {config.output.stat().st_size:,} bytes")


if __name__ == "__main__":
    run_script(lambda: draw(parse_options(Config, description=__doc__)))
