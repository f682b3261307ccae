"""The training loop: steps, running averages, validation, checkpoints, exact resume."""

from __future__ import annotations

import csv
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray
from tqdm import tqdm

from tf_dhm import geometry, metrics
from tf_dhm.config import ModelConfig, TrainConfig
from tf_dhm.errors import InputError
from tf_dhm.layers import DiffusionHeatMap
from tf_dhm.losses import loss_function
from tf_dhm.models import build_model, constant_heatmap

Tensor = Any
BatchSource = Callable[[int, int], tf.data.Dataset]
"""(first step, end step) -> batches as `pipelines.batches.training_batches` describes them."""

HISTORY_FILE = "history.csv"
CHECKPOINT_FOLDER = "checkpoints"
BEST_FOLDER = "best"


@dataclass(frozen=True)
class Validation:
    """Faces on which the best weights are chosen.

    crops (N, S, S, 3) uint8, landmarks (N, 68, 3) in crop pixels, yaw (N,) degrees or NaN.
    """

    crops: NDArray[np.uint8]
    landmarks: NDArray[np.float32]
    yaw: NDArray[np.float32]

    def summarize(self, model: tf.keras.Model, batch_size: int = 250) -> dict[str, float | int | None]:
        """The metrics of `metrics.summarize` for a network as `build_model` makes it."""
        size = self.crops.shape[1]
        heatmap = tf.constant(constant_heatmap(size))
        predict = tf.function(lambda image: model({"image": image, "heatmap": heatmap}, training=False))
        starts = range(0, len(self.crops), batch_size)
        units = [predict(tf.cast(self.crops[s : s + batch_size], tf.float32)).numpy() for s in starts]
        predicted = geometry.unit_to_pixels(np.concatenate(units), size)
        return metrics.summarize(metrics.nme(predicted, self.landmarks), self.yaw)


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


def make_optimizer(config: TrainConfig, steps_per_epoch: int) -> tf.keras.optimizers.Optimizer:
    """The optimizer and learning-rate schedule that `config` names."""
    total = config.epochs * steps_per_epoch
    if config.schedule == "cosine":
        warmup = round(config.warmup_epochs * steps_per_epoch)
        rate: Any = WarmupCosine(config.learning_rate, warmup, total)
    else:
        rate = tf.keras.optimizers.schedules.PiecewiseConstantDecay(
            [total // 2], [config.learning_rate, config.learning_rate_late]
        )
    if config.optimizer == "adam":
        optimizer = tf.keras.optimizers.Adam(rate)
    else:
        optimizer = tf.keras.optimizers.AdamW(rate, weight_decay=config.weight_decay)
        optimizer.exclude_from_weight_decay(var_names=["bias", "gamma", "beta"])
    if config.mixed_precision and tf.keras.mixed_precision.global_policy().compute_dtype == "float16":
        optimizer = tf.keras.mixed_precision.LossScaleOptimizer(optimizer)
    return optimizer


class Trainer:
    """Trains one network and keeps all that is needed to go on: weights, averages, optimizer, step.

    Args:
        model_config: the network.
        config: the recipe.
        steps_per_epoch: batches in an epoch.
        batches: source of batches.
        validation: faces of the `val` split.
        run_dir: where checkpoints, history and TensorBoard logs go.
    """

    def __init__(
        self,
        model_config: ModelConfig,
        config: TrainConfig,
        steps_per_epoch: int,
        batches: BatchSource,
        validation: Validation,
        run_dir: Path,
    ) -> None:
        if config.mixed_precision:
            kind = "mixed_float16" if tf.config.list_physical_devices("GPU") else "mixed_bfloat16"
            tf.keras.mixed_precision.set_global_policy(kind)
        tf.keras.utils.set_random_seed(config.seed)
        self.config = config
        self.size = model_config.input_size
        self.steps_per_epoch = steps_per_epoch
        self.batches = batches
        self.validation = validation
        self.run_dir = run_dir
        self.model = build_model(model_config)
        self.average = build_model(model_config)
        self.average.set_weights(self.model.get_weights())
        self.optimizer = make_optimizer(config, steps_per_epoch)
        self.optimizer.build(self.model.trainable_variables)
        self.step = tf.Variable(0, dtype=tf.int64, trainable=False)
        self.best = tf.Variable(np.inf, dtype=tf.float64, trainable=False)
        self.seconds = tf.Variable(0.0, dtype=tf.float64, trainable=False)
        self.loss = loss_function(config.loss)
        self.draw_heatmap = DiffusionHeatMap(self.size, dtype="float32")
        self.heatmap = tf.constant(constant_heatmap(self.size))
        checkpoint = tf.train.Checkpoint(
            model=self.model,
            average=self.average,
            optimizer=self.optimizer,
            step=self.step,
            best=self.best,
            seconds=self.seconds,
        )
        self.checkpoints = tf.train.CheckpointManager(
            checkpoint, str(run_dir / CHECKPOINT_FOLDER), max_to_keep=2
        )
        self.best_file = run_dir / BEST_FOLDER / "weights"
        self.train_step = tf.function(self._train_step)

    @property
    def total_steps(self) -> int:
        return self.config.epochs * self.steps_per_epoch

    def initialize(self, weights: list[NDArray[np.float32]]) -> None:
        """Start from trained weights, in the order of `model.get_weights()`."""
        shapes = [tuple(w.shape) for w in self.model.get_weights()]
        if shapes != [tuple(w.shape) for w in weights]:
            raise InputError("init: found weights of another network, expected those of the chosen preset")
        self.model.set_weights(weights)
        self.average.set_weights(weights)

    def resume(self) -> int:
        """Restore the last checkpoint; returns its step. InputError where there is none."""
        if self.checkpoints.latest_checkpoint is None:
            raise InputError(f"{self.run_dir / CHECKPOINT_FOLDER}: found no checkpoint, expected one")
        self.checkpoints.checkpoint.restore(self.checkpoints.latest_checkpoint).assert_consumed()
        return int(self.step)

    def save(self) -> None:
        """Write a checkpoint of the present step."""
        self.checkpoints.save(checkpoint_number=int(self.step))

    def _train_step(self, batch: dict[str, Tensor]) -> Tensor:
        image = tf.cast(batch["image"], tf.float32)
        if "heatmap" in batch:
            heatmap = batch["heatmap"]
        elif "initial" in batch:
            heatmap = self.draw_heatmap(batch["initial"])
        else:
            heatmap = self.heatmap
        half = self.size / 2.0
        truth = batch["landmarks"] / half + tf.constant([1.0 / self.size - 1.0] * 2 + [0.0])
        variables = self.model.trainable_variables
        with tf.GradientTape() as tape:
            predicted = self.model({"image": image, "heatmap": heatmap}, training=True)
            loss = tf.reduce_mean(self.loss(truth, predicted, self.config.depth_weight))
            scaled = loss
            if isinstance(self.optimizer, tf.keras.mixed_precision.LossScaleOptimizer):
                scaled = self.optimizer.get_scaled_loss(loss)
        gradients = tape.gradient(scaled, variables)
        if isinstance(self.optimizer, tf.keras.mixed_precision.LossScaleOptimizer):
            gradients = self.optimizer.get_unscaled_gradients(gradients)
        self.optimizer.apply_gradients(zip(gradients, variables, strict=True))
        self.step.assign_add(1)
        # Early weights are forgotten fast, or the average would lag behind in a short run.
        at = tf.cast(self.step, tf.float32)
        decay = tf.minimum(self.config.ema, (1.0 + at) / (10.0 + at))
        for average, weight in zip(self.average.weights, self.model.weights, strict=True):
            average.assign_sub((1.0 - decay) * (average - weight))
        return loss

    def fit(self, checkpoint_minutes: float = 5.0, stop_after_steps: int | None = None) -> dict[str, Any]:
        """Train from the present step to the end; returns the metrics of the best weights on `val`.

        Args:
            checkpoint_minutes: besides one at the end of each epoch.
            stop_after_steps: end early after so many steps (with a checkpoint).

        Raises:
            InputError: the loss is NaN or infinite; names the step and the batch.
        """
        start = int(self.step)
        end = (
            self.total_steps if stop_after_steps is None else min(self.total_steps, start + stop_after_steps)
        )
        writer = tf.summary.create_file_writer(str(self.run_dir / "tensorboard"))
        progress = tqdm(initial=start, total=self.total_steps, unit="step", desc="training", mininterval=1.0)
        began, spent = time.monotonic(), float(self.seconds)
        saved_at = began
        epoch_began, epoch_steps, epoch_loss = time.monotonic(), 0, 0.0
        with writer.as_default(), progress:
            for batch in self._stream(start, end):
                loss = float(self.train_step(batch))
                if not math.isfinite(loss):
                    raise InputError(self._describe_failure(batch, loss))
                step = int(self.step)
                progress.update()
                epoch_steps += 1
                epoch_loss += loss
                if step % self.steps_per_epoch == 0:
                    epoch = step // self.steps_per_epoch
                    seconds = time.monotonic() - epoch_began
                    rate = epoch_steps * self.config.batch_size / seconds
                    row = self._finish_epoch(epoch, epoch_loss / epoch_steps, rate)
                    progress.set_postfix(
                        epoch=epoch,
                        loss=f"{row['loss']:.4f}",
                        val=f"{row['val_nme']:.3f}",
                        rate=f"{rate:.0f}/s",
                    )
                    epoch_began, epoch_steps, epoch_loss = time.monotonic(), 0, 0.0
                if step % self.steps_per_epoch == 0 or time.monotonic() - saved_at > 60 * checkpoint_minutes:
                    self.seconds.assign(spent + time.monotonic() - began)
                    self.save()
                    saved_at = time.monotonic()
        if end > start and int(self.step) % self.steps_per_epoch:
            self.save()
        return self.best_metrics()

    def _stream(self, start: int, end: int) -> Iterator[dict[str, Tensor]]:
        return iter(self.batches(start, end))

    def _describe_failure(self, batch: dict[str, Tensor], loss: float) -> str:
        step = int(batch["step"])
        epoch, position = divmod(step, self.steps_per_epoch)
        return (
            f"training: found loss {loss} at step {step} (epoch {epoch + 1}, batch {position} of seed "
            f"{self.config.seed}), expected a finite number; try a lower learning rate"
        )

    def _finish_epoch(self, epoch: int, loss: float, rate: float) -> dict[str, Any]:
        summary = self.validation.summarize(self.average)
        headline = summary["nme_mean_of_bins"]
        value = float(headline if headline is not None else summary["nme_mean"] or np.inf)
        if value < float(self.best):
            self.best.assign(value)
            self.average.save_weights(str(self.best_file))
        row = {
            "epoch": epoch,
            "loss": loss,
            "val_nme": value,
            **{f"val_{key}": number for key, number in summary.items()},
            "images_per_second": round(rate, 1),
            "learning_rate": float(self.optimizer.learning_rate),
        }
        for key in ("loss", "val_nme", "images_per_second", "learning_rate"):
            tf.summary.scalar(key, row[key], step=epoch)
        path = self.run_dir / HISTORY_FILE
        new = not path.exists()
        with path.open("a", newline="") as file:
            table = csv.DictWriter(file, list(row))
            if new:
                table.writeheader()
            table.writerow(row)
        return row

    def best_metrics(self) -> dict[str, Any]:
        """Load the best weights into `average` and measure them on `val`."""
        if math.isfinite(float(self.best)):
            self.average.load_weights(str(self.best_file)).expect_partial()
        return self.validation.summarize(self.average)
