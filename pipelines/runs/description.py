"""Description of a training run for the model card."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import psutil
import tensorflow as tf

from pipelines.datasets.catalogue import NOTES
from tf_dhm.core.machine import processor_name

PATH_OPTIONS = ("data_dir", "cache_dir", "runs_dir", "init", "teacher")


def describe_datasets(
    names: Sequence[str], counts: Sequence[int], weights: Sequence[float]
) -> dict[str, str]:
    """A line about each dataset: its number of training faces, their share, and its note.

    Args:
        names: datasets; one may be named several times.
        counts: training faces of each.
        weights: `DataOptions.dataset_weights`.
    """
    lines: dict[str, str] = {}
    for name in dict.fromkeys(names):
        rows = [row for row, other in enumerate(names) if other == name]
        share = ""
        if weights and len(names) > 1:
            share = f", {sum(weights[row] for row in rows) / sum(weights):.1%} of the faces seen"
        total = sum(counts[row] for row in rows)
        lines[name] = f"{total:,} faces{share}; {NOTES[name]}"
    return lines


def portable_command(command: str) -> str:
    """A command line with absolute paths cut to their last part: a model card is for other machines.

    >>> portable_command("python train.py --data-dir /data/wild68 --runs-dir runs")
    'python train.py --data-dir wild68 --runs-dir runs'
    """
    parts = (Path(part).name if Path(part).is_absolute() else part for part in shlex.split(command))
    return shlex.join(parts)


def without_folders(options: dict[str, Any]) -> dict[str, Any]:
    """Options as JSON with the paths of this machine cut to their last part.

    >>> without_folders({"runs_dir": "/home/me/runs", "data": {"data_dir": ["/data/wild68"]}})
    {'runs_dir': 'runs', 'data': {'data_dir': ['wild68']}}
    """

    def shorten(name: str, value: Any) -> Any:
        if isinstance(value, dict):
            return without_folders(value)
        if name not in PATH_OPTIONS or value is None:
            return value
        return [Path(path).name for path in value] if isinstance(value, list) else Path(value).name

    return {name: shorten(name, value) for name, value in options.items()}


def machine() -> str:
    """The computing device: the GPUs, or the processor and its threads."""
    gpus = tf.config.list_physical_devices("GPU")
    if gpus:
        details: dict[str, Any] = tf.config.experimental.get_device_details(gpus[0])
        return f"{len(gpus)} x {details.get('device_name', 'GPU')}"
    threads = tf.config.threading.get_intra_op_parallelism_threads() or psutil.cpu_count()
    return f"{processor_name()}, {threads} threads"
