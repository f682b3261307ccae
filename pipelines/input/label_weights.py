"""Weights of uncertain landmarks in the loss, for every implementation of the training."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tf_dhm.core.errors import InputError
from tf_dhm.face.geometry import box_size, landmark_box


def landmark_weights(
    landmarks: NDArray[np.float32], sigma: NDArray[np.float32], floor: float
) -> NDArray[np.float32]:
    """Weights 1 / (sigma² + floor²) of the landmarks, divided by their mean.

    Args:
        landmarks: (N, 68, 3) pixels.
        sigma: (N, 68) standard deviations of the landmarks in the same pixels, NaN where unknown. They are
            measured here in percent of the size of a face, √(w·h) of the box of its landmarks.
        floor: in that unit, more than 0; the smaller it is, the less uncertain landmarks weigh.

    Returns:
        (N, 68) float32 with mean 1; a landmark of unknown sigma has weight 1.

    Raises:
        InputError: sigma is unknown for all landmarks, so that the option would have no effect.
    """
    percent = 100.0 * sigma / box_size(landmark_box(landmarks))[:, None]
    known = np.isfinite(percent)
    if not known.any():
        raise InputError("sigma_floor: found faces without label_sigma, expected a dataset with it")
    weight = np.ones_like(percent)
    weight[known] = 1.0 / (percent[known] ** 2 + floor**2)
    weight[known] /= weight[known].mean()
    return weight.astype(np.float32)
