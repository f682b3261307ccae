"""Configuration of the renderer."""

from __future__ import annotations

from dataclasses import dataclass

from tf_dhm.core.errors import InputError


@dataclass(frozen=True)
class RenderConfig:
    """What faces are drawn, and how.

    Attributes:
        size: side of the square image in pixels.
        margin: side of the image over that of the face's crop.
        supersampling: rays per pixel along each side.
        max_yaw: the yaw of `Pose_Para` is uniform over +- this, degrees.
        max_pitch, max_roll: the nod of the head and the roll of the camera stay within this, degrees.
        occlusion: factor on the probability of hats, glasses, masks, hands and things in front.
        degrade: factor on blur, noise and compression.
    """

    size: int = 128
    margin: float = 1.3
    supersampling: float = 1.25
    max_yaw: float = 90.0
    max_pitch: float = 40.0
    max_roll: float = 40.0
    occlusion: float = 1.0
    degrade: float = 1.0

    def __post_init__(self) -> None:
        if self.size < 16 or self.supersampling < 0.5 or self.margin < 0.5:
            raise InputError(
                f"renderer: found size {self.size}, supersampling {self.supersampling}, "
                f"margin {self.margin}, "
                "expected at least 16, 0.5 and 0.5"
            )
        if not (0 <= self.max_yaw <= 90 and 0 <= self.max_pitch <= 89 and 0 <= self.max_roll <= 180):
            raise InputError(
                f"renderer: found max_yaw {self.max_yaw}, max_pitch {self.max_pitch}, "
                f"max_roll {self.max_roll}, "
                "expected degrees up to 90, 89 and 180"
            )
