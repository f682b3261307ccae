"""The datasets by name: how to read them, what their labels are, and how to get them prepared."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pandas as pd

from pipelines import aflw2000_3d, csv_landmarks, ls3dw, prepare, records, w300lp, wild68
from pipelines.samples import FaceSample, Refusal
from tf_dhm.errors import InputError

Reader = Callable[[Path], Iterator[FaceSample | Refusal]]


@dataclass(frozen=True)
class Dataset:
    """A dataset: its reader, and what a model card has to say of it."""

    read: Reader
    note: str


LS3D_W_NOTE = (
    "LS3D-W: 2-D projections of 3-D landmarks predicted by 3DFAN and checked by people, boxes from these "
    "landmarks; no z; research use only."
)

DATASETS: dict[str, Dataset] = {
    "wild68": Dataset(
        wild68.read,
        "photos of AFLW, AFW and HELEN; 3-D landmarks fitted by a morphable model to manual points and to "
        "predictions of 3DDFA_V2, boxes from these landmarks; non-commercial research use only. AFLW is also "
        "the source of AFLW2000-3D, no face of which is in it.",
    ),
    "300w_lp": Dataset(
        w300lp.read,
        "300W-LP: photos of 300-W turned by rendering, 3-D landmarks of a fitted morphable model, boxes from "
        "these landmarks; research use under the terms of 300-W and 3DDFA.",
    ),
    "ls3d_w": Dataset(ls3dw.read, LS3D_W_NOTE),
    "aflw2000_3d": Dataset(
        aflw2000_3d.read,
        "AFLW2000-3D: fitted 3-D landmarks; for testing only.",
    ),
    "csv": Dataset(csv_landmarks.read, "the user's own images and landmarks; boxes from these landmarks."),
    **{
        subset: Dataset(partial(ls3dw.read, subset=subset), f"sub-set {subset} of {LS3D_W_NOTE}")
        for subset, content in ls3dw.SUBSETS.items()
        if not content.training
    },
}


def find_dataset(name: str) -> Dataset:
    """The dataset of that name; InputError lists the known ones."""
    if name not in DATASETS:
        raise InputError(f"dataset: found {name!r}, expected one of {', '.join(DATASETS)}")
    return DATASETS[name]


def prepared_folder(
    name: str, data_dir: Path, cache_dir: Path, store: records.StoreConfig, limit: int | None = None
) -> Path:
    """The prepared form of a dataset, made in `cache_dir` if `data_dir` is not prepared already.

    A dataset whose files were changed since is prepared anew, in another folder.

    Args:
        name: of the dataset.
        data_dir: the dataset as distributed, or a folder that `prepare.py` wrote.
        cache_dir: where prepared datasets are kept.
        store: how faces are stored; a prepared `data_dir` keeps its own.
        limit: use no more than so many faces; not for a prepared `data_dir`.

    Raises:
        InputError: an unknown name, no such folder, a prepared one of another dataset or with a
            limit, or what the reader or `prepare` refuse.
    """
    find_dataset(name)
    data_dir = Path(data_dir)
    if not data_dir.exists():
        raise InputError(f"data-dir: found no {data_dir}, expected the folder of {name}")
    if (data_dir / records.DATASET_FILE).is_file():
        found = records.read_settings(data_dir)["name"]
        if found != name:
            raise InputError(f"{data_dir}: found the prepared dataset {found}, expected {name}")
        if limit is not None:
            raise InputError(
                f"limit: found {limit} with a prepared dataset, expected none; give --limit to prepare.py"
            )
        return data_dir
    identity = f"{data_dir.resolve()} {store} {limit} {state_of_files(data_dir, cache_dir)}"
    folder = cache_dir / f"{name}-{store.crop_side}-{hashlib.sha256(identity.encode()).hexdigest()[:8]}"
    prepare_dataset(name, data_dir, folder, store, limit)
    return folder


def prepare_dataset(
    name: str, data_dir: Path, output_dir: Path, store: records.StoreConfig, limit: int | None = None
) -> pd.DataFrame:
    """Read a dataset as distributed and prepare it: `prepare.prepare` by name. Returns the index."""
    return prepare.prepare(name, find_dataset(name).read(Path(data_dir)), output_dir, store, limit)


def state_of_files(path: Path, cache_dir: Path) -> str:
    """A digest of the names, sizes and times of the files below `path`, or of that file itself.

    Hidden files and those of `cache_dir`, which may lie below it, do not count.
    """
    digest = hashlib.sha256()
    cache = cache_dir.resolve()
    for folder, folders, files in os.walk(path.resolve()):
        folders[:] = sorted(f for f in folders if not f.startswith(".") and Path(folder, f) != cache)
        for file in sorted(f for f in files if not f.startswith(".")):
            state = os.stat(os.path.join(folder, file))
            digest.update(f"{folder} {file} {state.st_size} {state.st_mtime_ns}\n".encode())
    if path.is_file():
        digest.update(f"{path.stat().st_size} {path.stat().st_mtime_ns}".encode())
    return digest.hexdigest()


def load_splits(
    folder: Path, memory_bytes: int = records.MEMORY_BYTES
) -> tuple[records.FaceArrays, records.FaceArrays]:
    """The training and validation faces of a prepared dataset.

    Raises:
        InputError: one of the splits is empty.
    """
    counts = records.read_index(folder)["split"].value_counts()
    for split in ("train", "val"):
        if not counts.get(split, 0):
            raise InputError(
                f"{folder}: found splits {dict(counts)}, expected faces of both train and val to train with"
            )
    return records.load(folder, "train", memory_bytes), records.load(folder, "val", memory_bytes)
