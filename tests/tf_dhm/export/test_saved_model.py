"""SavedModels: content, agreement with the network, versions, promotion and cards."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2

from tests.exports import MEASURES, SIZE, describe, make_crops, random_network
from tests.faces import TINY_MODEL
from tests.tiny_models import random_head
from tf_dhm.core.errors import InputError
from tf_dhm.export.card import folder_bytes
from tf_dhm.export.description import read_description
from tf_dhm.export.saved_model import read_head, read_weights, save_model
from tf_dhm.face import geometry
from tf_dhm.face.heatmap import diffusion_heatmap
from tf_dhm.face.mean_face import mean_landmarks
from tf_dhm.networks.models import build_model, constant_heatmap, precision_policy
from tf_dhm.networks.quality import network_with_features
from tf_dhm.runtime.saved_model import SavedModelPredictor
from tf_dhm.training.presets import find_preset


def expected_landmarks(model: tf.keras.Model, crops: np.ndarray, heatmap: np.ndarray) -> np.ndarray:
    unit = model({"image": crops.astype(np.float32), "heatmap": heatmap}, training=False)
    return geometry.unit_to_pixels(unit, SIZE)


def graphs_of(version_dir: Path) -> saved_model_pb2.SavedModel:
    saved = saved_model_pb2.SavedModel()
    saved.ParseFromString((version_dir / "saved_model.pb").read_bytes())
    return saved


# What it answers


def test_it_answers_as_the_network(network: tf.keras.Model, exported: Path) -> None:
    predictor = SavedModelPredictor(exported)
    assert (predictor.name, predictor.input_size, predictor.can_refine) == ("tiny", SIZE, True)
    for count in (1, 3):
        crops = make_crops(count)
        expected = expected_landmarks(network, crops, constant_heatmap(SIZE))
        np.testing.assert_allclose(predictor.predict(crops).landmarks, expected, atol=1e-4)


def test_refine_starts_from_the_given_landmarks(network: tf.keras.Model, exported: Path) -> None:
    predictor = SavedModelPredictor(exported)
    crops = make_crops()
    initial = np.stack([mean_landmarks(SIZE) + shift for shift in (0.0, 2.0, -3.0)])
    heatmaps = np.stack([diffusion_heatmap(points, SIZE) for points in initial])
    found = predictor.predict(crops, initial).landmarks
    np.testing.assert_allclose(found, expected_landmarks(network, crops, heatmaps), atol=1e-3)
    # From the mean shape both signatures are the same.
    both = predictor.predict(crops[:1], initial[:1]).landmarks, predictor.predict(crops[:1]).landmarks
    np.testing.assert_allclose(*both, atol=1e-3)
    assert np.abs(found[1] - predictor.predict(crops).landmarks[1]).max() > 1e-2


def test_a_fresh_process_without_this_project_answers_the_same(
    network: tf.keras.Model, exported: Path, tmp_path: Path
) -> None:
    np.save(tmp_path / "crops.npy", make_crops())
    program = f"""
import numpy as np, sys, tensorflow as tf
model = tf.saved_model.load({str(exported / "1")!r})
crops = tf.constant(np.load("crops.npy"))
np.save("landmarks.npy", model.signatures["serving_default"](crops=crops)["landmarks"])
assert not any(name.split(".")[0] in ("tf_dhm", "pipelines") for name in sys.modules)
"""
    subprocess.run([sys.executable, "-c", program], cwd=tmp_path, check=True, capture_output=True)
    found = np.load(tmp_path / "landmarks.npy")
    assert (found.dtype, found.shape) == (np.float32, (3, 68, 3))
    expected = expected_landmarks(network, make_crops(), constant_heatmap(SIZE))
    np.testing.assert_allclose(found, expected, atol=1e-4)


def test_signatures(exported: Path) -> None:
    signatures = tf.saved_model.load(str(exported / "1")).signatures
    assert set(signatures) == {"serving_default", "refine", "align_jpeg"}
    crops = tf.TensorSpec([None, SIZE, SIZE, 3], tf.uint8, "crops")
    landmarks = tf.TensorSpec([None, 68, 3], tf.float32, "initial_landmarks")
    assert signatures["serving_default"].structured_input_signature[1] == {"crops": crops}
    both = {"crops": crops, "initial_landmarks": landmarks}
    assert signatures["refine"].structured_input_signature[1] == both
    for signature in signatures.values():
        outputs = signature.structured_outputs
        assert set(outputs) == {"landmarks", "pose"}
        assert outputs["landmarks"].dtype == tf.float32
        assert outputs["landmarks"].shape.as_list() == [None, 68, 3]


# Visibility and confidence


@pytest.mark.parametrize("second_pass", [False, True])
def test_visibility_and_confidence(
    second_pass: bool, network: tf.keras.Model, exported: Path, with_quality: Path
) -> None:
    crops = make_crops()
    initial = np.stack([mean_landmarks(SIZE) + shift for shift in (0.0, 2.0, -3.0)]) if second_pass else None
    found = SavedModelPredictor(with_quality).predict(crops, initial)
    heatmap = constant_heatmap(SIZE)
    if initial is not None:
        heatmap = np.stack([diffusion_heatmap(points, SIZE) for points in initial])
    image = crops.astype(np.float32)
    features = network_with_features(network)({"image": image, "heatmap": heatmap}, training=False)[
        "features"
    ]
    expected = random_head(features.shape[1]).predict(features)
    assert found.visibility is not None
    assert found.confidence is not None
    assert (found.visibility.shape, found.confidence.shape) == ((3, 68), (3,))
    np.testing.assert_allclose(found.visibility, expected["visibility"], atol=1e-4)
    np.testing.assert_allclose(found.confidence, expected["confidence"], atol=1e-4)
    # The landmarks are those of the network without a head, bit for bit.
    np.testing.assert_array_equal(
        found.landmarks, SavedModelPredictor(exported).predict(crops, initial).landmarks
    )


def test_a_model_without_them_says_so(exported: Path, with_quality: Path) -> None:
    for count in (0, 2):
        found = SavedModelPredictor(exported).predict(make_crops(count))
        assert (found.visibility, found.confidence) == (None, None)
        assert found.landmarks.shape == (count, 68, 3)
    empty = SavedModelPredictor(with_quality).predict(make_crops(0))
    assert empty.visibility is not None
    assert empty.confidence is not None
    assert (empty.visibility.shape, empty.confidence.shape) == ((0, 68), (0,))


def test_their_weights_round_trip(network: tf.keras.Model, exported: Path, with_quality: Path) -> None:
    assert read_head(exported) is None
    head = read_head(with_quality)
    assert head is not None
    expected = random_head(network.get_layer("flatten").output.shape[1])
    for found, weight in zip(head.weights, expected.weights, strict=True):
        np.testing.assert_array_equal(found, weight)
    for found, weight in zip(read_weights(with_quality), network.get_weights(), strict=True):
        np.testing.assert_array_equal(found, weight)
    assert read_description(with_quality) == describe(quality=MEASURES)


# What is in it


def test_no_keras_object_and_no_python_function(exported: Path) -> None:
    (graph,) = graphs_of(exported / "1").meta_graphs
    kinds = {node.user_object.identifier for node in graph.object_graph_def.nodes}
    assert not [kind for kind in kinds if "keras" in kind]
    functions = graph.graph_def.library.function
    operations = {node.op for node in graph.graph_def.node}
    operations |= {node.op for function in functions for node in function.node_def}
    assert "Conv2D" in operations
    assert not [operation for operation in operations if "PyFunc" in operation]
    assert not (exported / "1" / "keras_metadata.pb").exists()


@pytest.mark.parametrize("name", ["fast_dhm", pytest.param("fast_dhm_x2", marks=pytest.mark.slow)])
def test_bytes_apart_from_the_graph(name: str, tmp_path: Path) -> None:
    config = find_preset(name).model
    model = build_model(config)
    save_model(model.get_weights(), config, describe(config), tmp_path / "1")
    graph = (tmp_path / "1" / "saved_model.pb").stat().st_size
    weights = 4 * model.count_params()
    assert weights < folder_bytes(tmp_path / "1") - graph < 1.1 * weights
    assert graph < 2_000_000


def test_a_network_trained_in_half_precision_is_exported_in_float32(tmp_path: Path) -> None:
    with precision_policy("mixed_bfloat16"):
        model = random_network()
        save_model(model.get_weights(), TINY_MODEL, describe(), tmp_path / "tiny" / "1")
        assert tf.keras.mixed_precision.global_policy().name == "mixed_bfloat16"
    (graph,) = graphs_of(tmp_path / "tiny" / "1").meta_graphs
    nodes = [node for function in graph.graph_def.library.function for node in function.node_def]
    used = {attribute.type for node in nodes for attribute in node.attr.values()}
    assert tf.bfloat16.as_datatype_enum not in used
    expected = expected_landmarks(random_network(), make_crops(), constant_heatmap(SIZE))
    np.testing.assert_allclose(
        SavedModelPredictor(tmp_path / "tiny").predict(make_crops()).landmarks, expected, atol=1e-4
    )


def test_weights_round_trip(network: tf.keras.Model, exported: Path) -> None:
    weights = read_weights(exported)
    assert len(weights) == len(network.get_weights())
    for found, expected in zip(weights, network.get_weights(), strict=True):
        np.testing.assert_array_equal(found, expected)
    again = build_model(read_description(exported).model)
    again.set_weights(weights)


# Writing it


def test_a_version_is_never_overwritten(network: tf.keras.Model, exported: Path) -> None:
    before = (exported / "1" / "saved_model.pb").stat().st_mtime_ns
    with pytest.raises(InputError, match=r"1: found a folder, expected none; versions are never overwritten"):
        save_model(network.get_weights(), TINY_MODEL, describe(), exported / "1")
    assert (exported / "1" / "saved_model.pb").stat().st_mtime_ns == before


@pytest.mark.parametrize(
    "error", [OSError("no space"), tf.errors.ResourceExhaustedError(None, None, "no space")]
)
def test_a_save_that_fails_leaves_nothing(
    error: Exception, network: tf.keras.Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(module: Any, folder: str, signatures: Any) -> None:
        Path(folder).mkdir()
        (Path(folder) / "saved_model.pb").write_text("half")
        raise error

    monkeypatch.setattr(tf.saved_model, "save", fail)
    with pytest.raises((OSError, InputError), match="no space"):
        save_model(network.get_weights(), TINY_MODEL, describe(), tmp_path / "model" / "1")
    assert list((tmp_path / "model").iterdir()) == []
