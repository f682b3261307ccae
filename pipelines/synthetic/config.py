"""Configuration of the renderer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from msgspec import Meta

from tf_dhm.core.configuration import NotNegative, check_fields


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
