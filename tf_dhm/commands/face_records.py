"""The faces of many photos and videos as JSON Lines and CSV, written as they are found.

`pandas.read_json(path, lines=True)` and `pandas.read_csv(path)` read them.

During a run its lines go to FILE.part; at its end FILE.part is renamed to FILE. An interrupted run leaves
FILE.part, from which the next one can resume, and FILE.options, by which the next one sees whether it has the
same options. A lock file keeps a second run from the same FILE.
"""

from __future__ import annotations

import contextlib
import csv
import io
import json
import os
import sys
from collections.abc import Collection, Container, Iterator, Mapping
from pathlib import Path
from types import MappingProxyType, TracebackType
from typing import Any, Protocol, TextIO

from filelock import FileLock, Timeout

from tf_dhm.core.configuration import differences
from tf_dhm.core.errors import InputError
from tf_dhm.core.files import STDOUT, atomic_write, fit_name
from tf_dhm.face.geometry import NUM_LANDMARKS

Record = dict[str, Any]
"""The fields of one photo or frame: `file`, `width`, `height` and `faces` (`Face.as_dict`, and BELOW_LIMIT
for a face that is not drawn), for a frame also `frame` and `time`; or `file` and `error`."""

BELOW_LIMIT = "below_limit"
"""Field of a face that is below --min-confidence or --min-score: true; other faces do not have it."""

TEXT: dict[str, Any] = {"encoding": "utf-8", "errors": "surrogateescape", "newline": ""}
"""Options of `open` for these files: file names in them need not be valid UTF-8."""

CSV_COLUMNS = (
    ["file", "frame", "time", "width", "height", "face", "id", "score", "confidence", "below_limit"]
    + ["x0", "y0", "x1", "y1", "pitch", "yaw", "roll"]
    + [f"{axis}_{point}" for point in range(NUM_LANDMARKS) for axis in "xyz"]
    + [f"visibility_{point}" for point in range(NUM_LANDMARKS)]
    + ["error"]
)
"""One row for each face; a photo or frame without a face has one row with an empty `face`."""


class Format(Protocol):
    """Format of a file of records."""

    header: str

    def encode(self, record: Record) -> str:
        """The lines of a record."""
        ...

    def decode(self, file: TextIO, name: str) -> Iterator[tuple[str, bool, str]]:
        """For each entry its `file`, whether it failed, and its lines; a cut-off end is left out."""
        ...


class JsonLines:
    """One line for each photo or frame."""

    header = ""

    def encode(self, record: Record) -> str:
        return json.dumps(record, allow_nan=False) + "\n"

    def decode(self, file: TextIO, name: str) -> Iterator[tuple[str, bool, str]]:
        for number, line in enumerate(file, 1):
            if not line.endswith("\n"):
                return
            try:
                record = json.loads(line)
                yield record["file"], "error" in record, line
            except (ValueError, KeyError, TypeError) as error:
                raise InputError(
                    f"{name}: line {number}: found no record of this program, expected one to resume from"
                ) from error


class Csv:
    """One row for each face."""

    header = ",".join(CSV_COLUMNS) + "\n"

    def encode(self, record: Record) -> str:
        lines = io.StringIO()
        csv.DictWriter(lines, CSV_COLUMNS, lineterminator="\n").writerows(csv_rows(record))
        return lines.getvalue()

    def decode(self, file: TextIO, name: str) -> Iterator[tuple[str, bool, str]]:
        header = file.readline()
        if header != self.header:
            raise InputError(
                f"{name}: found the columns {header.strip()[:80]}, expected those of this program"
            )
        for row in csv.reader(file):
            if len(row) != len(CSV_COLUMNS):
                return
            line = io.StringIO()
            csv.writer(line, lineterminator="\n").writerow(row)
            yield row[0], bool(row[-1]), line.getvalue()


def csv_rows(record: Record) -> list[dict[str, Any]]:
    """The rows of a record."""
    common = {name: record[name] for name in CSV_COLUMNS if name in record}
    rows = []
    for number, face in enumerate(record.get("faces", [])):
        row = {**common, "face": number, "id": face.get("id"), "score": face["score"], **face["pose"]}
        row["confidence"] = face.get("confidence")
        row[BELOW_LIMIT] = int(face.get(BELOW_LIMIT, False))
        row.update(zip(("x0", "y0", "x1", "y1"), face["box"], strict=True))
        row.update({f"visibility_{point}": value for point, value in enumerate(face.get("visibility", ()))})
        for point, values in enumerate(face["landmarks"]):
            row.update(zip((f"x_{point}", f"y_{point}", f"z_{point}"), values, strict=True))
        rows.append(row)
    return rows or [common]


class RecordStream:
    """Records that go to standard output at once; there is nothing to resume from."""

    def __init__(self, form: Format) -> None:
        self.form = form

    def lock(self) -> None:
        """Nothing: two runs may write to one terminal."""

    def unlock(self) -> None:
        """Nothing: there is no lock."""

    def done(self) -> set[str]:
        return set()

    def open(self, keep: Container[str]) -> None:
        if isinstance(sys.stdout, io.TextIOWrapper):
            sys.stdout.reconfigure(errors=TEXT["errors"])
        sys.stdout.write(self.form.header)

    def write(self, record: Record) -> None:
        sys.stdout.write(self.form.encode(record))
        sys.stdout.flush()

    def close(self, finished: bool) -> None:
        sys.stdout.flush()


class RecordFile:
    """One file of records that is being written.

    Args:
        path, form: The file and its format.
        options: On which the records depend, as JSON has them.

    Raises:
        InputError: The path is a folder, device or pipe.
    """

    def __init__(self, path: Path, form: Format, options: Mapping[str, Any]) -> None:
        if path.exists() and not path.is_file():
            found = "a folder" if path.is_dir() else "a device or pipe"
            raise InputError(f"{path}: found {found}, expected a file to write, or - for standard output")
        self.path, self.form, self.options = path, form, options
        self.part = path.with_name(fit_name(path.name, ".part"))
        self.options_file = path.with_name(fit_name(path.name, ".options"))
        self._file: TextIO | None = None
        target = path.resolve()
        self._lock = FileLock(target.with_name(fit_name(f".{target.name}", ".lock")), timeout=0)

    def lock(self) -> None:
        """Keep other runs from this file until `unlock` or the end of the process.

        Raises:
            InputError: Another run is writing it, or it cannot be written there.
        """
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._lock.acquire()
        except OSError as error:
            # In a folder such as /proc, which takes no new file, acquiring the lock times out too.
            if isinstance(error, Timeout) and Path(self._lock.lock_file).exists():
                raise InputError(
                    f"{self.path}: found another run that is writing it; "
                    "expected another file, or the end of that run"
                ) from error
            reason = "" if isinstance(error, Timeout) else f" ({error.strerror})"
            raise InputError(
                f"{self.path}: cannot be written there{reason}; choose another folder"
            ) from error

    def unlock(self) -> None:
        if self._lock.is_locked:
            # Before it is released: afterwards the file may be the lock of another run.
            Path(self._lock.lock_file).unlink(missing_ok=True)
            self._lock.release()

    def earlier(self) -> Iterator[tuple[str, bool, str]]:
        """The entries that an earlier run wrote to FILE.part if it exists, else to FILE."""
        path = self.part if self.part.exists() else self.path
        with contextlib.ExitStack() as stack:
            try:
                file = stack.enter_context(path.open(**TEXT))
            except FileNotFoundError:
                return
            yield from self.form.decode(file, str(path))

    def check_options(self) -> None:
        """Raise InputError if FILE.part is of a run with other options."""
        if not (self.part.exists() and self.options_file.exists()):
            return
        earlier = json.loads(self.options_file.read_text())
        if different := differences(earlier, self.options):
            raise InputError(
                f"{self.part}: found lines of a run with other options: {different}; give the options of "
                "that run, or leave out --resume to begin again"
            )

    def done(self) -> set[str]:
        """Names of the photos and videos that an earlier run finished without an error.

        Raises:
            InputError: An interrupted run had other options, or the file is not of this program.
        """
        self.check_options()
        names: set[str] = set()
        failed: set[str] = set()
        last = None
        for name, error, _ in self.earlier():
            names.add(name)
            if error:
                failed.add(name)
            last = name
        # The last file of an interrupted run may have been interrupted itself.
        unfinished = {last} if self.part.exists() else set()
        return names - failed - unfinished

    def open(self, keep: Container[str]) -> None:
        """Start FILE.part with the earlier entries of the photos and videos in `keep`."""
        with atomic_write(self.part) as temporary, temporary.open("w", **TEXT) as file:
            file.write(self.form.header)
            file.writelines(line for name, _, line in self.earlier() if name in keep)
        with atomic_write(self.options_file) as temporary:
            temporary.write_text(json.dumps(dict(self.options)))
        self._file = self.part.open("a", **TEXT)

    def write(self, record: Record) -> None:
        assert self._file is not None
        self._file.write(self.form.encode(record))
        self._file.flush()

    def close(self, finished: bool) -> None:
        if self._file is not None:
            self._file.close()
            if finished:
                os.replace(self.part, self.path)
                self.options_file.unlink(missing_ok=True)


class FaceRecords:
    """Writes records to a JSON Lines file, a CSV file, both or none.

    Leaving the `with` block renames the files to their names if `start` was called; leaving it by an
    exception leaves the .part files to resume from.

    >>> with FaceRecords(Path("faces.jsonl"), None) as records:  # doctest: +SKIP
    ...     records.start()
    ...     records.write({"file": "photo.jpg", "width": 640, "height": 480, "faces": []})

    Args:
        json, csv: The files; STDOUT for standard output; or None.
        options: On which the records depend, as JSON has them.

    Attributes:
        paths: Paths of the files that are not standard output.

    Raises:
        InputError: On entering the block: another run is writing one of the files, or it cannot be written.
    """

    def __init__(
        self, json: Path | None, csv: Path | None, options: Mapping[str, Any] = MappingProxyType({})
    ) -> None:
        forms: list[tuple[Path | None, Format]] = [(json, JsonLines()), (csv, Csv())]
        self._files: list[RecordFile | RecordStream] = [
            RecordStream(form) if path == STDOUT else RecordFile(path, form, options)
            for path, form in forms
            if path is not None
        ]
        self._keep: set[str] = set()
        self._started = False
        self.paths = [file.path for file in self._files if isinstance(file, RecordFile)]

    def __enter__(self) -> FaceRecords:
        with contextlib.ExitStack() as stack:
            for file in self._files:
                file.lock()
                stack.callback(file.unlock)
            stack.pop_all()
        return self

    def resume(self, wanted: Collection[str]) -> set[str]:
        """Keep what an earlier run wrote, in every file, about photos and videos that it finished.

        Args:
            wanted: The photos and videos of this run. Entries about others are kept, too.

        Returns:
            those of `wanted` that are finished; entries about the rest are dropped.

        Raises:
            InputError: An interrupted run had other options, or a file is not of this program.
        """
        if not self._files:
            return set(wanted)
        self._keep = set.intersection(*(file.done() for file in self._files))
        return self._keep & set(wanted)

    def drop(self, names: Collection[str]) -> None:
        """Do not keep the earlier entries about these photos and videos."""
        self._keep -= set(names)

    def start(self) -> None:
        """Create the .part files."""
        for file in self._files:
            file.open(self._keep)
        self._started = True

    def write(self, record: Record) -> None:
        """Append a record to each file; `start` must have been called."""
        for file in self._files:
            file.write(record)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for file in self._files:
            if self._started:
                file.close(finished=kind is None)
            file.unlock()
