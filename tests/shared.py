"""Folders that all processes of a test session use, so that each of them is made once."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from filelock import FileLock

_ROOT: list[Path] = []


def set_root(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Choose where they lie: beside the temporary folders of the session's tests."""
    base = tmp_path_factory.getbasetemp()
    # Each process of pytest-xdist has a temporary folder in that of the session.
    _ROOT.append(base.parent if "PYTEST_XDIST_WORKER" in os.environ else base)


def shared_folder(name: str, make: Callable[[Path], None]) -> Path:
    """The folder that the first process to ask for it makes; the tests must not change it."""
    folder = _ROOT[-1] / "shared" / name
    folder.parent.mkdir(exist_ok=True)
    with FileLock(folder.with_name(f"{name}.lock")):
        if not folder.exists():
            unfinished = folder.with_name(f"{name}.unfinished")
            make(unfinished)
            unfinished.rename(folder)
    return folder
