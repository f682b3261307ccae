"""The tf.data pipeline: prepared faces to training batches."""

from __future__ import annotations

import weakref
from typing import Any

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from pipelines.input.augmentation import (
    APPEARANCE,
    SeedSequence,
    apply_graph,
    apply_opencv,
    sample_appearance,
    sample_crops,
    sample_initial_shape,
    sample_second_pass,
    to_crop,
)
from pipelines.input.heat_maps import heat_maps
from pipelines.input.order import EpochOrder
from pipelines.input.services import DataService
from pipelines.input.targets import NO_TARGETS, Targets, weight_in_crop
from pipelines.input.variation import blur_sigmas
from pipelines.prepared.arrays import FaceArrays
from tf_dhm.core.types import Tensor
from tf_dhm.face.mean_face import mean_landmarks
from tf_dhm.runtime.crops import upright_roll
from tf_dhm.training.config import NO_AUGMENTATION, AugmentConfig, TrainConfig

ALL = slice(None)
"""Rows of a whole batch."""


def training_batches(
    faces: FaceArrays,
    order: EpochOrder,
    size: int,
    config: TrainConfig,
    augment: AugmentConfig,
    first_step: int = 0,
    last_step: int | None = None,
    rows: slice = ALL,
    service: DataService | None = None,
    heatmap_input: bool = True,
    targets: Targets = NO_TARGETS,
) -> tf.data.Dataset:
    """Batches of steps first_step ... last_step - 1 (endless for None).

    Only `rows` of each batch are made, by the machines of `service` if it is given: these need
    image_ops "graph", map_source "layer" and a last_step.

    A batch is a dict: `step` () int64; `image` (B, size, size, 3) uint8; `landmarks` (B, 68, 3)
    float32 crop pixels; and the heat maps of the initial shapes, or these shapes:

    - map_source "py_function": `heatmap` (B, size, size, 3) float32, the map of every face, drawn in
      the pipeline by `heat_maps`.
    - map_source "layer": `initial` (K, 68, 3) float32, from which a layer draws the maps of the first
      K faces in the training step. The others start from the mean face, whose map is a constant of
      that step. K is B if the initial shape is disturbed (augment.map_noise > 0), else the number of
      faces shown as a second pass sees them (augment.second_pass). There is no `initial` if K is 0.

    With `targets` it holds also `teacher` (B, 68, 3) float32 crop pixels, or `weight` (B, 68) float32.

    A face whose z is unknown has no second pass.

    Args:
        faces: to train with.
        order: which of them are in the batch of a step.
        size: side of the crops in pixels.
        config, augment: how batches are made.
        first_step, last_step: see above.
        rows: which faces of each batch to make.
        service: makes the batches in place of this process.
        heatmap_input: whether the network takes heat maps; if not, batches hold neither of the two.
        targets: what the faces teach beside their labels.
    """
    # In host memory, where tf.data runs, not on a GPU.
    with tf.device("/CPU:0"):
        all_landmarks = tf.constant(faces.landmarks)
        teacher = None if targets.teacher is None else tf.constant(targets.teacher)
        weight = None if targets.weight is None else tf.constant(targets.weight)
        mean = tf.constant(mean_landmarks(size))
        stored = None
        if config.image_ops == "graph" and service is None:
            stored = tf.constant(np.asarray(faces.images))
    # TensorFlow never releases a function passed to it, nor the gigabytes of faces that this one holds.
    source = weakref.ref(faces)
    batch_size = order.batch_size
    sigmas = blur_sigmas(augment)
    later = round(augment.second_pass * batch_size)
    if later:
        rolls = tf.constant(rolls_of(faces.landmarks))
    last = last_step if last_step is not None else np.iinfo(np.int64).max
    if service is not None:
        # The services cannot call `order`.
        orders = tf.constant([order.batch(step) for step in range(first_step, last)], tf.int32)
        orders = tf.reshape(orders, [-1, batch_size])  # of no step too

    def make(step: Tensor) -> dict[str, Tensor]:
        if service is None:
            indices = tf.numpy_function(order.batch, [step], tf.int64)
        else:
            indices = tf.cast(tf.gather(orders, step - first_step), tf.int64)
        indices = tf.ensure_shape(indices, [batch_size])
        seed = SeedSequence(tf.stack([tf.constant(config.seed, tf.int64), step]))
        landmarks = tf.gather(all_landmarks, indices)
        crops = sample_crops(seed, landmarks, augment, size)
        looks = sample_appearance(seed, batch_size, augment, size)
        initial = None
        if augment.map_noise > 0.0:
            initial = sample_initial_shape(seed, batch_size, augment, size)
        if later:
            # The faces of a batch are in random order, so its first ones are a random choice.
            first = initial if initial is not None else tf.tile(mean[None], [later, 1, 1])
            roll = tf.gather(rolls, indices[:later])
            known = tf.math.is_finite(roll)
            roll = tf.where(known, roll, 0.0)
            second = sample_second_pass(seed, landmarks[:later], roll, augment, size)
            for key, value in second.items():
                given = first if key == "initial" else crops[key]
                chosen = tf.where(known[:, None, None], value, given[:later])
                crops[key] = tf.concat([chosen, given[later:]], 0)
            initial = crops["initial"]
        indices = indices[rows]
        matrix, cropped = crops["matrix"][rows], crops["landmarks"][rows]
        values = [looks[key][rows] for key in APPEARANCE]
        if config.image_ops == "graph":
            images = tf.gather(stored, indices) if service is None else service.gather(indices)
            image = apply_graph(images, matrix, *values, sigmas=sigmas, size=size)
        else:

            def cut(*arrays: NDArray[Any]) -> NDArray[np.uint8]:
                held = source()
                assert held is not None  # the dataset holds them
                return apply_opencv(held.images, *arrays, sigmas=sigmas, size=size)

            image = tf.numpy_function(cut, [indices, matrix, *values], tf.uint8)
        own = len(range(batch_size)[rows])
        batch = {
            "step": step,
            "image": tf.ensure_shape(image, [own, size, size, 3]),
            "landmarks": tf.ensure_shape(cropped, [own, 68, 3]),
        }
        if teacher is not None:
            batch["teacher"] = to_crop(tf.gather(teacher, indices), matrix, size)
        if weight is not None:
            batch["weight"] = weight_in_crop(tf.gather(weight, indices), matrix)
        if not heatmap_input:
            return batch
        if config.map_source == "py_function":
            starts = initial if initial is not None else mean[None][:0]
            others = tf.tile(mean[None], [batch_size - tf.shape(starts)[0], 1, 1])
            starts = tf.concat([starts, others], 0)[rows]
            batch["heatmap"] = heat_maps(tf.ensure_shape(starts, [own, 68, 3]), size)
        elif initial is not None:
            count = len(range(batch_size if augment.map_noise > 0.0 else later)[rows])
            batch["initial"] = tf.ensure_shape(initial[rows], [count, 68, 3])
        return batch

    make = tf.autograph.experimental.do_not_convert(make)  # nothing to rewrite, and it would take seconds
    if service is not None:
        return service.batches(make, first_step, last)
    steps = tf.data.Dataset.range(first_step, last)
    # In order: the batch of a step must not depend on the timing of threads.
    batches = steps.map(make, num_parallel_calls=2, deterministic=True).prefetch(4)
    # A finalizer holds its arguments, and so the faces, as long as the dataset lives.
    weakref.finalize(batches, id, faces).atexit = False
    return batches


def rolls_of(landmarks: NDArray[np.float32]) -> NDArray[np.float32]:
    """`crops.upright_roll` of landmarks (N, 68, 3), (N,) radians; NaN if their z is unknown."""
    known = np.isfinite(landmarks).all((1, 2))
    rolls = np.full(len(landmarks), np.nan, np.float32)
    rolls[known] = upright_roll(landmarks[known])
    return rolls


def plain_crops(faces: FaceArrays, size: int) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """Every face cropped by its own landmark box, unchanged: the input of validation.

    Returns:
        crops (N, size, size, 3) uint8 and landmarks (N, 68, 3) float32 in their pixels.
    """
    count = len(faces)
    seed = SeedSequence(tf.constant([0, 0], tf.int64))
    crops = sample_crops(seed, tf.constant(faces.landmarks), NO_AUGMENTATION, size)
    looks = sample_appearance(seed, count, NO_AUGMENTATION, size)
    values = [looks[key].numpy() for key in APPEARANCE]
    images = apply_opencv(
        faces.images, np.arange(count), crops["matrix"].numpy(), *values, sigmas=(), size=size
    )
    return images, crops["landmarks"].numpy()
