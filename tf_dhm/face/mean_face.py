"""The mean face: the initial shape from which Fast DHM's heat map is drawn, and the reference of poses."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tf_dhm.core.types import Array
from tf_dhm.face.geometry import unit_to_pixels

MEAN_SHAPE_FILE = Path(__file__).parents[1] / "assets" / "mean_shape.npy"


@lru_cache(maxsize=1)
def mean_shape() -> Array:
    """The mean face in its own crop: (68, 3) float64 in unit coordinates (see `unit_to_pixels`)."""
    shape = np.load(MEAN_SHAPE_FILE).astype(np.float64)
    shape.setflags(write=False)
    return shape


def mean_landmarks(size: int) -> NDArray[np.float32]:
    """The mean face in pixels of a `size` x `size` crop, (68, 3) float32: the initial shape."""
    return unit_to_pixels(mean_shape(), size).astype(np.float32)
