"""Readers of face crops in tar files with 3-D landmarks in npz files: wild68, cfp, lfpw and fairface.

A label file holds arrays of one length N. Needed are `name` (N,), `landmarks` (N, 68, 3) in 0-based
pixels of the crop, and `pose` (N, 3) in degrees. Optional are `visibility` (N, 68), `split` (N,),
`label_sigma` (N, 68), `manual` (N, 68, 2), `photo` (N, 4) and `suspect` (N,); `FaceSample` says what
they are. The face `name` is the image `<name>.jpg` of one of the tar files beside the label file.
"""

from __future__ import annotations

import tarfile
import zipfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipelines.datasets.folders import names_in, require_folder
from pipelines.datasets.samples import (
    FaceSample,
    Rejection,
    check_landmarks,
    unknown_manual,
    unknown_sigma,
    unknown_visibility,
)
from tf_dhm.core.errors import InputError

LABELS_SUFFIX = "_labels.npz"
WILD68_PARTS = ("aflw", "afw_helen")
FIELDS = {"name": (), "landmarks": (68, 3), "pose": (3,)}
"""Field -> shape of one face's entry."""
OPTIONAL_FIELDS = {
    "visibility": (68,),
    "split": (),
    "label_sigma": (68,),
    "manual": (68, 2),
    "photo": (4,),
    "suspect": (),
}


def read_wild68(data_dir: Path) -> Iterator[FaceSample | Rejection]:
    """Yield the faces of wild68 in the order of its label files.

    AFW/HELEN carries no split and is all "train". A missing part is left out; if both are missing,
    that is an error. A face without an image, with unusable landmarks or marked `suspect` is rejected.

    Raises:
        InputError: no label file, a field is missing or of another shape, no tar file of a part, or
            a file that cannot be read.
    """
    files = [f"{part}{LABELS_SUFFIX}" for part in WILD68_PARTS]
    data_dir = require_folder(Path(data_dir), f"wild68's label files, {' and '.join(files)}")
    parts = [part for part in WILD68_PARTS if (data_dir / f"{part}{LABELS_SUFFIX}").is_file()]
    if not parts:
        raise InputError(f"{data_dir}: found none of {sorted(files)}, expected wild68's label files")
    for part in parts:
        yield from _read_part(data_dir, part)


def read_set(data_dir: Path, name: str) -> Iterator[FaceSample | Rejection]:
    """Yield the faces of a set of one part, `<name>.tar` with `<name>_labels.npz`, in their order.

    Raises:
        InputError: no label file, or as `read_wild68`.
    """
    label_file = f"{name}{LABELS_SUFFIX}"
    data_dir = require_folder(Path(data_dir), f"{label_file} and {name}.tar")
    if not (data_dir / label_file).is_file():
        raise InputError(f"{data_dir}: found {names_in(data_dir)}, expected {label_file} and {name}.tar")
    yield from _read_part(data_dir, name)


def _read_part(data_dir: Path, part: str) -> Iterator[FaceSample | Rejection]:
    label_file = data_dir / f"{part}{LABELS_SUFFIX}"
    labels = _read_labels(label_file)
    shards = sorted(data_dir.glob(f"{part}*.tar"))
    if not shards:
        raise InputError(f"{data_dir}: found {label_file.name} but no {part}*.tar, expected its images")
    members = _members(shards)
    for i, name in enumerate(str(n) for n in labels["name"]):
        full_name = f"{part}/{name}"
        location = members.get(name)
        if location is None:
            yield Rejection(full_name, f"{data_dir}: no {name}.jpg in any {part}*.tar")
            continue
        if "suspect" in labels and labels["suspect"][i]:
            yield Rejection(full_name, f"{label_file}: its label is marked suspect")
            continue
        try:
            landmarks = check_landmarks(labels["landmarks"][i], full_name)
            photo = _photo(labels["photo"][i], full_name) if "photo" in labels else None
        except InputError as error:
            yield Rejection(full_name, str(error))
            continue
        yield FaceSample(
            name=full_name,
            read_image=partial(_read_member, *location),
            landmarks=landmarks,
            split="val" if "split" in labels and labels["split"][i] == "val" else "train",
            group=name,
            visibility=labels["visibility"][i] if "visibility" in labels else unknown_visibility(),
            pose=np.asarray(labels["pose"][i], np.float32),
            sigma=np.asarray(labels["label_sigma"][i], np.float32)
            if "label_sigma" in labels
            else unknown_sigma(),
            manual=np.asarray(labels["manual"][i], np.float32) if "manual" in labels else unknown_manual(),
            photo=photo,
        )


def _photo(rectangle: NDArray[np.integer], name: str) -> tuple[int, int, int, int]:
    """The rectangle as whole numbers; InputError if it has no area."""
    x0, y0, x1, y1 = (int(value) for value in rectangle)
    if not (0 <= x0 < x1 and 0 <= y0 < y1):
        raise InputError(f"{name}: photo: found {x0, y0, x1, y1}, expected 0 <= x0 < x1 and 0 <= y0 < y1")
    return x0, y0, x1, y1


def _read_labels(label_file: Path) -> dict[str, NDArray]:
    """The fields of a label file, with shapes checked and all of one length."""
    shapes = FIELDS | OPTIONAL_FIELDS
    try:
        archive = np.load(label_file)
        if not isinstance(archive, np.lib.npyio.NpzFile):
            raise ValueError("a single array")
        with archive:
            present = sorted(archive.files)
            labels = {name: archive[name] for name in shapes if name in present}
    except (OSError, EOFError, ValueError, zipfile.BadZipFile) as error:
        raise InputError(f"{label_file}: found {error}, expected an npz file of arrays") from error
    missing = [name for name in FIELDS if name not in present]
    if missing:
        raise InputError(f"{label_file}: found fields {present}, expected also {missing}")
    for name, values in labels.items():
        if name != "landmarks" and (values.ndim == 0 or values.shape[1:] != shapes[name]):
            expected = ("N", *shapes[name])
            raise InputError(f"{label_file}: {name}: found shape {values.shape}, expected {expected}")
    lengths = {name: len(values) for name, values in labels.items()}
    if len(set(lengths.values())) > 1:
        raise InputError(f"{label_file}: found fields of lengths {lengths}, expected equal lengths")
    return labels


def _members(shards: list[Path]) -> dict[str, tuple[Path, int, int]]:
    """The location of each image: stem -> (tar file, offset, length)."""
    members: dict[str, tuple[Path, int, int]] = {}
    for shard in shards:
        try:
            with tarfile.open(shard, "r:") as archive:  # offsets are of an uncompressed one
                for member in archive:
                    if not member.isfile():
                        continue
                    members[Path(member.name).stem] = (shard, member.offset_data, member.size)
        except (tarfile.TarError, OSError) as error:
            raise InputError(f"{shard}: found {error}, expected a tar file of JPEG crops") from error
    return members


def _read_member(shard: Path, offset: int, length: int) -> bytes:
    with shard.open("rb") as file:
        file.seek(offset)
        encoded = file.read(length)
    if len(encoded) < length:
        raise InputError(f"{shard}: found its end at byte {offset + len(encoded)}, expected a whole image")
    return encoded
