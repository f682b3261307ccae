"""Configuration of the renderer, and of the series of faces that it renders."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated

from msgspec import Meta

from pipelines.datasets.samples import Split
from tf_dhm.core.configuration import AtLeastOne, Count, NotNegative, check_fields
from tf_dhm.core.errors import InputError

VAL_EVERY = 11
"""Training faces whose number it divides are held out for validation: 800 of 8,800."""
TEST_SEED = 2**31 - 1
"""Seed of the test faces, on which no model is trained."""
TEST_FACES = 1000
"""Default number of test faces, a third in each yaw bin."""


@dataclass(frozen=True)
class RenderConfig:
    """Options of the random faces and of their rendering.

    Attributes:
        size: side of the square image in pixels.
        margin: side of the image over that of the face's crop.
        supersampling: rays per pixel along each side.
        max_yaw: the yaw of `Pose_Para` is uniform over +- this, degrees.
        max_pitch, max_roll: the nod of the head and the roll of the camera stay within this, degrees.
        occlusion: factor on the probability of hats, glasses, masks, hands and things in front.
        degrade: factor on blur, noise and compression.
    """

    size: Annotated[int, Meta(ge=16)] = 128
    margin: Annotated[float, Meta(ge=0.5)] = 1.3
    supersampling: Annotated[float, Meta(ge=0.5)] = 1.25
    max_yaw: Annotated[float, Meta(ge=0, le=90)] = 90.0
    max_pitch: Annotated[float, Meta(ge=0, le=89)] = 40.0
    max_roll: Annotated[float, Meta(ge=0, le=180)] = 40.0
    occlusion: NotNegative = 1.0
    degrade: NotNegative = 1.0

    def __post_init__(self) -> None:
        check_fields(self)


@dataclass(frozen=True)
class SyntheticConfig:
    """A series of rendered faces.

    Attributes:
        count: number of faces.
        seed: seed of the series; series of different seeds share no face.
        split: split of all faces but those held out for validation.
        val_every: if positive, every face whose number it divides belongs to "val".
        render: what to render.
    """

    count: AtLeastOne = 8800
    seed: Annotated[int, Meta(ge=0, le=TEST_SEED)] = 0
    split: Split = "train"
    val_every: Count = VAL_EVERY
    render: RenderConfig = field(default_factory=RenderConfig)

    def __post_init__(self) -> None:
        check_fields(self)
        if self.seed == TEST_SEED and self.split != "test":
            raise InputError(f"synthetic faces: found seed {self.seed}, that of the faces for testing")
