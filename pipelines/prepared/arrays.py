"""Faces in memory: arrays of images and labels, of one dataset or several."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray


class JoinedImages:
    """Image arrays (N_i, C, C, 3) uint8, concatenated without copying, in memory or mapped."""

    def __init__(self, parts: Sequence[NDArray[np.uint8]]) -> None:
        self.parts = list(parts)
        self.starts = np.cumsum([0, *map(len, self.parts)])
        self.shape = (int(self.starts[-1]), *self.parts[0].shape[1:])
        self.dtype = np.dtype(np.uint8)

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, index: Any) -> NDArray[np.uint8]:
        """One image (C, C, 3), or the (K, C, C, 3) of a slice."""
        if isinstance(index, slice):
            rows = range(*index.indices(len(self)))
            return np.stack([self[row] for row in rows]) if rows else self.parts[0][:0]
        if not 0 <= index < len(self):
            raise IndexError(f"image {index} of {len(self)}")
        part = int(np.searchsorted(self.starts, index, side="right")) - 1
        return self.parts[part][index - self.starts[part]]

    def __array__(self, dtype: Any = None) -> NDArray[Any]:
        return np.concatenate(self.parts).astype(dtype or np.uint8, copy=False)


@dataclass(frozen=True)
class FaceArrays:
    """Faces in memory. N faces, canvas C.

    images (N, C, C, 3) uint8 RGB; landmarks (N, 68, 3) float32 pixels of the canvas, z NaN where
    unknown; visibility (N, 68) uint8; pose (N, 3) float32 degrees; name, split, group (N,) str;
    sigma (N, 68) float32 pixels of the canvas, NaN where unknown.
    """

    images: NDArray[np.uint8] | JoinedImages
    landmarks: NDArray[np.float32]
    visibility: NDArray[np.uint8]
    pose: NDArray[np.float32]
    name: NDArray[np.str_]
    split: NDArray[np.str_]
    group: NDArray[np.str_]
    sigma: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, rows: slice) -> FaceArrays:
        return FaceArrays(**{f.name: getattr(self, f.name)[rows] for f in fields(self)})


def join(parts: Sequence[FaceArrays]) -> FaceArrays:
    """Faces of several datasets, concatenated; their canvases have the same size."""
    if len(parts) == 1:
        return parts[0]
    labels = {
        f.name: np.concatenate([getattr(part, f.name) for part in parts])
        for f in fields(FaceArrays)
        if f.name != "images"
    }
    return FaceArrays(images=JoinedImages([np.asarray(part.images) for part in parts]), **labels)
