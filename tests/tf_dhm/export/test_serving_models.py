"""What TF Serving finds in a version folder: signatures, operations, warm-up, and never half a model."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import threading
import time
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from google.protobuf import text_format
from tensorflow.core.protobuf import saved_model_pb2
from tensorflow.python.framework import kernels
from tensorflow_serving.apis import prediction_log_pb2
from tensorflow_serving.config import model_server_config_pb2

from tests.faces import TINY_MODEL
from tests.serving_data import ASTRONAUT, FACE, encode, noise_photo, random_boxes
from tests.serving_double import Version
from tests.tiny_models import write_tiny_model
from tf_dhm.export.card import CARD_METRICS
from tf_dhm.export.description import DESCRIPTION_FILE
from tf_dhm.export.promote import promote
from tf_dhm.export.saved_model import read_head, read_weights
from tf_dhm.export.warmup import BATCHES, WARMUP_FILE
from tf_dhm.face import geometry
from tf_dhm.face.mean_face import mean_shape
from tf_dhm.runtime.aligner import Aligner
from tf_dhm.runtime.saved_model import SavedModelPredictor
from tf_dhm.runtime.store import SAVEDMODELS

SIZE = TINY_MODEL.input_size
COMMITTED = sorted(path.name for path in SAVEDMODELS.iterdir() if path.is_dir())
SIGNATURES = {"serving_default", "refine", "align_jpeg"}


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A version folder, measured, so that it can be promoted."""
    version_dir = write_tiny_model(tmp_path_factory.mktemp("models") / "tiny", quality=True) / "1"
    path = version_dir / DESCRIPTION_FILE
    path.write_text(json.dumps(json.loads(path.read_text()) | {"val": dict.fromkeys(CARD_METRICS, 1.0)}))
    return version_dir


QUICK = ("fast_dhm", "fast_dhm_m")
"""The two sizes of input; the graphs of the others differ in the widths of layers."""


@pytest.fixture(
    scope="module",
    params=[pytest.param(name, marks=[pytest.mark.slow] * (name not in QUICK)) for name in COMMITTED],
)
def served(request: pytest.FixtureRequest) -> Path:
    """The newest version of a model of this project, as it is committed."""
    return SavedModelPredictor(SAVEDMODELS / request.param).version_dir


@cache
def version(folder: Path) -> Version:
    """A version folder in a session, loaded once for all tests."""
    return Version(folder)


def saved_model(version_dir: Path) -> Any:
    saved = saved_model_pb2.SavedModel()
    saved.ParseFromString((version_dir / "saved_model.pb").read_bytes())
    return saved


def command_line(*arguments: str | Path) -> str:
    """Run TensorFlow's saved_model_cli, which knows nothing of this project."""
    path = Path(sys.executable).with_name("saved_model_cli")
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "2"}
    done = subprocess.run(
        [path, *map(str, arguments)], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


# Signatures


def test_signatures(tiny: Path) -> None:
    signatures = tf.saved_model.load(str(tiny)).signatures
    assert set(signatures) == SIGNATURES
    assert signatures["align_jpeg"].structured_input_signature[1] == {
        "photos": tf.TensorSpec([None], tf.string, "photos"),
        "boxes": tf.TensorSpec([None, 4], tf.float32, "boxes"),
    }
    shapes = {"landmarks": [None, 68, 3], "pose": [None, 3], "visibility": [None, 68], "confidence": [None]}
    for signature in signatures.values():
        outputs = signature.structured_outputs
        assert {name: output.shape.as_list() for name, output in outputs.items()} == shapes
        assert {output.dtype for output in outputs.values()} == {tf.float32}


def test_pose_of_crops(tiny: Path) -> None:
    crops = np.random.default_rng(0).integers(0, 256, (4, SIZE, SIZE, 3)).astype(np.uint8)
    outputs = tf.saved_model.load(str(tiny)).signatures["serving_default"](crops=tf.constant(crops))
    expected = np.degrees(geometry.pose_from_landmarks(outputs["landmarks"], mean_shape()))
    np.testing.assert_allclose(outputs["pose"], expected, atol=0.01)


@pytest.mark.parametrize("photos", [[], [b""], [b"text", b"", b"more text"]])
def test_no_photo_that_can_be_read(tiny: Path, photos: list[bytes]) -> None:
    boxes = np.full((len(photos), 4), [1, 2, 30, 40], np.float32)
    outputs = version(tiny).predict("align_jpeg", {"photos": np.array(photos, object), "boxes": boxes})
    assert outputs["landmarks"].shape == (len(photos), 68, 3)
    np.testing.assert_array_equal(outputs["landmarks"], 0.0)
    np.testing.assert_array_equal(outputs["confidence"], np.zeros(len(photos)))


def test_photos_are_aligned_as_by_python(served: Path) -> None:
    """To a tenth of a pixel of the photo, on faces of every size and on crops without a face."""
    astronaut = ASTRONAUT.read_bytes()
    face = np.array(FACE, np.float32)
    boxes = [face + shift for shift in np.random.default_rng(0).uniform(-6, 6, (6, 4)).astype(np.float32)]
    photos = [astronaut] * len(boxes)
    noise = encode(noise_photo(0, 400, 300), "PNG")
    boxes += list(random_boxes(np.random.default_rng(1), 400, 300, 6))
    photos += [noise] * 6
    found = version(served).predict(
        "align_jpeg", {"photos": np.array(photos, object), "boxes": np.array(boxes, np.float32)}
    )
    predictor = SavedModelPredictor(served)
    aligner = Aligner(predictor)
    for index, (photo, box) in enumerate(zip(photos, boxes, strict=True)):
        (expected,) = aligner.align(photo, box[None])
        np.testing.assert_allclose(found["landmarks"][index], expected.landmarks, atol=0.1)
        np.testing.assert_allclose(found["pose"][index], expected.pose, atol=0.1)
    assert ("confidence" in found) == (read_head(served) is not None)
    assert predictor.can_refine


def test_a_broken_photo_is_finite_and_leaves_its_neighbour_alone(served: Path) -> None:
    model, boxes = version(served), np.array([FACE, FACE], np.float32)
    photos = np.array([ASTRONAUT.read_bytes(), b"no photo"], object)
    found = model.predict("align_jpeg", {"photos": photos, "boxes": boxes})
    alone = model.predict("align_jpeg", {"photos": photos[:1], "boxes": boxes[:1]})
    for name, output in found.items():
        np.testing.assert_allclose(output[0], alone[name][0], rtol=1e-4, atol=1e-3)
        assert np.isfinite(output).all(), name
    assert found["confidence"][0] > 0.9
    assert found["confidence"][1] == 0


@pytest.mark.slow
def test_the_command_line_of_tensorflow_runs_it(served: Path, tmp_path: Path) -> None:
    """In a fresh process, through the C++ loader and session."""
    photos = np.array([ASTRONAUT.read_bytes(), b"no photo"], object)
    boxes = np.array([FACE, FACE], np.float32)
    np.save(tmp_path / "photos.npy", photos.astype("S"))
    np.save(tmp_path / "boxes.npy", boxes)
    # It feeds bytes of one length; the zeros after the JPEG are ignored, those of the text too.
    inputs = f"photos={tmp_path}/photos.npy;boxes={tmp_path}/boxes.npy"
    common = ("run", "--dir", served, "--tag_set", "serve", "--signature_def", "align_jpeg")
    command_line(*common, "--inputs", inputs, "--outdir", tmp_path)
    (expected,) = Aligner(SavedModelPredictor(served)).align(ASTRONAUT, boxes[:1])
    found = np.load(tmp_path / "landmarks.npy")
    np.testing.assert_allclose(found[0], expected.landmarks, atol=0.1)
    # Models exported earlier give NaN.
    assert np.isnan(found[1]).all() or not found[1].any()


# Operations


STOCK = frozenset(kernel.op for kernel in kernels.get_all_registered_kernels().kernel)


def operations(version_dir: Path) -> set[str]:
    (graph,) = saved_model(version_dir).meta_graphs
    functions = graph.graph_def.library.function
    names = {node.op for node in graph.graph_def.node}
    names |= {node.op for function in functions for node in function.node_def}
    return names - {function.signature.name for function in functions}


def test_every_operation_is_in_stock_tf_serving(served: Path, tiny: Path) -> None:
    """TF Serving links all kernels of TensorFlow's C++ core and none of Python or of add-ons."""
    for version_dir in (served, tiny):
        found = operations(version_dir)
        assert {"Conv2D", "IgnoreErrorsDataset", "DatasetToSingleElement"} <= found
        assert found & {"DecodeJpeg", "DecodeAndCropJpeg"}  # models exported earlier decode the whole photo
        in_core = {op for op in found if ">" not in op and "PyFunc" not in op and op in STOCK}
        # What the loader itself replaces has no kernel.
        assert found - in_core <= {
            "Placeholder",
            "StatefulPartitionedCall",
            "PartitionedCall",
            "If",
            "StatelessIf",
        }
        # The scan of TensorFlow's command line warns of these two.
        assert not found & {"ReadFile", "WriteFile", "PrintV2", "PyFunc", "EagerPyFunc"}


# Warm-up


def test_warm_up_requests_of_a_small_model(tiny: Path) -> None:
    check_warm_up(tiny)


def test_warm_up_requests(served: Path) -> None:
    check_warm_up(served)


def check_warm_up(folder: Path) -> None:
    """Each request is replayed; together they cover every signature and batch."""
    covered = set()
    for record in tf.data.TFRecordDataset(str(folder / WARMUP_FILE)):
        log = prediction_log_pb2.PredictionLog.FromString(record.numpy())
        asked = log.predict_log.request
        inputs = {name: tf.make_ndarray(proto) for name, proto in asked.inputs.items()}
        outputs = version(folder).predict(asked.model_spec.signature_name, inputs)
        for name, output in outputs.items():
            assert np.isfinite(output).all(), name
        covered.add((asked.model_spec.signature_name, len(outputs["landmarks"])))
    assert covered == {(signature, count) for signature in SIGNATURES for count in BATCHES}
    assert (folder / WARMUP_FILE).stat().st_size < 100_000


@pytest.mark.parametrize("name", COMMITTED)
def test_committed_models(name: str) -> None:
    """The newest version of each has today's signatures, the warm-up requests, and is configured."""
    newest = SavedModelPredictor(SAVEDMODELS / name).version_dir
    assert (newest / WARMUP_FILE).is_file()
    (graph,) = saved_model(newest).meta_graphs
    assert set(graph.signature_def) >= SIGNATURES


def test_every_committed_model_is_configured() -> None:
    content = (SAVEDMODELS / "models.config").read_text()
    config = text_format.Parse(content, model_server_config_pb2.ModelServerConfig())
    found = {entry.name: entry.base_path for entry in config.model_config_list.config}
    assert found == {name: f"/models/{name}" for name in COMMITTED}


def test_the_canary_of_the_documentation() -> None:
    text = (SAVEDMODELS.parent / "docs" / "serving.md").read_text()
    policy = text[text.index("model_version_policy {") :].split("```")[0]
    content = f'model_config_list {{ config {{ name: "a" base_path: "/models/a" {policy} }} }}'
    config = text_format.Parse(content, model_server_config_pb2.ModelServerConfig())
    (entry,) = config.model_config_list.config
    assert list(entry.model_version_policy.specific.versions) == [1, 2]
    assert dict(entry.version_labels) == {"stable": 1, "canary": 2}


# New versions


@pytest.mark.slow
def test_a_model_of_before_is_renewed(tiny: Path, tmp_path: Path) -> None:
    """With other signatures and no warm-up it becomes one of today with the same weights."""
    loaded = tf.saved_model.load(str(tiny))
    old = tmp_path / "old" / "1"
    tf.saved_model.save(loaded, str(old), {"serving_default": loaded.signatures["serving_default"]})
    shutil.copytree(tiny / "assets.extra", old / "assets.extra", ignore=shutil.ignore_patterns("tf_serving*"))
    renewed = promote(old, tmp_path / "old", {}, renew=True)
    assert renewed.name == "2"
    assert set(tf.saved_model.load(str(renewed)).signatures) == SIGNATURES
    assert (renewed / WARMUP_FILE).is_file()
    crops = np.random.default_rng(0).integers(0, 256, (2, SIZE, SIZE, 3)).astype(np.uint8)
    found, expected = SavedModelPredictor(renewed).predict(crops), SavedModelPredictor(tiny).predict(crops)
    np.testing.assert_array_equal(found.landmarks, expected.landmarks)
    assert found.confidence is not None
    assert expected.confidence is not None
    np.testing.assert_array_equal(found.confidence, expected.confidence)
    for new, same in zip(read_weights(renewed), read_weights(tiny), strict=True):
        np.testing.assert_array_equal(new, same)


def test_a_reader_never_sees_half_a_model(tiny: Path, tmp_path: Path) -> None:
    """As TF Serving does, a thread polls the folder, and reads whatever version it sees at once."""
    folder = tmp_path / "served"
    files = {path.relative_to(tiny) for path in tiny.rglob("*") if path.is_file()}
    contents = {name: (tiny / name).read_bytes() for name in files}
    done, seen, wrong = threading.Event(), set(), []

    def poll() -> None:
        while not done.is_set():
            names = os.listdir(folder) if folder.is_dir() else []
            for name in names:
                if not name.isdecimal():
                    continue
                seen.add(name)
                for path, content in contents.items():
                    file = folder / name / path
                    if not file.is_file() or file.read_bytes() != content:
                        wrong.append(file)

    reader = threading.Thread(target=poll)
    reader.start()
    try:
        for number in range(1, 6):
            assert promote(tiny, folder, {}).name == str(number)
            time.sleep(0.05)
    finally:
        done.set()
        reader.join()
    assert wrong == []
    assert seen == {"1", "2", "3", "4", "5"}


def test_a_promotion_that_fails_leaves_no_version(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(source: Path, target: Path, **options: Any) -> None:
        target.mkdir()
        (target / "saved_model.pb").write_bytes(b"half")
        raise OSError("no space")

    monkeypatch.setattr(shutil, "copytree", fail)
    with pytest.raises(OSError, match="no space"):
        promote(tiny, tmp_path / "served", {})
    assert [path.name for path in (tmp_path / "served").iterdir()] == []
