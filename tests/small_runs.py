"""Options of small training runs."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from pipelines.runs.options import DataOptions, Options
from tests.faces import TINY_MODEL, TINY_RECIPE, write_faces


def small_run(folder: Path, name: str, epochs: int) -> Options:
    """A run of the tiny network over 48 faces to train and 9 to validate with, all in a folder."""
    return Options(
        preset="tiny",
        data=DataOptions(
            dataset=("csv",),
            data_dir=(write_faces(folder / "faces", 48, 9),),
            cache_dir=folder / "prepared",
        ),
        runs_dir=folder / "runs",
        name=name,
        model=TINY_MODEL,
        train=dataclasses.replace(TINY_RECIPE, epochs=epochs),
    )
