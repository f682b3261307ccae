"""The readers of the datasets by name."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from pipelines.datasets import aflw2000_3d, crop_sets, csv_landmarks, ls3dw, pts, w300lp
from pipelines.datasets.catalogue import SYNTHETIC, check_dataset
from pipelines.datasets.samples import FaceSample, Rejection
from tf_dhm.core.errors import InputError

Reader = Callable[[Path], Iterator[FaceSample | Rejection]]

READERS: dict[str, Reader] = {
    "wild68": crop_sets.read_wild68,
    **{name: partial(crop_sets.read_set, name=name) for name in ("cfp", "lfpw", "fairface")},
    "300w_lp": w300lp.read,
    "ls3d_w": ls3dw.read,
    "aflw2000_3d": aflw2000_3d.read,
    "csv": csv_landmarks.read,
    "pts": pts.read,
    **{
        subset: partial(ls3dw.read, subset=subset)
        for subset, content in ls3dw.SUBSETS.items()
        if not content.training
    },
}
"""Dataset -> its reader, for all of the catalogue but synthetic faces, which are rendered."""


def read_dataset(name: str, data_dir: Path) -> Iterator[FaceSample | Rejection]:
    """Yield the faces of a dataset as distributed.

    Raises:
        InputError: an unknown name, a folder for synthetic faces, or what the reader rejects.
    """
    check_dataset(name)
    if name == SYNTHETIC:
        raise InputError(
            f"{data_dir}: found a folder for {SYNTHETIC}, expected none, or one that prepare.py wrote; "
            "--dataset names another dataset"
        )
    return READERS[name](data_dir)
