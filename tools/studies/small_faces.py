"""Measure which share of small faces is found, with and without tiles, and write docs/tables/small_faces.csv.

python -m tools.studies.small_faces
python -m tools.studies.result_tables    # fills the table of docs/runtime.md

The photos are crowds made of copies of the portrait in tests/data.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tf_dhm.core.cli import run_script

import cv2
import numpy as np
import pandas as pd

from tf_dhm import Aligner
from tf_dhm.core.command_line import parse_options
from tf_dhm.core.configuration import check_fields
from tf_dhm.core.files import atomic_write
from tf_dhm.core.types import Array, Image
from tf_dhm.face import geometry, metrics
from tf_dhm.runtime.images import read_photo

ROOT = Path(__file__).resolve().parents[2]
WIDTH, HEIGHT, COLUMNS, ROWS = 4000, 3000, 12, 10
PARTS = (20, 30, 40, 50)
"""Longer sides of the photo in longer sides of a face."""
MARGIN = 0.2
"""Part of the portrait around the face that is copied with it, in longer sides of the face."""
FOUND = 10.0
"""Greatest NME in percent of a face that counts as found."""


@dataclass(frozen=True)
class SmallFacesConfig:
    """The portrait, and the table."""

    portrait: Path = ROOT / "tests" / "data" / "astronaut.jpg"
    """Photo of one face."""
    output: Path = Path("docs/tables/small_faces.csv")
    """File for the table."""

    def __post_init__(self) -> None:
        check_fields(self)


def crowd(portrait: Image, landmarks: Array, side: float) -> tuple[Image, Array]:
    """A photo full of copies of a face.

    Args:
        portrait: (H, W, 3) uint8 RGB.
        landmarks: (68, 2) pixels of the portrait.
        side: longer side of the copied faces in pixels.

    Returns:
        the photo (HEIGHT, WIDTH, 3), and the landmarks (ROWS * COLUMNS, 68, 2) of its faces.
    """
    box = geometry.landmark_box(landmarks)
    longer = float((box[2:] - box[:2]).max())
    low = np.maximum(np.floor(box[:2] - MARGIN * longer), 0).astype(int)
    high = np.ceil(box[2:] + MARGIN * longer).astype(int)
    head = portrait[low[1] : high[1], low[0] : high[0]]
    scale = side / longer
    head = np.asarray(cv2.resize(head, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA), np.uint8)
    photo = np.full((HEIGHT, WIDTH, 3), 110, np.uint8)
    truth = []
    for row in range(ROWS):
        for column in range(COLUMNS):
            x, y = column * WIDTH // COLUMNS, row * HEIGHT // ROWS
            photo[y : y + head.shape[0], x : x + head.shape[1]] = head
            truth.append((landmarks - low + 0.5) * scale - 0.5 + [x, y])
    return photo, np.array(truth)


def share_found(aligner: Aligner, photo: Image, truth: Array) -> float:
    """The share of faces with landmarks (N, 68, 2) that are found convincingly."""
    found = [face.landmarks[:, :2] for face in aligner.align(photo).convincing]
    errors = [[float(metrics.nme(points, face)) for points in found] for face in truth]
    return float(np.mean([min(row, default=np.inf) <= FOUND for row in errors]))


def measure(config: SmallFacesConfig) -> pd.DataFrame:
    """The table: a row for each size of the faces."""
    portrait = read_photo(config.portrait).pixels
    aligners = {
        "found without tiles": Aligner(tiles=False),
        "with tiles": Aligner(tiles=True),
    }
    (face,) = aligners["found without tiles"].align(portrait)
    rows = []
    for part in PARTS:
        photo, truth = crowd(portrait, np.asarray(face.landmarks[:, :2], np.float64), WIDTH / part)
        shares = {
            name: f"{100 * share_found(aligner, photo, truth):.1f} %" for name, aligner in aligners.items()
        }
        rows.append({"size of a face, in longer sides": f"1/{part}"} | shares)
    return pd.DataFrame(rows)


def main() -> None:
    config = parse_options(SmallFacesConfig, description=__doc__)
    table = measure(config)
    with atomic_write(config.output) as path:
        table.to_csv(path, index=False)
    print(table.to_string(index=False))


if __name__ == "__main__":
    run_script(main)
