"""Where heads are in front of a camera, and how they are drawn in its photo and read from it."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from tf_dhm.core.types import Array
from tf_dhm.face.camera import FLIP, Camera, look_at
from tf_dhm.face.landmark_solver import Solution

TO_CAMERA = np.array([1.0, -1.0, -1.0])
"""From axes with y up and z to the viewer to the camera's."""


@dataclass(frozen=True, eq=False)
class Placement:
    """The places of N heads, y up and z to the viewer.

    The z of a photo is depth along the line of sight to the head's origin, in pixels at that point.

    Attributes:
        camera: a pinhole camera; None: the projection is parallel.
        rotation: (N, 3, 3) from the head to the axes of the camera.
        straight: (N, 3, 3) from the head to axes whose z points from the head's origin to the camera.
        shift: (N, 3) centimetres, of the head's origin in the axes of the camera; parallel: z is 0.
        scale: (N,) pixels of z per centimetre; parallel: also of x and y.
        offset: (N,) z of the head's origin in given landmarks, pixels.
    """

    camera: Camera | None
    rotation: Array
    straight: Array
    shift: Array
    scale: Array
    offset: Array

    @classmethod
    def parallel(cls, solved: Solution) -> Placement:
        """Of landmarks in photo pixels, y up."""
        return cls(None, solved.rotation, solved.rotation, solved.shift, solved.scale, solved.offset)

    @classmethod
    def perspective(cls, solved: Solution, camera: Camera, turn: Array) -> Placement:
        """Of landmarks as a camera turned by `turn` (N, 3, 3) sees them."""
        rotation, shift = turn @ solved.rotation, (turn @ solved.shift[..., None])[..., 0]
        straight = look_at(shift).transpose(0, 2, 1) @ rotation
        return cls(camera, rotation, straight, shift, solved.scale, solved.offset)

    def of(self, row: int) -> Placement:
        """The place of one of the heads."""
        one = slice(row, row + 1)
        return Placement(
            self.camera,
            self.rotation[one],
            self.straight[one],
            self.shift[one],
            self.scale[one],
            self.offset[one],
        )

    def reduced(self, reduction: float) -> Placement:
        """The same heads in the photo shrunk by a factor; the outer edges of both photos are the same."""
        margin = (reduction - 1) / 2
        scale, offset = self.scale / reduction, self.offset / reduction
        if self.camera is not None:
            x, y = self.camera.centre
            camera = Camera(
                self.camera.focal / reduction, ((x - margin) / reduction, (y - margin) / reduction)
            )
            return replace(self, camera=camera, scale=scale, offset=offset)
        shift = self.shift - margin * FLIP * [1, 1, 0] / self.scale[:, None]
        return replace(self, shift=shift, scale=scale, offset=offset)

    def matrices(self) -> Array:
        """(N, 4, 4) rigid, from the heads' frames to the camera's, whose y is down and z forward."""
        matrix = np.zeros((len(self.shift), 4, 4))
        matrix[:, :3, :3] = TO_CAMERA[:, None] * self.rotation
        matrix[:, :3, 3] = TO_CAMERA * self.shift
        matrix[:, 3, 3] = 1
        return matrix

    def draw(self, heads: Array, origin: Array) -> Array:
        """Points (N, P, 3) of the heads' frames as photo pixels, (N, P, 3), in the dtype of the points.

        Args:
            origin: (N, 3) points of the heads' frames at which z is 0.
        """
        factor = (self.scale if self.camera is None else np.full(1, self.camera.focal))[:, None] * FLIP
        rows, end = factor[..., None] * self.rotation, factor * self.shift
        rows[:, 2] = self.scale[:, None] * self.straight[:, 2]
        end[:, 2] = -(rows[:, 2] * origin).sum(-1)
        flat = np.swapaxes(heads, 1, 2)
        drawn = np.empty_like(heads)
        pixels = np.swapaxes(drawn, 1, 2)  # (N, 3, P): loops over P are fast, over 3 they are not
        np.add(rows.astype(heads.dtype) @ flat, end[..., None].astype(heads.dtype), out=pixels)
        if self.camera is not None:
            far = self.rotation[:, 2:].astype(heads.dtype) @ flat + self.shift[:, 2:, None].astype(
                heads.dtype
            )
            pixels[:, :2] /= -far
            pixels[:, :2] += np.array(self.camera.centre, heads.dtype)[:, None]
        return drawn

    def in_head(self, points: Array) -> Array:
        """Landmarks (N, 68, 3) of a photo in the heads' frames: (N, 3, 68)."""
        if self.camera is None:
            moved = points * (FLIP / self.scale[:, None])[:, None] - self.shift[:, None]
            moved[..., 2] -= (self.offset / self.scale)[:, None]
        else:
            rays = self.camera.rays(points)
            distance = np.linalg.norm(self.shift, axis=-1)[:, None]
            depth = (points[..., 2] - self.offset[:, None]) / self.scale[:, None] - distance
            towards = -self.shift / distance  # the camera
            length = depth / (rays @ towards[..., None])[..., 0]
            moved = length[..., None] * rays - self.shift[:, None]
        return np.swapaxes(moved @ self.rotation, 1, 2)
