"""Reader of AFLW2000-3D: `imageNNNNN.jpg` with `imageNNNNN.mat`, and its re-annotated labels.

The `.mat` files are 1-based; the points become 0-based pixels here, once. Everything else that
labels these images (the re-annotation of LS3D-W and what was made from it) is 0-based.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipelines.datasets import ls3dw
from pipelines.datasets.folders import Pair, names_in, pair_files, require_folder, require_pair
from pipelines.datasets.pose_para import POSE, pose_degrees
from pipelines.datasets.samples import FaceSample, Rejection, check_landmarks
from tf_dhm.core.errors import InputError
from tf_dhm.face.geometry import NUM_LANDMARKS
from tf_dhm.face.matfiles import read_mat

ORIGINAL = "original"
LABELS_FOLDER = "AFLW2000-3D-Reannotated"
"""Folder of LS3D-W that holds the re-annotated labels."""
NAMES_FILE = "AFLW2000-3D_crop.list"
"""The list of image names that 3DDFA distributes; its label arrays follow this order."""
NAMES_FOLDER = "test.data"
"""Path of the list in 3DDFA, beside the `test.configs` that holds the arrays."""

LabelOf = Callable[[str], NDArray[np.floating]]
"""From the stem of an image to its landmarks, (68, 2 or 3); raises InputError without any."""


def read(
    data_dir: Path,
    labels: str | Path = ORIGINAL,
    *,
    names: Path | None = None,
    wrap_pose: bool = True,
) -> Iterator[FaceSample | Rejection]:
    """Yield the faces of AFLW2000-3D ordered by name, all of split "test".

    The original labels have z, as labelled; with other labels z is NaN. The pose is always that
    of `Pose_Para`, and crops are cut from the boxes of the original labels.

    Args:
        data_dir: folder of the images and `.mat` files.
        labels: "original" (`pt3d_68`), or a path to other labels, as for `read_labels`.
        names: list of image names for labels in `.npy`, as for `read_labels`.
        wrap_pose: bring angles to (-180, 180]. The yaw bins of published tables are counted
            without it: one image has a yaw of -351 degrees and is counted as beyond 60.

    Raises:
        InputError: no folder, neither image nor `.mat` in it, or labels that cannot be read or
            are for none of its images.
    """
    data_dir = require_folder(Path(data_dir), "AFLW2000-3D's images and .mat files")
    pairs = pair_files(data_dir, ".mat")
    if not pairs:
        raise InputError(
            f"{data_dir}: found {names_in(data_dir)}, expected imageNNNNN.jpg and imageNNNNN.mat"
        )
    label_of = None
    if labels != ORIGINAL:
        stems, label_of = read_labels(Path(labels), names=names, data_dir=data_dir)
        if stems.isdisjoint(pair.name for pair in pairs):
            raise InputError(
                f"{labels}: found labels of {_first(stems)}, expected names of {data_dir}, as {pairs[0].name}"
            )
    return (_sample(data_dir, pair, label_of, wrap_pose) for pair in pairs)


def _sample(folder: Path, pair: Pair, label_of: LabelOf | None, wrap_pose: bool) -> FaceSample | Rejection:
    try:
        image, mat = require_pair(folder, pair, ".mat")
        content = read_mat(mat, {**POSE, "pt3d_68": (3, NUM_LANDMARKS)})
        one_based = content["pt3d_68"].T
        original = check_landmarks(one_based - [1.0, 1.0, 0.0], f"{mat}: pt3d_68")
        points = original if label_of is None else label_of(pair.name)[:, :2]
        return FaceSample(
            name=pair.name,
            read_image=image.read_bytes,
            landmarks=check_landmarks(points, f"label of {pair.name}"),
            split="test",
            group=pair.name,
            pose=pose_degrees(content["Pose_Para"], wrap=wrap_pose),
            box_landmarks=None if label_of is None else original,
        )
    except InputError as error:
        return Rejection(pair.name, str(error))


def read_labels(
    path: Path, *, names: Path | None = None, data_dir: Path | None = None
) -> tuple[frozenset[str], LabelOf]:
    """Open labels that replace the original ones, in any of the forms they are distributed in.

    - `.npz` with `name` (N,) and `landmarks` (N, 68, 2);
    - `.npy` (N, 68, 2) or (N, 2, 68), such as 3DDFA's `AFLW2000-3D-Reannotated.pts68.npy`, with a
      text file of N image names in the same order: `names`, else a file of the array's name with
      suffix `.list` or `.txt`, else `AFLW2000-3D_crop.list` in the array's folder, in a folder
      `test.data` beside that, in `data_dir` or in its parent;
    - a folder of LS3D-W's `.t7` files, or LS3D-W itself.

    All are taken as 0-based pixels; the original labels as an array would be 1-based: use the
    `.mat` files for them.

    Returns:
        The stems of the labelled images, and a function from stem to landmarks.

    Raises:
        InputError: nothing there, another format, a missing field or list, or another shape.
    """
    if path.is_dir():
        return _t7_labels(path)
    if not path.is_file():
        raise InputError(
            f"{path}: found nothing there, expected {ORIGINAL!r}, an .npz or .npy file or a folder of .t7"
        )
    if path.suffix == ".npz":
        stems, points = _npz_labels(path)
    elif path.suffix == ".npy":
        stems, points = _npy_labels(path, names or _find_names(path, data_dir))
    else:
        raise InputError(
            f"{path}: found suffix {path.suffix!r}, expected .npz, .npy or a folder of .t7 files"
        )
    rows = dict(zip(stems, points, strict=True))

    def label_of(stem: str) -> NDArray[np.floating]:
        if stem not in rows:
            raise InputError(
                f"{path}: found no landmarks of {stem}, expected them among its {len(rows)} images"
            )
        return rows[stem]

    return frozenset(rows), label_of


def _t7_labels(folder: Path) -> tuple[frozenset[str], LabelOf]:
    if not any(folder.glob("*.t7")):
        folder = ls3dw.find_root(folder, (LABELS_FOLDER,)) / LABELS_FOLDER
    stems = frozenset(path.stem for path in folder.glob("*.t7"))
    if not stems:
        raise InputError(f"{folder}: found {names_in(folder)}, expected .t7 files")
    return stems, lambda stem: ls3dw.read_t7(folder / f"{stem}.t7")


def _npz_labels(path: Path) -> tuple[list[str], NDArray[np.floating]]:
    content = _load(path)
    missing = [field for field in ("name", "landmarks") if field not in content]
    if missing:
        raise InputError(f"{path}: found fields {', '.join(content)}, expected also {', '.join(missing)}")
    points = _check_points(path, content["landmarks"])
    stems = [Path(str(name)).stem for name in np.ravel(content["name"])]
    return _check_stems(path, stems, len(points)), points


def _npy_labels(path: Path, names: Path) -> tuple[list[str], NDArray[np.floating]]:
    points = _check_points(path, _load(path)[""])
    try:
        lines = names.read_text().splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{names}: found {error}, expected a text file of image names") from error
    stems = [Path(line.strip()).stem for line in lines if line.strip()]
    return _check_stems(names, stems, len(points)), points


def _find_names(path: Path, data_dir: Path | None) -> Path:
    folders = [path.parent, path.parent.parent / NAMES_FOLDER]
    if data_dir is not None:
        folders += [data_dir, data_dir.parent]
    candidates = [
        path.with_suffix(".list"),
        path.with_suffix(".txt"),
        *(folder / NAMES_FILE for folder in folders),
    ]
    for candidate in candidates:
        if candidate.is_file():
            return candidate
    looked = ", ".join(str(candidate) for candidate in candidates)
    raise InputError(f"{path}: found no list of its image names, expected one of {looked}")


def _load(path: Path) -> dict[str, NDArray]:
    """The arrays of an .npz file, or that of an .npy file under the name ""."""
    try:
        content = np.load(path)
        if isinstance(content, np.ndarray):
            return {"": content}
        with content:
            return {field: content[field] for field in content.files}
    except Exception as error:  # numpy and zipfile raise many kinds on a damaged file
        raise InputError(f"{path}: found {error}, expected a file of NumPy arrays") from error


def _check_points(path: Path, points: NDArray) -> NDArray[np.floating]:
    """Points as (N, 68, 2 or 3)."""
    if points.ndim == 3 and points.shape[1] in (2, 3) and points.shape[2] == NUM_LANDMARKS:
        points = points.swapaxes(1, 2)
    if (
        points.ndim != 3
        or points.shape[1] != NUM_LANDMARKS
        or points.shape[2] not in (2, 3)
        or points.dtype.kind != "f"
    ):
        raise InputError(
            f"{path}: found landmarks {points.dtype} {points.shape}, expected floats (N, 68, 2) or (N, 2, 68)"
        )
    return points


def _check_stems(path: Path, stems: list[str], count: int) -> list[str]:
    if len(stems) != count:
        raise InputError(
            f"{path}: found {len(stems)} names, expected {count}, one for each face of the labels"
        )
    if len(set(stems)) != count:
        twice = next(stem for stem in stems if stems.count(stem) > 1)
        raise InputError(f"{path}: found {twice} more than once, expected each image once")
    return stems


def _first(stems: frozenset[str]) -> str:
    return ", ".join(sorted(stems)[:3]) or "no image"
