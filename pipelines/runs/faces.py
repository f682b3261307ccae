"""The faces of a run: their prepared folders, and their identity when the run is resumed."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from pipelines.prepared import datasets
from pipelines.prepared.arrays import FaceArrays
from pipelines.prepared.config import StoreConfig
from pipelines.runs.options import DataOptions
from pipelines.synthetic import series
from tf_dhm.core.errors import InputError


def prepared_folders(data: DataOptions, input_size: int, threads: int = 0) -> list[Path]:
    """The datasets of a run in prepared form; those that are not prepared yet are prepared or rendered.

    Args:
        data: which datasets.
        input_size: side of the network's crop in pixels; faces are stored a third larger.
        threads: processes that render; 0 for all cores.

    Raises:
        InputError: see `DataOptions.folders` and `datasets.prepared_folder`.
    """
    store = StoreConfig.for_input(input_size)
    rendered = series.training_series(data.faces, data.faces_seed, store.crop_side)
    return [
        datasets.prepared_folder(name, folder, data.cache_dir, store, data.limit, rendered, threads)
        for name, folder in data.folders()
    ]


def faces_to_render(data: DataOptions, input_size: int) -> int:
    """The number of synthetic faces that `prepared_folders` would render."""
    store = StoreConfig.for_input(input_size)
    faces = series.training_series(data.faces, data.faces_seed, store.crop_side)
    return datasets.faces_to_render(data.cache_dir, store, faces, data.limit)


def test_faces_to_render(data: DataOptions) -> int:
    """The number of test faces that `datasets.evaluation_folder` would render."""
    if not data.test_faces:
        return 0
    return datasets.faces_to_render(data.cache_dir, StoreConfig(), series.evaluation_series(data.test_faces))


def count_faces(faces: FaceArrays, held_out: FaceArrays) -> dict[str, Any]:
    """The identity of the faces of a run: their numbers, and a hash of their names in order."""
    names = "\n".join([*faces.name.tolist(), *held_out.name.tolist()])
    digest = hashlib.sha256(names.encode()).hexdigest()
    return {"train": len(faces), "val": len(held_out), "names": digest}


def check_faces(path: Path, faces: FaceArrays, held_out: FaceArrays) -> None:
    """Reject faces other than those in the file of `count_faces`: their order would differ.

    Raises:
        InputError: other faces.
    """
    began, found = json.loads(path.read_text()), count_faces(faces, held_out)
    if found != began:
        raise InputError(
            f"data-dir: found {found['train']} faces to train and {found['val']} to validate with, expected "
            f"the {began['train']} and {began['val']} that the run began with, in the same order"
        )
