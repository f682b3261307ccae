"""Losses on shapes: all take landmarks in the network's unit and mask unknown z."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from tf_dhm.core.errors import InputError
from tf_dhm.core.types import Tensor
from tf_dhm.networks.tensorflow import tf
from tf_dhm.training.config import TrainConfig

WING_WIDTH = 0.15
WING_CURVATURE = 0.03
"""w and epsilon of the wing loss (Feng et al., CVPR 2018), in halves of the crop's side."""


def masked_error(truth: Tensor, predicted: Tensor) -> Tensor:
    """predicted - truth, (B, 68, 3); 0 if the truth is NaN (a dataset without z)."""
    known = tf.math.is_finite(truth)
    return tf.where(known, predicted - tf.where(known, truth, 0.0), 0.0)


class Loss(Protocol):
    """A loss of B faces: (B,)."""

    def __call__(
        self, truth: Tensor, predicted: Tensor, depth_weight: float, weight: Tensor | None = None
    ) -> Tensor:
        """Compare landmarks (B, 68, 3); `weight` (B, 68) of each landmark, None: all weigh 1."""


def nme_loss(truth: Tensor, predicted: Tensor, depth_weight: float, weight: Tensor | None = None) -> Tensor:
    """The metric itself: mean distance in x and y over sqrt(w h) of the box, plus depth. (B,)."""
    error = masked_error(truth, predicted)
    extent = tf.reduce_max(truth[..., :2], 1) - tf.reduce_min(truth[..., :2], 1)
    size = tf.sqrt(extent[:, 0] * extent[:, 1])
    # The root has no gradient at 0.
    distance = tf.sqrt(tf.reduce_sum(error[..., :2] ** 2, -1) + 1e-8)
    return _mean_of_points(distance + depth_weight * tf.abs(error[..., 2]), weight) / size


def wing_loss(truth: Tensor, predicted: Tensor, depth_weight: float, weight: Tensor | None = None) -> Tensor:
    """Wing loss per coordinate, mean over the points. (B,)."""
    size = tf.abs(masked_error(truth, predicted))
    offset = WING_WIDTH - WING_WIDTH * tf.math.log(1.0 + WING_WIDTH / WING_CURVATURE)
    near = WING_WIDTH * tf.math.log(1.0 + size / WING_CURVATURE)
    return _mean(tf.where(size < WING_WIDTH, near, size - offset), depth_weight, weight)


def smooth_l1_loss(
    truth: Tensor, predicted: Tensor, depth_weight: float, weight: Tensor | None = None
) -> Tensor:
    """Huber loss per coordinate with its bend at WING_CURVATURE, mean over the points. (B,)."""
    size = tf.abs(masked_error(truth, predicted))
    near = 0.5 * size**2 / WING_CURVATURE
    return _mean(tf.where(size < WING_CURVATURE, near, size - 0.5 * WING_CURVATURE), depth_weight, weight)


def squared_loss(
    truth: Tensor, predicted: Tensor, depth_weight: float, weight: Tensor | None = None
) -> Tensor:
    """||S - S*||^2 as the paper's, mean over the points. (B,)."""
    return _mean(masked_error(truth, predicted) ** 2, depth_weight, weight)


def _mean(values: Tensor, depth_weight: float, weight: Tensor | None) -> Tensor:
    return _mean_of_points(values[..., 0] + values[..., 1] + depth_weight * values[..., 2], weight)


def _mean_of_points(values: Tensor, weight: Tensor | None) -> Tensor:
    """The mean (B,) over the points of values (B, 68). Weights have mean 1 over all faces, not in each."""
    return tf.reduce_mean(values if weight is None else weight * values, -1)


LOSSES: dict[str, Loss] = {
    "nme": nme_loss,
    "wing": wing_loss,
    "smooth_l1": smooth_l1_loss,
    "squared": squared_loss,
}


def loss_function(name: str) -> Loss:
    """The loss of that name."""
    if name not in LOSSES:
        raise InputError(f"loss: found {name!r}, expected one of {sorted(LOSSES)}")
    return LOSSES[name]


def batch_loss(config: TrainConfig, batch: Mapping[str, Tensor], predicted: Tensor, size: int) -> Tensor:
    """The mean loss of a batch: to its labels and, if it has a teacher's landmarks, in part to those.

    Args:
        config: names the loss and the teacher's share.
        batch: `landmarks` and any `teacher` (B, 68, 3) in pixels of the crop, any `weight` (B, 68) of the
            labels.
        predicted: (B, 68, 3) in the unit of the network.
        size: side of the crop in pixels.
    """
    function, depth_weight = loss_function(config.loss), config.depth_weight
    labels = _to_unit(batch["landmarks"], size)
    loss = tf.reduce_mean(function(labels, predicted, depth_weight, batch.get("weight")))
    if "teacher" not in batch:
        return loss
    # Not weighted: sigma is the doubt about the labels.
    taught = function(_to_unit(batch["teacher"], size), predicted, depth_weight)
    return (1.0 - config.teacher_share) * loss + config.teacher_share * tf.reduce_mean(taught)


def _to_unit(landmarks: Tensor, size: int) -> Tensor:
    """Crop pixels (B, 68, 3) in the unit of the network, as `geometry.unit_to_pixels` has it."""
    return landmarks / (size / 2.0) + tf.constant([1.0 / size - 1.0] * 2 + [0.0])
