"""Reader of wild68: JPEG crops in tar files with 3-D landmarks, visibility and pose in npz files."""

from __future__ import annotations

import tarfile
import zipfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipelines.datasets.folders import require_folder
from pipelines.datasets.samples import FaceSample, Refusal, check_landmarks, unknown_visibility
from tf_dhm.core.errors import InputError

PARTS = {"aflw": "aflw_labels.npz", "afw_helen": "afw_helen_labels.npz"}
FIELDS = ("name", "landmarks", "pose")
OPTIONAL_FIELDS = ("visibility", "split")


def read(data_dir: Path) -> Iterator[FaceSample | Refusal]:
    """Yield the faces of wild68 in the order of its label files.

    AFW/HELEN carries no split and is all "train". A part that is not there is left out; none at
    all is an error. A face whose image is in no shard, or whose landmarks are unusable, is refused.

    Raises:
        InputError: no label file, a field is missing or of another length, no shard of a part, or
            a file that cannot be read.
    """
    data_dir = require_folder(Path(data_dir), f"wild68's label files, {' and '.join(PARTS.values())}")
    found = [part for part in PARTS if (data_dir / PARTS[part]).is_file()]
    if not found:
        raise InputError(f"{data_dir}: found none of {sorted(PARTS.values())}, expected wild68's label files")
    for part in found:
        yield from _read_part(data_dir, part)


def _read_part(data_dir: Path, part: str) -> Iterator[FaceSample | Refusal]:
    labels = _read_labels(data_dir / PARTS[part])
    shards = sorted(data_dir.glob(f"{part}*.tar"))
    if not shards:
        raise InputError(f"{data_dir}: found {PARTS[part]} but no {part}*.tar, expected its images")
    members = _members(shards)
    for i, name in enumerate(str(n) for n in labels["name"]):
        full_name = f"{part}/{name}"
        location = members.get(name)
        if location is None:
            yield Refusal(full_name, f"{data_dir}: no {name}.jpg in any {part}*.tar")
            continue
        try:
            landmarks = check_landmarks(labels["landmarks"][i], full_name)
        except InputError as error:
            yield Refusal(full_name, str(error))
            continue
        yield FaceSample(
            name=full_name,
            read_image=partial(_read_member, *location),
            landmarks=landmarks,
            split="val" if "split" in labels and labels["split"][i] == "val" else "train",
            group=name,
            visibility=labels["visibility"][i] if "visibility" in labels else unknown_visibility(),
            pose=np.asarray(labels["pose"][i], np.float32),
        )


def _read_labels(label_file: Path) -> dict[str, NDArray]:
    """The fields of a label file, all of one length."""
    try:
        archive = np.load(label_file)
        if not isinstance(archive, np.lib.npyio.NpzFile):
            raise ValueError("a single array")
        with archive:
            found = sorted(archive.files)
            labels = {name: archive[name] for name in (*FIELDS, *OPTIONAL_FIELDS) if name in found}
    except (OSError, EOFError, ValueError, zipfile.BadZipFile) as error:
        raise InputError(f"{label_file}: found {error}, expected an npz file of arrays") from error
    missing = [name for name in FIELDS if name not in found]
    if missing:
        raise InputError(f"{label_file}: found fields {found}, expected also {missing}")
    lengths = {name: len(values) for name, values in labels.items()}
    if len(set(lengths.values())) > 1:
        raise InputError(f"{label_file}: found fields of lengths {lengths}, expected equal lengths")
    return labels


def _members(shards: list[Path]) -> dict[str, tuple[Path, int, int]]:
    """Where each image lies: stem -> (tar file, offset, length)."""
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
