"""The training loop: steps, running averages, validation, checkpoints, exact resume."""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tf_dhm.core.errors import InputError
from tf_dhm.core.files import atomic_write
from tf_dhm.core.progress import Progress
from tf_dhm.core.types import Tensor
from tf_dhm.face import metrics
from tf_dhm.networks.config import ModelConfig
from tf_dhm.networks.fast_dhm import POOLED_NORMALIZATION
from tf_dhm.networks.keras_compat import scale_loss, unscale_gradients
from tf_dhm.networks.layers import DiffusionHeatMap
from tf_dhm.networks.models import build_model, constant_heatmap, precision_policy
from tf_dhm.networks.tensorflow import tf
from tf_dhm.training.config import CALIBRATION_STEPS, TrainConfig
from tf_dhm.training.distribution import Strategy, batch_normalizations
from tf_dhm.training.history import HISTORY_FILE, append_row, forget_later_epochs, read_column
from tf_dhm.training.losses import batch_loss
from tf_dhm.training.optimizers import make_optimizer, precision
from tf_dhm.training.software import check_software, record_software
from tf_dhm.training.validation import Validation, prediction_function

BatchSource = Callable[[int, int], tf.data.Dataset]
"""(first step, end step) -> batches as `pipelines.input.batches.training_batches` describes them."""
Weights = list[NDArray[np.float32]]
"""In the order of `build_model(...).get_weights()`."""

CHECKPOINT_FOLDER = "checkpoints"
BEST_FILE = "best.npz"
NAMED_FACES = 5
"""Faces of a batch that are named if its loss is not finite."""


class DivergedError(InputError):
    """The loss or its gradient is NaN or infinite: by the network, its recipe or a batch."""


def fix_pooled_statistics(model: tf.keras.Model) -> None:
    """Normalise the pooled features by the statistics in the weights, in training too.

    Raises:
        InputError: a network without that normalisation.
    """
    found = [layer for layer in model.layers if layer.name == POOLED_NORMALIZATION]
    if not found:
        raise InputError(
            "pooled_statistics: found fixed, expected batch for a network that does not normalise pooled "
            "features; the family fast_dhm does"
        )
    # A batch normalisation that cannot be trained uses its moving statistics in every call.
    found[0].trainable = False


class Trainer:
    """Trains one network, and keeps everything that resuming needs: weights, averages, optimizer, step.

    Args:
        model_config: the network.
        config: the recipe.
        steps_per_epoch: batches in an epoch.
        batches: source of batches.
        validation: faces of the `val` split.
        run_dir: where checkpoints, history and TensorBoard logs go.
        faces_of_step: names of the faces in the batch of a step (counted from 0), for messages.
        strategy: the devices to train on, by default one device. Each has its share of a batch; the batch
            normalisations see the whole, and the gradients are those of the whole. The chief alone
            validates, and writes to `run_dir`, which all workers read when they resume.
        own_batches: what this worker has of the batches, `strategy.rows` of each; by default all.

    Raises:
        InputError: a batch cannot be shared evenly.
    """

    def __init__(
        self,
        model_config: ModelConfig,
        config: TrainConfig,
        steps_per_epoch: int,
        batches: BatchSource,
        validation: Validation,
        run_dir: Path,
        faces_of_step: Callable[[int], Sequence[str]] | None = None,
        strategy: Strategy | None = None,
        own_batches: BatchSource | None = None,
    ) -> None:
        tf.keras.utils.set_random_seed(config.seed)
        self.strategy = Strategy() if strategy is None else strategy
        if config.batch_size % self.strategy.replicas:
            raise InputError(
                f"batch_size: found {config.batch_size}, expected a multiple of the "
                f"{self.strategy.replicas} devices that share a batch"
            )
        self.config = config
        self.size = model_config.input_size
        self.steps_per_epoch = steps_per_epoch
        self.batches = batches
        self.own_batches = batches if own_batches is None else own_batches
        self.validation = validation
        self.run_dir = run_dir
        self.faces_of_step = faces_of_step
        with precision_policy(precision(config)), self.strategy.building():
            self.model = build_model(model_config)
        self.strategy.synchronize(self.model)
        # Only the chief uses the average, though every worker holds the same one.
        with precision_policy("float32"):  # as it is exported, whatever it is trained in
            self.average = build_model(model_config)
        if config.pooled_statistics == "fixed":
            fix_pooled_statistics(self.model)
            fix_pooled_statistics(self.average)
        self.average.set_weights(self.model.get_weights())
        self.predict = prediction_function(self.average, self.size)
        with self.strategy.building():
            self.optimizer = make_optimizer(config, steps_per_epoch)
            self.optimizer.build(self.model.trainable_variables)
        self.step = tf.Variable(0, dtype=tf.int64, trainable=False)
        self.best = tf.Variable(np.inf, dtype=tf.float64, trainable=False)
        self.seconds = tf.Variable(0.0, dtype=tf.float64, trainable=False)
        self.epoch_loss = tf.Variable(0.0, dtype=tf.float64, trainable=False)
        self.draw_heatmap = DiffusionHeatMap(self.size, dtype="float32")
        self.heatmap = tf.constant(constant_heatmap(self.size))
        checkpoint = tf.train.Checkpoint(
            model=self.model,
            average=self.average,
            optimizer=self.optimizer,
            step=self.step,
            best=self.best,
            seconds=self.seconds,
            epoch_loss=self.epoch_loss,  # sum over the steps of an unfinished epoch
        )
        self.checkpoints = tf.train.CheckpointManager(
            checkpoint, str(run_dir / CHECKPOINT_FOLDER), max_to_keep=2
        )
        self.best_file = run_dir / BEST_FILE
        self.history_file = run_dir / HISTORY_FILE
        self.train_step = tf.function(self._train_step, autograph=False)
        self.calibration_step = tf.function(self._calibration_step, autograph=False)

    @property
    def total_steps(self) -> int:
        return self.config.epochs * self.steps_per_epoch

    def initialize(self, weights: Weights) -> None:
        """Start from trained weights, in the order of `model.get_weights()`.

        Unless the last weights are wanted, they are the best ones until an epoch is better on `val`.
        """
        expected = [tuple(w.shape) for w in self.model.get_weights()]
        found = [tuple(w.shape) for w in weights]
        if found != expected:
            raise InputError(
                f"init: found the {len(found)} weights of another network, "
                f"expected {len(expected)} as the chosen options have them"
            )
        self.model.set_weights(weights)
        self.average.set_weights(weights)
        if self.strategy.chief and self.config.keep == "best" and self.config.epochs:
            value = metrics.headline(self.validation.summarize(self.predict))
            self._keep(value)
            print(f"the initial weights: NME on val {value:.3f} %")

    def resume(self) -> int:
        """Restore the last checkpoint; returns its step. InputError if there is none that can be read."""
        latest = self.checkpoints.latest_checkpoint
        if latest is None:
            raise InputError(f"{self.run_dir / CHECKPOINT_FOLDER}: found no checkpoint, expected one")
        check_software(self.run_dir / CHECKPOINT_FOLDER)
        try:
            self.checkpoints.checkpoint.restore(latest).assert_consumed()
        except (tf.errors.OpError, AssertionError, ValueError) as error:
            raise InputError(f"{latest}: found no checkpoint of this run: {error}") from error
        if self.strategy.chief:
            forget_later_epochs(self.history_file, int(self.step) // self.steps_per_epoch)
        return int(self.step)

    def save(self) -> None:
        """Write a checkpoint of the present step, unless there is one; of several workers the chief does."""
        if not self.strategy.chief:
            return
        step = int(self.step)
        path = self.run_dir / CHECKPOINT_FOLDER / f"ckpt-{step}"
        if self.checkpoints.latest_checkpoint == str(path):
            return
        try:
            self.checkpoints.save(checkpoint_number=step)
            record_software(path.parent)
        except tf.errors.OpError as error:  # a full disk
            raise InputError(f"{path}: cannot be written: {error.message}") from error

    def _heatmap_of(self, batch: dict[str, Tensor]) -> Tensor:
        if "heatmap" in batch:
            drawn = batch["heatmap"]
        elif "initial" in batch:
            drawn = self.draw_heatmap(batch["initial"])
        else:
            return self.heatmap
        others = batch["image"].shape[0] - drawn.shape[0]
        return tf.concat([drawn, tf.repeat(self.heatmap, others, 0)], 0) if others else drawn

    def _train_step(self, batch: dict[str, Tensor]) -> Tensor:
        loss = self.strategy.add_up(self._replica_step, batch)
        self.step.assign_add(1)
        # Early weights are forgotten fast, or the average would lag behind in a short run.
        at = tf.cast(self.step, tf.float32)
        decay = tf.minimum(self.config.ema, (1.0 + at) / (10.0 + at))
        trained = zip(self.average.trainable_weights, self.model.trainable_weights, strict=True)
        for average, weight in trained:
            average.assign_sub((1.0 - decay) * (average - weight))
        return loss

    def _replica_step(self, batch: dict[str, Tensor]) -> Tensor:
        """Change the weights by the gradients of all devices; returns this one's share of the loss."""
        image = tf.cast(batch["image"], tf.float32)
        heatmap = self._heatmap_of(batch)
        variables = self.model.trainable_variables
        with tf.GradientTape() as tape:
            predicted = self.model({"image": image, "heatmap": heatmap}, training=True)
            loss = batch_loss(self.config, batch, predicted, self.size)
            if self.strategy.replicas > 1:
                loss /= self.strategy.replicas  # what the devices find is added up
            scaled = loss
            if isinstance(self.optimizer, tf.keras.mixed_precision.LossScaleOptimizer):
                scaled = scale_loss(self.optimizer, loss)
        gradients = tape.gradient(scaled, variables)
        if isinstance(self.optimizer, tf.keras.mixed_precision.LossScaleOptimizer):
            gradients = unscale_gradients(self.optimizer, gradients)
        else:
            # Such a gradient spoils the weights now, but the loss only at the next batch. (In
            # float16 it is the rule now and then: the step is left out and the scale lowered.)
            loss = tf.where(tf.math.is_finite(tf.linalg.global_norm(gradients)), loss, np.nan)
        self.optimizer.apply_gradients(zip(gradients, variables, strict=True))
        return loss

    def calibrate(self) -> None:
        """Measure the statistics of the average's batch normalisations over the last training batches.

        An average of weights has statistics of its own, which the average of the statistics is far
        from while the learning rate is high (Izmailov et al., UAI 2018, section 3.2).
        """
        layers = [layer for layer in batch_normalizations(self.average) if layer.trainable]
        for layer in layers:
            layer.momentum = 0.0  # a batch leaves its own statistics and no others
        statistics = [weight for layer in layers for weight in layer.non_trainable_weights]
        step = int(self.step)
        found = []
        for batch in self.batches(max(step - CALIBRATION_STEPS, 0), step):
            self.calibration_step(batch)
            found.append([weight.numpy() for weight in statistics])
        for weight, values in zip(statistics, zip(*found, strict=True), strict=True):
            weight.assign(np.mean(values, 0))

    def _calibration_step(self, batch: dict[str, Tensor]) -> None:
        inputs = {"image": tf.cast(batch["image"], tf.float32), "heatmap": self._heatmap_of(batch)}
        self.average(inputs, training=True)

    def fit(self, checkpoint_minutes: float = 5.0, stop_after_steps: int | None = None) -> dict[str, Any]:
        """Train from the present step to the end; returns the metrics of the best weights on `val`.

        Of several workers the others return nothing, and wait in a step while the chief validates.

        Args:
            checkpoint_minutes: besides one at the end of each epoch.
            stop_after_steps: stop after this number of steps (with a checkpoint).

        Raises:
            DivergedError: the loss or its gradient is NaN or infinite; names the step and the batch.
        """
        start = step = int(self.step)
        end = self.total_steps
        if stop_after_steps is not None:
            end = min(end, start + stop_after_steps)
        chief = self.strategy.chief
        folder = str(self.run_dir / "tensorboard")
        writer = tf.summary.create_file_writer(folder) if chief else tf.summary.create_noop_writer()
        progress = Progress(
            initial=start,
            total=self.total_steps,
            unit=" steps",
            desc="training",
            mininterval=1.0,
            disable=not chief,
        )
        seconds = float(self.seconds) - time.monotonic()
        saved_at = epoch_began = time.monotonic()
        epoch_start, loss_sum = start, float(self.epoch_loss)
        pending: deque[tuple[int, Tensor]] = deque()  # steps whose loss has not been fetched

        def fetch(kept: int) -> None:
            nonlocal loss_sum
            while len(pending) > kept:
                of_step, tensor = pending.popleft()
                loss = float(tensor)
                if not math.isfinite(loss):
                    raise DivergedError(self._describe_failure(of_step))
                loss_sum += loss

        def save() -> None:
            fetch(0)  # spoiled weights are not kept
            self.seconds.assign(seconds + time.monotonic())
            self.epoch_loss.assign(loss_sum)
            self.save()

        with closing(writer), writer.as_default(), progress:
            for batch in self.own_batches(start, end):
                pending.append((step, self.train_step(self.strategy.split(batch))))
                fetch(1)  # not the last one: a GPU would wait for Python between two steps
                step += 1
                progress.update()
                if step % self.steps_per_epoch == 0:
                    fetch(0)
                    # The rate is of this process: a resumed epoch is timed from there.
                    spent = time.monotonic() - epoch_began
                    rate = (step - epoch_start) * self.config.batch_size / spent
                    if chief:
                        row = self._finish_epoch(step // self.steps_per_epoch, loss_sum, rate)
                        writer.flush()
                        progress.set_postfix(
                            epoch=row["epoch"],
                            loss=f"{row['loss']:.4f}",
                            val=f"{row['val_nme']:.3f} %",
                            rate=f"{rate:.0f}/s",
                        )
                    loss_sum = 0.0
                # A checkpoint comes after the history and the best weights of its epoch, so that
                # what a killed run did after its last checkpoint is done again and nothing is lost.
                if step % self.steps_per_epoch == 0 or time.monotonic() - saved_at > 60 * checkpoint_minutes:
                    save()
                    saved_at = time.monotonic()
                if step % self.steps_per_epoch == 0:
                    epoch_began, epoch_start = time.monotonic(), step
            if chief and not math.isfinite(float(self.best)):
                self.calibrate()
            if step > start:
                save()
        return self.best_metrics() if chief else {}

    def _describe_failure(self, step: int) -> str:
        epoch, position = divmod(step, self.steps_per_epoch)
        message = (
            f"training: found a NaN or infinite loss or gradient at step {step + 1} (epoch {epoch + 1}, "
            f"batch {position + 1} of {self.steps_per_epoch}, seed {self.config.seed}), expected finite "
            "numbers; try a lower learning rate"
        )
        if self.faces_of_step is not None:
            names = [str(name) for name in self.faces_of_step(step)]
            message += f"; the faces: {', '.join(names[:NAMED_FACES])}"
            if len(names) > NAMED_FACES:
                message += f" and {len(names) - NAMED_FACES} more"
        return message

    def _finish_epoch(self, epoch: int, loss_sum: float, rate: float) -> dict[str, Any]:
        self.calibrate()
        summary = self.validation.summarize(self.predict)
        value = metrics.headline(summary)
        if value < float(self.best) or self.config.keep == "last":
            self._keep(value)
        row = {
            "epoch": epoch,
            "loss": loss_sum / self.steps_per_epoch,
            "val_nme": value,
            **{f"val_{key}": number for key, number in summary.items()},
            "images_per_second": round(rate, 1),
            "learning_rate": float(self.optimizer.learning_rate.numpy()),
        }
        for key in ("loss", "val_nme", "images_per_second", "learning_rate"):
            tf.summary.scalar(key, row[key], step=epoch)
        append_row(self.history_file, row)
        return row

    def _keep(self, value: float) -> None:
        """Keep the running average, with this error on `val`, as the best weights."""
        self.best.assign(value)
        with atomic_write(self.best_file) as path:
            np.savez(path, *self.average.get_weights())

    @property
    def is_improved(self) -> bool:
        """Whether the best weights are those of an epoch, not the initial ones."""
        return float(self.best) in read_column(self.history_file, "val_nme")

    def best_weights(self) -> Weights:
        """The running average that was best on `val`; before the end of the first epoch the present one."""
        if not math.isfinite(float(self.best)):
            return self.average.get_weights()
        with np.load(self.best_file) as archive:
            return [archive[name] for name in archive.files]

    def best_metrics(self) -> dict[str, Any]:
        """The metrics of `best_weights` on `val`."""
        present = self.average.get_weights()
        self.average.set_weights(self.best_weights())
        summary = self.validation.summarize(self.predict)
        self.average.set_weights(present)
        return summary
