"""Exported networks that several tests read."""

from __future__ import annotations

from pathlib import Path

import pytest
import tensorflow as tf

from tests.exports import MEASURES, describe, random_network
from tests.faces import TINY_MODEL
from tests.tiny_models import random_head
from tf_dhm.export.saved_model import save_model


@pytest.fixture(scope="session")
def network() -> tf.keras.Model:
    return random_network()


@pytest.fixture(scope="session")
def exported(network: tf.keras.Model, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The model folder of an exported network."""
    folder = tmp_path_factory.mktemp("export") / "tiny"
    save_model(network.get_weights(), TINY_MODEL, describe(), folder / "1")
    return folder


@pytest.fixture(scope="session")
def with_quality(network: tf.keras.Model, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The model folder of the same network with a head."""
    folder = tmp_path_factory.mktemp("export") / "tiny"
    head = random_head(network.get_layer("flatten").output.shape[1])
    save_model(network.get_weights(), TINY_MODEL, describe(quality=MEASURES), folder / "1", head)
    return folder
