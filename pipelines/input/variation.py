"""What every implementation of the augmentation shares: constants, in NumPy."""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.typing import NDArray

from tf_dhm.face.mean_face import mean_shape
from tf_dhm.training.config import AugmentConfig

LUMA = (0.299, 0.587, 0.114)
BLUR_LEVELS = 3
SMALLEST_OCCLUDER = 0.1
"""Side of the smallest occluder over that of the crop."""
ERROR_LENGTH = 0.4
"""Distance over which the errors of a first pass's points are alike, half a crop being 1."""
BLUR_KERNEL = (9, 9)
"""Size of the Gaussian blur's kernel in pixels."""


def blur_sigmas(config: AugmentConfig) -> tuple[float, ...]:
    """Standard deviations of the blur levels in pixels, evenly up to config.blur.

    Levels are needed because tensorflow-addons takes a standard deviation only as a constant. Empty
    without blur.
    """
    if config.blur <= 0.0:
        return ()
    return tuple(config.blur * level / BLUR_LEVELS for level in range(1, BLUR_LEVELS + 1))


@cache
def error_factor() -> NDArray[np.float32]:
    """A Cholesky factor (68, 68) of the correlations between the errors of a first pass's points."""
    points = mean_shape()
    distance = np.linalg.norm(points[:, None] - points[None], axis=-1)
    correlation = 0.8 * np.exp(-0.5 * (distance / ERROR_LENGTH) ** 2) + 0.2 * np.eye(len(points))
    return np.linalg.cholesky(correlation).astype(np.float32)
