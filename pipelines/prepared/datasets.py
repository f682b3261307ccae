"""Datasets in prepared form by name: found or made, and loaded to train with."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pipelines.datasets.catalogue import SYNTHETIC, check_data_dir
from pipelines.datasets.readers import read_dataset
from pipelines.datasets.samples import Series
from pipelines.prepared import arrays, prepare, records
from pipelines.prepared.config import StoreConfig
from pipelines.synthetic import series as synthetic
from pipelines.synthetic.config import TEST_FACES, SyntheticConfig
from tf_dhm.core.errors import InputError


def prepared_folder(
    name: str,
    data_dir: Path | None,
    cache_dir: Path,
    store: StoreConfig,
    limit: int | None = None,
    faces: SyntheticConfig | None = None,
    workers: int = 0,
) -> Path:
    """The prepared form of a dataset, made in `cache_dir` if `data_dir` is not prepared already.

    If the dataset's files have changed, or the renderer of synthetic faces has, the dataset is
    prepared again in another folder.

    Args:
        name: name of the dataset.
        data_dir: the dataset as distributed, or a folder that `prepare.py` wrote; None for
            synthetic faces that are to be rendered.
        cache_dir: folder of prepared datasets.
        store: how faces are stored; a prepared `data_dir` keeps its own.
        limit: use at most this many faces; not for a prepared `data_dir`.
        faces: series of synthetic faces, by default `SyntheticConfig()`; for these alone.
        workers: processes that render them; 0 for one per core.

    Raises:
        InputError: an unknown name, no such folder, a prepared folder of another dataset or with a
            limit, or anything that the reader or `prepare` rejects.
    """
    check_data_dir(name, data_dir)
    if data_dir is None:
        series = synthetic.make_series(faces or SyntheticConfig(), workers)
        folder = _series_folder(name, series, cache_dir, store, limit)
        prepare.prepare(name, series, folder, store, limit)
        return folder
    if records.is_prepared(data_dir, name):
        if limit is not None:
            raise InputError(
                f"limit: found {limit} with a prepared dataset, expected none; give --limit to prepare.py"
            )
        return data_dir
    identity = f"{data_dir.resolve()} {store} {limit} {state_of_files(data_dir, cache_dir)}"
    folder = cache_dir / f"{name}-{store.crop_side}-{hashlib.sha256(identity.encode()).hexdigest()[:8]}"
    prepare_dataset(name, data_dir, folder, store, limit)
    return folder


def _series_folder(name: str, series: Series, cache_dir: Path, store: StoreConfig, limit: int | None) -> Path:
    identity = f"{store} {limit} {json.dumps(series.source)}"
    return cache_dir / f"{name}-{store.crop_side}-{hashlib.sha256(identity.encode()).hexdigest()[:8]}"


def faces_to_render(
    cache_dir: Path, store: StoreConfig, faces: SyntheticConfig, limit: int | None = None
) -> int:
    """The number of synthetic faces that `prepared_folder` would render: 0 if all are in `cache_dir`."""
    series = synthetic.make_series(faces)
    folder = _series_folder(SYNTHETIC, series, cache_dir, store, limit)
    return prepare.samples_left(folder, min(series.count, limit or series.count), store.shard_size)


def evaluation_folder(cache_dir: Path, count: int = TEST_FACES, workers: int = 0) -> Path:
    """The prepared form of `count` synthetic faces for testing: always the same faces, of split "test"."""
    faces = synthetic.evaluation_series(count)
    return prepared_folder(SYNTHETIC, None, cache_dir, StoreConfig(), None, faces, workers)


def prepare_dataset(
    name: str,
    data_dir: Path | None,
    output_dir: Path,
    store: StoreConfig,
    limit: int | None = None,
    faces: SyntheticConfig | None = None,
    workers: int = 0,
) -> pd.DataFrame:
    """Read or render a dataset and prepare it: `prepare.prepare` by name. Returns the index.

    The arguments are those of `prepared_folder`, but `data_dir` must not be prepared already.
    """
    check_data_dir(name, data_dir)
    if data_dir is None:
        series = synthetic.make_series(faces or SyntheticConfig(), workers)
        return prepare.prepare(name, series, output_dir, store, limit)
    return prepare.prepare(name, read_dataset(name, Path(data_dir)), output_dir, store, limit)


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
) -> tuple[arrays.FaceArrays, arrays.FaceArrays]:
    """The training and validation faces of a prepared dataset.

    Raises:
        InputError: one of the splits is empty.
    """
    counts = records.read_index(folder)["split"].value_counts()
    for split in ("train", "val"):
        if not counts.get(split, 0):
            raise InputError(
                f"{folder}: found splits {counts.to_dict()}, expected faces of both train and val to train "
                "with"
            )
    return records.load(folder, "train", memory_bytes), records.load(folder, "val", memory_bytes)


@dataclass(frozen=True)
class Mixture:
    """Faces of one or several datasets to train and validate with.

    Attributes:
        train: training faces, the datasets concatenated.
        val: validation faces of those datasets that have some.
        sources: (len(train),) number of the dataset that each training face is of.
    """

    train: arrays.FaceArrays
    val: arrays.FaceArrays
    sources: NDArray[np.int64]


def load_mixture(folders: Sequence[Path], memory_bytes: int = records.MEMORY_BYTES) -> Mixture:
    """The training and validation faces of prepared datasets, concatenated.

    Raises:
        InputError: a folder is named twice, the datasets store their faces in other sizes, one has
            no training faces, or none has validation faces.
    """
    if len(folders) == 1:
        train, val = load_splits(folders[0], memory_bytes)
        return Mixture(train, val, np.zeros(len(train), np.int64))
    if len(set(folders)) < len(folders):
        raise InputError(f"data-dir: found {', '.join(map(str, folders))}, expected each folder once")
    stores = [records.read_store(folder) for folder in folders]
    for folder, store in zip(folders, stores, strict=True):
        if (store.crop_side, store.canvas) != (stores[0].crop_side, stores[0].canvas):
            raise InputError(
                f"{folder}: found faces of {store.crop_side} pixels on {store.canvas}, expected "
                f"{stores[0].crop_side} on {stores[0].canvas} as in {folders[0]}; prepare both alike"
            )
    counts = [records.read_index(folder)["split"].value_counts() for folder in folders]
    for folder, found in zip(folders, counts, strict=True):
        if not found.get("train", 0):
            raise InputError(f"{folder}: found splits {found.to_dict()}, expected some faces of train")
    with_val = [folder for folder, found in zip(folders, counts, strict=True) if found.get("val", 0)]
    if not with_val:
        raise InputError(
            f"{', '.join(map(str, folders))}: found no face of val, expected some in one of them"
        )
    share = memory_bytes // len(folders)
    parts = [records.load(folder, "train", share) for folder in folders]
    val_parts = [records.load(folder, "val", share) for folder in with_val]
    sources = np.repeat(np.arange(len(parts)), [len(part) for part in parts])
    return Mixture(arrays.join(parts), arrays.join(val_parts), sources)
