"""Configuration of prepared datasets."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from msgspec import Meta

from tf_dhm.core.configuration import AtLeastOne, check_fields

DATASET_FILE = "dataset.json"
"""File of a prepared folder that is written last."""
REJECTED_FILE = "rejected.csv"
"""File with the name of each face that was left out, and the reason."""


@dataclass(frozen=True)
class StoreConfig:
    """How faces are stored.

    Attributes:
        crop_side: a face's crop (square of side sqrt(2) x the longer side of its landmark box)
            is stored with at most this side in pixels.
        margin: side of the stored square over crop_side; room for shift, scale and rotation.
        jpeg_quality: 1 to 100.
        shard_size: faces per shard.
    """

    crop_side: AtLeastOne = 128
    margin: Annotated[float, Meta(ge=1)] = 1.25
    jpeg_quality: Annotated[int, Meta(ge=1, le=100)] = 97
    shard_size: AtLeastOne = 1024

    def __post_init__(self) -> None:
        check_fields(self)

    @classmethod
    def for_input(cls, input_size: int) -> StoreConfig:
        """How faces are stored for a network with `input_size` pixels: a third larger, and at least 128."""
        return cls(crop_side=max(cls.crop_side, round(input_size * 4 / 3)))

    @property
    def canvas(self) -> int:
        return round(self.crop_side * self.margin)
