"""Turn a dataset into TFRecord shards with an index: checked, resumable, nothing half-written."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from itertools import islice
from pathlib import Path

import pandas as pd
import tensorflow as tf
from tqdm import tqdm

from pipelines import records
from pipelines.samples import FaceSample, Refusal
from tf_dhm.errors import InputError
from tf_dhm.files import atomic_write

REFUSED_FILE = "refused.csv"
PLAN_FILE = "plan.json"


def prepare(
    name: str,
    samples: Iterable[FaceSample | Refusal],
    output_dir: Path,
    config: records.StoreConfig | None = None,
    limit: int | None = None,
) -> pd.DataFrame:
    """Write a prepared dataset and return its index.

    Shards are written one after the other, each under a temporary name first, so a run that was
    stopped goes on at the first shard that is not there. Every image is decoded and every label
    checked; what cannot be used is listed with its reason in `refused.csv`.

    Args:
        name: of the dataset, kept in `dataset.json`.
        samples: faces in an order that is the same at every call.
        output_dir: a new or unfinished folder.
        config: how faces are stored.
        limit: stop after so many samples.

    Raises:
        InputError: no usable face, or `output_dir` was begun with other settings.
    """
    config = config or records.StoreConfig()
    output_dir = Path(output_dir)
    if (output_dir / records.DATASET_FILE).is_file():
        return records.read_index(output_dir)
    output_dir.mkdir(parents=True, exist_ok=True)
    _check_plan(output_dir / PLAN_FILE, {"name": name, "store": asdict(config), "limit": limit})

    parts: list[pd.DataFrame] = []
    stream = iter(samples) if limit is None else islice(samples, limit)
    with tqdm(desc=f"preparing {name}", unit="face") as progress:
        for number, chunk in enumerate(_chunks(stream, config.shard_size)):
            shard = output_dir / f"shard-{number:05d}.tfrecord"
            part_file = shard.with_suffix(".parquet")
            if not part_file.is_file():
                _write_shard(chunk, shard, part_file, config)
            parts.append(pd.read_parquet(part_file))
            progress.update(len(chunk))

    table = pd.concat(parts) if parts else pd.DataFrame({"reason": []})
    usable = table[table["reason"] == ""].drop(columns="reason").reset_index(drop=True)
    if usable.empty:
        first = f", the first: {table['reason'].iloc[0]}" if len(table) else ""
        raise InputError(f"{name}: found no usable face among {len(table)}{first}")
    with atomic_write(output_dir / REFUSED_FILE) as path:
        table.loc[table["reason"] != "", ["name", "reason"]].to_csv(path, index=False)
    with atomic_write(output_dir / records.INDEX_FILE) as path:
        usable.to_parquet(path)
    counts = {split: int(count) for split, count in usable["split"].value_counts().items()}
    with atomic_write(output_dir / records.DATASET_FILE) as path:
        records.write_settings(path, name, config, {**counts, "refused": len(table) - len(usable)})
    return usable


def _check_plan(path: Path, plan: dict) -> None:
    if path.is_file() and (found := json.loads(path.read_text())) != plan:
        raise InputError(f"{path}: found {found}, expected {plan}; choose another output folder")
    with atomic_write(path) as temporary:
        temporary.write_text(json.dumps(plan))


def _chunks(stream: Iterator[FaceSample | Refusal], size: int) -> Iterator[list[FaceSample | Refusal]]:
    while chunk := list(islice(stream, size)):
        yield chunk


def _write_shard(
    chunk: list[FaceSample | Refusal], shard: Path, part_file: Path, config: records.StoreConfig
) -> None:
    """Write one shard and the part of the index that belongs to it, the latter last."""
    rows = []
    position = 0
    with atomic_write(shard) as path, tf.io.TFRecordWriter(str(path)) as writer:
        for sample in chunk:
            row = {
                "name": sample.name,
                "reason": "",
                "split": "",
                "group": "",
                "pitch": float("nan"),
                "yaw": float("nan"),
                "roll": float("nan"),
                "shard": shard.name,
                "offset": 0,
                "length": 0,
            }
            rows.append(row)
            if isinstance(sample, Refusal):
                row["reason"] = sample.reason
                continue
            try:
                record = records.encode_record(sample, config)
            except (InputError, OSError) as error:
                row["reason"] = str(error)
                continue
            writer.write(record)
            pitch, yaw, roll = (float(angle) for angle in sample.pose)
            row.update(split=sample.split, group=sample.group, pitch=pitch, yaw=yaw, roll=roll)
            row.update(offset=position + records.RECORD_HEADER, length=len(record))
            position += records.RECORD_HEADER + len(record) + records.RECORD_FOOTER
    with atomic_write(part_file) as path:
        pd.DataFrame(rows).to_parquet(path)
