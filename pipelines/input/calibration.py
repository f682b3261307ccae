"""Crops as those to come, by which full int8 models choose the ranges of their activations."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipelines.input.batches import plain_crops
from pipelines.prepared import records

COUNT = 300


def representative_crops(folder: Path, size: int, count: int = COUNT) -> NDArray[np.uint8]:
    """Crops (N, size, size, 3) of `val` faces of a prepared dataset, spread evenly over it.

    Args:
        folder: a dataset as `prepare` writes it.
        size: side of the crops in pixels.
        count: how many at most.
    """
    faces = records.load(folder, "val")
    crops, _ = plain_crops(faces[:: max(1, len(faces) // count)], size)
    return crops[:count]
