"""The faces of one split of a dataset to measure models on, as distributed or prepared."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

from pipelines.datasets import aflw2000_3d
from pipelines.datasets.readers import read_dataset
from pipelines.datasets.samples import FaceSample, Rejection, Split
from pipelines.prepared import records
from tf_dhm.core.errors import InputError


def read_split(dataset: str, data_dir: Path, labels: str, split: Split) -> Iterator[FaceSample | Rejection]:
    """Yield the faces of a split, and the rejected faces.

    Args:
        dataset: its name.
        data_dir: the dataset as distributed, or a folder that `prepare.py` wrote.
        labels: "original", or for aflw2000_3d a file of other labels of the same images.
        split: which faces.

    Raises:
        InputError: a prepared folder of another dataset, a dataset without faces of that split, or what the
            reader rejects.
    """
    if labels == "original" and records.is_prepared(data_dir, dataset):
        return records.read_samples(data_dir, split)
    if dataset == "aflw2000_3d":
        # The bins of published tables are of angles as labelled, one of which is unwrapped.
        items = aflw2000_3d.read(data_dir, labels, wrap_pose=False)
    else:
        items = read_dataset(dataset, data_dir)
    return of_split(items, split, str(data_dir))


def of_split(
    items: Iterable[FaceSample | Rejection], split: Split, source: str
) -> Iterator[FaceSample | Rejection]:
    """Yield the rejected faces and the faces of a split; InputError if all faces are of other splits."""
    counts: Counter[str] = Counter()
    for item in items:
        if isinstance(item, FaceSample):
            counts[item.split] += 1
            if item.split != split:
                continue
        yield item
    if counts and not counts[split]:
        found = ", ".join(f"{count} {name}" for name, count in sorted(counts.items()))
        raise InputError(
            f"{source}: found faces of the splits {found}, expected some of {split}; --split chooses another"
        )
