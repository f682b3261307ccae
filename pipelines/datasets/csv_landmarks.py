"""Reader of a plain table of landmarks: one CSV file with one row per face, the images beside it.

| column | | |
|---|---|---|
| `image` | needed | path of the image, relative to the CSV file |
| `x0` ... `x67`, `y0` ... `y67` | needed | 0-based pixels, x right, y down |
| `z0` ... `z67` | | depth in pixels, larger is nearer; a row may leave all of them empty |
| `pitch`, `yaw`, `roll` | | degrees; a row may leave all of them empty |
| `v0` ... `v67` | | 0 self-occluded, 1 occluded, 2 visible, 255 or empty not labelled |
| `split` | | train, val or test; without it, a share of the groups is val |
| `group` | | rows of one photo, person or video share it; without it, the image |
| `name` | | unique; without it, the image, with #1, #2 ... where it shows several faces |

Other columns are ignored. Rows are numbered as spreadsheets do, the header being row 1.

A table that `align.py --csv` wrote is taken, too (`align.py photos --csv faces.csv`): its faces are
pseudo-labels. Rows without a face and faces marked `below_limit` are left out. `file` is relative to the
folder in which that command ran: it is looked up in the folder of the CSV file, in the current folder, and
in the folders above the CSV file. A point with a visibility below 0.5 counts as self-occluded.
"""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import cast, get_args

import cv2
import numpy as np
import pandas as pd
from numpy.typing import NDArray
from PIL import ExifTags, Image

from pipelines.datasets.folders import names_in, require_image, split_groups
from pipelines.datasets.samples import (
    OCCLUDED,
    SELF_OCCLUDED,
    UNLABELLED,
    VISIBLE,
    FaceSample,
    Rejection,
    Split,
    check_landmarks,
    unknown_pose,
    unknown_visibility,
)
from tf_dhm.core.errors import InputError
from tf_dhm.face.geometry import NUM_LANDMARKS
from tf_dhm.runtime.images import read_photo

X, Y, Z, V = ([f"{axis}{point}" for point in range(NUM_LANDMARKS)] for axis in "xyzv")
POSE = ["pitch", "yaw", "roll"]
REQUIRED = ["image", *X, *Y]
OPTIONAL_BLOCKS = (Z, POSE, V)
"""Groups of optional columns; the columns of a group are either all present or all absent."""
TEXT_COLUMNS = ("image", "split", "group", "name")
ALIGNED = frozenset(["file", "x_0", "y_0"])
"""Columns by which a table of `align.py --csv` is recognised."""
VISIBILITIES = (SELF_OCCLUDED, OCCLUDED, VISIBLE, UNLABELLED)


def read(path: Path, *, val_share: float = 0.1) -> Iterator[FaceSample | Rejection]:
    """Yield the faces of a CSV file in its order.

    Args:
        path: the file, or a folder with one CSV file.
        val_share: without a column `split`, about this share of the groups is "val", at least half
            of it, chosen by a hash of their names; 0 makes all "train".

    Raises:
        InputError: no file, no table, a missing column, no row, or `val_share` out of range.
    """
    if not 0.0 <= val_share < 1.0:
        raise InputError(f"val_share: found {val_share}, expected 0 or more and less than 1")
    path = find_file(Path(path))
    table = _read_table(path)
    faces = _Faces(path, table)
    if "split" in table:
        splits = texts(table, "split")
    else:
        chosen = split_groups(faces.groups, val_share)
        splits = [chosen[group] for group in faces.groups]
    return (_sample(faces, splits[row], row) for row in range(len(table)))


class Columns:
    """Columns of numbers: (N, K) float64, NaN for empty cells."""

    def __init__(self, table: pd.DataFrame, columns: list[str]) -> None:
        self.columns = columns
        numbers = table[columns].apply(pd.to_numeric, errors="coerce")
        self.values = numbers.to_numpy(np.float64, na_value=np.nan)
        self.text = numbers.isna().to_numpy() & table[columns].notna().to_numpy()

    def cells(self, row: int) -> NDArray[np.float64]:
        """(K,) numbers of a row, NaN for empty cells; InputError naming a column with text or infinity."""
        self._reject(self.text[row], "text", "a number")
        self._reject(np.isinf(self.values[row]), "infinity", "a number")
        return self.values[row]

    def numbers(self, row: int, *, optional: bool) -> NDArray[np.float64]:
        """(K,) finite numbers, or all NaN if that is allowed; InputError naming the column."""
        values = self.cells(row)
        if not (optional and np.isnan(values).all()):
            self._reject(np.isnan(values), "nothing", "a number")
        return values

    def visibilities(self, row: int) -> NDArray[np.uint8]:
        """(K,) values of `FaceSample.visibility`; InputError naming the column."""
        values = self.cells(row)
        values = np.where(np.isnan(values), UNLABELLED, values)
        allowed = ", ".join(map(str, VISIBILITIES))
        self._reject(~np.isin(values, VISIBILITIES), "another number", f"one of {allowed} or nothing")
        return values.astype(np.uint8)

    def _reject(self, bad: NDArray[np.bool_], found: str, expected: str) -> None:
        if bad.any():
            raise InputError(f"{self.columns[int(bad.argmax())]}: found {found}, expected {expected}")


class _Faces:
    """The columns of a table, by position of the row."""

    def __init__(self, path: Path, table: pd.DataFrame) -> None:
        self.path = path
        self.is_aligned = bool(table.attrs["is_aligned"])
        self.sheet_rows = table.index.to_list()
        self.images = texts(table, "image")
        self.names = _names(self.images, texts(table, "name"))
        self.repeated = pd.Series(self.names).duplicated().to_list()
        self.groups = [
            group or image for group, image in zip(texts(table, "group"), self.images, strict=True)
        ]
        self.x, self.y = Columns(table, X), Columns(table, Y)
        self.z = Columns(table, Z) if Z[0] in table else None
        self.pose = Columns(table, POSE) if POSE[0] in table else None
        self.visibility = Columns(table, V) if V[0] in table else None


def find_file(path: Path) -> Path:
    """A CSV file by its path, or the only one in a folder.

    Raises:
        InputError: no file, or several in the folder.
    """
    if path.is_dir():
        files = sorted(file for file in path.glob("*.csv") if not file.name.startswith("."))
        if len(files) != 1:
            found = ", ".join(file.name for file in files) or names_in(path)
            raise InputError(f"{path}: found {found}, expected one CSV file; name it if there are several")
        return files[0]
    if not path.is_file():
        raise InputError(f"{path}: found nothing there, expected a CSV file or a folder with one")
    return path


def read_rows(path: Path) -> pd.DataFrame:
    """A table with the number of the row as index, without empty rows.

    Raises:
        InputError: no CSV file, a column that occurs twice, or rows with more fields than the header.
    """
    _check_header(path)
    try:
        # Empty rows are dropped below, not here, so that they count in a row's number.
        table = pd.read_csv(
            path,
            dtype=dict.fromkeys((*TEXT_COLUMNS, "file", "error"), str),
            skipinitialspace=True,
            skip_blank_lines=False,
            encoding="utf-8-sig",
        )
    except (ValueError, OSError) as error:  # the errors of pandas' parser are ValueErrors
        raise InputError(f"{path}: found {error}, expected a CSV file with a header") from error
    if not isinstance(table.index, pd.RangeIndex):  # pandas takes columns without a header for an index
        raise InputError(f"{path}: found rows with more fields than the header's {table.shape[1]}")
    table.columns = table.columns.str.strip()
    table.index += 2
    return table.dropna(how="all")


def _read_table(path: Path) -> pd.DataFrame:
    """The rows of 68 landmarks, with columns checked."""
    table = read_rows(path)
    table.attrs["is_aligned"] = ALIGNED.issubset(table.columns)
    if table.attrs["is_aligned"]:
        table = _from_aligned(table)
    present = set(table.columns)
    check_columns(path, table, REQUIRED, "image, x0 ... x67 and y0 ... y67; only adapt.py takes other points")
    for block in OPTIONAL_BLOCKS:
        if present.intersection(block):
            expected = f"all {len(block)} columns {block[0]} ... {block[-1]} or none of them"
            check_columns(path, table, block, expected)
    if table.empty:
        raise InputError(f"{path}: found a header and no row, expected one row a face")
    return table


def check_columns(path: Path, table: pd.DataFrame, needed: Sequence[str], expected: str) -> None:
    """Raise InputError that names the first five missing columns, and how many more there are."""
    if missing := [column for column in needed if column not in table]:
        shown = ", ".join(missing[:5]) + (f" and {len(missing) - 5} more" if len(missing) > 5 else "")
        raise InputError(f"{path}: found no column {shown}, expected {expected}")


def _check_header(path: Path) -> None:
    """Raise InputError if a column occurs twice, since pandas would rename the second one."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            counts = Counter(name.strip() for name in next(csv.reader(file), []) if name.strip())
    except (ValueError, OSError, csv.Error) as error:
        raise InputError(f"{path}: found {error}, expected a CSV file with a header") from error
    if repeated := [name for name, count in counts.items() if count > 1]:
        raise InputError(
            f"{path}: found the column {repeated[0]} {counts[repeated[0]]} times, expected each column once"
        )


def _from_aligned(table: pd.DataFrame) -> pd.DataFrame:
    """The faces in a table of `align.py --csv`, with the columns of this format."""
    is_face = table["face"].notna()
    if "below_limit" in table:
        is_face &= table["below_limit"] != 1
    table = table[is_face].drop(columns=["x0", "y0", "x1", "y1"])
    points = range(NUM_LANDMARKS)
    names = {f"{axis}_{point}": f"{axis}{point}" for axis in "xyz" for point in points}
    names |= {f"visibility_{point}": f"v{point}" for point in points} | {"file": "image"}
    table = table.rename(columns=names)
    if V[0] in table:
        seen = np.where(table[V] >= 0.5, VISIBLE, SELF_OCCLUDED)
        table[V] = np.where(table[V].isna(), UNLABELLED, seen)
    return table


def _find_aligned(folder: Path, name: str) -> Path:
    """The image named in a table of `align.py` in `folder`; InputError listing the places if none has it."""
    if Path(name).is_absolute():
        return Path(name)
    current = Path.cwd()
    for place in (folder, current, *folder.resolve().parents):
        if (place / name).is_file():
            return place / name
    raise InputError(
        f"{name}: found no such file in {folder.resolve()}, the folders above it and {current}, expected an "
        "image: run the command, for example tf-dhm train, in the folder in which align.py ran"
    )


def _read_upright(image: Path) -> bytes:
    """An image as `align.py` sees it: turned as its EXIF orientation says, of which labels are read."""
    with Image.open(image) as picture:
        is_turned = picture.getexif().get(ExifTags.Base.Orientation, 1) != 1
    if not is_turned:
        return image.read_bytes()
    pixels = cv2.cvtColor(read_photo(image).pixels, cv2.COLOR_RGB2BGR)
    return cv2.imencode(".png", pixels)[1].tobytes()


def texts(table: pd.DataFrame, column: str) -> list[str]:
    """A column of text, "" if it is empty or missing."""
    if column not in table:
        return [""] * len(table)
    return table[column].astype("string").fillna("").str.strip().to_list()


def _names(images: list[str], given: list[str]) -> list[str]:
    """The names given, and for a face without one its image, numbered if that shows several."""
    faces, seen = Counter(images), Counter[str]()
    names = []
    for image, name in zip(images, given, strict=True):
        seen[image] += 1
        names.append(name or (image if faces[image] == 1 else f"{image}#{seen[image]}"))
    return names


def _sample(faces: _Faces, split: str, row: int) -> FaceSample | Rejection:
    where = f"{faces.path}: row {faces.sheet_rows[row]}"
    name = faces.names[row]
    try:
        if not faces.images[row]:
            raise InputError("image: found nothing, expected the path of an image")
        if faces.repeated[row]:
            raise InputError(f"name: found {name} a second time, expected each name once")
        if split not in get_args(Split):
            raise InputError(f"split: found {split!r}, expected {', '.join(get_args(Split))}")
        folder, file = faces.path.parent, faces.images[row]
        image = require_image(_find_aligned(folder, file) if faces.is_aligned else folder / file)
        axes = [faces.x.numbers(row, optional=False), faces.y.numbers(row, optional=False)]
        if faces.z is not None:
            axes.append(faces.z.numbers(row, optional=True))
        pose = unknown_pose() if faces.pose is None else faces.pose.numbers(row, optional=True)
        visibility = unknown_visibility() if faces.visibility is None else faces.visibility.visibilities(row)
        return FaceSample(
            name=name,
            read_image=partial(_read_upright, image) if faces.is_aligned else image.read_bytes,
            landmarks=check_landmarks(np.stack(axes, -1), "landmarks"),
            split=cast(Split, split),
            group=faces.groups[row],
            visibility=visibility,
            pose=pose.astype(np.float32),
        )
    except InputError as error:
        return Rejection(name or where, f"{where}: {error}")
