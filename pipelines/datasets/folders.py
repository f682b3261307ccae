"""Finding images and their label files in a dataset's folders, and the split by group."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, UnidentifiedImageError

from pipelines.datasets.samples import Split
from tf_dhm.core.errors import InputError

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp")
"""Suffixes of images, in lower case; files may carry them in any case."""


@dataclass(frozen=True)
class Pair:
    """An image and its label file, which share a path but for the suffix; one may be missing.

    Attributes:
        name: path below the folder searched, with "/" and without suffix.
        image: None where only the label file is there.
        label: None where only the image is there.
    """

    name: str
    image: Path | None
    label: Path | None


def require_folder(path: Path, content: str) -> Path:
    """Return `path`; InputError if it is not a folder, naming the expected content."""
    if not path.is_dir():
        found = "a file" if path.exists() else "nothing there"
        raise InputError(f"{path}: found {found}, expected a folder with {content}")
    return path


def pair_files(folder: Path, label_suffix: str, *, recursive: bool = False) -> list[Pair]:
    """Pair the images of a folder with the label files of the same name, ordered by name.

    Hidden files (such as macOS's "._name.jpg") are passed over.

    Args:
        folder: an existing folder.
        label_suffix: such as ".mat".
        recursive: search its sub-folders too.
    """
    images: dict[str, Path] = {}
    labels: dict[str, Path] = {}
    for path in sorted(folder.rglob("*") if recursive else folder.iterdir()):
        suffix = path.suffix.lower()
        if path.name.startswith(".") or suffix not in (*IMAGE_SUFFIXES, label_suffix):
            continue
        name = path.relative_to(folder).with_suffix("").as_posix()
        (labels if suffix == label_suffix else images)[name] = path
    return [Pair(name, images.get(name), labels.get(name)) for name in sorted({*images, *labels})]


def require_pair(folder: Path, pair: Pair, label_suffix: str) -> tuple[Path, Path]:
    """Return image and label file; InputError if one is missing or the image is empty."""
    if pair.image is None:
        raise InputError(
            f"{pair.label}: found no image beside it, expected one of {', '.join(IMAGE_SUFFIXES)}"
        )
    if pair.label is None:
        raise InputError(
            f"{pair.image}: found no {label_suffix} beside it, expected {folder / pair.name}{label_suffix}"
        )
    return require_image(pair.image), pair.label


def require_image(path: Path) -> Path:
    """Return `path`; InputError if there is no file or an empty one. Does not decode it."""
    if not path.is_file():
        raise InputError(f"{path}: found no such file, expected an image")
    if path.stat().st_size == 0:
        raise InputError(f"{path}: found an empty file, expected an image")
    return path


def image_size(path: Path) -> tuple[int, int]:
    """Width and height in pixels from the header of an image file.

    Raises:
        InputError: the file cannot be read as an image.
    """
    try:
        with Image.open(path) as image:
            return image.size
    except (UnidentifiedImageError, OSError) as error:
        raise InputError(f"{path}: found {error}, expected an image") from error


def names_in(folder: Path, limit: int = 5) -> str:
    """The first names in a folder, for the "found" part of an error."""
    names = sorted(path.name for path in folder.iterdir())
    more = f" and {len(names) - limit} more" if len(names) > limit else ""
    return f"{', '.join(names[:limit])}{more}" if names else "an empty folder"


def hash_fraction(group: str) -> float:
    """A number in [0, 1) that depends on `group` alone: the same on every machine, at every run."""
    return int.from_bytes(hashlib.sha256(group.encode()).digest()[:8], "big") / 2.0**64


def split_groups(groups: Iterable[str], val_share: float) -> dict[str, Split]:
    """ "val" for about `val_share` of the groups, at least half of that share, and "train" for the others.

    The choice of each is independent of the other groups, unless too few of several would be chosen.
    """
    names = sorted(set(groups), key=hash_fraction)
    least = math.ceil(val_share * len(names) / 2) if len(names) > 1 else 0
    val = {name for number, name in enumerate(names) if hash_fraction(name) < val_share or number < least}
    return {name: "val" if name in val else "train" for name in names}
