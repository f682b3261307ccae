"""A trainer of a tiny network on made-up faces."""

from __future__ import annotations

import dataclasses
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from pipelines.input import batches
from pipelines.input.order import make_order
from tests.faces import TINY_MODEL, TINY_RECIPE, face_arrays
from tf_dhm.training.config import AugmentConfig, TrainConfig
from tf_dhm.training.distribution import Strategy
from tf_dhm.training.trainer import Trainer
from tf_dhm.training.validation import Validation

FACES = face_arrays(64)


HELD_OUT = face_arrays(9, seed=1)


MODEL = dataclasses.replace(
    TINY_MODEL, input_size=16, stage_channels=(8,), stage_blocks=(1,), recurrent_channels=8, recurrent_steps=1
)


SIZE = MODEL.input_size


STEPS = 4  # in an epoch: 64 faces, 16 in a batch


Batch = dict[str, Any]


_NOT_OF_BATCHES = ("epochs", "ema", "keep", "loss", "depth_weight", "pooled_statistics", "mixed_precision")
_made: defaultdict[tuple[TrainConfig, AugmentConfig], dict[int, dict[str, NDArray]]] = defaultdict(dict)


def made_batches(config: TrainConfig, augment: AugmentConfig, first: int, end: int) -> tf.data.Dataset:
    """Batches of the real pipeline, made once for all trainers: its graph takes a second to build."""
    same = {name: getattr(TINY_RECIPE, name) for name in _NOT_OF_BATCHES}
    steps = _made[dataclasses.replace(config, **same), augment]
    if not set(range(first, end)) <= set(steps):
        order = make_order(FACES, config)
        stream = batches.training_batches(FACES, order, SIZE, config, augment, first, end)
        for step, batch in enumerate(stream, first):
            steps[step] = {name: value.numpy() for name, value in batch.items()}
    asked = [steps[step] for step in range(first, end)]
    return tf.data.Dataset.from_tensor_slices({k: np.stack([batch[k] for batch in asked]) for k in asked[0]})


def make_trainer(
    run_dir: Path,
    config: TrainConfig = TINY_RECIPE,
    augment: AugmentConfig | None = None,
    change: Callable[[Batch], Batch] | None = None,
    strategy: Strategy | None = None,
) -> Trainer:
    """A trainer of the tiny network; `change` is applied to every batch."""
    augment = AugmentConfig() if augment is None else augment
    order = make_order(FACES, config)
    crops, landmarks = batches.plain_crops(HELD_OUT, SIZE)

    def source(first_step: int, end_step: int) -> tf.data.Dataset:
        stream = made_batches(config, augment, first_step, end_step)
        return stream if change is None else stream.map(change)

    return Trainer(
        MODEL,
        config,
        order.steps,
        source,
        Validation(crops, landmarks, HELD_OUT.pose[:, 1]),
        run_dir,
        lambda step: FACES.name[order.batch(step)].tolist(),
        strategy,
    )
