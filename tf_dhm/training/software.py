"""The versions that wrote the checkpoints of a run: one Keras generation cannot read those of the other."""

from __future__ import annotations

import json
from pathlib import Path

from tf_dhm.core.errors import InputError
from tf_dhm.core.files import atomic_write
from tf_dhm.core.machine import software_versions

SOFTWARE_FILE = "software.json"
"""Beside the checkpoints."""


def record_software(folder: Path) -> None:
    """Write the versions of this process into a folder of checkpoints, unless it has some."""
    if not (folder / SOFTWARE_FILE).exists():
        with atomic_write(folder / SOFTWARE_FILE) as path:
            path.write_text(json.dumps(software_versions(), indent=2) + "\n")


def check_software(folder: Path) -> None:
    """Reject a folder of checkpoints that the other Keras generation wrote.

    Folders of earlier versions of this project have no record, and pass.

    Raises:
        InputError: names the folder and both versions.
    """
    file = folder / SOFTWARE_FILE
    if not file.is_file():
        return
    found, present = json.loads(file.read_text()), software_versions()
    if found["keras"].split(".")[0] != present["keras"].split(".")[0]:
        raise InputError(
            f"{folder}: found checkpoints of {_name(found)}, expected some of {_name(present)}. Resume with "
            "the Python that began the run, or begin another run with an exported model: --init SAVEDMODEL"
        )


def _name(versions: dict[str, str]) -> str:
    return f"Keras {versions['keras']} (TensorFlow {versions['tensorflow']}, Python {versions['python']})"
