"""Optimizers and learning-rate schedules, by the names in `TrainConfig`."""

from __future__ import annotations

import math
from typing import Any

from tf_dhm.core.types import Tensor
from tf_dhm.networks.tensorflow import tf
from tf_dhm.training.config import TrainConfig


@tf.keras.utils.register_keras_serializable(package="tf_dhm")
class WarmupCosine(tf.keras.optimizers.schedules.LearningRateSchedule):
    """Linear warm-up to `peak`, then half a cosine to 0 at `total` steps."""

    def __init__(self, peak: float, warmup: int, total: int) -> None:
        super().__init__()
        self.peak, self.warmup, self.total = peak, warmup, total

    def __call__(self, step: Tensor) -> Tensor:
        at = tf.cast(step, tf.float32)
        rising = (at + 1.0) / max(self.warmup, 1)
        progress = (at - self.warmup) / max(self.total - self.warmup, 1)
        falling = 0.5 * (1.0 + tf.cos(math.pi * tf.clip_by_value(progress, 0.0, 1.0)))
        return self.peak * tf.where(at < self.warmup, rising, falling)

    def get_config(self) -> dict[str, Any]:
        return {"peak": self.peak, "warmup": self.warmup, "total": self.total}


def precision(config: TrainConfig) -> str:
    """The Keras precision policy that `config` asks for on this machine."""
    if not config.mixed_precision:
        return "float32"
    return "mixed_float16" if tf.config.list_physical_devices("GPU") else "mixed_bfloat16"


def make_optimizer(config: TrainConfig, steps_per_epoch: int) -> tf.keras.optimizers.Optimizer:
    """The optimizer and learning-rate schedule that `config` names."""
    total = config.epochs * steps_per_epoch
    schedules = tf.keras.optimizers.schedules
    if config.schedule == "cosine":
        warmup = round(config.warmup_epochs * steps_per_epoch)
        rate: Any = WarmupCosine(config.learning_rate, warmup, total)
    elif config.schedule == "exponential":
        rate = schedules.ExponentialDecay(
            config.learning_rate, config.decay_steps, config.decay_factor, staircase=True
        )
    else:
        if config.schedule == "step":
            steps, rates = [total // 2], [config.learning_rate, config.learning_rate_late]
        else:
            steps = [epoch * steps_per_epoch for epoch in config.decay_epochs]
            rates = [config.learning_rate * config.decay_factor**i for i in range(len(steps) + 1)]
        # A boundary is the last step before the change, the first step being 0.
        rate = schedules.PiecewiseConstantDecay([step - 1 for step in steps], rates)
    if config.optimizer == "adam":
        optimizer = tf.keras.optimizers.Adam(rate)
    elif config.optimizer == "rmsprop":
        optimizer = tf.keras.optimizers.RMSprop(rate)
    else:
        optimizer = tf.keras.optimizers.AdamW(rate, weight_decay=config.weight_decay)
        optimizer.exclude_from_weight_decay(var_names=["bias", "gamma", "beta"])
    if precision(config) == "mixed_float16":
        optimizer = tf.keras.mixed_precision.LossScaleOptimizer(optimizer)
    return optimizer
