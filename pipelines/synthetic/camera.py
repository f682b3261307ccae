"""Cameras of rendered faces.

The frame of the scene is that of Eq. 2, R S: x right in the picture, y up, z to the viewer,
centimetres. A weak-perspective camera casts parallel rays along -z; a perspective one stands at
(0, 0, distance) and has the same scale f at z = 0.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipelines.synthetic.config import RenderConfig
from pipelines.synthetic.vectors import unit
from tf_dhm.core.types import Floats
from tf_dhm.face.geometry import CROP_SCALE, landmark_box

RAY_START = 80.0
"""z in cm from which parallel rays start."""


@dataclass(frozen=True)
class Camera:
    """Scale f in pixels per cm at z = 0, image of the origin, distance in cm (inf: weak perspective)."""

    scale: float
    origin: tuple[float, float]
    distance: float

    def project(self, points: NDArray[np.floating]) -> NDArray[np.float64]:
        """(N, 3) cm -> (N, 3) pixels, y down; z in pixels at the depth of the origin."""
        z = np.asarray(points, np.float64)[:, 2]
        near = self.scale if np.isinf(self.distance) else self.scale * self.distance / (self.distance - z)
        x, y = near * points[:, 0] + self.origin[0], self.origin[1] - near * points[:, 1]
        return np.stack([x, y, self.scale * z], 1)

    def rays(self, size: int, side: int) -> tuple[Floats, Floats]:
        """Origins and directions (side * side, 3) of a `side` x `side` grid over `size` x `size` pixels."""
        u = (np.arange(side, dtype=np.float32) + 0.5) * (size / side) - 0.5
        x = np.broadcast_to((u - self.origin[0]) / self.scale, (side, side)).ravel()
        y = np.broadcast_to(((self.origin[1] - u) / self.scale)[:, None], (side, side)).ravel()
        origins, directions = np.zeros((side * side, 3), np.float32), np.zeros((side * side, 3), np.float32)
        directions[:, 2] = -1
        if np.isinf(self.distance):
            origins[:, 0], origins[:, 1], origins[:, 2] = x, y, RAY_START
        else:
            origins[:, 2] = self.distance
            directions[:, 0], directions[:, 1] = x / self.distance, y / self.distance
        return origins, directions

    def to_eye(self, points: NDArray[np.floating]) -> Floats:
        """Unit vectors (N, 3) from points to the camera."""
        towards = np.zeros(points.shape, np.float32)
        towards[:, 2] = 1
        if not np.isinf(self.distance):
            towards = np.array([0, 0, self.distance], np.float32) - points.astype(np.float32)
            towards = unit(towards)
        return towards


def random_camera(landmarks: NDArray[np.float64], config: RenderConfig, rng: np.random.Generator) -> Camera:
    """A camera that shows the landmarks' crop in the middle of the image, near enough."""
    distance = np.inf if rng.random() < 0.35 else float(np.exp(rng.uniform(np.log(35), np.log(300))))
    x0, y0, x1, y1 = landmark_box(Camera(1.0, (0.0, 0.0), distance).project(landmarks))
    side = CROP_SCALE * max(x1 - x0, y1 - y0)
    scale = config.size / (config.margin * side * np.exp(rng.normal(0, 0.05)))
    shift = rng.normal(0, 0.025, 2) * config.size + (config.size - 1) / 2
    return Camera(scale, (shift[0] - scale * (x0 + x1) / 2, shift[1] - scale * (y0 + y1) / 2), distance)
