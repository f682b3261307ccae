"""Turn a dataset into TFRecord shards with an index: checked, resumable and written atomically."""

from __future__ import annotations

import errno
import json
import re
import shutil
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from itertools import islice
from pathlib import Path
from typing import Any

import pandas as pd
import psutil
import tensorflow as tf

from pipelines.datasets.samples import FaceSample, Rejection, Series
from pipelines.prepared import records
from pipelines.prepared.config import DATASET_FILE, REJECTED_FILE, StoreConfig
from tf_dhm.core.errors import InputError
from tf_dhm.core.files import atomic_write
from tf_dhm.core.progress import Progress

PLAN_FILE = "plan.json"
"""Settings of an unfinished folder; a finished one has them in `dataset.json`."""
TEMPORARY_FILE = re.compile(r"\.(shard-\d{5}|index|rejected|refused|dataset|plan)\.(\d+)-\w+\.tmp\.\w+")
"""Temporary names that `atomic_write` gives to files of a prepared folder; group 2 is the process."""


def prepare(
    name: str,
    samples: Iterable[FaceSample | Rejection] | Series,
    output_dir: Path,
    config: StoreConfig | None = None,
    limit: int | None = None,
) -> pd.DataFrame:
    """Write a prepared dataset and return its index.

    Shards are written one after the other, each under a temporary name first, so a run that was
    stopped resumes at the first missing shard and produces the same files. Every image is decoded
    and every label checked; unusable faces are listed with the reason in `rejected.csv`. A finished
    folder is left as it is. If another process prepares the folder, the call waits for it.

    Args:
        name: name of the dataset, stored in `dataset.json`.
        samples: faces in an order that is the same at every call. Faces of a `Series` whose shards
            already exist are not read; its source is stored in `dataset.json`.
        output_dir: a new, unfinished or finished folder.
        config: how faces are stored.
        limit: stop after this many samples.

    Raises:
        InputError: no usable face, or `output_dir` was begun with other settings or samples. A new
            `output_dir` is removed again, unless a usable face is in it.
        OSError: it cannot be written to; complete shards stay, and no partial file.
    """
    config = config or StoreConfig()
    if limit is not None and limit < 1:
        raise InputError(f"limit: found {limit}, expected 1 or more")
    output_dir = Path(output_dir)
    plan: dict[str, Any] = {"name": name, "store": asdict(config), "limit": limit}
    if isinstance(samples, Series):
        plan |= {"source": {**samples.source, "count": samples.count}}
    if not _is_finished(output_dir, plan):
        is_new = not output_dir.exists()
        output_dir.mkdir(parents=True, exist_ok=True)
        with records.locked(output_dir):
            if not _is_finished(output_dir, plan):
                try:
                    _write(name, samples, output_dir, config, limit, plan)
                except InputError:
                    if is_new and not any(file.stat().st_size for file in output_dir.glob("*.tfrecord")):
                        shutil.rmtree(output_dir)
                    raise
    return records.read_index(output_dir)


def samples_left(folder: Path, count: int, shard_size: int) -> int:
    """The number of `count` samples of a `Series` that `prepare` has still to read for `folder`.

    `shard_size` is that of its `StoreConfig`.
    """
    if (folder / DATASET_FILE).is_file():
        return 0
    shards = 0
    while all(file.is_file() for file in _shard_files(folder, shards)):
        shards += 1
    return max(0, count - shards * shard_size)


def _is_finished(folder: Path, plan: dict[str, Any]) -> bool:
    """Whether `folder` is prepared; InputError if it was prepared with another plan."""
    path = folder / DATASET_FILE
    if not path.is_file():
        return False
    settings = records.read_settings(folder)
    _check_plan(path, {key: settings.get(key) for key in plan}, plan)
    return True


def _write(
    name: str,
    samples: Iterable[FaceSample | Rejection] | Series,
    output_dir: Path,
    config: StoreConfig,
    limit: int | None,
    plan: dict[str, Any],
) -> None:
    """Write the missing files of a prepared dataset; the arguments are those of `prepare`."""
    plan_file = output_dir / PLAN_FILE
    if plan_file.is_file():
        _check_plan(plan_file, json.loads(plan_file.read_text()), plan)
    else:
        with atomic_write(plan_file) as path:
            path.write_text(json.dumps(plan))

    parts: list[pd.DataFrame] = []
    total = limit
    if isinstance(samples, Series):
        total = min(samples.count, limit or samples.count)
        while (files := _shard_files(output_dir, len(parts)))[0].is_file() and files[1].is_file():
            parts.append(records.read_parquet(files[1]))
        done = sum(map(len, parts))
        stream = islice(samples.read(done), total - done)
    else:
        done, stream = 0, islice(samples, limit)
    with Progress(desc=f"preparing {name}", unit=" faces", total=total, initial=done) as progress:
        for chunk in _chunks(stream, config.shard_size, progress):
            shard, part_file = _shard_files(output_dir, len(parts))
            if part_file.is_file() and shard.is_file():
                part = records.read_parquet(part_file)
                _check_part(part_file, part, chunk)
            else:
                part = _write_shard(chunk, shard, part_file, config)
            parts.append(part)

    table = pd.concat(parts) if parts else pd.DataFrame({"reason": []})
    usable = table[table["reason"] == ""].drop(columns="reason").reset_index(drop=True)
    if usable.empty:
        first = f", the first: {table['reason'].iloc[0]}" if len(table) else ""
        raise InputError(f"{name}: found no usable face among {len(table)}{first}")
    with atomic_write(output_dir / REJECTED_FILE) as path:
        table.loc[table["reason"] != "", ["name", "reason"]].to_csv(path, index=False)
    with atomic_write(output_dir / records.INDEX_FILE) as path:
        usable.to_parquet(path)
    counts = {split: int(count) for split, count in usable["split"].value_counts().sort_index().items()}
    with atomic_write(output_dir / DATASET_FILE) as path:
        rejected = {"rejected": len(table) - len(usable)}
        records.write_settings(path, name, config, {**counts, **rejected}, limit, plan.get("source"))
    _clean(output_dir)


def _check_plan(path: Path, found: dict[str, Any], plan: dict[str, Any]) -> None:
    if found != plan:
        raise InputError(f"{path}: found {found}, expected {plan}; choose another output folder")


def _check_part(path: Path, part: pd.DataFrame, chunk: list[FaceSample | Rejection]) -> None:
    """A folder begun with another source of the same settings must not become a mixture."""
    found, expected = part["name"].to_list(), [sample.name for sample in chunk]
    if found != expected:
        raise InputError(
            f"{path}: found {len(found)} faces from {found[0]} on, expected {len(expected)} from "
            f"{expected[0]} on; the dataset has changed: choose another output folder"
        )


def _clean(folder: Path) -> None:
    """Remove files that only an unfinished folder needs, and temporary files of ended processes."""
    for path in [folder / PLAN_FILE, *folder.glob("shard-*.parquet")]:
        path.unlink(missing_ok=True)
    for path in folder.glob(".*"):
        match = TEMPORARY_FILE.fullmatch(path.name)
        if match and not psutil.pid_exists(int(match[2])):
            path.unlink(missing_ok=True)


def _shard_files(folder: Path, number: int) -> tuple[Path, Path]:
    """A shard, and the part of the index that belongs to it."""
    shard = folder / f"shard-{number:05d}.tfrecord"
    return shard, shard.with_suffix(".parquet")


def _chunks(
    stream: Iterator[FaceSample | Rejection], size: int, progress: Progress
) -> Iterator[list[FaceSample | Rejection]]:
    """Lists of `size` samples, the last one shorter; `progress` counts samples as they are read."""

    def counted() -> Iterator[FaceSample | Rejection]:
        for sample in stream:
            progress.update()
            yield sample

    samples = counted()
    while chunk := list(islice(samples, size)):
        yield chunk


def _write_shard(
    chunk: list[FaceSample | Rejection], shard: Path, part_file: Path, config: StoreConfig
) -> pd.DataFrame:
    """Write one shard and the part of the index that belongs to it, the latter last; return the part."""
    rows: list[dict[str, Any]] = []
    try:
        with atomic_write(shard) as path, tf.io.TFRecordWriter(str(path)) as writer:
            position = 0
            for sample in chunk:
                row, record = _encode(sample, config)
                rows.append({**row, "shard": shard.name, "offset": 0, "length": 0})
                if record is not None:
                    writer.write(record)
                    rows[-1].update(offset=position + records.RECORD_HEADER, length=len(record))
                    position += records.RECORD_HEADER + len(record) + records.RECORD_FOOTER
    except tf.errors.OpError as error:
        # TensorFlow's writer reports a full disk in an error of its own.
        raise OSError(errno.EIO, error.message, str(shard)) from error
    part = pd.DataFrame(rows)
    with atomic_write(part_file) as path:
        part.to_parquet(path)
    return part


def _encode(sample: FaceSample | Rejection, config: StoreConfig) -> tuple[dict[str, Any], bytes | None]:
    """A row of the index and the record of one sample; the record is None if the sample is rejected."""
    unknown = float("nan")
    row: dict[str, Any] = {"name": sample.name, "reason": "", "split": "", "group": ""}
    row |= {"pitch": unknown, "yaw": unknown, "roll": unknown}
    if isinstance(sample, Rejection):
        return {**row, "reason": sample.reason}, None
    try:
        record = records.encode_record(sample, config)
    except (InputError, OSError) as error:
        return {**row, "reason": str(error) or type(error).__name__}, None
    pitch, yaw, roll = (float(angle) for angle in sample.pose)
    row |= {"split": sample.split, "group": sample.group, "pitch": pitch, "yaw": yaw, "roll": roll}
    return row, record
