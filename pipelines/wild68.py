"""Reader of wild68: JPEG crops in tar files with 3-D landmarks, visibility and pose in npz files."""

from __future__ import annotations

import tarfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np

from pipelines.samples import FaceSample, Refusal, check_landmarks, unknown_visibility
from tf_dhm.errors import InputError

PARTS = {"aflw": "aflw_labels.npz", "afw_helen": "afw_helen_labels.npz"}
FIELDS = ("name", "landmarks", "pose")


def read(data_dir: Path) -> Iterator[FaceSample | Refusal]:
    """Yield the faces of wild68 in the order of its label files.

    AFW/HELEN carries no split and is all "train". A part that is not there is left out; none at
    all is an error.

    Raises:
        InputError: no label file, a field is missing, or a shard cannot be read.
    """
    data_dir = Path(data_dir)
    found = [part for part in PARTS if (data_dir / PARTS[part]).is_file()]
    if not found:
        raise InputError(f"{data_dir}: found none of {sorted(PARTS.values())}, expected wild68's label files")
    for part in found:
        yield from _read_part(data_dir, part)


def _read_part(data_dir: Path, part: str) -> Iterator[FaceSample | Refusal]:
    label_file = data_dir / PARTS[part]
    with np.load(label_file) as archive:
        missing = [name for name in FIELDS if name not in archive.files]
        if missing:
            raise InputError(f"{label_file}: found fields {sorted(archive.files)}, expected also {missing}")
        labels = {name: archive[name] for name in archive.files}
    members = _members(sorted(data_dir.glob(f"{part}*.tar")))
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


def _members(shards: list[Path]) -> dict[str, tuple[Path, int, int]]:
    """Where each image lies: stem -> (tar file, offset, length)."""
    members: dict[str, tuple[Path, int, int]] = {}
    for shard in shards:
        try:
            with tarfile.open(shard) as archive:
                for member in archive:
                    members[Path(member.name).stem] = (shard, member.offset_data, member.size)
        except tarfile.TarError as error:
            raise InputError(f"{shard}: found {error}, expected a tar file of JPEG crops") from error
    return members


def _read_member(shard: Path, offset: int, length: int) -> bytes:
    with shard.open("rb") as file:
        file.seek(offset)
        return file.read(length)
