"""The training loop: schedules, steps, averages, checkpoints, exact resume, and what stops a run."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import tensorflow as tf
from numpy.typing import NDArray

from pipelines.input.order import make_order
from tests.faces import TINY_RECIPE
from tests.trainers import FACES, MODEL, SIZE, STEPS, Batch, make_trainer
from tf_dhm.core.errors import InputError
from tf_dhm.face import geometry, metrics
from tf_dhm.face.heatmap import diffusion_heatmap
from tf_dhm.networks.fast_dhm import POOLED_NORMALIZATION
from tf_dhm.networks.models import build_model
from tf_dhm.training import optimizers
from tf_dhm.training import trainer as training
from tf_dhm.training.config import NO_AUGMENTATION, AugmentConfig
from tf_dhm.training.distribution import Strategy
from tf_dhm.training.history import HISTORY_FILE
from tf_dhm.training.presets import find_preset
from tf_dhm.training.software import SOFTWARE_FILE
from tf_dhm.training.trainer import Trainer
from tf_dhm.training.validation import Validation


def fixed_batch(trainer: Trainer) -> Batch:
    return next(iter(trainer.batches(0, 1)))


def assert_same_weights(first: list[NDArray[Any]], second: list[NDArray[Any]]) -> None:
    for a, b in zip(first, second, strict=True):
        np.testing.assert_array_equal(a, b)


# A step


def test_a_batch_that_the_devices_cannot_share_evenly(tmp_path: Path) -> None:
    three = SimpleNamespace(num_replicas_in_sync=3)
    with pytest.raises(InputError, match="batch_size: found 16, expected a multiple of the 3 devices"):
        make_trainer(tmp_path, strategy=Strategy(three))


def test_steps_lower_the_loss_of_a_batch(tmp_path: Path) -> None:
    trainer = make_trainer(tmp_path, dataclasses.replace(TINY_RECIPE, epochs=20))
    batch = fixed_batch(trainer)
    values = [float(trainer.train_step(batch)) for _ in range(30)]
    assert values[-1] < 0.6 * values[0]
    assert int(trainer.step) == 30


def test_the_loss_is_the_error_in_pixels_of_the_crop(tmp_path: Path) -> None:
    trainer = make_trainer(tmp_path, dataclasses.replace(TINY_RECIPE, loss="nme", depth_weight=0.0))
    batch = fixed_batch(trainer)
    image = tf.cast(batch["image"], tf.float32)
    unit = trainer.model({"image": image, "heatmap": trainer.heatmap}, training=True)
    predicted = geometry.unit_to_pixels(unit, SIZE)
    expected = metrics.nme(predicted, batch["landmarks"].numpy()).mean() / 100
    assert float(trainer.train_step(batch)) == pytest.approx(expected, rel=1e-3)


def test_the_average_by_hand(tmp_path: Path) -> None:
    trainer = make_trainer(tmp_path, dataclasses.replace(TINY_RECIPE, ema=0.25, epochs=20))
    batch = fixed_batch(trainer)
    average = [w.numpy() for w in trainer.model.trainable_weights]
    # The decay is the smaller of 0.25 and (1 + t) / (10 + t): 2/11, 3/12, 0.25 from there.
    for decay in (2 / 11, 0.25, 0.25):
        trainer.train_step(batch)
        weights = [w.numpy() for w in trainer.model.trainable_weights]
        average = [decay * a + (1 - decay) * w for a, w in zip(average, weights, strict=True)]
    for found, expected in zip(trainer.average.trainable_weights, average, strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-6)


@pytest.fixture(scope="module")
def stopped(tmp_path_factory: pytest.TempPathFactory) -> tuple[Trainer, list[int]]:
    """A run that was stopped within its first epoch, and the steps at which it wrote checkpoints."""
    trainer = make_trainer(tmp_path_factory.mktemp("stopped"), dataclasses.replace(TINY_RECIPE, ema=0.9))
    saved: list[int] = []
    save = trainer.save

    def record() -> None:
        saved.append(int(trainer.step))
        save()

    trainer.save = record  # type: ignore[method-assign]
    trainer.fit(checkpoint_minutes=0.0, stop_after_steps=3)
    return trainer, saved


def test_the_statistics_of_the_average_are_measured_with_its_own_weights(
    stopped: tuple[Trainer, list[int]],
) -> None:
    trainer, _ = stopped
    layer = trainer.average.get_layer("stem_normalization")
    means = []
    for batch in trainer.batches(0, 3):
        image = tf.cast(batch["image"], tf.float32)
        stem = trainer.average.get_layer("stem")([image, trainer.heatmap])
        means.append(tf.reduce_mean(stem, (0, 1, 2)))
    np.testing.assert_allclose(layer.moving_mean, np.mean(means, 0), rtol=1e-3, atol=1e-5)


def test_pooled_features_normalised_by_fixed_statistics(whole: Trainer, tmp_path: Path) -> None:
    """No step and no calibration moves the layer, and its output of a face does not depend on the batch."""
    trainer = make_trainer(tmp_path / "run", dataclasses.replace(TINY_RECIPE, pooled_statistics="fixed"))
    trainer.initialize(whole.average.get_weights())
    networks = (trainer.model, trainer.average)
    layers = [network.get_layer(POOLED_NORMALIZATION) for network in networks]
    before = layers[0].get_weights()
    stem = trainer.average.get_layer("stem_normalization").moving_mean.numpy()
    trainer.fit(stop_after_steps=STEPS)
    for layer in layers:
        assert_same_weights(layer.get_weights(), before)
    assert not np.allclose(trainer.average.get_layer("stem_normalization").moving_mean.numpy(), stem)
    shifted = 5.0 + np.arange(48.0, dtype=np.float32).reshape(6, 1, 1, 8)
    free = tf.keras.layers.BatchNormalization()
    np.testing.assert_allclose(layers[0](shifted[:3], training=True), layers[0](shifted, training=True)[:3])
    assert not np.allclose(free(shifted[:3], training=True), free(shifted, training=True)[:3], atol=0.1)


def test_networks_without_pooled_statistics_reject_to_fix_them() -> None:
    with pytest.raises(InputError, match="pooled_statistics: found fixed, expected batch"):
        training.fix_pooled_statistics(build_model(find_preset("dhm_small").model))


@pytest.mark.parametrize("changes", [{"map_noise": 0.1}, {"second_pass": 0.25}])
@pytest.mark.parametrize("map_source", ["layer", "py_function"])
def test_the_heat_map_of_a_batch_is_that_of_its_initial_shapes(
    map_source: Any, changes: dict[str, Any], tmp_path: Path
) -> None:
    noisy = dataclasses.replace(NO_AUGMENTATION, **changes)
    trainer = make_trainer(tmp_path, dataclasses.replace(TINY_RECIPE, map_source=map_source), noisy)
    batch = fixed_batch(trainer)
    seen: list[NDArray[np.float32]] = []
    model = trainer.model

    def record(inputs: Batch, training: bool) -> Any:
        seen.append(inputs["heatmap"].numpy())
        return model(inputs, training=training)

    record.trainable_variables = model.trainable_variables  # type: ignore[attr-defined]
    record.trainable_weights = model.trainable_weights  # type: ignore[attr-defined]
    trainer.model = record
    trainer._train_step(batch)
    if map_source == "layer":
        expected = np.stack([diffusion_heatmap(points, SIZE) for points in batch["initial"].numpy()])
    else:
        expected = batch["heatmap"].numpy()
    drawn = len(expected)
    assert drawn == (4 if map_source == "layer" and "second_pass" in changes else 16)
    np.testing.assert_allclose(seen[0][:drawn], expected, atol=1e-4)
    for others in seen[0][drawn:]:  # the map of the mean face
        np.testing.assert_array_equal(others, trainer.heatmap[0])


@pytest.mark.slow
@pytest.mark.parametrize("changes", [{}, {"second_pass": 0.25}, {"map_noise": 0.1}])
def test_both_sources_of_heat_maps_train_alike(changes: dict[str, Any], tmp_path: Path) -> None:
    # Maps of the two differ in the last bits, and sums are taken in another order. The differences grow with
    # every step, and differ between processors: the early steps have to agree, the late ones on the whole.
    augment = AugmentConfig(**changes)
    trained = []
    for map_source in ("layer", "py_function"):
        config = dataclasses.replace(TINY_RECIPE, map_source=map_source, epochs=50)
        trainer = make_trainer(tmp_path / map_source, config, augment)
        batches = iter(trainer.batches(0, 200))
        early = [float(trainer.train_step(batch)) for batch in islice(batches, 20)]
        weights = trainer.model.get_weights()
        late = [float(trainer.train_step(batch)) for batch in batches]
        trained.append((np.array(early + late), weights))
    (losses, weights), (others, other_weights) = trained
    np.testing.assert_allclose(losses[:20], others[:20], rtol=1e-4)
    for weight, other in zip(weights, other_weights, strict=True):
        np.testing.assert_allclose(weight, other, rtol=0, atol=1e-4 * np.abs(weight).max())
    assert losses[-50:].mean() == pytest.approx(others[-50:].mean(), rel=0.05)
    assert losses[-1] < 0.5 * losses[0]


@pytest.mark.slow
def test_faces_without_depth_train_too(tmp_path: Path) -> None:
    def flatten(batch: Batch) -> Batch:
        unknown = tf.fill([16, 68, 1], np.float32(np.nan))
        return {**batch, "landmarks": tf.concat([batch["landmarks"][..., :2], unknown], -1)}

    trainer = make_trainer(tmp_path, dataclasses.replace(TINY_RECIPE, epochs=1), change=flatten)
    trainer.fit()
    assert all(np.isfinite(weight).all() for weight in trainer.model.get_weights())


def test_a_loss_is_fetched_during_the_next_step_and_averaged_over_an_epoch(tmp_path: Path) -> None:
    trainer = make_trainer(tmp_path)
    events: list[str] = []
    losses: list[float] = []
    real_step = trainer.train_step

    class Loss:
        def __init__(self, number: int, value: Any) -> None:
            self.number, self.value = number, value

        def __float__(self) -> float:
            events.append(f"loss {self.number}")
            losses.append(float(self.value))
            return losses[-1]

    def train_step(batch: Batch) -> Loss:
        events.append(f"step {len([event for event in events if event.startswith('step')])}")
        return Loss(int(events[-1].split()[1]), real_step(batch))

    trainer.train_step = train_step
    trainer.fit(stop_after_steps=STEPS + 1)
    assert events == [
        *("step 0", "step 1", "loss 0", "step 2", "loss 1", "step 3", "loss 2", "loss 3"),
        *("step 4", "loss 4"),
    ]
    history = pd.read_csv(tmp_path / HISTORY_FILE)
    assert history["loss"].tolist() == pytest.approx([np.mean(losses[:STEPS])])


# A whole run


def test_the_best_epoch_is_kept(whole: Trainer) -> None:
    history = pd.read_csv(whole.run_dir / HISTORY_FILE)
    assert history["epoch"].tolist() == [1, 2, 3]
    assert np.isfinite(history[["loss", "val_nme", "images_per_second", "learning_rate"]]).all(axis=None)
    assert float(whole.best) == pytest.approx(history["val_nme"].min())
    assert whole.best_metrics()["nme_mean_of_bins"] == pytest.approx(history["val_nme"].min(), rel=1e-5)
    assert list((whole.run_dir / "tensorboard").glob("events.out.tfevents.*"))
    assert float(whole.seconds) > 0.0


def test_a_later_epoch_that_is_worse_is_kept_only_if_asked_for(tmp_path: Path) -> None:
    trainer = make_trainer(tmp_path, dataclasses.replace(TINY_RECIPE, ema=0.0))
    trainer.fit(stop_after_steps=STEPS)
    best, kept = float(trainer.best), trainer.best_weights()
    assert_same_weights(kept, trainer.average.get_weights())
    spoilt = [weight + 0.5 for weight in kept]
    trainer.model.set_weights(spoilt)
    found = trainer.fit(stop_after_steps=STEPS)
    assert int(trainer.step) == 2 * STEPS
    assert pd.read_csv(trainer.run_dir / HISTORY_FILE)["val_nme"][1] > best
    assert_same_weights(trainer.best_weights(), kept)
    assert found["nme_mean_of_bins"] == pytest.approx(best, rel=1e-5)
    # Training continues with the current average, not with the best one.
    assert np.any(trainer.average.get_weights()[0] != kept[0])

    trainer.config = dataclasses.replace(trainer.config, keep="last")
    trainer.model.set_weights(spoilt)
    found = trainer.fit(stop_after_steps=STEPS)
    last = pd.read_csv(trainer.run_dir / HISTORY_FILE)["val_nme"][2]
    assert last > best
    assert_same_weights(trainer.best_weights(), trainer.average.get_weights())
    assert found["nme_mean_of_bins"] == pytest.approx(last, rel=1e-5)


def test_before_the_first_epoch_s_end_the_present_average_is_the_best(
    stopped: tuple[Trainer, list[int]],
) -> None:
    trainer, _ = stopped
    assert_same_weights(trainer.best_weights(), trainer.average.get_weights())


# Resume


@pytest.mark.parametrize(
    "stop",
    [
        STEPS + 1,
        pytest.param(STEPS, marks=pytest.mark.slow),
        pytest.param(2 * STEPS - 1, marks=pytest.mark.slow),
    ],
)
def test_an_interrupted_run_ends_with_the_same_weights(stop: int, whole: Trainer, tmp_path: Path) -> None:
    make_trainer(tmp_path).fit(stop_after_steps=stop)
    resumed = make_trainer(tmp_path)
    # A run that is killed after it wrote the row of an epoch, or half of it, and before its checkpoint.
    history = tmp_path / HISTORY_FILE
    before = history.read_text()
    row = f"{stop // STEPS + 1}{before.splitlines()[1][1:]}"
    for more in ("", f"{row}\n", row[:9]):
        history.write_text(before + more)
        assert resumed.resume() == stop
        assert history.read_text() == before
    resumed.fit()
    assert_same_weights(resumed.model.get_weights(), whole.model.get_weights())
    assert_same_weights(resumed.average.get_weights(), whole.average.get_weights())
    assert_same_weights(
        [value.numpy() for value in resumed.optimizer.variables],
        [value.numpy() for value in whole.optimizer.variables],
    )
    assert_same_weights(resumed.best_weights(), whole.best_weights())
    columns = ["epoch", "loss", "val_nme", "learning_rate"]
    tables = [pd.read_csv(t.run_dir / HISTORY_FILE)[columns] for t in (resumed, whole)]
    pd.testing.assert_frame_equal(*tables)


@pytest.mark.slow
def test_fit_can_be_called_again_without_a_restart(whole: Trainer, tmp_path: Path) -> None:
    trainer = make_trainer(tmp_path)
    for _ in range(3):
        trainer.fit(stop_after_steps=5)
    assert int(trainer.step) == trainer.total_steps == 12
    assert_same_weights(trainer.average.get_weights(), whole.average.get_weights())


def test_a_row_before_the_first_checkpoint_is_forgotten(tmp_path: Path) -> None:
    trainer = make_trainer(tmp_path)
    trainer.save()
    (tmp_path / HISTORY_FILE).write_text("epoch,lo")
    assert trainer.resume() == 0
    assert not (tmp_path / HISTORY_FILE).exists()


def test_checkpoints_by_time(stopped: tuple[Trainer, list[int]]) -> None:
    trainer, saved = stopped
    assert saved[:3] == [1, 2, 3]
    folder = trainer.run_dir / training.CHECKPOINT_FOLDER
    assert {path.stem for path in folder.glob("*.index")} == {"ckpt-2", "ckpt-3"}


def test_a_checkpoint_is_not_written_twice(tmp_path: Path) -> None:
    trainer = make_trainer(tmp_path)
    trainer.save()
    path = tmp_path / training.CHECKPOINT_FOLDER / "ckpt-0.index"
    before = path.stat().st_mtime_ns
    trainer.save()
    assert path.stat().st_mtime_ns == before


def test_a_full_disk_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trainer = make_trainer(tmp_path)

    def full(checkpoint_number: int) -> None:
        raise tf.errors.ResourceExhaustedError(None, None, "no space left")

    monkeypatch.setattr(trainer.checkpoints, "save", full)
    with pytest.raises(InputError, match=r"ckpt-0: .*no space left"):
        trainer.save()


def test_resume_without_a_checkpoint(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"checkpoints: found no checkpoint, expected one"):
        make_trainer(tmp_path).resume()


def test_resume_of_a_run_of_the_other_keras_generation(tmp_path: Path) -> None:
    make_trainer(tmp_path).save()
    file = tmp_path / training.CHECKPOINT_FOLDER / SOFTWARE_FILE
    versions = json.loads(file.read_text())
    other = {"2": "3.15.1", "3": "2.15.0"}[versions["keras"][0]]
    file.write_text(json.dumps({**versions, "keras": other}))
    with pytest.raises(InputError, match=rf"found checkpoints of Keras {other} .*--init SAVEDMODEL"):
        make_trainer(tmp_path).resume()


def test_resume_of_another_network(tmp_path: Path) -> None:
    make_trainer(tmp_path).save()
    other = dataclasses.replace(MODEL, hidden_units=24)
    nothing = Validation(
        np.zeros((0, SIZE, SIZE, 3), np.uint8), np.zeros((0, 68, 3), np.float32), np.zeros(0, np.float32)
    )
    trainer = Trainer(other, TINY_RECIPE, STEPS, lambda *_: tf.data.Dataset.range(0), nothing, tmp_path)
    with pytest.raises(InputError, match=r"ckpt-0: found no checkpoint of this run"):
        trainer.resume()


# What stops a run


def test_a_loss_that_is_no_number_names_its_batch(tmp_path: Path) -> None:
    def spoil(batch: Batch) -> Batch:
        bad = tf.where(batch["step"] == 5, np.float32(np.inf), np.float32(1.0))
        landmarks = tf.concat([batch["landmarks"][..., :2], batch["landmarks"][..., 2:] * bad], -1)
        # An infinite depth counts as unknown, so the picture is spoilt too.
        return {**batch, "landmarks": landmarks, "image": tf.cast(batch["image"], tf.float32) * bad}

    trainer = make_trainer(tmp_path, change=spoil)
    order = make_order(FACES, TINY_RECIPE)
    names = FACES.name[order.batch(5)].tolist()
    with pytest.raises(InputError) as caught:
        trainer.fit()
    message = str(caught.value)
    assert "NaN or infinite loss or gradient at step 6 (epoch 2, batch 2 of 4, seed 0)" in message
    assert f"the faces: {', '.join(names[:5])} and 11 more" in message
    # Files written before are complete: the run resumes from the end of epoch 1.
    assert trainer.resume() == STEPS
    assert all(np.isfinite(weight).all() for weight in trainer.model.get_weights())


def test_a_gradient_that_is_no_number_stops_before_it_spreads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer = make_trainer(tmp_path)

    @tf.custom_gradient
    def poison(x: Any) -> tuple[Any, Callable[[Any], Any]]:
        return tf.identity(x), lambda upstream: upstream * np.nan

    loss = training.batch_loss
    monkeypatch.setattr(
        training,
        "batch_loss",
        lambda config, batch, predicted, size: loss(config, batch, poison(predicted), size),
    )
    with pytest.raises(InputError, match=r"gradient at step 1 \(epoch 1, batch 1 of 4"):
        trainer.fit(checkpoint_minutes=0.0)
    assert trainer.checkpoints.latest_checkpoint is None


# Starting weights, precision, seeds


def test_training_begins_with_given_weights(whole: Trainer, tmp_path: Path) -> None:
    trainer = make_trainer(tmp_path)
    trainer.initialize(whole.best_weights())
    assert_same_weights(trainer.model.get_weights(), whole.best_weights())
    assert_same_weights(trainer.average.get_weights(), whole.best_weights())


def test_weights_of_another_network_are_rejected(tmp_path: Path) -> None:
    trainer = make_trainer(tmp_path)
    weights = trainer.model.get_weights()
    with pytest.raises(InputError, match=r"init: found the \d+ weights of another network"):
        trainer.initialize([*weights[:-1], np.zeros(7, np.float32)])


def test_mixed_precision(tmp_path: Path) -> None:
    config = dataclasses.replace(TINY_RECIPE, mixed_precision=True, epochs=1)
    trainer = make_trainer(tmp_path, config)
    before = trainer.model.get_weights()
    assert trainer.model.get_layer("stem").compute_dtype != "float32"
    assert trainer.average.get_layer("stem").compute_dtype == "float32"
    assert tf.keras.mixed_precision.global_policy().name == "float32"
    trainer.fit()
    assert {weight.dtype for weight in trainer.best_weights()} == {np.dtype(np.float32)}
    assert any(np.any(a != b) for a, b in zip(before, trainer.model.get_weights(), strict=True))
    assert make_trainer(tmp_path, config).resume() == STEPS


@pytest.mark.slow
def test_loss_scaling_on_a_gpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (training, optimizers):
        monkeypatch.setattr(module, "precision", lambda config: "mixed_float16")
    trainer = make_trainer(tmp_path, dataclasses.replace(TINY_RECIPE, mixed_precision=True, epochs=20))
    assert isinstance(trainer.optimizer, tf.keras.mixed_precision.LossScaleOptimizer)
    batch = fixed_batch(trainer)
    values = [float(trainer.train_step(batch)) for _ in range(20)]
    assert values[-1] < 0.8 * values[0]
    trainer.save()
    assert math.isfinite(trainer._finish_epoch(1, values[-1], 1.0)["learning_rate"])


def test_the_seed_decides_the_initial_weights(tmp_path: Path) -> None:
    runs = [
        make_trainer(tmp_path / str(i), dataclasses.replace(TINY_RECIPE, seed=s))
        for i, s in enumerate((3, 3, 4))
    ]
    first, same, other = (trainer.model.get_weights() for trainer in runs)
    assert_same_weights(first, same)
    assert np.any(first[0] != other[0])
