"""Measure the face detector, and write the tables of docs/detector.md and of the default model's card.

python -m tools.studies.detector_measures --aflw2000-3d AFLW2000-3D --portraits FAIRFACE.csv --photos FAIRFACE
python -m tools.studies.detector_measures    # writes the tables again from docs/detector.json
python -m tools.studies.detector_measures --wild68 WILD68    # fits the box maps and prints them
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

from tf_dhm.core.cli import run_script

import numpy as np
import pandas as pd
from scipy.optimize import least_squares
from tqdm import tqdm

from pipelines.datasets import aflw2000_3d, crop_sets
from pipelines.datasets.samples import FaceSample, Rejection
from tf_dhm.core.command_line import parse_options
from tf_dhm.core.configuration import check_fields
from tf_dhm.core.errors import InputError
from tf_dhm.core.files import atomic_write
from tf_dhm.core.markdown import fill_in, markdown_table
from tf_dhm.core.types import Array, Image
from tf_dhm.face import geometry, metrics
from tf_dhm.runtime.aligner import Aligner, Alignment
from tf_dhm.runtime.detector import Detection, FaceDetector, Range, box_features
from tf_dhm.runtime.images import decode_raster
from tf_dhm.runtime.settings import MIN_CONFIDENCE, Choice

NEAR = 0.6
"""Longer sides of the true landmark box within which the centre of a detection is one of that face."""
SHARES = (0.44, 0.22, 0.11, 0.073, 0.055, 0.037)
"""Longer sides of faces over those of their photos in the table by size."""
FIT_EVERY, FIT_SCALE = 9, 0.05
TABLES = ("detector sizes", "detector boxes", "detector portraits")
"""Marks of the tables."""


@dataclass(frozen=True)
class DetectorConfig:
    """Data for each table; a table without data is made from the last measurement."""

    aflw2000_3d: Path | None = None
    """Folder of AFLW2000-3D, or of a part of it: recall and box errors by yaw, and recall by size."""
    portraits: Path | None = None
    """CSV file with the columns image and race of portraits with one person each: faces found by group."""
    photos: Path | None = None
    """Folder of the images that the CSV file names."""
    wild68: Path | None = None
    """Folder of wild68: fits the box map of each network and prints it."""
    json: Path = Path("docs/detector.json")
    """File with the rows of all tables; those that are measured are replaced in it."""
    document: Path = Path("docs/detector.md")
    """Document with the tables, between their marks."""
    card: Path = Path("savedmodels/fast_dhm_m/README.md")
    """Model card with the table of portraits."""
    model: str = "fast_dhm_m"
    """Model whose confidence is used on the portraits."""

    def __post_init__(self) -> None:
        check_fields(self)


def nearest(detections: Sequence[Detection], true: Array) -> Detection | None:
    """The detection of the face in a true box: the one whose centre is nearest, if it is near."""
    side = (true[2:] - true[:2]).max()

    def off(found: Detection) -> float:
        return float(np.linalg.norm((found.box[:2] + found.box[2:] - true[:2] - true[2:]) / 2))

    best = min(detections, key=off, default=None)
    return best if best is not None and off(best) <= NEAR * side else None


def on_canvas(image: Image, side: int, at: Sequence[int]) -> Image:
    """A photo at `at` (x, y) on a square of its mean colour."""
    canvas = np.empty((side, side, 3), np.uint8)
    canvas[...] = image.mean((0, 1)).round()
    canvas[at[1] : at[1] + image.shape[0], at[0] : at[0] + image.shape[1]] = image
    return canvas


def samples(items: Iterator[FaceSample | Rejection]) -> list[FaceSample]:
    return [item for item in items if isinstance(item, FaceSample)]


# Recall and boxes


def box_rows(faces: Sequence[FaceSample]) -> list[dict[str, Any]]:
    """Recall and box errors by yaw of both networks, with the second look."""
    rows = []
    for reach in get_args(Range):
        detector = FaceDetector(reach=reach)
        errors = []
        for face in tqdm(faces, desc=reach, unit=" faces"):
            true = geometry.landmark_box(face.landmarks)
            found = nearest(detector.detect(decode_raster(face.read_image(), face.name)), true)
            errors.append(np.full(3, np.nan) if found is None else box_errors(found.box, true))
        values = np.array(errors)
        bins = metrics.yaw_bins([face.pose[1] for face in faces])
        names = ["0–30", "30–60", "over 60", "all"]
        for number, name in enumerate(names):
            part = values if name == "all" else values[bins == number]
            centre, side, overlap = part[~np.isnan(part[:, 0])].T
            tail = np.quantile(centre, 0.95)
            rows.append(
                {
                    "network": reach,
                    "yaw": name,
                    "faces": len(part),
                    "found": f"{len(centre) / len(part):.1%}",
                    "centre, mean / 95th percentile": f"{centre.mean():.1%} / {tail:.1%}",
                    "log of the side, mean / s.d.": f"{side.mean():+.1%} / {side.std():.1%}",
                    "overlap (IoU)": f"{overlap.mean():.3f}",
                }
            )
    return rows


def box_errors(box: Array, true: Array) -> Array:
    """Distance of the centres and logarithm of the ratio of the longer sides, in true longer sides; IoU."""
    longer, true_longer = (box[2:] - box[:2]).max(), (true[2:] - true[:2]).max()
    centre = np.linalg.norm((box[:2] + box[2:] - true[:2] - true[2:]) / 2) / true_longer
    return np.array([centre, np.log(longer / true_longer), geometry.overlaps(box[None], true[None])[0, 0]])


def size_rows(faces: Sequence[FaceSample]) -> list[dict[str, Any]]:
    """Recall of both networks, one look, by the share of the photo that the face takes."""
    rows = []
    for reach in get_args(Range):
        detector = FaceDetector(reach=reach)
        row: dict[str, Any] = {"longer side of the face / of the photo": reach}
        for share in SHARES:
            found = 0
            for face in faces:
                image = decode_raster(face.read_image(), face.name)
                true = geometry.landmark_box(face.landmarks)
                side = max(round(float((true[2:] - true[:2]).max() / share)), *image.shape[:2])
                at = [(side - image.shape[1]) // 2, (side - image.shape[0]) // 2]
                detections = detector.look(on_canvas(image, side, at))
                found += nearest(detections, true + np.tile(at, 2)) is not None
            row[f"{share:g}"] = f"{found / len(faces):.2f}"
        rows.append(row)
    return rows


# Portraits


def portrait_rows(config: DetectorConfig, choices: Sequence[tuple[str, Aligner]]) -> list[dict[str, Any]]:
    """Share of portraits (one person each) with a confident face, and false faces, by group."""
    assert config.portraits is not None
    assert config.photos is not None
    table = pd.read_csv(config.portraits)
    if not {"image", "race"} <= set(table):
        raise InputError(f"{config.portraits}: found the columns {list(table)}, expected image and race")
    rows = []
    for name, aligner in choices:
        counts = []
        for file in tqdm(table["image"], desc=name, unit=" photos"):
            counts.append(count_confident(aligner.align(config.photos / file)))
        table["count"] = counts
        groups = {str(race): part["count"] for race, part in table.groupby("race")} | {"all": table["count"]}
        for group, found in groups.items():
            rows.append(
                {
                    "detector": name,
                    "group": group,
                    "portraits": len(found),
                    "a face found": f"{(found >= 1).mean():.1%}",
                    "more than one": f"{(found > 1).mean():.1%}",
                }
            )
    return rows


def count_confident(alignment: Alignment) -> int:
    """Number of confident faces."""
    return sum((face.confidence or 0.0) > MIN_CONFIDENCE for face in alignment)


# The box maps


def fit_maps(folder: Path) -> Iterator[tuple[Range, int, Array, Array]]:
    """Fit both maps to every ninth face of the AFLW part of wild68, each at random on a larger canvas.

    Yields:
        network, number of detections, and the map as `detector.BoxMap` holds it.
    """
    faces = [face for face in samples(crop_sets.read_wild68(folder)) if face.split == "train"][::FIT_EVERY]
    for reach in get_args(Range):
        detector, rng = FaceDetector(reach=reach), np.random.default_rng(0)
        features, targets = [], []
        for face in tqdm(faces, desc=reach, unit=" faces"):
            image = decode_raster(face.read_image(), face.name)
            side = round(max(image.shape[:2]) * rng.uniform(1.6, 3.5))
            at = [int(rng.integers(0, side - length + 1)) for length in (image.shape[1], image.shape[0])]
            true = geometry.landmark_box(face.landmarks) + np.tile(at, 2)
            canvas = on_canvas(image, side, at)
            found = nearest(
                [Detection(points[:2].ravel(), score, points) for points, score in detector.answers(canvas)],
                true,
            )
            if found is not None:
                corners, keypoints = found.keypoints[:2], found.keypoints[2:]
                centre, length, horizontal, vertical = box_features(corners[0], corners[1], keypoints)
                middle = ((true[:2] + true[2:]) / 2 - centre) / length
                features.append((horizontal, vertical))
                targets.append((*middle, *((true[2:] - true[:2]) / length)))
        target = np.array(targets)
        across, along = (np.array(part) for part in zip(*features, strict=True))
        solved = [robust_fit(across, target[:, 0])] + [robust_fit(along, target[:, k]) for k in (1, 2, 3)]
        yield reach, len(target), solved[0], np.stack(solved[1:], 1)


def robust_fit(features: Array, target: Array) -> Array:
    """Coefficients by least squares with a soft L1 loss."""
    start = np.linalg.lstsq(features, target, rcond=None)[0]
    fit = least_squares(lambda x: features @ x - target, start, loss="soft_l1", f_scale=FIT_SCALE)
    return np.asarray(fit.x)


def read_rows(path: Path) -> dict[str, list[dict[str, Any]]]:
    """The rows of each table in a JSON file that `measure` wrote; none if there is no file."""
    if not path.is_file():
        return {}
    rows = json.loads(path.read_text())
    if not isinstance(rows, dict) or not set(rows) <= set(TABLES):
        raise InputError(f"{path}: found {type(rows).__name__}, expected rows of {', '.join(TABLES)}")
    return rows


def write_tables(config: DetectorConfig, rows: dict[str, list[dict[str, Any]]]) -> None:
    """Fill the tables in, and print them."""
    for mark, part in rows.items():
        text = markdown_table(part).rstrip()
        fill_in(config.document, mark, text)
        print(text, "\n")
    if "detector portraits" in rows:
        fill_in(config.card, "detector portraits", markdown_table(rows["detector portraits"]).rstrip())


def measure(config: DetectorConfig) -> None:
    """Measure for each folder or file given, write the rows and the tables, and print them."""
    rows = read_rows(config.json)
    if config.aflw2000_3d is not None:
        faces = samples(aflw2000_3d.read(config.aflw2000_3d, wrap_pose=False))
        rows["detector sizes"] = size_rows(faces[::10])
        rows["detector boxes"] = box_rows(faces)
    if config.portraits is not None:
        if config.photos is None:
            raise InputError("photos: found none, expected the folder of the portraits")
        every: list[tuple[Choice, int | None]] = [("full", None), ("auto", 1), ("short", 1)]
        aligners = [
            (
                f"{choice}, {'all faces' if limit is None else 'one face'}",
                Aligner(config.model, max_faces=limit, detector=choice),
            )
            for choice, limit in every
        ]
        rows["detector portraits"] = portrait_rows(config, aligners)
    with atomic_write(config.json) as path:
        path.write_text(json.dumps(rows, indent=1, ensure_ascii=False) + "\n")
    write_tables(config, rows)
    if config.wild68 is not None:
        for reach, count, centre_x, centre_y_and_size in fit_maps(config.wild68):
            print(f"{reach}, {count} detections:\n{centre_x.round(3)}\n{centre_y_and_size.round(3)}")


def main() -> None:
    measure(parse_options(DetectorConfig, description=__doc__))


if __name__ == "__main__":
    run_script(main)
