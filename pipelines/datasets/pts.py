"""Reader of `.pts` files, the text format of 300-W and Menpo, each beside the image of the same name.

A file holds lines `version: 1` and `n_points: 68`, then one `x y` a line between braces. The points are
1-based, as MATLAB counts; they become 0-based pixels here, as Menpo's own reader has it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipelines.datasets.folders import Pair, names_in, pair_files, require_folder, require_pair, split_groups
from pipelines.datasets.samples import FaceSample, Rejection, Split, check_landmarks
from tf_dhm.core.errors import InputError

SUFFIX = ".pts"
VAL_SHARE = 0.1
MIRRORED = "_mirror"
"""Ending of the name of a mirrored copy, which shares the group of its original."""


def read(data_dir: Path) -> Iterator[FaceSample | Rejection]:
    """Yield the faces of a folder and its sub-folders ordered by name; about a tenth is "val".

    Their z is NaN. A file of another number of points than 68 is rejected.

    Raises:
        InputError: no folder, or neither image nor `.pts` file in it.
    """
    data_dir = require_folder(Path(data_dir), f"images and {SUFFIX} files")
    pairs = find_pairs(data_dir)
    splits = split_groups((group_of(pair.name) for pair in pairs), VAL_SHARE)
    return (_sample(data_dir, pair, splits) for pair in pairs)


def find_pairs(data_dir: Path) -> list[Pair]:
    """Images and `.pts` files of a folder and its sub-folders; InputError if there is no `.pts` file."""
    pairs = pair_files(data_dir, SUFFIX, recursive=True)
    if not any(pair.label for pair in pairs):
        raise InputError(f"{data_dir}: found {names_in(data_dir)}, expected images with {SUFFIX} files")
    return pairs


def group_of(name: str) -> str:
    """The photo that a face is of.

    >>> group_of("helen/trainset/1234_1_mirror")
    'helen/trainset/1234_1'
    """
    return name.removesuffix(MIRRORED)


def _sample(data_dir: Path, pair: Pair, splits: Mapping[str, Split]) -> FaceSample | Rejection:
    try:
        image, label = require_pair(data_dir, pair, SUFFIX)
        landmarks = check_landmarks(read_pts(label), str(label))
    except InputError as error:
        return Rejection(pair.name, str(error))
    group = group_of(pair.name)
    return FaceSample(
        name=pair.name,
        read_image=image.read_bytes,
        landmarks=landmarks,
        split=splits[group],
        group=group,
    )


def read_pts(path: Path) -> NDArray[np.float64]:
    """The points of a `.pts` file.

    Returns:
        (P, 2) float64, 0-based pixels.

    Raises:
        InputError: unreadable, without braces, another number of points than it states, or a line
            that is not two finite numbers.
    """
    try:
        text = path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: found {error}, expected a {SUFFIX} file") from error
    header, opening, rest = text.partition("{")
    body, closing, _ = rest.partition("}")
    if not opening or not closing:
        raise InputError(f"{path}: found no points between braces, expected a {SUFFIX} file")
    rows = []
    for line in filter(None, map(str.strip, body.splitlines())):
        try:
            row = [float(number) for number in line.split()]
        except ValueError:
            row = []
        if len(row) != 2 or not np.isfinite(row).all():
            raise InputError(f"{path}: found {line!r} among its points, expected x and y")
        rows.append(row)
    stated = [line.partition(":")[2].strip() for line in header.splitlines() if line.startswith("n_points")]
    if not rows or stated not in ([], [str(len(rows))]):
        raise InputError(f"{path}: n_points: found {', '.join(stated)} with {len(rows)} points")
    return np.array(rows) - 1.0
