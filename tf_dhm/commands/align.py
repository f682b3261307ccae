"""Align photos, videos and a camera's frames: what `align.py` runs."""

from __future__ import annotations

import io
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tf_dhm.core.cli import INTERRUPTED

from tf_dhm.commands.face_records import BELOW_LIMIT, FaceRecords, Record
from tf_dhm.commands.inputs import InputFile, find_inputs
from tf_dhm.commands.options import AlignConfig
from tf_dhm.commands.osc import OscSink
from tf_dhm.commands.sinks import (
    DrawingSink,
    Picture,
    RecordSink,
    Report,
    face_sinks,
    picture_path,
    save_picture,
    video_path,
)
from tf_dhm.commands.videos import align_frames, align_video
from tf_dhm.core.errors import InputError
from tf_dhm.core.extras import packages_of, require_extra
from tf_dhm.core.progress import Progress, print_beside
from tf_dhm.core.words import counted
from tf_dhm.runtime.aligner import Aligner
from tf_dhm.runtime.camera import CameraReader, check_display
from tf_dhm.runtime.images import Photo, decode, read_photo


@dataclass
class Counts:
    """Totals of a run so far: files, their faces and those below a limit, files without a face, failed and
    skipped files."""

    done: int = 0
    faces: int = 0
    doubtful: int = 0
    without: int = 0
    failed: int = 0
    skipped: int = 0


def align_inputs(config: AlignConfig) -> int:
    """Align photos, videos or a camera's frames and write the outputs of `config`.

    A file that cannot be read or whose output cannot be written is reported on stderr and in the records
    (`error` in place of `faces`), and the others are aligned. Memory does not grow with the number or length
    of the files, except for their names.

    Returns:
        the exit code: 0, 1 if a file failed, or INTERRUPTED.

    Raises:
        InputError: No files, no model, no camera, an output over an input, records that cannot be
            written there, or another run that writes the same records.
        OSError: Writing the records fails later, for example on a full disk.
    """
    if config.show:
        check_display()
    if config.mesh is not None:
        require_extra("mesh", "--mesh")
    if config.osc is not None:
        # A wrong address or a missing package is reported once, and not for each file.
        with OscSink(config.osc):
            pass
    check_folders(config)
    if config.camera is not None:
        return align_camera(config, config.camera)
    files = find_inputs(
        config.inputs, [folder for folder in (config.drawn_folder, config.crops, config.mesh) if folder]
    )
    if config.drawn_folder is not None:
        check_outputs(files, config.drawn_folder)
    counts = Counts()
    try:
        records = FaceRecords(config.json, config.csv, config.record_options)
        check_records(files, records.paths)
        with records:
            if config.resume:
                files, counts.skipped = skip_done(files, records, config.drawn_folder)
            align_files(files, config, records, counts)
    except KeyboardInterrupt:
        print("interrupted: resume with the same command and --resume", file=sys.stderr)
        return INTERRUPTED
    if not config.quiet:
        print(
            f"files: {counts.done}, faces: {counts.faces}, files without a face: {counts.without}, "
            f"files failed: {counts.failed}"
            + (f", faces below {limits(config)}: {counts.doubtful}" if counts.doubtful else "")
            + (f", files done before: {counts.skipped}" if config.resume else ""),
            file=config.messages,
        )
    return 1 if counts.failed else 0


def align_files(
    files: Sequence[InputFile], config: AlignConfig, records: FaceRecords, counts: Counts
) -> None:
    """Align files one after the other, write their outputs, and count them."""
    aligner = make_aligner(config) if files else None
    records.start()
    hides_progress = config.quiet or len(files) < 2
    for file in Progress(files, unit=" files", disable=hides_progress):
        assert aligner is not None
        align_file(aligner, file, config, records, counts)


def make_aligner(config: AlignConfig) -> Aligner:
    """The aligner of the options: a model in this process, or a server.

    Raises:
        InputError: No such model, or packages of the extra `serving` are missing.
    """
    options: dict[str, Any] = {
        "mesh": config.fits_meshes,
        "field_of_view": config.field_of_view,
        "min_confidence": config.min_confidence,
        "tiles": {"auto": None, "on": True, "off": False}[config.tiles],
        "mirror": config.mirror,
        "max_faces": config.faces,
        "detector": config.detector,
    }
    if config.server is None:
        return Aligner(config.model, config.passes, config.backend, config.threads, **options)
    with packages_of("serving", "--server"):
        # Imported here: it needs packages that nothing else here does.
        from tf_dhm.runtime.server import Client
        from tf_dhm.runtime.transport import ServerConfig

        client = Client(ServerConfig(config.server, config.model))
    return Aligner(client, config.passes, **options)


def align_file(
    aligner: Aligner, file: InputFile, config: AlignConfig, records: FaceRecords, counts: Counts
) -> None:
    """Align one file, write its outputs, and count it.

    Raises:
        OSError: The records cannot be written; any other output that fails is the file's error.
    """
    faces: set[int] = set()
    doubtful: set[int] = set()

    def report(record: Record) -> None:
        # Faces of a video by their ids, so that each counts once.
        for number, face in enumerate(record["faces"]):
            (doubtful if BELOW_LIMIT in face else faces).add(face.get("id", number))
        records.write({"file": file.label, **record})

    counts.done += 1
    try:
        if file.problem is not None:
            raise InputError(file.problem)
        if file.is_video:
            align_video(aligner, file, config, report)
        else:
            align_photo(aligner, file, config, report)
    except (InputError, OSError) as error:
        message = str(error)
        if isinstance(error, OSError):
            message = f"{error.filename or file.label}: {error.strerror or error}"
        # Raises again if the records are what could not be written.
        records.write({"file": file.label, "error": message})
        print_beside(f"error: {message}", sys.stderr)
        counts.failed += 1
        return
    doubtful -= faces
    counts.faces += len(faces)
    counts.doubtful += len(doubtful)
    counts.without += not faces
    if config.lists_files:
        print_beside(describe(file, len(faces), len(doubtful), config), config.messages)


def describe(file: InputFile, faces: int, doubtful: int, config: AlignConfig) -> str:
    """A line about a file that was aligned, with the number of its faces and of those below a limit."""
    found = counted(faces, "face") if faces else "no face"
    if doubtful and not faces:
        found += f" but {doubtful} below {limits(config)}"
    assert config.drawn_folder is not None
    return f"{file.label}: {found}, drawn in {output_path(config.drawn_folder, file)}"


def limits(config: AlignConfig) -> str:
    """The options below which a face does not count."""
    return "--min-confidence or --min-score" if config.min_score else "--min-confidence"


def align_photo(aligner: Aligner, file: InputFile, config: AlignConfig, report: Report) -> None:
    """Align one photo, write its outputs, and report its record.

    Raises:
        InputError: The photo cannot be read.
        OSError: An output cannot be written.
    """
    picture = Picture.of_photo(aligner.align(open_photo(file)), config.is_convincing)
    sinks = face_sinks(config, file.name)
    if config.drawn_folder is not None:
        path = output_path(config.drawn_folder, file)
        sinks.append(DrawingSink(config.draw, [lambda drawn: save_picture(drawn, path)]))
    if config.osc is not None:
        with OscSink(config.osc) as osc:
            osc.write(picture)
    # The record comes last: it says that the photo is done.
    for sink in [*sinks, RecordSink(report)]:
        sink.write(picture)


def open_photo(file: InputFile) -> Photo:
    """Decode a photo from a file, a pipe or standard input."""
    if file.is_pipe:
        return decode(io.BytesIO(file.read_pipe()), f"photo {file.label}")
    return read_photo(file.path)


def align_camera(config: AlignConfig, number: int) -> int:
    """Follow the faces before a camera until the user stops it."""
    name = Path(f"camera_{number}.mp4")
    with CameraReader(number) as video, FaceRecords(config.json, config.csv) as records:
        aligner = make_aligner(config)
        records.start()

        def report(record: Record) -> None:
            records.write({"file": video.name, **record})

        read = align_frames(aligner, video, name, config, report, stop=(KeyboardInterrupt,))
    if not config.quiet:
        print(f"frames: {read}", file=config.messages)
    if config.lists_files and config.drawn_folder is not None:
        print(f"drawn in {video_path(config.drawn_folder, name)}")
    return 0


def output_path(folder: Path, file: InputFile) -> Path:
    """Path of the drawn picture or video of a file."""
    return video_path(folder, file.name) if file.is_video else picture_path(folder, file.name)


def skip_done(
    files: Sequence[InputFile], records: FaceRecords, output: Path | None
) -> tuple[list[InputFile], int]:
    """The files that an earlier run has not finished, and the number of those that it has."""
    recorded = records.resume({file.label for file in files})
    left = [
        file
        for file in files
        if file.problem
        or file.label not in recorded
        or (output is not None and not output_path(output, file).exists())
    ]
    records.drop([file.label for file in left])
    return left, len(files) - len(left)


def check_folders(config: AlignConfig) -> None:
    """Reject files in place of output folders."""
    for name, folder in (("output", config.drawn_folder), ("crops", config.crops), ("mesh", config.mesh)):
        if folder is not None and folder.exists() and not folder.is_dir():
            raise InputError(f"--{name} {folder}: found a file, expected a folder")


def check_records(files: Iterable[InputFile], paths: Sequence[Path]) -> None:
    """Reject records that would overwrite one another or an input."""
    if len({path.resolve() for path in paths}) < len(paths):
        raise InputError(f"--json and --csv: found {paths[0]} for both, expected two files")
    inputs = {file.path.resolve() for file in files if not file.is_url}
    for path in paths:
        if path.resolve() in inputs:
            raise InputError(f"records {path}: found an input of that name, expected another")


def check_outputs(files: Sequence[InputFile], folder: Path) -> None:
    """Reject outputs that would overwrite one another or an input."""
    inputs = {file.path.resolve() for file in files if not file.is_url}
    targets: dict[Path, str] = {}
    for file in files:
        if file.problem:
            continue
        target = output_path(folder, file).resolve()
        if target in inputs:
            raise InputError(
                f"--output {folder}: would overwrite the input {target}, expected another folder"
            )
        if target in targets:
            raise InputError(
                f"--output {folder}: {targets[target]} and {file.label} would both be written to {target}; "
                "expected files with different names, or one run for each"
            )
        targets[target] = file.label
