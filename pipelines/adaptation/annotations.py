"""Faces with any number of labelled points, from a dataset of this project or a user's own table."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pipelines.adaptation.kinds import Kind
from pipelines.datasets import csv_landmarks, pts
from pipelines.datasets.catalogue import NOTES, check_data_dir
from pipelines.datasets.folders import require_image, require_pair
from pipelines.datasets.readers import read_dataset
from pipelines.datasets.samples import FaceSample, Rejection
from pipelines.prepared.config import DATASET_FILE, REJECTED_FILE
from pipelines.synthetic import series
from pipelines.synthetic.config import TEST_FACES
from tf_dhm.core.errors import InputError
from tf_dhm.core.files import atomic_write
from tf_dhm.core.types import Array
from tf_dhm.face.geometry import NUM_LANDMARKS

FEWEST_FACES = 20
FOLDS = 5
"""Parts of the faces in the cross-validation."""


@dataclass(frozen=True)
class AnnotatedFace:
    """A face with labelled points of any number and meaning.

    Attributes:
        name: unique in its dataset.
        read_image: returns the encoded image; raises InputError or OSError.
        points: (P, 3) float64 pixels of the image; NaN where unknown.
        group: of the photo or person; faces of one group are never both fitted and tested on.
        photo: as `FaceSample.photo`.
    """

    name: str
    read_image: Callable[[], bytes]
    points: Array
    group: str
    photo: tuple[int, int, int, int] | None = None


def annotation_note(dataset: str, detected: bool) -> str:
    """What a card says of a dataset to which a model was adapted.

    Args:
        dataset: a name of the catalogue, whose note speaks of the boxes of training.
        detected: whether the boxes were those of the face detector.
    """
    note = NOTES[dataset]
    return note.replace("boxes from these landmarks", "boxes of the face detector") if detected else note


def read_annotations(
    dataset: str, data_dir: Path | None, count: int, *, split: str | None = None, manual: bool = False
) -> tuple[list[AnnotatedFace], list[Rejection]]:
    """Read labelled faces, evenly spread over the dataset.

    Args:
        dataset: a name of the catalogue; "csv" and "pts" may have any number of points, the same for all
            faces. Of a CSV file they are the columns x0, y0, x1, y1, ... and any z0, z1, ...; an empty
            cell is an unknown point.
        data_dir: its folder or file; None for faces that are rendered.
        count: most faces to read; 0 for all.
        split: "train", "val" or "test"; None for all.
        manual: read the points that people marked, of a dataset that has some.

    Returns:
        faces, and those that were rejected.

    Raises:
        InputError: no such dataset, folder, split or manual point, or faces of several numbers of points.
    """
    items = list(_read(dataset, data_dir, count, split, manual))
    rejected = [item for item in items if isinstance(item, Rejection)]
    faces = [item for item in items if isinstance(item, AnnotatedFace)]
    if not faces:
        reason = f", the first rejected: {rejected[0].name}: {rejected[0].reason}" if rejected else ""
        raise InputError(f"{data_dir or dataset}: found no labelled face{reason}")
    numbers = sorted({len(face.points) for face in faces})
    if len(numbers) > 1:
        raise InputError(
            f"{data_dir}: found faces of {', '.join(map(str, numbers))} points, expected one number"
        )
    if count and len(faces) > count:
        faces = [faces[i] for i in np.linspace(0, len(faces) - 1, count).round().astype(int)]
    return faces, rejected


def check_faces(faces: Sequence[AnnotatedFace]) -> None:
    """Raise InputError if there are too few faces or groups of faces to fit to."""
    groups = {face.group for face in faces}
    if len(faces) < FEWEST_FACES or len(groups) < FOLDS:
        raise InputError(
            f"faces: found {len(faces)} usable faces, of {len(groups)} photos or persons, "
            f"expected at least {FEWEST_FACES} faces, of at least {FOLDS} photos or persons"
        )


def write_rejected(rejected: Sequence[tuple[str, str]], folder: Path) -> Path:
    """Write the (name, reason) of rejected faces as REJECTED_FILE in a folder.

    Returns:
        the file.
    """
    file = folder / REJECTED_FILE
    with atomic_write(file) as path:
        pd.DataFrame(rejected, columns=["name", "reason"]).to_csv(path, index=False)
    return file


def check_kind(kind: Kind | None, count: int, finetune: bool) -> None:
    """Raise InputError if `count` points cannot become landmarks, as `kind` or fine-tuning demands."""
    if kind == "landmarks" and count != NUM_LANDMARKS:
        raise InputError(f"kind: found landmarks with {count} points, expected {NUM_LANDMARKS}")
    if finetune and (kind == "points" or count != NUM_LANDMARKS):
        raise InputError(f"finetune: found other points than the {NUM_LANDMARKS} landmarks, expected those")


def check_pairs(pairs: Sequence[int], count: int) -> NDArray[np.intp]:
    """A mirror map of `count` points as an array; InputError if mirroring twice changes a point."""
    array = np.asarray(pairs, np.intp)
    is_permutation = sorted(pairs) == list(range(count))
    if not is_permutation or (array[array] != np.arange(count)).any():
        raise InputError(
            f"mirror-map: found {len(array)} numbers, expected those of the mirror images of {count} points, "
            "from 0, where each of a pair names the other"
        )
    return array


def _read(
    dataset: str, data_dir: Path | None, count: int, split: str | None, manual: bool
) -> Iterator[AnnotatedFace | Rejection]:
    check_data_dir(dataset, data_dir)
    if data_dir is None:
        return _of_samples(series.read(count or TEST_FACES, workers=0), None, manual)
    data_dir = Path(data_dir)
    if (data_dir / DATASET_FILE).is_file():
        from pipelines.prepared import records  # here, because it loads TensorFlow

        return _of_samples(records.read_samples(data_dir, split or "train"), None, manual)  # type: ignore[arg-type]
    if dataset == "pts":
        return _of_pts(data_dir)
    if dataset == "csv" and (table := _find_table(data_dir)) is not None:
        return _of_table(*table)
    return _of_samples(read_dataset(dataset, data_dir), split, manual)


def _of_samples(
    items: Iterable[FaceSample | Rejection], split: str | None, manual: bool
) -> Iterator[AnnotatedFace | Rejection]:
    for item in items:
        if isinstance(item, Rejection):
            yield item
        elif split in (None, item.split):
            points = item.landmarks.astype(np.float64)
            if manual:
                if not np.isfinite(item.manual).any():
                    continue
                points = np.concatenate([item.manual, np.full((NUM_LANDMARKS, 1), np.nan)], 1)
            yield AnnotatedFace(item.name, item.read_image, points, item.group, item.photo)


def _of_pts(folder: Path) -> Iterator[AnnotatedFace | Rejection]:
    for pair in pts.find_pairs(folder):
        try:
            image, label = require_pair(folder, pair, pts.SUFFIX)
            points = pts.read_pts(label)
        except InputError as error:
            yield Rejection(pair.name, str(error))
            continue
        flat = np.concatenate([points, np.full((len(points), 1), np.nan)], 1)
        yield AnnotatedFace(pair.name, image.read_bytes, flat, pts.group_of(pair.name))


def _find_table(path: Path) -> tuple[Path, pd.DataFrame, int] | None:
    """A CSV file, its rows and number of points; None if the dataset `csv` reads it: of 68 points, or written
    by `align.py --csv`."""
    file = csv_landmarks.find_file(path)
    table = csv_landmarks.read_rows(file)
    numbered = [column[0] for column in table.columns if column[1:].isdecimal()]
    count = numbered.count("x")
    if count == NUM_LANDMARKS or csv_landmarks.ALIGNED.issubset(table.columns):
        return None
    axes = "xyz" if "z" in numbered else "xy"
    needed = ["image", *(f"{axis}{point}" for point in range(max(count, 1)) for axis in axes)]
    first = ", ".join(f"{axis}{point}" for point in (0, 1) for axis in axes)
    csv_landmarks.check_columns(file, table, needed, f"image, {first} and so on for each point")
    return file, table, count


def _of_table(path: Path, table: pd.DataFrame, count: int) -> Iterator[AnnotatedFace | Rejection]:
    names = [[f"{axis}{i}" for i in range(count)] for axis in "xyz"]
    axes = [csv_landmarks.Columns(table, columns) for columns in names if set(columns).issubset(table)]
    images, groups = csv_landmarks.texts(table, "image"), csv_landmarks.texts(table, "group")
    for row, (number, name, group) in enumerate(zip(table.index, images, groups, strict=True)):
        try:
            image = require_image(path.parent / name)
            points = np.full((count, 3), np.nan)
            for axis, columns in enumerate(axes):
                points[:, axis] = columns.cells(row)
            if not np.isfinite(points[:, :2]).all(1).any():
                raise InputError("found no point, expected numbers in x0, y0, ...")
        except InputError as error:
            yield Rejection(name, f"{path}: row {number}: {error}")
            continue
        yield AnnotatedFace(f"{name}#{number}", image.read_bytes, points, group or name)
