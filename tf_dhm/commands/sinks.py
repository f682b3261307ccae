"""Sinks: one for each kind of output, which every photo and frame is handed to once.

| sink | writes |
|---|---|
| `RecordSink` | a record with all faces (JSON Lines, CSV) |
| `CropSink` | a picture of each convincing face, upright |
| `MeshSink` | the whole faces as meshes, depth maps and PNCC |
| `DrawingSink` | the photo or frame with the convincing faces drawn: to a file, a window |
| `VideoSink` | the frame with the convincing faces drawn, appended to a video |
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from numbers import Integral
from pathlib import Path
from typing import Protocol

import numpy as np
from PIL import Image as PillowImage

from tf_dhm.commands.face_records import BELOW_LIMIT, Record
from tf_dhm.commands.options import AlignConfig
from tf_dhm.core.errors import InputError, check_type
from tf_dhm.core.files import atomic_write, fit_name
from tf_dhm.core.types import Image
from tf_dhm.runtime.crops import check_pixels, cut_crops, upright_boxes, upright_roll
from tf_dhm.runtime.drawing import draw_faces
from tf_dhm.runtime.faces import Alignment, Face, check_faces
from tf_dhm.runtime.mesh import SUFFIXES as MESH_SUFFIXES
from tf_dhm.runtime.mesh import sample_colours, write_mesh
from tf_dhm.runtime.mesh_pictures import depth_map, pncc
from tf_dhm.runtime.settings import Part
from tf_dhm.runtime.video import Frame
from tf_dhm.runtime.video_writer import VideoWriter

WRITTEN_SUFFIXES = frozenset([".jpg", ".jpeg", ".png", ".bmp"])
"""Suffixes that a drawn picture keeps; others get .png appended."""
QUALITY = 95
"""JPEG quality of drawn pictures."""


@dataclass(frozen=True, eq=False)
class Picture:
    """A photo or frame with its faces, as sinks take it.

    Attributes:
        pixels: (H, W, 3) uint8 RGB.
        width, height: Size of the original in pixels, which may be larger than `pixels`.
        faces: All faces, in pixels of the original.
        faces_in_pixels: The same faces in `pixels`.
        convincing: For each face, whether it is drawn and cut out.
        index: Number of the frame; None for a photo.
        time: Seconds since the first frame; None for a photo.
    """

    pixels: Image
    width: int
    height: int
    faces: Sequence[Face]
    faces_in_pixels: Sequence[Face]
    convincing: Sequence[bool]
    index: int | None = None
    time: float | None = None

    @classmethod
    def of_photo(cls, alignment: Alignment, is_convincing: Callable[[Face], bool]) -> Picture:
        photo = alignment.photo
        convincing = [is_convincing(face) for face in alignment.faces]
        faces = alignment.faces_in_pixels
        return cls(photo.pixels, photo.width, photo.height, alignment.faces, faces, convincing)

    @classmethod
    def of_frame(cls, frame: Frame, faces: Sequence[Face], is_convincing: Callable[[Face], bool]) -> Picture:
        height, width = frame.pixels.shape[:2]
        convincing = [is_convincing(face) for face in faces]
        return cls(frame.pixels, width, height, faces, faces, convincing, frame.index, frame.time)

    @property
    def shown(self) -> list[tuple[int, Face]]:
        """Numbers and faces, in `pixels`, that are drawn and cut out."""
        pairs = enumerate(zip(self.faces_in_pixels, self.convincing, strict=True))
        return [(number, face) for number, (face, convincing) in pairs if convincing]

    def record(self) -> Record:
        """The fields of a record but for the name of the file."""
        place = {} if self.time is None else {"frame": self.index, "time": round(self.time, 6)}
        faces = [
            face.as_dict() | ({} if convincing else {BELOW_LIMIT: True})
            for face, convincing in zip(self.faces, self.convincing, strict=True)
        ]
        return {**place, "width": self.width, "height": self.height, "faces": faces}


Report = Callable[[Record], None]
"""Takes the record of a photo or frame."""


class Sink(Protocol):
    """Writes one kind of output."""

    def write(self, picture: Picture) -> None:
        """Write a photo or frame.

        Raises:
            OSError: It cannot be written.
        """
        ...


@dataclass(frozen=True)
class RecordSink:
    """Hands the record of each picture to `report`."""

    report: Report

    def write(self, picture: Picture) -> None:
        self.report(picture.record())


@dataclass(frozen=True)
class CropSink:
    """Writes FOLDER/NAME_0.png for the faces of a photo and FOLDER/NAME/000007_3.png for those of frames.

    Attributes:
        folder: Output folder.
        name: Path of the photo or video below it.
        size: Side of the crops in pixels.
    """

    folder: Path
    name: Path
    size: int

    def write(self, picture: Picture) -> None:
        faces = picture.shown
        crops = upright_crops(picture.pixels, [face for _, face in faces], self.size)
        for (number, face), crop in zip(faces, crops, strict=True):
            save_picture(crop, self.path(picture.index, number if face.id is None else face.id))

    def path(self, index: int | None, number: int) -> Path:
        if index is None:
            return self.folder / self.name.with_name(fit_name(self.name.name, f"_{number}.png"))
        return self.folder / self.name / f"{index:06d}_{number}.png"


@dataclass(frozen=True)
class MeshSink:
    """Writes the meshes of convincing faces, coloured by the picture.

    Of a photo FOLDER/NAME_0.obj and .glb for each face, FOLDER/NAME_depth.png and _pncc.png; of frames
    FOLDER/NAME/000007_3.glb. Faces without a fit are left out.

    Attributes:
        folder: Output folder.
        name: Path of the photo or video below it.
    """

    folder: Path
    name: Path

    def write(self, picture: Picture) -> None:
        faces = [(number, face) for number, face in picture.shown if face.mesh and not face.mesh.problem]
        for number, face in faces:
            assert face.mesh is not None
            colours = sample_colours(face.mesh, picture.pixels)
            number = number if face.id is None else face.id
            if picture.index is not None:
                write_mesh(self.folder / self.name / f"{picture.index:06d}_{number}.glb", face.mesh, colours)
                continue
            for suffix in MESH_SUFFIXES:
                write_mesh(self.path(f"_{number}{suffix}"), face.mesh, colours)
        if picture.index is None:
            fits = [face.mesh for _, face in faces if face.mesh is not None]
            size = picture.pixels.shape[:2]
            save_picture(depth_map(fits, *size), self.path("_depth.png"))
            save_picture(pncc(fits, *size), self.path("_pncc.png"))

    def path(self, ending: str) -> Path:
        return self.folder / self.name.with_name(fit_name(self.name.name, ending))


@dataclass(frozen=True)
class DrawingSink:
    """Draws the faces once and hands the drawing to each of `targets`."""

    parts: Collection[Part]
    targets: Sequence[Callable[[Image], None]]

    def write(self, picture: Picture) -> None:
        drawn = draw_picture(picture, self.parts)
        for target in self.targets:
            target(drawn)


@dataclass(frozen=True)
class VideoSink:
    """Draws the faces and appends the drawing to a video, at the time of its frame."""

    parts: Collection[Part]
    writer: VideoWriter

    def write(self, picture: Picture) -> None:
        self.writer.write(draw_picture(picture, self.parts), picture.time)


def face_sinks(config: AlignConfig, name: Path) -> list[Sink]:
    """The sinks that write single faces of a photo or video.

    Args:
        name: Path of the photo or video below the output folders.
    """
    sinks: list[Sink] = []
    if config.crops is not None:
        sinks.append(CropSink(config.crops, name, config.crop_size))
    if config.mesh is not None:
        sinks.append(MeshSink(config.mesh, name))
    return sinks


def draw_picture(picture: Picture, parts: Collection[Part]) -> Image:
    """Draw the convincing faces on a copy of a picture."""
    return draw_faces(picture.pixels, [face for _, face in picture.shown], parts)


def upright_crops(image: Image, faces: Sequence[Face], size: int) -> Image:
    """Faces (in pixels of `image`) turned upright and cut out as a model sees them: (N, size, size, 3).

    Raises:
        InputError: the image is no uint8 RGB array, `faces` holds something else, or the size is no whole
            number of 1 or more.
    """
    check_pixels(image)
    check_type("size", size, "a whole number", Integral)
    if size < 1:
        raise InputError(f"size: found {size}, expected 1 or more")
    faces = check_faces(faces)
    if not faces:
        return np.zeros((0, size, size, 3), np.uint8)
    landmarks = np.stack([face.landmarks for face in faces]).astype(np.float64)
    roll = upright_roll(landmarks)
    crops, _ = cut_crops(image, upright_boxes(landmarks, roll), size, roll)
    return crops


def save_picture(picture: Image, path: Path) -> None:
    """Write RGB in the format of the suffix."""
    with atomic_write(path) as temporary:
        PillowImage.fromarray(picture).save(temporary, quality=QUALITY)


def picture_path(folder: Path, name: Path) -> Path:
    """Path of the drawn picture of a photo: its name, with .png appended if its format is not written."""
    ending = "" if name.suffix.lower() in WRITTEN_SUFFIXES else ".png"
    return folder / name.with_name(fit_name(name.name, ending))


def video_path(folder: Path, name: Path) -> Path:
    """Path of a drawn video: its name, with .mp4 appended to other suffixes."""
    return folder / name.with_name(fit_name(name.name, "" if name.suffix == ".mp4" else ".mp4"))
