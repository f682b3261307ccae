"""The pose in the MATLAB label files of 300W-LP and AFLW2000-3D."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tf_dhm.face.matfiles import Shape

POSE: dict[str, Shape] = {"Pose_Para": (7,)}
"""Pitch, yaw, roll in radians, t_x, t_y, t_z, f."""


def pose_degrees(pose_para: ArrayLike, *, wrap: bool = True) -> NDArray[np.float32]:
    """Pitch, yaw, roll in degrees from `Pose_Para`, whose angles are radians and may go round.

    Args:
        pose_para: (7,) or more angles first.
        wrap: bring each angle to (-180, 180]; otherwise it is left as labelled.

    Returns:
        (3,) float32.

    >>> pose_degrees([0.0, np.radians(-350.0), np.pi]).tolist()
    [0.0, 10.0, 180.0]
    """
    degrees = np.degrees(np.asarray(pose_para, np.float64)[:3])
    return (180.0 - (180.0 - degrees) % 360.0 if wrap else degrees).astype(np.float32)
