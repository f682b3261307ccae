"""What training faces teach beside their labels: landmarks of a teacher, and weights of the labels."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from pipelines.input.augmentation import is_mirrored
from tf_dhm.core.types import Tensor
from tf_dhm.face.geometry import MIRROR_68


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


def weight_in_crop(weight: Tensor, matrix: Tensor) -> Tensor:
    """Weights (B, 68) of the landmarks of crops with `matrix` (B, 2, 3): of mirrored crops, of the points
    that the mirror puts in their places."""
    return tf.where(is_mirrored(matrix)[:, None], tf.gather(weight, MIRROR_68, axis=1), weight)
