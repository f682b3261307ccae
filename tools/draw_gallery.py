"""Draw docs/figures/gallery.jpg: 64 random synthetic faces in the order of their yaw.

    python -m tools.draw_gallery

Takes a few seconds on two cores.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tf_dhm.core.cli import run_script

import cv2
import numpy as np

from pipelines.synthetic import series as synthetic
from tf_dhm.core.command_line import parse_options
from tf_dhm.core.errors import InputError
from tf_dhm.core.files import atomic_write
from tf_dhm.core.progress import Progress
from tf_dhm.runtime.images import decode_raster

ROOT = Path(__file__).resolve().parent.parent


@dataclass(frozen=True)
class Config:
    """Draw a gallery of synthetic faces."""

    output: Path = ROOT / "docs" / "figures" / "gallery.jpg"
    """An image file."""
    seed: int = 2024
    """Series of faces, of which the first ones are drawn."""
    columns: int = 8
    """Number of columns and of rows."""
    jpeg_quality: int = 85
    """Quality of a .jpg, 1 to 100."""

    def __post_init__(self) -> None:
        if self.columns < 1 or not 1 <= self.jpeg_quality <= 100:
            raise InputError(
                f"columns, jpeg_quality: found {self.columns}, {self.jpeg_quality}, "
                "expected 1 or more and 1 to 100"
            )


def draw(config: Config) -> None:
    """Render the faces and write them as one image, in the order of their yaw."""
    count = config.columns**2
    samples = synthetic.read(count, config.seed, workers=0)
    faces = sorted(Progress(samples, desc="faces", total=count), key=lambda sample: float(sample.pose[1]))
    images = [decode_raster(face.read_image(), face.name) for face in faces]
    rows = [np.hstack(images[start : start + config.columns]) for start in range(0, count, config.columns)]
    config.output.parent.mkdir(parents=True, exist_ok=True)
    options = [int(cv2.IMWRITE_JPEG_QUALITY), config.jpeg_quality] if config.output.suffix == ".jpg" else []
    with atomic_write(config.output) as temporary:
        cv2.imwrite(str(temporary), np.vstack(rows)[..., ::-1], options)
    print(f"{config.output}: {config.output.stat().st_size:,} bytes")


if __name__ == "__main__":
    run_script(lambda: draw(parse_options(Config, description=__doc__)))
