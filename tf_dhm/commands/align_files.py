"""Align photos, videos and a camera's frames: what `align.py` runs."""

from __future__ import annotations

import glob
import os
import sys
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import Annotated, TextIO

from tf_dhm.core.cli import INTERRUPTED

import numpy as np
import tyro
from numpy.typing import NDArray
from PIL import Image
from tqdm import tqdm

from tf_dhm.commands.face_records import STDOUT, FaceRecords, Record
from tf_dhm.core.errors import InputError
from tf_dhm.core.files import atomic_write
from tf_dhm.runtime.aligner import Aligner, Backend, Face
from tf_dhm.runtime.crops import cut_crops, upright_boxes, upright_roll
from tf_dhm.runtime.drawing import Part, draw_faces
from tf_dhm.runtime.images import PHOTO_SUFFIXES, Photo, read_photo
from tf_dhm.runtime.store import DEFAULT_MODEL
from tf_dhm.runtime.tracking import Tracker, TrackingConfig
from tf_dhm.runtime.video import VIDEO_SUFFIXES, Frame, VideoReader, VideoWriter, Window, check_display

WRITTEN_SUFFIXES = frozenset([".jpg", ".jpeg", ".png", ".bmp"])
"""Suffixes that a drawn picture keeps; others get .png behind them."""


@dataclass(frozen=True)
class AlignConfig:
    """Find 68 three-dimensional landmarks on photos, in videos or before a camera.

    Exit code: 0 all files were read, 1 some were not (the rest is done), 2 it could not begin: wrong
    options, no model, a folder without photos.
    """

    inputs: Annotated[tyro.conf.Positional[tuple[str, ...]], tyro.conf.arg(metavar="[FILE ...]")] = ()
    """Photos, videos, folders (searched with their sub-folders) or patterns such as 'trip/*.jpg'."""
    camera: int | None = None
    """Number of a camera (0 is the first), in place of files. Ctrl-C stops it."""
    output: Path | None = None
    """Folder for the photos and videos with the landmarks drawn."""
    json: Path | None = None
    """JSON Lines file: a line per photo or frame with the box, score, pose and landmarks of its faces; - for
    standard output."""
    csv: Path | None = None
    """CSV file: a row per face; - for standard output."""
    crops: Path | None = None
    """Folder for a picture of each face, turned upright and cut out."""
    crop_size: int = 256
    """Side of those pictures in pixels."""
    show: bool = False
    """Show the frames of videos and of the camera in a window; q stops."""
    resume: bool = False
    """Go on with an earlier run: skip files that it finished, and keep its lines."""
    frames: int | None = None
    """Stop a video or the camera after so many frames."""
    model: str = DEFAULT_MODEL
    """Name of a model, its folder, or a .tflite file."""
    backend: Backend = "tflite"
    """What runs it: its TFLite file or its SavedModel (slower to start)."""
    threads: int = 1
    """Threads of TFLite."""
    server: str | None = None
    """HOST:PORT (gRPC) or http://HOST:PORT (REST) of a TF Serving that runs the model instead."""
    passes: int | None = None
    """2 runs the model again on a crop normalised by the first landmarks: more exact where the box is not.
    By default 2 for photos, and 1 in videos, where the box is that of the last landmarks."""
    draw: tuple[Part, ...] = ("points", "contours", "ids")
    """What is drawn on photos and frames."""
    tracking: TrackingConfig = field(default_factory=TrackingConfig)
    """How faces are followed through a video."""

    def __post_init__(self) -> None:
        if self.camera is not None and self.inputs:
            raise InputError(
                f"--camera: found the files {' '.join(self.inputs)}, too, expected one or the other"
            )
        if not (self.output or self.json or self.csv or self.crops or self.show):
            raise InputError(
                "found none of --output, --json, --csv, --crops and --show, expected one of them: "
                "there is nothing to do with the faces"
            )
        if self.resume and self.camera is not None:
            raise InputError("--resume: found --camera, expected files")
        if self.json == self.csv == STDOUT:
            raise InputError("--json and --csv: found - for both, expected one on standard output")
        if self.resume and STDOUT in (self.json, self.csv):
            raise InputError("--resume: found records on standard output, expected a file to go on with")
        if self.resume and not (self.output or self.json or self.csv):
            raise InputError("--resume: expected --output, --json or --csv: they tell what is done")
        if not 8 <= self.crop_size <= 4096:
            raise InputError(f"--crop-size: found {self.crop_size}, expected 8 to 4096")
        if self.threads < 1:
            raise InputError(f"--threads: found {self.threads}, expected 1 or more")
        if self.frames is not None and self.frames < 1:
            raise InputError(f"--frames: found {self.frames}, expected 1 or more")

    @property
    def report(self) -> TextIO:
        """Where the last line, of what was done, goes."""
        return sys.stderr if STDOUT in (self.json, self.csv) else sys.stdout


@dataclass(frozen=True)
class InputFile:
    """A photo or video to align: where it is, and its name below the output folder."""

    path: Path
    name: Path

    @property
    def is_video(self) -> bool:
        return self.path.suffix.lower() in VIDEO_SUFFIXES


@dataclass
class Counts:
    """What a run has met so far."""

    done: int = 0
    faces: int = 0
    without: int = 0
    failed: int = 0
    skipped: int = 0


Report = Callable[[Record], None]


def align_inputs(config: AlignConfig) -> int:
    """Align photos, videos or a camera's frames and write what is asked for.

    A file that cannot be read is reported on stderr and in the records (`error` in place of
    `faces`), and the rest goes on. Memory does not grow with the number or length of the files,
    except by their names.

    Returns:
        the exit code: 0, 1 where a file could not be read, or INTERRUPTED.

    Raises:
        InputError: no files, no model, no camera, or an output over an input.
    """
    if config.show:
        check_display()
    if config.camera is not None:
        return align_camera(config, config.camera)
    files = find_inputs(config.inputs, [folder for folder in (config.output, config.crops) if folder])
    if config.output is not None:
        check_outputs(files, config.output)
    records = FaceRecords(config.json, config.csv)
    check_records(files, records.paths)
    counts = Counts()
    if config.resume:
        files, counts.skipped = skip_done(files, records, config.output)
    try:
        aligner = make_aligner(config) if files else None
        with records:
            for file in tqdm(files, unit="file", disable=len(files) < 2):
                assert aligner is not None
                align_file(aligner, file, config, records, counts)
    except KeyboardInterrupt:
        print("interrupted: the same command with --resume goes on", file=sys.stderr)
        return INTERRUPTED
    print(
        f"files: {counts.done}, faces: {counts.faces}, files without a face: {counts.without}, "
        f"files failed: {counts.failed}"
        + (f", files done before: {counts.skipped}" if config.resume else ""),
        file=config.report,
    )
    return 1 if counts.failed else 0


def make_aligner(config: AlignConfig) -> Aligner:
    if config.server is not None:
        # Imported here: it needs packages that nothing else here does.
        from tf_dhm.runtime.server import Client, ServerConfig

        return Aligner(Client(ServerConfig(config.server, config.model)), config.passes)
    return Aligner(config.model, config.passes, config.backend, config.threads)


def align_file(
    aligner: Aligner, file: InputFile, config: AlignConfig, records: FaceRecords, counts: Counts
) -> None:
    """Align one file, write what is asked for, and count it."""
    faces: set[int] = set()

    def report(record: Record) -> None:
        # Faces of a video by their ids, so that each counts once.
        faces.update(face.get("id", number) for number, face in enumerate(record["faces"]))
        records.write({"file": str(file.path), **record})

    counts.done += 1
    try:
        if file.is_video:
            align_video(aligner, file, config, report)
        else:
            align_photo(aligner, file, config, report)
    except InputError as error:
        records.write({"file": str(file.path), "error": str(error)})
        tqdm.write(f"error: {error}", file=sys.stderr)
        counts.failed += 1
    else:
        counts.faces += len(faces)
        counts.without += not faces


def align_photo(aligner: Aligner, file: InputFile, config: AlignConfig, report: Report) -> None:
    """Align one photo, write its pictures, and report its fields."""
    photo = read_photo(file.path)
    faces = aligner.align(photo)
    inner = [shrink(face, photo) for face in faces]
    if config.crops is not None:
        for number, face in enumerate(inner):
            name = file.name.with_name(f"{file.name.name}_{number}.png")
            save_picture(aligned_crop(photo.pixels, face, config.crop_size), config.crops / name)
    if config.output is not None:
        save_picture(draw_faces(photo.pixels, inner, config.draw), output_path(config.output, file))
    report({"width": photo.width, "height": photo.height, "faces": [face.as_dict() for face in faces]})


def align_video(aligner: Aligner, file: InputFile, config: AlignConfig, report: Report) -> None:
    """Follow the faces of one video, write its pictures, and report each frame.

    Raises:
        InputError: the video cannot be read, or it ends before its time; the frames up to there
            have been reported and written.
    """
    with VideoReader(file.path) as video:
        count = video.frame_count
        read = align_frames(aligner, video, file.name, config, report)
    # The count that a file states may be a guess from its length, off by a few.
    if count is not None and config.frames is None and read < 0.95 * count - 2:
        raise InputError(
            f"{video.name}: found {read} frames that can be decoded, expected {count}: it is cut off"
        )


def align_camera(config: AlignConfig, number: int) -> int:
    """Follow the faces before a camera until the user stops it."""
    records = FaceRecords(config.json, config.csv)
    name = Path(f"camera_{number}.mp4")
    with VideoReader(number) as video:
        aligner = make_aligner(config)

        def report(record: Record) -> None:
            records.write({"file": video.name, **record})

        with records:
            read = align_frames(aligner, video, name, config, report, stop=KeyboardInterrupt)
    print(f"frames: {read}", file=config.report)
    return 0


def align_frames(
    aligner: Aligner,
    video: VideoReader,
    name: Path,
    config: AlignConfig,
    report: Report,
    stop: type[BaseException] | tuple[type[BaseException], ...] = (),
) -> int:
    """Follow faces through frames; returns how many frames there were.

    Args:
        name: of the video below the output folders.
        stop: exceptions that end the frames and not the program.
    """
    tracker = Tracker.of(aligner, config.tracking)
    read = 0
    with ExitStack() as stack:
        writer = window = None
        if config.output is not None:
            target = stack.enter_context(atomic_write(video_path(config.output, name)))
            writer = stack.enter_context(VideoWriter(target, video.fps))
        if config.show:
            window = stack.enter_context(Window(video.name))
        total = min((n for n in (video.frame_count, config.frames) if n is not None), default=None)
        frames = islice(video, config.frames)
        try:
            for frame in tqdm(frames, desc=name.name, total=total, unit="frame", leave=False):
                faces = tracker.update(frame.pixels, frame.time)
                read += 1
                if config.crops is not None:
                    save_face_crops(frame, faces, config.crops / name, config.crop_size)
                if writer is not None or window is not None:
                    drawn = draw_faces(frame.pixels, faces, config.draw)
                    if writer is not None:
                        writer.write(drawn)
                report(frame_record(frame, faces))
                if window is not None and not window.show(drawn):
                    break
        except stop:
            pass
    return read


def frame_record(frame: Frame, faces: Sequence[Face]) -> Record:
    height, width = frame.pixels.shape[:2]
    return {
        "frame": frame.index,
        "time": round(frame.time, 6),
        "width": width,
        "height": height,
        "faces": [face.as_dict() for face in faces],
    }


def save_face_crops(frame: Frame, faces: Sequence[Face], folder: Path, size: int) -> None:
    """Write FOLDER/FRAME_ID.png for each face of a frame."""
    for face in faces:
        path = folder / f"{frame.index:06d}_{face.id}.png"
        save_picture(aligned_crop(frame.pixels, face, size), path)


def aligned_crop(image: NDArray[np.uint8], face: Face, size: int) -> NDArray[np.uint8]:
    """A face (in pixels of `image`) turned upright and cut out as the model would see it: (size, size, 3)."""
    landmarks = np.asarray(face.landmarks, np.float64)[None]
    roll = upright_roll(landmarks)
    crops, _ = cut_crops(image, upright_boxes(landmarks, roll), size, roll)
    return crops[0]


def shrink(face: Face, photo: Photo) -> Face:
    """A face in the pixels that were decoded, where the photo was too large to decode whole."""
    landmarks = np.array(face.landmarks, np.float64)
    landmarks[:, :2] -= (photo.reduction - 1) / 2.0
    return replace(face, landmarks=(landmarks / photo.reduction).astype(np.float32))


def save_picture(picture: NDArray[np.uint8], path: Path) -> None:
    """Write RGB in the format that the suffix names."""
    with atomic_write(path) as temporary:
        Image.fromarray(picture).save(temporary, quality=95)


def output_path(folder: Path, file: InputFile) -> Path:
    """Where the picture or video of a file goes."""
    if file.is_video:
        return video_path(folder, file.name)
    if file.name.suffix.lower() in WRITTEN_SUFFIXES:
        return folder / file.name
    return folder / file.name.with_name(file.name.name + ".png")


def video_path(folder: Path, name: Path) -> Path:
    """Where a drawn video goes: it keeps .mp4, others get it behind their suffix."""
    return folder / (name if name.suffix == ".mp4" else name.with_name(name.name + ".mp4"))


def skip_done(
    files: Sequence[InputFile], records: FaceRecords, output: Path | None
) -> tuple[list[InputFile], int]:
    """The files that an earlier run has not finished, and how many it has."""
    recorded = records.resume({str(file.path) for file in files})
    left = [
        file
        for file in files
        if str(file.path) not in recorded or (output is not None and not output_path(output, file).exists())
    ]
    records.drop([str(file.path) for file in left])
    return left, len(files) - len(left)


def find_inputs(arguments: Sequence[str], outputs: Collection[Path] = ()) -> list[InputFile]:
    """Resolve files, folders and patterns, in their order, each file once.

    Files of a folder keep their path below it in the output; those of a pattern, their path below
    its part without wildcards; single files, their name, or, where names repeat, their path below
    the folder they share.

    Args:
        arguments: files, folders and patterns.
        outputs: folders of results, in which folders and patterns find nothing.

    Raises:
        InputError: a folder or pattern without photos and videos, or nothing given. A single file is
            taken as it is: what is wrong with it is for its reader to say.
    """
    if not arguments:
        raise InputError("files: found none, expected photos, videos, folders, patterns or --camera")
    found: dict[Path, InputFile] = {}
    singles = {
        Path(text).absolute() for text in arguments if not Path(text).is_dir() and not is_pattern(text)
    }
    repeat = len({path.name for path in singles}) < len(singles)
    shared = Path(os.path.commonpath([path.parent for path in singles])) if repeat else None
    made = [folder.resolve() for folder in outputs]
    for text in arguments:
        if Path(text).is_dir() or is_pattern(text):
            listed = list(files_in_folder(Path(text)) if Path(text).is_dir() else files_of_pattern(text))
            files = [file for file in listed if not any(map(file.path.resolve().is_relative_to, made))]
            if listed and not files:
                raise InputError(
                    f"files: found those of {text} in an output folder only, in which nothing is looked "
                    "for; expected another folder for the output"
                )
        else:
            path = Path(text)
            name = path.absolute().relative_to(shared) if shared else Path(path.name)
            files = [InputFile(path, name)]
        if not files:
            kinds = " ".join(sorted(PHOTO_SUFFIXES | VIDEO_SUFFIXES))
            raise InputError(f"files: found none in {text}, expected files with one of the suffixes {kinds}")
        for file in files:
            found.setdefault(file.path.resolve(), file)
    return list(found.values())


def is_pattern(text: str) -> bool:
    # A file may have a bracket in its name.
    return glob.has_magic(text) and not Path(text).exists()


def is_input(path: Path) -> bool:
    return path.suffix.lower() in PHOTO_SUFFIXES | VIDEO_SUFFIXES and path.is_file()


def files_in_folder(folder: Path) -> Iterator[InputFile]:
    for path in sorted(folder.rglob("*")):
        if is_input(path):
            yield InputFile(path, path.relative_to(folder))


def files_of_pattern(pattern: str) -> Iterator[InputFile]:
    parts = Path(pattern).parts
    fixed = next(i for i, part in enumerate(parts) if glob.has_magic(part))
    base = Path(*parts[:fixed])
    for text in sorted(glob.glob(pattern, recursive=True)):
        if is_input(Path(text)):
            yield InputFile(Path(text), Path(text).relative_to(base))


def check_records(files: Sequence[InputFile], paths: Sequence[Path]) -> None:
    """Refuse records that would fall on one another or on an input."""
    if len({path.resolve() for path in paths}) < len(paths):
        raise InputError(f"--json and --csv: found {paths[0]} for both, expected two files")
    inputs = {file.path.resolve() for file in files}
    for path in paths:
        if path.resolve() in inputs:
            raise InputError(f"records {path}: found an input of that name, expected another")


def check_outputs(files: Sequence[InputFile], folder: Path) -> None:
    """Refuse outputs that would fall on one another or on an input."""
    inputs = {file.path.resolve() for file in files}
    targets: dict[Path, Path] = {}
    for file in files:
        target = output_path(folder, file).resolve()
        if target in inputs:
            raise InputError(
                f"--output {folder}: would overwrite the input {target}, expected another folder"
            )
        if target in targets:
            raise InputError(
                f"--output {folder}: {targets[target]} and {file.path} would both be written to {target}; "
                "expected files with different names, or one run for each"
            )
        targets[target] = file.path
