"""The parts of an archive: the faces of a block of photos as Parquet, and how a part is made again.

A block of the manifest (`archive_manifest`) makes one Parquet file, its part. A part depends on nothing
but its number and the job's settings, whichever process aligns it and whenever.
"""

from __future__ import annotations

import json
import logging
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol

from tf_dhm.commands.archive_manifest import BOX, read_block
from tf_dhm.core.errors import InputError
from tf_dhm.core.extras import packages_of
from tf_dhm.core.files import atomic_write
from tf_dhm.runtime.faces import Face
from tf_dhm.runtime.images import Photo, read_photo

with packages_of("archive", __name__):
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

POSE = ("pitch", "yaw", "roll")
MAX_DEATHS = 3
"""Processes that may end at one photo before it is skipped: a decoder can crash or run out of memory."""

NO_ROW = -1

COUNTS = b"tf_dhm.counts"
"""Key of a part's counts in its Parquet metadata."""

FACE_SCHEMA = pa.schema(
    [
        pa.field("row", pa.int64(), nullable=False),
        ("path", pa.string()),
        ("width", pa.int32()),
        ("height", pa.int32()),
        ("face", pa.int32()),
        *((name, pa.float64()) for name in BOX),
        ("score", pa.float32()),
        ("confidence", pa.float32()),
        *((name, pa.float32()) for name in POSE),
        ("visibility", pa.list_(pa.float32())),
        ("landmarks", pa.list_(pa.float32())),
        ("error", pa.string()),
    ]
)
"""A face, a photo without one (`face` is null), or a photo that could not be aligned (`error` is not)."""

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Job:
    """The settings on which the parts of an output folder depend; a resumed job must have the same.

    Attributes:
        manifest_sha256: SHA-256 of the manifest's bytes.
        rows: number of rows of the manifest.
        part_rows: rows of the manifest in a part; the last has the rest.
        photo_dir: absolute folder to which paths of the manifest are relative.
        model: name of the model's file.
        model_sha256: SHA-256 of the bytes of that file.
        passes: see `Aligner`.
    """

    manifest_sha256: str
    rows: int
    part_rows: int
    photo_dir: str
    model: str
    model_sha256: str
    passes: int | None

    @property
    def parts(self) -> int:
        return -(-self.rows // self.part_rows)

    def size(self, part: int) -> int:
        """Rows of the manifest in a part."""
        return min(self.part_rows, self.rows - part * self.part_rows)


@dataclass(frozen=True)
class Counts:
    """Totals of a part, or of all parts.

    Attributes:
        photos: rows of the manifest.
        faces: faces found in them.
        without: photos without a face.
        failed: photos with an error.
    """

    photos: int = 0
    faces: int = 0
    without: int = 0
    failed: int = 0

    def __add__(self, other: Counts) -> Counts:
        mine, others = asdict(self), asdict(other)
        return Counts(**{name: mine[name] + others[name] for name in mine})


@dataclass(frozen=True)
class Folder:
    """Paths in an output folder."""

    root: Path

    @property
    def job(self) -> Path:
        return self.root / "job.json"

    @property
    def manifest(self) -> Path:
        return self.root / "manifest.arrow"

    @property
    def lock(self) -> Path:
        return self.root / "lock"

    @property
    def parts(self) -> Path:
        return self.root / "parts"

    @property
    def attempts(self) -> Path:
        return self.root / "attempts"

    def part(self, number: int) -> Path:
        return self.parts / f"part-{number:08d}.parquet"

    def attempt(self, number: int) -> Path:
        return self.attempts / f"part-{number:08d}.txt"

    def done(self) -> set[int]:
        """Numbers of the finished parts."""
        return {int(path.stem.removeprefix("part-")) for path in self.parts.glob("part-*.parquet")}

    def remove_leftovers(self) -> None:
        """Remove unfinished files of killed processes; no process may be running."""
        for path in self.parts.glob(".part-*.tmp.parquet"):
            path.unlink(missing_ok=True)


class PhotoAligner(Protocol):
    """An object with the method `Aligner.align`."""

    def align(self, image: Photo, boxes: list[list[float]] | None = None) -> Sequence[Face]: ...


class Attempts:
    """A file with the photo that each process of a part reached.

    A line is appended before each photo, so that the file is right however a process ends.

    Attributes:
        deaths: for each row, the number of processes that ended at it.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.deaths: Counter[int] = Counter()

    def __enter__(self) -> Attempts:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        # Unbuffered: what is not yet with the kernel dies with the process.
        self._file = self.path.open("ab+", buffering=0)
        self._file.seek(0)
        for attempt in self._file.read().split(b"start\n"):
            # A line that was cut off was never begun with.
            if lines := attempt.split(b"\n")[:-1]:
                self.deaths[int(lines[-1])] += 1
        self._file.write(b"start\n")
        return self

    def begin(self, row: int) -> None:
        self._file.write(b"%d\n" % row)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.path.unlink(missing_ok=True)
        else:
            # An error that was raised, such as a full disk, is not the photo's fault.
            self.begin(NO_ROW)
        self._file.close()


def align_part(aligner: PhotoAligner, folder: Folder, job: Job, part: int) -> Counts:
    """Write the faces of a part, unless it is finished, and return its totals.

    A photo that cannot be aligned, or at which MAX_DEATHS processes ended, gives a row with an `error`. The
    file's bytes depend on nothing but the job and the photos.

    Raises:
        OSError: the part cannot be written.
    """
    path = folder.part(part)
    if path.exists():
        return read_counts(path)
    rows: list[dict[str, Any]] = []
    with Attempts(folder.attempt(part)) as attempts:
        for entry in read_block(folder.manifest, part):
            attempts.begin(entry["row"])
            if attempts.deaths[entry["row"]] < MAX_DEATHS:
                rows += align_entry(aligner, Path(job.photo_dir), entry)
            else:
                rows.append(_row(entry, error=f"{MAX_DEATHS} processes ended while they aligned this photo"))
        write_part(path, rows)
    return read_counts(path)


def align_entry(aligner: PhotoAligner, photo_dir: Path, entry: dict[str, Any]) -> list[dict[str, Any]]:
    """The rows of FACE_SCHEMA for one row of the manifest: at least one."""
    try:
        boxes = _given_box(entry)
        if not entry["path"]:
            raise InputError("path: found none, expected that of a photo")
        photo = read_photo(photo_dir / entry["path"])
        faces = aligner.align(photo, boxes)
    except InputError as error:
        return [_row(entry, error=str(error))]
    except Exception as error:
        # One photo among millions must not stop the others; which it was, and why, is kept.
        log.exception("row %d of the manifest", entry["row"])
        return [_row(entry, error=f"unexpected {type(error).__name__}: {error}")]
    size = {"width": photo.width, "height": photo.height}
    return [_row(entry, face=number, **size, **_columns(face)) for number, face in enumerate(faces)] or [
        _row(entry, **size)
    ]


def _given_box(entry: dict[str, Any]) -> list[list[float]] | None:
    box = [entry[name] for name in BOX]
    if all(value is None for value in box):
        return None
    if any(value is None for value in box):
        raise InputError(f"box: found {box}, expected four numbers or none")
    return [box]


def _row(entry: dict[str, Any], **columns: Any) -> dict[str, Any]:
    return {"row": entry["row"], "path": entry["path"], **columns}


def _columns(face: Face) -> dict[str, Any]:
    return {
        **dict(zip(BOX, face.box.tolist(), strict=True)),
        **dict(zip(POSE, face.pose.tolist(), strict=True)),
        "score": face.score,
        "confidence": face.confidence,
        "visibility": face.visibility,
        "landmarks": face.landmarks.ravel(),
    }


def write_part(path: Path, rows: list[dict[str, Any]]) -> None:
    """Write rows and their totals as Parquet; `path` appears only when all of it is on disk."""
    arrays: list[pa.Array] = [
        pa.array([row.get(field.name) for row in rows], field.type) for field in FACE_SCHEMA
    ]
    counts = Counts(
        photos=len({row["row"] for row in rows}),
        faces=sum("face" in row for row in rows),
        without=sum("face" not in row and "error" not in row for row in rows),
        failed=sum("error" in row for row in rows),
    )
    schema = FACE_SCHEMA.with_metadata({COUNTS: json.dumps(asdict(counts))})
    with atomic_write(path) as temporary, temporary.open("wb") as file:
        pq.write_table(pa.Table.from_arrays(arrays, schema=schema), file, compression="zstd")
        file.flush()
        # Renamed before its bytes are on disk, it could be empty after a failure of power.
        os.fsync(file.fileno())


def first_errors(parts: Iterable[Path], number: int) -> Iterator[tuple[int, str, str]]:
    """Row, path and error of the first photos that failed, `number` at most.

    Only as many parts are read as that takes.
    """
    left = number
    for part in parts:
        # Without threads: one of Arrow's that is still on its way up when the process ends aborts it.
        table = pq.read_table(part, columns=["row", "path", "error"], use_threads=False)
        for found in table.filter(pc.field("error").is_valid()).slice(0, left).to_pylist():
            left -= 1
            yield found["row"], found["path"], found["error"]
        if not left:
            return


def read_counts(path: Path) -> Counts:
    """Totals of a finished part.

    Raises:
        InputError: The file is no part of an archive.
    """
    try:
        return Counts(**json.loads(pq.read_schema(path).metadata[COUNTS]))
    except (pa.ArrowInvalid, KeyError, TypeError, ValueError) as error:
        raise InputError(
            f"{path}: found no part of an archive, expected one; without the file it is made again"
        ) from error
