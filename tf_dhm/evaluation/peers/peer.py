"""What a landmark system of others does, and helpers that its implementations share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tf_dhm.core.types import Array, Image


class Peer(Protocol):
    """A landmark system as it stands in the tables.

    Attributes:
        name: with its number of passes, where there is more than one.
        runtime: package and version.
        input_size: side of its crops in pixels; 0 where it has none.
        file_bytes: of the model on disk.
        box_start: the first of the landmarks that its boxes bound; 17 leaves out the jaw.
    """

    name: str
    runtime: str
    input_size: int
    file_bytes: int
    box_start: int

    def find(self, images: Sequence[Image], boxes: ArrayLike) -> NDArray[np.float32]:
        """Find the landmarks of one face in each of N images.

        Args:
            images: N arrays (H, W, 3) uint8 RGB of any sizes.
            boxes: (N, 4) boxes of the landmarks from `box_start` on.

        Returns:
            (N, 68, 3) float32 pixels of the images; z is NaN.
        """
        ...

    def network_call(self) -> Callable[[], object]:
        """What does one pass of the network alone over random input, for timing."""
        ...


def with_unknown_depth(points: Array) -> NDArray[np.float32]:
    """(N, 68, 2) -> (N, 68, 3) with z NaN."""
    return np.pad(points, ((0, 0), (0, 0), (0, 1)), constant_values=np.nan).astype(np.float32)


def size_on_disk(path: Path) -> int:
    """Bytes of a file, or of all files of a folder."""
    files = path.rglob("*") if path.is_dir() else [path]
    return sum(file.stat().st_size for file in files if file.is_file())
