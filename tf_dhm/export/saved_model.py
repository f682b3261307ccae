"""SavedModels with the signatures that TF Serving serves, and the weights read back from them."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from tf_dhm.core.errors import InputError
from tf_dhm.core.files import atomic_write
from tf_dhm.core.types import Tensor
from tf_dhm.export import serving_graph
from tf_dhm.export.description import DESCRIPTION_FILE, Description, read_description
from tf_dhm.export.warmup import write_warmup
from tf_dhm.face import geometry
from tf_dhm.networks.config import ModelConfig
from tf_dhm.networks.keras_compat import tf_variables
from tf_dhm.networks.layers import DiffusionHeatMap
from tf_dhm.networks.models import build_model, constant_heatmap, precision_policy
from tf_dhm.networks.quality import QualityHead, network_with_features
from tf_dhm.runtime.store import find_savedmodel
from tf_dhm.training.output_layer import OutputLayer


class LandmarkModule(tf.Module):
    """A network with the signatures of the served model; holds the weights and no Keras object."""

    def __init__(
        self,
        network: tf.keras.Model,
        size: int,
        head: QualityHead | None,
        points: OutputLayer | None = None,
    ) -> None:
        super().__init__()
        self.network_weights = tf_variables(network)
        quality = None
        if head is not None:
            quality = QualityHead.of([tf.Variable(weight) for weight in head.weights])
            self.quality_weights = list(quality.weights)
        full = network_with_features(network)
        if points is not None:
            self.points_weights = [
                tf.Variable(part.astype(np.float32)) for part in (points.kernel, points.bias)
            ]
            kernel, bias = self.points_weights
            features = network.get_layer("landmarks").input
            full = tf.keras.Model(full.input, {**full.output, "last": features})
        constant = constant_heatmap(size)
        draw = DiffusionHeatMap(size, dtype="float32")

        def find(crops: Tensor, heatmap: Tensor) -> dict[str, Tensor]:
            found = full({"image": tf.cast(crops, tf.float32), "heatmap": heatmap}, training=False)
            middle = tf.constant([(size - 1) / 2.0] * 2 + [0.0])
            landmarks = found["landmarks"] * (size / 2.0) + middle
            outputs = {"landmarks": landmarks, "pose": serving_graph.pose(landmarks)}
            if points is not None:
                unit = tf.tensordot(found["last"], kernel, 1) + bias  # (B, P, 3)
                outputs["points"] = unit * (size / 2.0) + middle
            return outputs if quality is None else outputs | quality.predict(found["features"])

        crops = tf.TensorSpec([None, size, size, 3], tf.uint8, name="crops")
        landmarks = tf.TensorSpec([None, geometry.NUM_LANDMARKS, 3], tf.float32, name="initial_landmarks")
        photos = tf.TensorSpec([None], tf.string, name="photos")
        boxes = tf.TensorSpec([None, 4], tf.float32, name="boxes")
        # Closures, not attributes: an attribute is saved with all its parts. Without AutoGraph, which
        # would take half of the time and finds no Python control flow to rewrite.
        self.serve = tf.function(
            lambda crops: find(crops, tf.constant(constant)), input_signature=[crops], autograph=False
        )
        self.refine = tf.function(
            lambda crops, initial_landmarks: find(crops, draw(initial_landmarks)),
            input_signature=[crops, landmarks],
            autograph=False,
        )
        self.align = tf.function(
            lambda photos, boxes: serving_graph.align_photos(photos, boxes, size, self.serve),
            input_signature=[photos, boxes],
            autograph=False,
        )


def save_model(
    weights: list[NDArray[np.float32]],
    config: ModelConfig,
    description: Description,
    version_dir: Path,
    head: QualityHead | None = None,
    points: OutputLayer | None = None,
) -> None:
    """Write a SavedModel folder atomically.

    Args:
        weights: as `build_model(config).get_weights()` orders them.
        config: the network.
        description: written beside it as JSON.
        version_dir: <model folder>/<integer>; must not exist.
        head: for visibility and confidence; None for a model without these outputs.
        points: layer of further points in the network's unit, which takes what the layer "landmarks"
            takes; None for a model without them.

    Raises:
        InputError: `version_dir` exists.
    """
    if version_dir.exists():
        raise InputError(f"{version_dir}: found a folder, expected none; versions are never overwritten")
    with atomic_write(version_dir) as folder:
        try:
            write_model(weights, config, description, folder, head, points)
        except tf.errors.OpError as error:  # a full disk
            raise InputError(f"{version_dir}: cannot be written: {error.message}") from error


def write_model(
    weights: list[NDArray[np.float32]],
    config: ModelConfig,
    description: Description,
    folder: Path,
    head: QualityHead | None,
    points: OutputLayer | None = None,
) -> None:
    """Write a SavedModel as `save_model`, into a folder that has no name yet."""
    with precision_policy("float32"):  # whatever policy trained it
        network = build_model(config)
    network.set_weights(weights)
    module = LandmarkModule(network, config.input_size, head, points)
    signatures = {"serving_default": module.serve, "refine": module.refine, "align_jpeg": module.align}
    tf.saved_model.save(module, str(folder), signatures)
    path = folder / DESCRIPTION_FILE
    path.parent.mkdir()
    path.write_text(json.dumps(asdict(description), indent=2) + "\n")
    write_warmup(folder, config.input_size)


def read_weights(model_dir: Path) -> list[NDArray[np.float32]]:
    """The weights of an exported model, in the order of `build_model(...).get_weights()`."""
    return _read_variables(model_dir, "network_weights")


def read_head(model_dir: Path) -> QualityHead | None:
    """The head of an exported model; None if it has none."""
    weights = _read_variables(model_dir, "quality_weights")
    return QualityHead.of(weights) if weights else None


def read_points(model_dir: Path) -> OutputLayer | None:
    """The layer of further points of an exported model; None if it has none."""
    weights = _read_variables(model_dir, "points_weights")
    return OutputLayer(*weights) if weights else None


def _read_variables(model_dir: Path, attribute: str) -> list[NDArray[np.float32]]:
    """The variables of an attribute of `LandmarkModule`, without its graphs, which take seconds to load."""
    read_description(model_dir)
    variables = find_savedmodel(model_dir) / "variables" / "variables"
    try:
        reader = tf.train.load_checkpoint(str(variables))
        keys = [key for key in reader.get_variable_to_shape_map() if key.startswith(f"{attribute}/")]
        names = sorted(keys, key=lambda key: int(key.split("/")[1]))
        return [reader.get_tensor(name) for name in names]
    except (ValueError, tf.errors.OpError) as error:
        raise InputError(f"{variables}: cannot be read: {error}") from error
