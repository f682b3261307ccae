"""What evaluation asks of labelled faces, and decoding them in batches."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from tf_dhm.core.errors import InputError
from tf_dhm.core.types import Array, Image
from tf_dhm.face import geometry
from tf_dhm.runtime.images import decode_raster

BATCH_IMAGES = 50
BATCH_PIXELS = 64_000_000
"""Decoded pixels held at once, so that large photos do not fill the memory."""


@runtime_checkable
class Face(Protocol):
    """What evaluation asks of a labelled face; `pipelines.datasets.samples.FaceSample` is one."""

    @property
    def name(self) -> str:
        """Unique in its dataset."""
        ...

    @property
    def landmarks(self) -> NDArray[np.float32]:
        """(68, 3) pixels of the image; z may be NaN."""
        ...

    @property
    def box_landmarks(self) -> NDArray[np.float32] | None:
        """(68, 2 or 3) pixels, the landmarks whose box crops are cut from; None: `landmarks`."""
        ...

    @property
    def pose(self) -> NDArray[np.float32]:
        """(3,) degrees pitch, yaw, roll; NaN if unknown."""
        ...

    def read_image(self) -> bytes:
        """The encoded image; raises InputError or OSError."""
        ...


@runtime_checkable
class Rejected(Protocol):
    """A face that the reader of its dataset rejected; `pipelines.datasets.samples.Rejection` is one."""

    @property
    def name(self) -> str:
        """Unique in its dataset."""
        ...

    @property
    def reason(self) -> str:
        """What is wrong with it."""
        ...


def box_landmarks(face: Face) -> NDArray[np.float32]:
    """The landmarks (68, 2 or 3) whose box a face's crop is cut from."""
    return face.landmarks if face.box_landmarks is None else face.box_landmarks


def true_box(face: Face) -> Array:
    """The landmark box (4,) that a face's crop is cut from, in pixels of the image."""
    return geometry.landmark_box(box_landmarks(face)).astype(np.float64)


def read_batches(
    items: Iterable[Face | Rejected], rejected: list[tuple[str, str]]
) -> Iterator[list[tuple[Face, Image]]]:
    """Decode faces in batches of at most BATCH_IMAGES images and about BATCH_PIXELS pixels.

    Args:
        items: what a dataset's reader yields.
        rejected: name and reason of every face that cannot be used are appended to it.
    """
    batch: list[tuple[Face, Image]] = []
    pixels = 0
    for item in items:
        if isinstance(item, Rejected):
            rejected.append((item.name, item.reason))
            continue
        try:
            image = decode_raster(item.read_image(), item.name)
        except (InputError, OSError) as error:
            rejected.append((item.name, str(error)))
            continue
        batch.append((item, image))
        pixels += image.shape[0] * image.shape[1]
        if len(batch) == BATCH_IMAGES or pixels >= BATCH_PIXELS:
            yield batch
            batch, pixels = [], 0
    if batch:
        yield batch
