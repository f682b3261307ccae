"""Compare a model between groups of people, and write the table of its card.

python -m tools.studies.fairness --portraits FAIRFACE.csv --photos FAIRFACE
python -m tools.studies.fairness    # writes the table again from docs/fairness.json

There is no ground truth for the portraits. What is compared is the model's confidence, and its distance to
teachers: larger models whose landmarks are averaged with those of the mirror image.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tf_dhm.core.cli import run_script

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from tqdm import tqdm

from tf_dhm.core.command_line import parse_options
from tf_dhm.core.configuration import check_fields
from tf_dhm.core.errors import InputError
from tf_dhm.core.files import atomic_write
from tf_dhm.core.markdown import fill_in, markdown_table
from tf_dhm.core.types import Image
from tf_dhm.face import geometry, metrics
from tf_dhm.runtime.aligner import Aligner, load_model
from tf_dhm.runtime.images import read_photo
from tf_dhm.runtime.mirror import MirrorAveraged
from tf_dhm.runtime.predictor import LandmarkModel, predict_boxes
from tf_dhm.runtime.settings import MIN_CONFIDENCE
from tf_dhm.runtime.store import DEFAULT_MODEL

MARK = "fairness"
"""Mark of the table."""
GROUPS = ("race", "gender", "age")
"""Columns by which portraits are grouped."""


@dataclass(frozen=True)
class FairnessConfig:
    """Portraits and models; without portraits the table is made from the last measurement."""

    portraits: Path | None = None
    """CSV file with the columns image, race, gender and age of portraits with one person each."""
    photos: Path | None = None
    """Folder of the images that the CSV file names."""
    model: str = DEFAULT_MODEL
    """Model that is examined."""
    teachers: tuple[str, ...] = ("fast_dhm_l", "fast_dhm_x2")
    """Models with which it is compared."""
    json: Path = Path("docs/fairness.json")
    """File with the rows of the table."""
    card: Path = Path(f"savedmodels/{DEFAULT_MODEL}/README.md")
    """Model card with the table between its marks."""

    def __post_init__(self) -> None:
        check_fields(self)


def examine(
    aligner: Aligner, student: LandmarkModel, teachers: Sequence[LandmarkModel], photo: Image
) -> tuple[float, float]:
    """Confidence of the face in a portrait, and the distance of its landmarks to the teachers' mean.

    Returns:
        confidence in [0, 1], 0 for a face that is not found, and NME in percent, NaN for such a face. All
        models see the crop of the box of the landmarks that `aligner` found, so that the detector's error
        is not part of the distance.
    """
    alignment = aligner.align(photo)
    if not alignment:
        return 0.0, np.nan
    face = alignment[0]
    box = [geometry.landmark_box(face.landmarks)]
    mean = np.mean([predict_boxes(teacher, photo, box)[0] for teacher in teachers], axis=0)
    distance = metrics.nme(predict_boxes(student, photo, box), mean[None].astype(np.float32))
    return float(face.confidence or 0.0), float(distance[0])


def group_rows(table: pd.DataFrame) -> list[dict[str, Any]]:
    """A row for each group of each of GROUPS, and one for all portraits.

    Args:
        table: race, gender, age, confidence and distance of each portrait.
    """
    parts = [("all", "all", table)]
    for column in GROUPS:
        parts += [(column, str(group), part) for group, part in table.groupby(column)]
    doubtful = f"confidence up to {MIN_CONFIDENCE:g}, or no face"
    return [
        {
            "by": column,
            "group": group,
            "portraits": len(part),
            "mean confidence": f"{part['confidence'].mean():.3f}",
            doubtful: f"{(part['confidence'] <= MIN_CONFIDENCE).mean():.1%}",
            "distance to the teachers, mean": f"{part['distance'].mean():.2f}",
            "95th percentile": f"{part['distance'].quantile(0.95):.2f}",
        }
        for column, group, part in parts
    ]


def measure(config: FairnessConfig) -> list[dict[str, Any]]:
    """Examine all portraits.

    Raises:
        InputError: no folder of photos, a table without the columns, or a photo that cannot be read.
    """
    if config.photos is None or config.portraits is None:
        raise InputError("photos: found only one of --portraits and --photos, expected both")
    table = pd.read_csv(config.portraits)
    if missing := {"image", *GROUPS} - set(table):
        raise InputError(f"{config.portraits}: found no column {', '.join(sorted(missing))}, expected it")
    student = load_model(config.model)
    aligner = Aligner(student, max_faces=1)
    teachers = [MirrorAveraged(load_model(name)) for name in config.teachers]
    found = [
        examine(aligner, student, teachers, read_photo(config.photos / file).pixels)
        for file in tqdm(table["image"], unit=" photos")
    ]
    values: NDArray[np.float64] = np.array(found).reshape(-1, 2)
    return group_rows(table.assign(confidence=values[:, 0], distance=values[:, 1]))


def main() -> None:
    config = parse_options(FairnessConfig, description=__doc__)
    if config.portraits is not None or config.photos is not None:
        rows = measure(config)
        with atomic_write(config.json) as path:
            path.write_text(json.dumps(rows, indent=1, ensure_ascii=False) + "\n")
    elif not config.json.is_file():
        raise InputError(f"json: found no {config.json}, expected rows of an earlier measurement")
    text = markdown_table(json.loads(config.json.read_text())).rstrip()
    fill_in(config.card, MARK, text)
    print(text)


if __name__ == "__main__":
    run_script(main)
