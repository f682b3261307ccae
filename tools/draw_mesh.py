"""Draw the figure of docs/mesh.md: faces at five poses, and their fits.

    python tools/draw_mesh.py --photos photo.jpg

Writes docs/figures/mesh.jpg: rendered faces at five yaws and the faces of photos; beside each the overlay,
the depth map, PNCC and the coloured head from another side.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tf_dhm.core.cli import run_script

import cv2

from pipelines.synthetic.config import RenderConfig
from pipelines.synthetic.renderer import FaceRenderer
from tf_dhm.core.command_line import parse_options
from tf_dhm.core.types import Image
from tf_dhm.face.fit import FaceFit
from tf_dhm.face.geometry import crop_square, rotation_matrix
from tf_dhm.runtime.aligner import Aligner, Face
from tf_dhm.runtime.images import read_photo
from tf_dhm.runtime.mesh import sample_colours
from tf_dhm.runtime.mesh_pictures import depth_map, draw_mesh, pncc
from tf_dhm.runtime.raster import rasterize

ROOT = Path(__file__).resolve().parents[1]
YAWS = (-80.0, -40.0, 0.0, 40.0, 80.0)
TURN = 40.0
"""Degrees by which the coloured head is turned away from the photo's view."""
SEARCHED = 400


@dataclass(frozen=True)
class Config:
    """Draw the figure of the fitted mesh."""

    photos: tuple[Path, ...] = ()
    """Photos whose faces come after the rendered ones."""
    output: Path = ROOT / "docs" / "figures" / "mesh.jpg"
    seed: int = 11
    """Series of the rendered faces, of which those nearest to the five yaws are taken."""
    side: int = 200
    """Pixels of a picture."""


def rendered(seed: int) -> list[tuple[Image, np.ndarray]]:
    """Pictures and boxes of the first faces near the five yaws."""
    renderer = FaceRenderer(RenderConfig(size=256, occlusion=0.0, degrade=0.3, max_roll=10.0, max_pitch=12.0))
    left, found = set(range(len(YAWS))), {}
    for number in range(SEARCHED):
        face = renderer.render(seed, number)
        row = int(np.abs(np.array(YAWS) - face.pose[1]).argmin())
        if row in left and abs(YAWS[row] - face.pose[1]) < 6:
            left.remove(row)
            found[row] = (face.image, face.box)
        if not left:
            break
    return [found[row] for row in sorted(found)]


def head_from_aside(fit: FaceFit, photo: Image, side: int) -> Image:
    """The coloured head, upright, turned against the photo's view."""
    colours = sample_colours(fit, photo)
    yaw = TURN if fit.pose[1] < 0 else -TURN
    turned = fit.head @ rotation_matrix(0, np.radians(yaw), 0).T.astype(np.float32)
    turned -= (turned.min(0) + turned.max(0)) / 2
    pixels = (turned * np.array([1, -1, 1]) * (side / 36) + [side / 2, side / 2, 0]).astype(np.float32)
    shown = rasterize(pixels, fit.triangles, side, side)
    picture = np.full((side, side, 3), 255, np.uint8)
    picture[shown.rows, shown.columns] = shown.interpolate(colours.astype(np.float32))
    return picture


def panels(photo: Image, face: Face, side: int) -> Image:
    """The row of pictures of a face."""
    assert face.mesh is not None
    x, y, width = crop_square(face.box)
    scale = side / (1.35 * width)
    matrix = np.array([[scale, 0, side / 2 - scale * x], [0, scale, side / 2 - scale * y]])
    size = photo.shape[:2]
    depth = np.repeat(depth_map([face.mesh], *size)[..., None], 3, 2)
    pictures = (photo, draw_mesh(photo, [face.mesh]), depth, pncc([face.mesh], *size))
    cut = [cv2.warpAffine(picture, matrix, (side, side), flags=cv2.INTER_AREA) for picture in pictures]
    return np.concatenate([*cut, head_from_aside(face.mesh, photo, side)], 1)


def draw(config: Config) -> None:
    aligner = Aligner(mesh=True)
    rows = []
    for image, box in rendered(config.seed):
        (face,) = aligner.align(image, [box])
        rows.append(panels(image, face, config.side))
    for path in config.photos:
        photo = read_photo(path).pixels
        rows += [panels(photo, face, config.side) for face in aligner.align(photo)]
    config.output.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(config.output), np.concatenate(rows)[..., ::-1], [int(cv2.IMWRITE_JPEG_QUALITY), 88])
    print(f"{config.output}: {len(rows)} faces")


if __name__ == "__main__":
    run_script(lambda: draw(parse_options(Config)))
