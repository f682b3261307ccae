"""Faces on which the best weights are chosen, and how a network is measured on them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tf_dhm.core.types import Tensor
from tf_dhm.face import geometry, metrics
from tf_dhm.networks.models import constant_heatmap
from tf_dhm.networks.tensorflow import tf


@dataclass(frozen=True)
class Validation:
    """Faces on which the best weights are chosen.

    crops (N, S, S, 3) uint8, landmarks (N, 68, 3) in crop pixels, yaw (N,) degrees or NaN.
    """

    crops: NDArray[np.uint8]
    landmarks: NDArray[np.float32]
    yaw: NDArray[np.float32]

    def summarize(
        self, predict: Callable[[NDArray[np.uint8]], Tensor], batch_size: int = 250
    ) -> dict[str, float | int | None]:
        """The metrics of `metrics.summarize` for a function of `prediction_function`."""
        starts = range(0, len(self.crops), batch_size)
        units = [predict(self.crops[start : start + batch_size]).numpy() for start in starts]
        predicted = geometry.unit_to_pixels(np.concatenate(units), self.crops.shape[1])
        return metrics.summarize(metrics.nme(predicted, self.landmarks), self.yaw)


def prediction_function(model: tf.keras.Model, size: int) -> Callable[[NDArray[np.uint8]], Tensor]:
    """The function of a network of `build_model`: crops (B, S, S, 3) uint8 -> unit (B, 68, 3) float32."""
    heatmap = tf.constant(constant_heatmap(size))

    def predict(crops: Tensor) -> Tensor:
        return model({"image": tf.cast(crops, tf.float32), "heatmap": heatmap}, training=False)

    # Traced once for batches of every length.
    spec = tf.TensorSpec([None, size, size, 3], tf.uint8)
    return tf.function(predict, input_signature=[spec], autograph=False)
