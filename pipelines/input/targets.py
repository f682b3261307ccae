"""What training faces teach beside their labels: landmarks of a teacher, and weights of the labels."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from pipelines.input.augmentation import is_mirrored
from pipelines.prepared.arrays import FaceArrays
from tf_dhm.core.errors import InputError
from tf_dhm.core.types import Tensor
from tf_dhm.face.geometry import MIRROR_68, box_size, landmark_box


@dataclass(frozen=True, eq=False)
class Targets:
    """Additions to the labels of N training faces; each is optional.

    Attributes:
        teacher: (N, 68, 3) float32, landmarks that other models find, in pixels of the stored images.
        weight: (N, 68) float32, weight of each landmark in the loss.
    """

    teacher: NDArray[np.float32] | None = None
    weight: NDArray[np.float32] | None = None


NO_TARGETS = Targets()


def landmark_weights(faces: FaceArrays, floor: float) -> NDArray[np.float32]:
    """Weights 1 / (sigma² + floor²) of the landmarks, divided by their mean.

    Args:
        faces: with `sigma`, which is measured here in percent of the size of a face, √(w·h) of the box of
            its landmarks.
        floor: in the same unit, more than 0; the smaller it is, the less uncertain landmarks weigh.

    Returns:
        (N, 68) float32 with mean 1; a landmark of unknown sigma has weight 1.

    Raises:
        InputError: sigma is unknown for all landmarks, so that the option would have no effect.
    """
    sigma = 100.0 * faces.sigma / box_size(landmark_box(faces.landmarks))[:, None]
    known = np.isfinite(sigma)
    if not known.any():
        raise InputError("sigma_floor: found faces without label_sigma, expected a dataset with it")
    weight = np.ones_like(sigma)
    weight[known] = 1.0 / (sigma[known] ** 2 + floor**2)
    weight[known] /= weight[known].mean()
    return weight.astype(np.float32)


def weight_in_crop(weight: Tensor, matrix: Tensor) -> Tensor:
    """Weights (B, 68) of the landmarks of crops with `matrix` (B, 2, 3): of mirrored crops, of the points
    that the mirror puts in their places."""
    return tf.where(is_mirrored(matrix)[:, None], tf.gather(weight, MIRROR_68, axis=1), weight)
