"""Align photos on disk: what `align.py` runs."""

from __future__ import annotations

import glob
import json
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import tyro
from numpy.typing import NDArray
from PIL import Image
from tqdm import tqdm

from tf_dhm.aligner import Aligner, Face
from tf_dhm.drawing import Part, draw_faces
from tf_dhm.errors import InputError
from tf_dhm.files import atomic_write
from tf_dhm.images import PHOTO_SUFFIXES, Photo, read_photo

WRITTEN_SUFFIXES = frozenset([".jpg", ".jpeg", ".png", ".bmp"])
"""Suffixes that a drawn picture keeps; others get .png behind them."""


@dataclass(frozen=True)
class AlignConfig:
    """Find 68 three-dimensional landmarks on photos.

    Exit code: 0 all photos were read, 1 some were not (the rest is done), 2 nothing was done.
    """

    photos: Annotated[tyro.conf.Positional[tuple[str, ...]], tyro.conf.arg(metavar="PHOTO ...")]
    """Photos, folders (searched with their sub-folders) or patterns such as 'trip/*.jpg'."""
    output: Path | None = None
    """Folder for the photos with the landmarks drawn."""
    json: Path | None = None
    """JSON Lines file: one line per photo with the box, score, pose and landmarks of its faces."""
    model: str = "fast_dhm"
    """Name of a model, or the folder of a SavedModel."""
    passes: int = 1
    """2 runs the model again on a crop normalised by the first landmarks: slower, more exact."""
    draw: tuple[Part, ...] = ("points", "contours")
    """What is drawn on the photos."""


@dataclass(frozen=True)
class PhotoFile:
    """A photo to align: where it is, and its name below the output folder."""

    path: Path
    name: Path


def align_photos(config: AlignConfig) -> int:
    """Align photos and write pictures and landmarks.

    A photo that cannot be read is reported on stderr and in the JSON Lines file (`error` in
    place of `faces`), and the rest goes on.

    Returns:
        the exit code: 0, or 1 where a photo could not be read.

    Raises:
        InputError: no photos, no model, nothing to write, or an output over an input.
    """
    if config.output is None and config.json is None:
        raise InputError("found neither --output nor --json, expected one of them: there is nothing to write")
    photos = find_photos(config.photos)
    if config.output is not None:
        check_outputs(photos, config.output)
    aligner = Aligner(config.model, config.passes)
    found = without = failed = 0
    with ExitStack() as stack:
        lines = None
        if config.json is not None:
            lines = stack.enter_context(stack.enter_context(atomic_write(config.json)).open("w"))
        for photo in tqdm(photos, unit="photo", disable=len(photos) == 1):
            record: dict[str, Any] = {"file": str(photo.path)}
            try:
                record.update(align_photo(aligner, photo, config))
            except InputError as error:
                record["error"] = str(error)
                tqdm.write(f"error: {error}", file=sys.stderr)
                failed += 1
            else:
                found += len(record["faces"])
                without += not record["faces"]
            if lines is not None:
                lines.write(json.dumps(record) + "\n")
    print(f"photos: {len(photos)}, faces: {found}, photos without a face: {without}, photos failed: {failed}")
    return 1 if failed else 0


def align_photo(aligner: Aligner, file: PhotoFile, config: AlignConfig) -> dict[str, Any]:
    """Align one photo, write its picture, and return its fields of the JSON line."""
    photo = read_photo(file.path)
    faces = aligner.align(photo)
    if config.output is not None:
        target = output_path(config.output, file)
        drawn = draw_faces(photo.pixels, [shrink(face, photo) for face in faces], config.draw)
        with atomic_write(target) as temporary:
            save_picture(drawn, temporary)
    return {
        "width": photo.width,
        "height": photo.height,
        "faces": [face.as_dict() for face in faces],
    }


def shrink(face: Face, photo: Photo) -> Face:
    """A face in the pixels that were decoded, where the photo was too large to decode whole."""
    landmarks = np.array(face.landmarks, np.float64)
    landmarks[:, :2] -= (photo.reduction - 1) / 2.0
    return replace(face, landmarks=(landmarks / photo.reduction).astype(np.float32))


def save_picture(picture: NDArray[np.uint8], path: Path) -> None:
    """Write RGB in the format that the suffix names."""
    Image.fromarray(picture).save(path, quality=95)


def output_path(folder: Path, file: PhotoFile) -> Path:
    """Where the picture of a photo goes."""
    if file.name.suffix.lower() in WRITTEN_SUFFIXES:
        return folder / file.name
    return folder / file.name.with_name(file.name.name + ".png")


def find_photos(arguments: Sequence[str]) -> list[PhotoFile]:
    """Resolve photos, folders and patterns, in their order, each photo once.

    Photos of a folder keep their path below it in the output; those of a pattern, their path
    below its part without wildcards; single photos, their name, or, where names repeat, their
    path below the folder they share.

    Raises:
        InputError: a folder or pattern without photos, or nothing given. A single file is taken
            as it is: what is wrong with it is for `read_photo` to say.
    """
    if not arguments:
        raise InputError("photos: found none, expected photos, folders or patterns")
    found: dict[Path, PhotoFile] = {}
    singles = {
        Path(text).absolute() for text in arguments if not Path(text).is_dir() and not is_pattern(text)
    }
    repeat = len({path.name for path in singles}) < len(singles)
    shared = Path(os.path.commonpath([path.parent for path in singles])) if repeat else None
    for text in arguments:
        if Path(text).is_dir():
            files = list(photos_in_folder(Path(text)))
        elif is_pattern(text):
            files = list(photos_of_pattern(text))
        else:
            path = Path(text)
            name = path.absolute().relative_to(shared) if shared else Path(path.name)
            files = [PhotoFile(path, name)]
        if not files:
            kinds = " ".join(sorted(PHOTO_SUFFIXES))
            raise InputError(f"photos: found none in {text}, expected files with one of the suffixes {kinds}")
        for file in files:
            found.setdefault(file.path.resolve(), file)
    return list(found.values())


def is_pattern(text: str) -> bool:
    # A file may have a bracket in its name.
    return glob.has_magic(text) and not Path(text).exists()


def photos_in_folder(folder: Path) -> Iterator[PhotoFile]:
    for path in sorted(folder.rglob("*")):
        if path.suffix.lower() in PHOTO_SUFFIXES and path.is_file():
            yield PhotoFile(path, path.relative_to(folder))


def photos_of_pattern(pattern: str) -> Iterator[PhotoFile]:
    parts = Path(pattern).parts
    fixed = next(i for i, part in enumerate(parts) if glob.has_magic(part))
    base = Path(*parts[:fixed])
    for text in sorted(glob.glob(pattern, recursive=True)):
        path = Path(text)
        if path.suffix.lower() in PHOTO_SUFFIXES and path.is_file():
            yield PhotoFile(path, path.relative_to(base))


def check_outputs(photos: Sequence[PhotoFile], folder: Path) -> None:
    """Refuse outputs that would fall on one another or on a photo."""
    inputs = {file.path.resolve() for file in photos}
    targets: dict[Path, Path] = {}
    for file in photos:
        target = output_path(folder, file).resolve()
        if target in inputs:
            raise InputError(
                f"--output {folder}: would overwrite the photo {target}, expected another folder"
            )
        if target in targets:
            raise InputError(
                f"--output {folder}: {targets[target]} and {file.path} would both be written to {target}; "
                "expected photos with different names, or one run for each"
            )
        targets[target] = file.path
