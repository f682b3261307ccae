"""Draw the figure of docs/open_face.md and print its table of distances.

    python -m tools.draw_open_face

Writes docs/figures/open_face_landmarks.png: the 68 landmarks on the mean head from three sides.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import matplotlib
import numpy as np
from embreex.mesh_construction import TriangleMesh
from embreex.rtcore_scene import EmbreeScene

ROOT = Path(__file__).resolve().parent.parent
matplotlib.use("Agg")

from tf_dhm.core.cli import run_script  # noqa: E402

import matplotlib.pyplot as plt  # noqa: E402

from pipelines.synthetic.camera import Camera  # noqa: E402
from pipelines.synthetic.rig import load_rig, vertex_normals  # noqa: E402
from pipelines.synthetic.vectors import Floats  # noqa: E402
from tf_dhm.core.command_line import parse_options  # noqa: E402
from tf_dhm.core.files import atomic_write  # noqa: E402
from tf_dhm.face.geometry import rotation_matrix  # noqa: E402
from tf_dhm.face.mean_face import mean_shape  # noqa: E402

GROUPS = {
    "jaw": range(17),
    "brows": range(17, 27),
    "bridge and tip of the nose": range(27, 31),
    "base of the nose": range(31, 36),
    "eyes": range(36, 48),
    "outer lips": range(48, 60),
    "inner lips": range(60, 68),
}


@dataclass(frozen=True)
class Config:
    """Draw the figure of the open face."""

    output: Path = ROOT / "docs" / "figures"
    """Folder for the figure."""


def draw_head(side: int, yaw: float) -> tuple[Floats, Floats]:
    """A plain picture (side, side) of the mean head in [0, 1], and its landmarks (68, 2) in pixels."""
    rig = load_rig()
    turn = rotation_matrix(0, np.deg2rad(yaw), 0).T.astype(np.float32)
    vertices = rig.model.mean.astype(np.float32)
    normals = vertex_normals(rig, vertices) @ turn
    points = vertices @ turn
    scene = EmbreeScene()
    TriangleMesh(scene, points, rig.triangles)
    camera = Camera(side / 21.0, (side * 0.5, side * 0.47), np.inf)
    rays = scene.run(*camera.rays(side, side), output=1)
    hit = rays["primID"] >= 0
    corners = rig.triangles[rays["primID"][hit]]
    u, v = rays["u"][hit, None], rays["v"][hit, None]
    normal = normals[corners[:, 0]] * (1 - u - v) + normals[corners[:, 1]] * u + normals[corners[:, 2]] * v
    light = np.array([0.3, 0.45, 0.84], np.float32)
    image = np.ones(side * side, np.float32)
    image[hit] = 0.3 + 0.62 * np.clip(normal @ light / np.linalg.norm(normal, axis=1), 0, 1)
    return image.reshape(side, side), camera.project(points[rig.model.landmarks])[:, :2]


def draw_landmarks(path: Path) -> None:
    side = 700
    figure, axes = plt.subplots(1, 3, figsize=(18, 6.2))
    for axis, yaw, title in zip(axes, (0, 45, 90), ("front", "three quarters", "profile"), strict=True):
        image, points = draw_head(side, yaw)
        axis.imshow(image, cmap="gray", vmin=0, vmax=1)
        axis.plot(points[:, 0], points[:, 1], ".", color="#d62728", markersize=5)
        for number, (x, y) in enumerate(points):
            axis.annotate(
                str(number), (x, y), (2, 2), textcoords="offset points", fontsize=6, color="#1f3a93"
            )
        axis.set(title=title, xlim=(0, side), ylim=(side, 0))
        axis.axis("off")
    figure.tight_layout()
    with atomic_write(path) as temporary:
        figure.savefig(temporary, dpi=80)
    plt.close(figure)


def distances() -> Floats:
    """(68,) millimetres from the open face's landmarks to the mean of real faces, after a similarity."""
    open_face = load_rig().model.landmark_mean
    real = mean_shape() * [1, -1, 1]
    a, b = real - real.mean(0), open_face - open_face.mean(0)
    u, s, vt = np.linalg.svd(b.T @ a)
    sign = np.array([1, 1, np.linalg.det(u @ vt)])
    moved = (s * sign).sum() / (a**2).sum() * a @ ((u * sign) @ vt).T
    return 10 * np.linalg.norm(moved - b, axis=1)


def draw(config: Config) -> None:
    config.output.mkdir(parents=True, exist_ok=True)
    draw_landmarks(config.output / "open_face_landmarks.png")
    millimetres = distances()
    for name, numbers in GROUPS.items():
        values = ", ".join(f"{number} {millimetres[number]:.1f}" for number in numbers)
        print(f"| {name} | {millimetres[list(numbers)].mean():.1f} | {values} |")
    print(f"| all | {millimetres.mean():.1f} | |")


if __name__ == "__main__":
    run_script(lambda: draw(parse_options(Config, description=__doc__)))
