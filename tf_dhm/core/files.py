"""Writing files so that a reader never sees half of one."""

from __future__ import annotations

import hashlib
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tf_dhm.core.errors import InputError

MAX_NAME_BYTES = 255
"""Longest file name, in bytes, of the common file systems (ext4, XFS, APFS, NTFS)."""
STDOUT = Path("-")
"""In place of a file: standard output."""
TEMPORARY_STEM_BYTES = 48
TEMPORARY_SUFFIX_BYTES = 16


@contextmanager
def atomic_write(path: Path) -> Iterator[Path]:
    """Give a temporary path in the folder of `path`; rename it to `path` at the end.

    The temporary path keeps the suffix of `path`, for writers that choose a format by it. It is short
    whatever the length of `path`, and no other process uses it, even on another machine or in another
    container. On an error it is removed and `path` is left as it was. A directory may be written in
    place of a file, if `path` does not exist yet.

    Args:
        path: The file or new directory to write; missing parent folders are created.

    Yields:
        the temporary path to write to.

    Raises:
        OSError: The folder cannot be created or the file cannot be renamed.

    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "metrics.json"
    >>> with atomic_write(path) as temporary:
    ...     _ = temporary.write_text("{}")
    >>> path.read_text()
    '{}'
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(_temporary_name(path))
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        if temporary.is_dir():
            shutil.rmtree(temporary)
        else:
            temporary.unlink(missing_ok=True)


def check_name(option: str, name: str) -> None:
    """InputError if a name cannot be that of a file in a given folder: it is empty, or leads elsewhere.

    >>> check_name("name", "../run")
    Traceback (most recent call last):
    tf_dhm.core.errors.InputError: name: found '../run', expected a name without slashes
    """
    if name in ("", ".", "..") or Path(name).name != name:
        raise InputError(f"{option}: found {name!r}, expected a name without slashes")


def fit_name(name: str, ending: str = "") -> str:
    """A file name with an ending, shortened if it is longer than MAX_NAME_BYTES.

    A shortened name ends in a hash of the whole, so that different long names stay different.

    >>> fit_name("photo.webp", ".png")
    'photo.webp.png'
    >>> fit_name("x" * 255, ".png")[-16:]
    'xxx-a55391db.png'
    """
    whole = os.fsencode(name + ending)
    if len(whole) <= MAX_NAME_BYTES:
        return name + ending
    tail = f"-{hashlib.sha256(whole).hexdigest()[:8]}{ending}"
    return _cut(name, MAX_NAME_BYTES - len(os.fsencode(tail))) + tail


def _temporary_name(path: Path) -> str:
    suffix = path.suffix if len(os.fsencode(path.suffix)) <= TEMPORARY_SUFFIX_BYTES else ""
    # Processes of two containers may have the same number, hence the random part.
    token = f"{os.getpid()}-{secrets.token_hex(4)}"
    return f".{_cut(path.stem, TEMPORARY_STEM_BYTES)}.{token}.tmp{suffix}"


def _cut(text: str, size: int) -> str:
    """Cut `text` to at most `size` bytes of a file name, at the end of a character."""
    while len(os.fsencode(text)) > size:
        text = text[:-1]
    return text
