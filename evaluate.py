"""Measure exported models on a labelled dataset: tables, CED plots, and pictures.

python evaluate.py --models savedmodels/fast_dhm savedmodels/fast_dhm_x2 --dataset aflw2000_3d \\
    --data-dir AFLW2000-3D --labels original reannotated.npz --output-dir runs/evaluation
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import tyro

# TensorFlow reads it when it is loaded: its notes on the CPU are no news here.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

from pipelines import aflw2000_3d, datasets
from pipelines.samples import FaceSample, Refusal, Split
from tf_dhm import evaluation
from tf_dhm.errors import InputError, run_script


@dataclass(frozen=True)
class Config:
    """What to measure, and where to write it."""

    models: tuple[str, ...]
    """Model folders (savedmodels/<name>, or one of its versions)."""
    data_dir: Path
    """Folder of the dataset."""
    output_dir: Path
    """Folder for metrics.json, per_image.csv, table.md and the pictures."""
    dataset: str = "aflw2000_3d"
    """Which dataset lies there: aflw2000_3d, wild68, 300w_lp, ls3d_w or csv."""
    labels: tuple[str, ...] = ("original",)
    """Label sets: "original", or a file of other labels of the same images."""
    split: Split = "test"
    """Which of its faces; a dataset that is for testing only is all "test"."""
    passes: tuple[Literal[1, 2], ...] = (1,)
    """Passes of the model over each face; with 2 it runs again on a crop cut by its own landmarks."""


def read_faces(dataset: str, data_dir: Path, labels: str, split: Split) -> Iterator[FaceSample | Refusal]:
    """Yield the faces of one split, and what was refused, with one set of labels."""
    if dataset == "aflw2000_3d":
        # The bins of published tables are of angles as labelled, one of which is unwrapped.
        items = aflw2000_3d.read(data_dir, labels, wrap_pose=False)
    elif labels == "original":
        items = datasets.find_dataset(dataset).read(data_dir)
    else:
        raise InputError(f"labels: found {labels}, expected original, the only labels of {dataset}")
    return of_split(items, split, str(data_dir))


def of_split(
    items: Iterable[FaceSample | Refusal], split: Split, source: str
) -> Iterator[FaceSample | Refusal]:
    """Yield the refusals and the faces of a split; InputError where all faces are of other splits."""
    counts: Counter[str] = Counter()
    for item in items:
        if isinstance(item, FaceSample):
            counts[item.split] += 1
            if item.split != split:
                continue
        yield item
    if counts and not counts[split]:
        found = ", ".join(f"{count} {name}" for name, count in sorted(counts.items()))
        raise InputError(f"{source}: found faces of the splits {found}, expected some of {split} (--split)")


def main() -> None:
    config = tyro.cli(Config, description=__doc__)
    if config.output_dir.exists() and not config.output_dir.is_dir():
        raise InputError(f"{config.output_dir}: found a file, expected a folder to write to")
    names = evaluation.label_set_names(config.labels)
    label_sets = {
        name: read_faces(config.dataset, config.data_dir, labels, config.split)
        for name, labels in zip(names, config.labels, strict=True)
    }
    entries = evaluation.load_entries(config.models, config.passes)
    result = evaluation.evaluate(entries, label_sets)
    print(evaluation.write_report(result, entries, config.dataset, config.output_dir))
    if len(result.refused):
        print(f"{len(result.refused)} faces refused; reasons in {config.output_dir / 'refused.csv'}")


if __name__ == "__main__":
    run_script(main)
