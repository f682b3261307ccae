"""The photos and videos to align: files, folders, patterns, streams and standard input."""

from __future__ import annotations

import fnmatch
import glob
import os
import re
import stat
import sys
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from tf_dhm.core.errors import InputError
from tf_dhm.runtime.images import HEADER_BYTES, PHOTO_SUFFIXES, is_video, read_stream
from tf_dhm.runtime.video import VIDEO_SUFFIXES, hide_password, url_scheme

STDIN = "-"
"""In place of a file: a photo on standard input."""
STDIN_NAME = Path("stdin")

FolderIds = tuple[tuple[int, int], ...]
"""Device and inode of a folder and of each folder above it, which a linked folder must not lead back to."""


@dataclass(frozen=True)
class InputFile:
    """A photo or video to align.

    Attributes:
        source: Its path as given or found, or the URL of a stream.
        name: Its path below an output folder.
        problem: Why it cannot be read, if that was found while searching.
    """

    source: str
    name: Path
    problem: str | None = None

    @property
    def label(self) -> str:
        """What records and messages call it: its source without the password of a URL."""
        return hide_password(self.source)

    @property
    def path(self) -> Path:
        return Path(self.source)

    @property
    def is_url(self) -> bool:
        return url_scheme(self.source) is not None

    @property
    def is_video(self) -> bool:
        """Whether it is a stream or has the suffix of a video or, without a known suffix, its first bytes."""
        suffix = self.path.suffix.lower()
        if self.is_url or suffix in VIDEO_SUFFIXES:
            return True
        if suffix in PHOTO_SUFFIXES or self.is_pipe:
            return False
        try:
            with self.path.open("rb") as file:
                return is_video(file.read(HEADER_BYTES))
        except (OSError, ValueError):  # its reader reports what is wrong with it
            return False

    @property
    def is_pipe(self) -> bool:
        """Whether it is standard input, a pipe or a device, which can be read only once and in order."""
        if self.source == STDIN:
            return True
        try:
            mode = self.path.stat().st_mode
        except OSError:
            return False
        return stat.S_ISFIFO(mode) or stat.S_ISCHR(mode) or stat.S_ISSOCK(mode)

    def read_pipe(self) -> bytes:
        """All bytes of a pipe.

        Raises:
            InputError: It cannot be read, or holds more than any photo.
        """
        name = f"photo {self.source}"
        if self.source == STDIN:
            return read_stream(sys.stdin.buffer, name)
        try:
            with self.path.open("rb", buffering=0) as file:
                return read_stream(file, name)
        except OSError as error:
            raise InputError(f"{name}: cannot be read: {error.strerror or error}") from error


def find_inputs(arguments: Sequence[str], outputs: Collection[Path] = ()) -> list[InputFile]:
    """Resolve files, folders and patterns in their order, each name once.

    Folders are searched with their sub-folders, linked ones included; every file with a suffix of a photo
    or video is taken, linked ones and links to nothing included. What cannot be searched or read has a
    `problem`. Files of a folder keep their path below it in the output; files of a pattern keep their path
    below its part without wildcards; single files keep their name or, if names repeat, their path below the
    folder they share.

    Args:
        arguments: Files, folders, patterns, URLs of streams, or STDIN.
        outputs: Folders of results, in which folders and patterns find nothing.

    Raises:
        InputError: Nothing is given, or a folder or pattern has no photos and videos. A single file is taken
            as it is: its reader reports what is wrong with it.
    """
    if not arguments:
        raise InputError("files: found none, expected photos, videos, folders, patterns or --camera")
    if "" in arguments:
        raise InputError("files: found an empty name, expected photos, videos, folders or patterns")
    singles = {Path(text).absolute() for text in arguments if is_single(text)}
    repeat = len({path.name for path in singles}) < len(singles)
    shared = Path(os.path.commonpath([path.parent for path in singles])) if repeat else None
    skipped = [folder.resolve() for folder in outputs]
    found: dict[str, InputFile] = {}
    for text in arguments:
        path = Path(text)
        if url_scheme(text) is not None:
            files = [InputFile(text, Path(re.sub(r"[^\w.-]+", "_", hide_password(text))))]
        elif text == STDIN or text == "/dev/stdin":
            files = [InputFile(text, STDIN_NAME)]
        elif is_single(text):
            name = path.absolute().relative_to(shared) if shared else Path(path.name)
            files = [InputFile(str(path), name)]
        else:
            files = _search(text, skipped)
        for file in files:
            is_named = file.is_url or file.source == STDIN
            found.setdefault(file.source if is_named else os.path.abspath(file.source), file)
    return list(found.values())


def is_single(text: str) -> bool:
    """Whether an argument names one file, not a stream, a folder, a pattern or standard input."""
    return text != STDIN and url_scheme(text) is None and not Path(text).is_dir() and not is_pattern(text)


def is_pattern(text: str) -> bool:
    # A file may have a bracket in its name.
    return glob.has_magic(text) and not os.path.lexists(text)


def _search(text: str, skipped: Sequence[Path]) -> list[InputFile]:
    """The files of a folder or pattern."""
    parts = Path(text).parts
    fixed = len(parts)
    if not Path(text).is_dir():
        fixed = next(i for i, part in enumerate(parts) if glob.has_magic(part))
    base, wildcards = Path(*parts[:fixed]), parts[fixed:]
    if any(map(base.resolve().is_relative_to, skipped)):
        raise InputError(
            f"files: found {text} inside a folder for output, which is not searched; expected another folder "
            "for the output"
        )
    search = _Search(base, frozenset(skipped))
    found = search.match(base, wildcards or ("**",), ()) if base.is_dir() else ()
    files = sorted(found, key=lambda file: file.path.parts)
    if not files and wildcards and not glob.glob(text, recursive=True):
        raise InputError(f"files: found no file that matches {text}, expected photos or videos")
    if not files:
        kinds = " ".join(sorted(PHOTO_SUFFIXES | VIDEO_SUFFIXES))
        raise InputError(f"files: found none in {text}, expected files with one of the suffixes {kinds}")
    return files


@dataclass(frozen=True)
class _Search:
    """A search below a folder.

    Attributes:
        base: The folder; names in the output are relative to it.
        skipped: Resolved folders that are not entered.
    """

    base: Path
    skipped: frozenset[Path]

    def match(self, folder: Path, parts: Sequence[str], above: FolderIds) -> Iterator[InputFile]:
        """The photos and videos below `folder` whose paths match `parts`, which may hold wildcards.

        A folder that is one of those above it, by a link, is left out: its files have been found there.
        """
        try:
            status = folder.stat()
            identity = (status.st_dev, status.st_ino)
            names = sorted(os.listdir(folder))
        except OSError as error:
            yield self._file(folder, f"folder {folder}: cannot be searched: {error.strerror or error}")
            return
        if identity in above or folder.resolve() in self.skipped:
            return
        above = (*above, identity)
        head, rest = parts[0], parts[1:]
        if head == "**":
            for name in names:
                # As in a shell, a pattern does not enter hidden folders; a search of a folder does.
                if os.path.isdir(folder / name) and not (rest and name.startswith(".")):
                    yield from self.match(folder / name, parts, above)
            yield from self._matching(folder, names, rest or ("*",), above, hidden=not rest)
        else:
            yield from self._matching(folder, names, parts, above, hidden=head.startswith("."))

    def _matching(
        self, folder: Path, names: Sequence[str], parts: Sequence[str], above: FolderIds, hidden: bool
    ) -> Iterator[InputFile]:
        """The files and folders of these names that match the first of `parts`, and what is below them."""
        head, rest = parts[0], parts[1:]
        if head == "**":
            yield from self.match(folder, parts, above[:-1])
            return
        for name in names:
            if not fnmatch.fnmatchcase(name, head) or (name.startswith(".") and not hidden):
                continue
            path = folder / name
            if rest:
                if os.path.isdir(path):
                    yield from self.match(path, rest, above)
            elif path.suffix.lower() in PHOTO_SUFFIXES | VIDEO_SUFFIXES and not os.path.isdir(path):
                yield self._file(path, _problem(path))

    def _file(self, path: Path, problem: str | None) -> InputFile:
        return InputFile(str(path), path.relative_to(self.base), problem)


def _problem(path: Path) -> str | None:
    """Why a file that was found by searching cannot be read, if that shows without opening it."""
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        return f"{path}: found a link to {os.readlink(path)}, which does not exist, expected a file"
    except OSError as error:
        return f"{path}: cannot be read: {error.strerror or error}"
    return None if stat.S_ISREG(mode) else f"{path}: found a pipe or device, expected a file"
