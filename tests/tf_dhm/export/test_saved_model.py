"""SavedModels: content, agreement with the network, versions, promotion and cards."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2

from tests.faces import TINY_MODEL
from tests.fakes import write_fake_model
from tests.tiny_models import random_head
from tf_dhm.core.configuration import from_dict, to_json
from tf_dhm.core.errors import InputError
from tf_dhm.export.card import card_rows, changes_of_network, folder_bytes, model_card
from tf_dhm.export.description import DESCRIPTION_FILE, Description, read_description
from tf_dhm.export.promote import next_version, promote
from tf_dhm.export.saved_model import read_head, read_weights, save_model
from tf_dhm.face import geometry
from tf_dhm.face.heatmap import diffusion_heatmap
from tf_dhm.face.mean_face import mean_landmarks
from tf_dhm.networks.config import ModelConfig
from tf_dhm.networks.models import build_model, constant_heatmap, precision_policy
from tf_dhm.networks.quality import network_with_features
from tf_dhm.runtime.saved_model import SavedModelPredictor
from tf_dhm.training.presets import find_preset

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


def expected_landmarks(model: tf.keras.Model, crops: np.ndarray, heatmap: np.ndarray) -> np.ndarray:
    unit = model({"image": crops.astype(np.float32), "heatmap": heatmap}, training=False)
    return geometry.unit_to_pixels(unit, SIZE)


@pytest.fixture(scope="module")
def network() -> tf.keras.Model:
    return random_network()


@pytest.fixture(scope="module")
def exported(network: tf.keras.Model, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The model folder of an exported network."""
    folder = tmp_path_factory.mktemp("export") / "tiny"
    save_model(network.get_weights(), TINY_MODEL, describe(), folder / "1")
    return folder


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

MEASURES = {
    "visibility_auc": 0.91234,
    "confidence_auc": 0.98,
    "confidence_auc_face": None,
    "confidence_crops": 9,
}


@pytest.fixture(scope="module")
def with_quality(network: tf.keras.Model, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The model folder of the same network with a head."""
    folder = tmp_path_factory.mktemp("export") / "tiny"
    head = random_head(network.get_layer("flatten").output.shape[1])
    save_model(network.get_weights(), TINY_MODEL, describe(quality=MEASURES), folder / "1", head)
    return folder


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


def test_their_card(network: tf.keras.Model, with_quality: Path) -> None:
    card = model_card("name", with_quality / "1", describe(quality=MEASURES), {}, "1")
    head = random_head(network.get_layer("flatten").output.shape[1])
    count = network.count_params() + head.count
    assert f"{count:,} float32, {4 * count:,} bytes, of which {head.count:,} for visibility" in card
    assert "their visibility, and a confidence." in card
    for row in ("visibility auc | 0.912", "confidence auc face | -", "confidence crops | 9"):
        assert f"| {row} |" in card


def test_the_card_of_a_network_that_was_kept(with_quality: Path) -> None:
    trained = dataclasses.asdict(describe(command="python train.py --name a"))
    kept = describe(faces_seen=0, hours=0.0, command="python train.py --epochs 0", initialized_from=trained)
    again = describe(faces_seen=0, hours=0.0, command="python b", initialized_from=dataclasses.asdict(kept))
    for description in (kept, again):
        card = model_card("name", with_quality / "1", description, {}, "1")
        assert "- Network: that of an earlier run of preset `tiny`, unchanged: 12,345 faces in 1.50" in card
        assert "(a processor, 2 threads), `python train.py --name a`." in card
        assert f"head for visibility and confidence alone was fitted again: `{description.command}`" in card
        assert " 0 faces" not in card


def test_the_card_of_a_model_without_visibility(network: tf.keras.Model, tmp_path: Path) -> None:
    head = random_head(network.get_layer("flatten").output.shape[1], visibility=False)
    description = describe(quality={"confidence_auc": 0.98})
    save_model(network.get_weights(), TINY_MODEL, description, tmp_path / "1", head)
    card = model_card("name", tmp_path / "1", description, {}, "1")
    assert "landmark box), and a confidence." in card
    assert f"of which {head.count:,} for confidence;" in card
    assert "## Confidence" in card
    assert "isibility" not in card


def test_the_card_names_every_run_that_trained(exported: Path) -> None:
    first = describe(command="python train.py --name a")
    second = describe(command="python b", faces_seen=7, initialized_from=dataclasses.asdict(first))
    kept = describe(command="python c", faces_seen=0, initialized_from=dataclasses.asdict(second))
    card = model_card("name", exported / "1", describe(initialized_from=dataclasses.asdict(kept)), {}, "1")
    runs = [line for line in card.splitlines() if line.startswith("- Began with the weights")]
    assert [line.split(": ", 1)[1] for line in runs] == [
        "7 faces in 1.50 hours, `python b`.",
        "12,345 faces in 1.50 hours, `python train.py --name a`.",
    ]
    assert "- Training: 12,345 faces" in card
    card = model_card("name", exported / "1", kept, {}, "1")
    assert "- Network: that of an earlier run of preset `tiny`, unchanged: 7 faces" in card
    assert "12,345 faces in 1.50 hours, `python train.py --name a`." in card


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


def test_description_round_trip(exported: Path) -> None:
    assert read_description(exported) == describe()
    began = describe(initialized_from=json.loads(to_json(describe())))
    assert from_dict(Description, json.loads(to_json(began)), "x") == began


def test_weights_round_trip(network: tf.keras.Model, exported: Path) -> None:
    weights = read_weights(exported)
    assert len(weights) == len(network.get_weights())
    for found, expected in zip(weights, network.get_weights(), strict=True):
        np.testing.assert_array_equal(found, expected)
    again = build_model(read_description(exported).model)
    again.set_weights(weights)


def test_models_of_other_makers_have_no_description(tmp_path: Path) -> None:
    folder = write_fake_model(tmp_path / "fake")
    with pytest.raises(
        InputError, match=r"description.json: found no such file, expected a model exported by"
    ):
        read_weights(folder)


def test_a_damaged_description_is_named(exported: Path, tmp_path: Path) -> None:
    folder = tmp_path / "1"
    (folder / DESCRIPTION_FILE).parent.mkdir(parents=True)
    (folder / "saved_model.pb").touch()
    (folder / DESCRIPTION_FILE).write_text('{"preset": "tiny"}')
    with pytest.raises(InputError, match=r"description.json: found no model"):
        read_description(folder)


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


def test_the_next_version_is_one_above_the_highest(tmp_path: Path) -> None:
    assert next_version(tmp_path / "none").name == "1"
    for name in ("1", "9", "10", "notes", ".11.tmp"):
        (tmp_path / name).mkdir()
    assert next_version(tmp_path) == tmp_path / "11"


def test_promotion(exported: Path, tmp_path: Path) -> None:
    folder = tmp_path / "savedmodels" / "served"
    results = {"AFLW2000-3D, labels original": RESULTS}
    assert promote(exported, folder, results) == folder / "1"
    assert promote(exported / "1", folder, results) == folder / "2"
    assert sorted(path.name for path in folder.iterdir()) == ["1", "2", "README.md"]
    files = {path.relative_to(exported / "1") for path in (exported / "1").rglob("*")}
    assert {path.relative_to(folder / "2") for path in (folder / "2").rglob("*")} == files
    found = SavedModelPredictor(folder).predict(make_crops()).landmarks
    np.testing.assert_array_equal(found, SavedModelPredictor(exported).predict(make_crops()).landmarks)
    card = (folder / "README.md").read_text()
    assert "# served" in card
    assert "version 2. 68 landmarks" in card


def test_promotion_may_add_files(exported: Path, tmp_path: Path) -> None:
    (exported / "1" / "old.tflite").touch()
    try:
        version = promote(
            exported, tmp_path / "served", {}, lambda folder: (folder / "a.tflite").write_text("x")
        )
    finally:
        (exported / "1" / "old.tflite").unlink()
    assert [path.name for path in version.glob("*.tflite")] == ["a.tflite"]
    assert "- `a.tflite`: 1 bytes." in (tmp_path / "served" / "README.md").read_text()
    with pytest.raises(OSError, match="full"):
        promote(exported, tmp_path / "served", {}, fail)
    assert sorted(path.name for path in (tmp_path / "served").iterdir()) == ["1", "README.md"]


def fail(folder: Path) -> None:
    raise OSError("full")


def test_the_card_names_in_what_a_network_differs_from_its_preset() -> None:
    usual = find_preset("tiny").model
    assert changes_of_network(describe(usual)) == ""
    changed = dataclasses.replace(usual, cnn_multiplier=2.0, hidden_units=0)
    assert changes_of_network(describe(changed)) == " with cnn_multiplier 2.0, hidden_units 0"
    assert changes_of_network(describe(changed, preset="of_old")) == ""


def test_results_that_do_not_fit_the_card_leave_no_version(exported: Path, tmp_path: Path) -> None:
    with pytest.raises(KeyError):
        promote(exported, tmp_path / "served", {"x": {"nme_mean": 3.0}})
    assert not (tmp_path / "served").exists()


# The card


def test_the_card_holds_what_was_measured(network: tf.keras.Model, exported: Path) -> None:
    began = dataclasses.asdict(describe(preset="earlier", command="python train.py --name a", hours=2.25))
    results = {"AFLW2000-3D half, labels original": {**RESULTS, "nme_60_90": 5.875, "nme_mean_of_bins": 3.8}}
    card = model_card("name", exported / "1", describe(initialized_from=began), results, "7")
    assert "Preset `tiny` with input_size 32, " in card
    assert ", version 7. 68 landmarks in 3-D from a 32 x 32 RGB crop" in card
    count = network.count_params()
    assert f"{count:,} float32, {4 * count:,} bytes" in card
    assert f"SavedModel {folder_bytes(exported / '1'):,} bytes with its graph" in card
    assert "12,345 faces seen in 1.50 hours (a processor, 2 threads)" in card
    assert "- Command: `python train.py --preset tiny`" in card
    assert "preset `earlier`: 12,345 faces in 2.25 hours, `python train.py --name a`" in card
    assert "- **made_up**: faces of dots; no licence limits." in card
    assert "| val | 2.52 | 3.50 | - | - | 3.25 | 0.457 | 1.2 % | 321 |" in card
    assert "| AFLW2000-3D half, labels original | 2.52 | 3.50 | 5.88 | 3.80 | 3.25 |" in card


def test_rows_of_a_metrics_file(tmp_path: Path) -> None:
    path = tmp_path / "metrics.json"
    both = {"original": RESULTS, "reannotated": {**RESULTS, "nme_mean": 2.0}}
    one = {"original": RESULTS}
    path.write_text(json.dumps({"tiny": both, "tiny (2 passes)": one, "tiny_wide": one}))
    rows = card_rows(path, "tiny", "Half")
    assert list(rows) == [
        "Half, labels original",
        "Half, labels reannotated",
        "Half, labels original, 2 passes",
    ]
    assert rows["Half, labels reannotated"]["nme_mean"] == 2.0
    with pytest.raises(
        InputError, match=r"found results of tiny, tiny \(2 passes\), tiny_wide, expected some of"
    ):
        card_rows(path, "other", "Half")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "metrics.json: found no such file"),
        ("{", r"metrics.json: found .*, expected JSON"),
        ("[]", "metrics.json: found results of list"),
        ("{}", "metrics.json: found results of no model"),
        ('{"tiny": {"original": {"nme_mean": 3.0}}}', "tiny, original: found no nme_0_30, nme_30_60"),
        ('{"tiny": 3}', "metrics.json: tiny: found 3, expected label sets"),
        ('{"tiny": {"original": 3}}', "metrics.json: tiny, original: found 3, expected metrics"),
    ],
)
def test_metrics_files_that_are_none(content: str | None, message: str, tmp_path: Path) -> None:
    if content is not None:
        (tmp_path / "metrics.json").write_text(content)
    with pytest.raises(InputError, match=message):
        card_rows(tmp_path / "metrics.json", "tiny", "x")
