"""A small network, and the description of its export."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import tensorflow as tf

from tests.faces import TINY_MODEL
from tf_dhm.export.description import Description
from tf_dhm.networks.config import ModelConfig
from tf_dhm.networks.models import build_model

SIZE = TINY_MODEL.input_size


RESULTS = {
    "nme_0_30": 2.516,
    "nme_30_60": 3.5,
    "nme_60_90": None,
    "nme_mean_of_bins": None,
    "nme_mean": 3.25,
    "auc_6": 0.4567,
    "failure_rate_6": 0.0123,
    "images": 321,
}


def describe(config: ModelConfig = TINY_MODEL, **changes: Any) -> Description:
    description = Description(
        preset="tiny",
        model=config,
        options={"preset": "tiny", "train": {"epochs": 3}},
        command="python train.py --preset tiny",
        datasets={"made_up": "faces of dots; no licence limits."},
        faces_seen=12_345,
        hours=1.5,
        machine="a processor, 2 threads",
        val=RESULTS,
    )
    return dataclasses.replace(description, **changes)


def random_network(config: ModelConfig = TINY_MODEL) -> tf.keras.Model:
    """A network with weights as of a trained one: its answer depends on every part of it."""
    tf.keras.utils.set_random_seed(0)
    model = build_model(config)
    rng = np.random.default_rng(0)
    model.set_weights([weight + rng.uniform(0.0, 0.1, weight.shape) for weight in model.get_weights()])
    head = model.get_layer("landmarks").kernel
    head.assign(rng.normal(size=head.shape))
    return model


def make_crops(count: int = 3) -> np.ndarray:
    return np.random.default_rng(1).integers(0, 256, (count, SIZE, SIZE, 3)).astype(np.uint8)


MEASURES = {
    "visibility_auc": 0.91234,
    "confidence_auc": 0.98,
    "confidence_auc_face": None,
    "confidence_crops": 9,
}
