"""Tests of tf_dhm.export.tflite: the files answer as the SavedModel, and do nothing needless."""

from __future__ import annotations

import dataclasses
import os
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from numpy.typing import NDArray
from tensorflow.lite.tools import flatbuffer_utils

from tests.faces import TINY_MODEL
from tests.tiny_models import write_tiny_model
from tf_dhm.core.errors import InputError
from tf_dhm.export import tflite as tflite_export
from tf_dhm.export.description import read_description
from tf_dhm.export.saved_model import read_head
from tf_dhm.export.tflite import Contents, convert, fold_stem, name_first, read_contents
from tf_dhm.face import geometry
from tf_dhm.face.heatmap import diffusion_heatmap
from tf_dhm.face.mean_face import mean_shape
from tf_dhm.networks.layers import StemConvolution
from tf_dhm.networks.models import build_model, constant_heatmap
from tf_dhm.runtime.saved_model import SavedModelPredictor
from tf_dhm.runtime.store import find_savedmodel
from tf_dhm.runtime.tflite import KINDS, Kind, TFLitePredictor
from tf_dhm.training.presets import PRESETS

SIZE = TINY_MODEL.input_size
MAP_VALUES = (SIZE // 2) ** 2 * TINY_MODEL.stem_channels


def crops(count: int, seed: int = 0) -> NDArray[np.uint8]:
    """Crops with dark and with bright borders, on which padding would show."""
    return np.random.default_rng(seed).integers(0, 256, (count, SIZE, SIZE, 3)).astype(np.uint8)


def initial_landmarks(count: int) -> NDArray[np.float64]:
    noise = np.random.default_rng(7).normal(0.0, 3.0, (count, geometry.NUM_LANDMARKS, 3))
    return geometry.unit_to_pixels(mean_shape(), SIZE) + noise


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_model(tmp_path_factory.mktemp("models") / "tiny", version=2, quality=True)


@pytest.fixture(scope="module")
def files(model: Path) -> dict[Kind, Contents]:
    return convert(model, representative=list(crops(16, seed=1)))


def test_files_lie_in_the_version_folder(model: Path, files: dict[Kind, Contents]) -> None:
    assert list(files) == list(KINDS)
    assert [contents.path for contents in files.values()] == [
        model / "2" / f"tiny_{kind}.tflite" for kind in KINDS
    ]
    assert find_savedmodel(model) == model / "2"
    for contents in files.values():
        assert contents.file_bytes == contents.path.stat().st_size


@pytest.mark.parametrize(
    ("kind", "pixels"),
    [("float32", 1e-3), ("float16", 0.05), ("dynamic_range", 0.2), ("int8", 0.5), ("web", 0.05)],
)
def test_answers_as_the_saved_model(
    model: Path, files: dict[Kind, Contents], kind: Kind, pixels: float
) -> None:
    original, converted = SavedModelPredictor(model), TFLitePredictor(files[kind].path)
    images, initial = crops(5), initial_landmarks(5)
    first, second = original.predict(images).landmarks, original.predict(images, initial).landmarks
    assert np.abs(first[0] - first[1]).max() > 0.5  # it looks at the image
    assert np.abs(first - second).max() > 0.01  # and at the map
    for batch in (1, 5, 2):  # the batch dimension is free
        np.testing.assert_allclose(
            converted.predict(images[:batch]).landmarks, first[:batch], rtol=0, atol=pixels
        )
        refined = converted.predict(images[:batch], initial[:batch]).landmarks
        np.testing.assert_allclose(refined, second[:batch], rtol=0, atol=pixels)


@pytest.mark.parametrize(
    ("kind", "tolerance"),
    [("float32", 1e-4), ("float16", 2e-3), ("dynamic_range", 0.02), ("int8", 0.05), ("web", 2e-3)],
)
def test_visibility_and_confidence(
    model: Path, files: dict[Kind, Contents], kind: Kind, tolerance: float
) -> None:
    original, converted = SavedModelPredictor(model), TFLitePredictor(files[kind].path)
    for initial in (None, initial_landmarks(5)):
        expected, found = original.predict(crops(5), initial), converted.predict(crops(5), initial)
        for name in ("visibility", "confidence"):
            values = getattr(found, name)
            assert np.ptp(values, axis=0).max() > 0.005  # they depend on the image
            np.testing.assert_allclose(values, getattr(expected, name), rtol=0, atol=tolerance)
    empty = converted.predict(crops(0))
    assert empty.visibility is not None
    assert empty.visibility.shape == (0, 68)


def test_confidence_alone(tmp_path: Path) -> None:
    model = write_tiny_model(tmp_path / "plain", quality=True, visibility=False)
    files = convert(model / "1", kinds=["float32"])
    original, converted = SavedModelPredictor(model), TFLitePredictor(files["float32"].path)
    expected, found = original.predict(crops(3)), converted.predict(crops(3))
    assert expected.visibility is found.visibility is None
    assert found.confidence is not None
    assert expected.confidence is not None
    np.testing.assert_allclose(found.confidence, expected.confidence, rtol=0, atol=1e-4)
    np.testing.assert_allclose(found.landmarks, expected.landmarks, rtol=0, atol=1e-3)
    assert converted.predict(crops(0)).visibility is None


def test_the_web_file_has_a_fixed_batch(files: dict[Kind, Contents]) -> None:
    def shapes(kind: Kind) -> set[tuple[int, ...]]:
        interpreter = tf.lite.Interpreter(str(files[kind].path))
        runners = [interpreter.get_signature_runner(name) for name in interpreter.get_signature_list()]
        details = [tensor for runner in runners for tensor in runner.get_input_details().values()]
        return {tuple(tensor["shape_signature"].tolist()) for tensor in details}

    assert shapes("float16") == {(-1, SIZE, SIZE, 3)}
    assert shapes("web") == {(1, SIZE, SIZE, 3)}
    assert files["web"].operations == files["float16"].operations
    assert files["web"].file_bytes <= files["float16"].file_bytes
    half, web = (TFLitePredictor(files[kind].path) for kind in ("float16", "web"))
    for initial in (None, initial_landmarks(1)):
        found, expected = web.predict(crops(1), initial), half.predict(crops(1), initial)
        np.testing.assert_array_equal(found.landmarks, expected.landmarks)


def test_refine_from_the_mean_shape_is_serving(files: dict[Kind, Contents]) -> None:
    converted, images = TFLitePredictor(files["float32"].path), crops(2)
    mean = np.repeat(geometry.unit_to_pixels(mean_shape(), SIZE)[None], 2, 0)
    np.testing.assert_allclose(
        converted.predict(images, mean).landmarks, converted.predict(images).landmarks, rtol=0, atol=1e-3
    )


def test_nothing_needless_in_the_graph(files: dict[Kind, Contents]) -> None:
    serving = files["float32"].operations["serving_default"]
    # The image's scale and offset, the map and the batch normalisation are in these three.
    assert serving[:3] == ("CAST", "CONV_2D", "ADD")
    steps = TINY_MODEL.recurrent_steps
    separable = 3  # a strided one for each of two stages, and one block
    assert Counter(serving) == {
        "CAST": 1,
        # Stem, separable blocks, pointwise, one in each step of Eq. 7, two dense layers, the head's four.
        "CONV_2D": 1 + separable + 1 + steps + 2 + 4,
        "DEPTHWISE_CONV_2D": separable + 2 * steps + 1,
        "ADD": 1 + 1 + 2 * steps + 1,  # stem, residual, Eq. 7, confidence
        "TANH": steps,
        "RELU": 1,
        "LOGISTIC": 2,
        "RESHAPE": 3,
    }
    refine = Counter(files["float32"].operations["refine"])
    refine.subtract(serving)
    # The image less its middle, and the convolution of a map which is no constant here.
    assert {name: count for name, count in refine.items() if count} == {"CONV_2D": 1, "ADD": 1}
    assert files["int8"].operations["serving_default"][:3] == ("QUANTIZE", "CONV_2D", "ADD")


def test_constants_are_stored_once(model: Path, files: dict[Kind, Contents]) -> None:
    head = read_head(model)
    assert head is not None
    weights = 4 * (sum(int(np.prod(w.shape)) for w in build_model(TINY_MODEL).weights) + head.count)
    full, half = files["float32"], files["float16"]
    assert full.map_bytes == 4 * MAP_VALUES
    assert half.map_bytes == 2 * MAP_VALUES
    assert files["int8"].map_bytes == MAP_VALUES
    # Two signatures, one set of weights; the folded normalisations take less than they did.
    assert full.constant_bytes < weights + full.map_bytes + 1024
    assert half.constant_bytes < weights / 2 + half.map_bytes + 1024
    content = full.path.read_bytes()
    kernel = trained_network(model).get_layer("hidden").get_weights()[0]  # (inputs, units)
    assert content.count(kernel.T.tobytes()) == 1


def trained_network(model: Path) -> tf.keras.Model:
    network = build_model(TINY_MODEL)
    loaded = tf.saved_model.load(str(find_savedmodel(model)))
    network.set_weights([weight.numpy() for weight in loaded.network_weights])
    return network


@pytest.mark.parametrize("zero", [0.0, 128.0])
def test_fold_stem_is_exact_up_to_the_borders(model: Path, zero: float) -> None:
    network = trained_network(model)
    image = crops(2).astype(np.float32)
    heatmap = constant_heatmap(SIZE)
    plain = network.get_layer("stem")([image, heatmap])
    expected = network.get_layer("stem_normalization")(plain, training=False).numpy()
    folded = fold_stem(network, SIZE, zero)
    share = tf.nn.conv2d(image - zero, folded.kernel, 2, "SAME") + folded.share
    np.testing.assert_allclose(share, expected, atol=2e-5)
    split = tf.nn.conv2d(image - 127.5, folded.kernel, 2, "SAME") + folded.bias
    split += tf.nn.conv2d(heatmap, folded.heatmap_kernel, 2, "SAME")
    np.testing.assert_allclose(split, expected, atol=2e-5)


def test_fold_stem_by_hand() -> None:
    """A kernel of ones on a white crop: 27 ones inside, 18 at the padded edges, 12 in the corner."""
    image, heatmap = tf.keras.Input((4, 4, 3)), tf.keras.Input((4, 4, 3))
    stem = StemConvolution(1, use_heatmap=False, name="stem")
    outputs = tf.keras.layers.BatchNormalization(epsilon=0.0, name="stem_normalization")(
        stem([image, heatmap])
    )
    network = tf.keras.Model([image, heatmap], outputs)
    stem.kernel.assign(tf.ones_like(stem.kernel))
    network.get_layer("stem_normalization").set_weights([np.array([value]) for value in (2.0, 1.0, 3.0, 4.0)])
    folded = fold_stem(network, 4, 0.0)
    # (x - 3) * 2 / sqrt(4) + 1 = x - 2
    np.testing.assert_allclose(folded.kernel, 1 / 127.5, rtol=1e-6)
    np.testing.assert_allclose(folded.bias, [-2.0])
    np.testing.assert_allclose(folded.share[0, :, :, 0], [[-29.0, -20.0], [-20.0, -14.0]], rtol=1e-6)
    white = tf.nn.conv2d(np.full((1, 4, 4, 3), 255.0, np.float32), folded.kernel, 2, "SAME") + folded.share
    np.testing.assert_allclose(white[0, :, :, 0], [[25.0, 16.0], [16.0, 10.0]], rtol=1e-5)


def test_int8_input_is_the_pixel_value(files: dict[Kind, Contents]) -> None:
    interpreter = tf.lite.Interpreter(str(files["int8"].path))
    (details,) = interpreter.get_input_details()
    scale, zero = details["quantization"]
    assert details["dtype"] == np.uint8
    assert (scale, zero) == (pytest.approx(1.0), 128)
    assert {output["dtype"] for output in interpreter.get_output_details()} == {np.float32}
    maps = interpreter.get_signature_runner("refine").get_input_details()["heatmap"]
    high = diffusion_heatmap(initial_landmarks(1)[0], SIZE).max()
    assert (255 - maps["quantization"][1]) * maps["quantization"][0] > 0.9 * high


def test_without_a_heat_map(tmp_path: Path) -> None:
    model = write_tiny_model(tmp_path / "plain", heatmap_input=False)
    files = convert(model / "1", tmp_path / "out", ["float32"])
    assert files["float32"].path == tmp_path / "out" / "plain_float32.tflite"
    assert list(files["float32"].operations) == ["serving_default"]
    converted = TFLitePredictor(files["float32"].path)
    expected = SavedModelPredictor(model).predict(crops(2)).landmarks
    np.testing.assert_allclose(converted.predict(crops(2)).landmarks, expected, rtol=0, atol=1e-3)
    assert not converted.can_refine
    with pytest.raises(InputError, match=r"plain_float32.tflite: has no signature refine"):
        converted.predict(crops(2), initial_landmarks(2))


def test_the_default_signature_is_the_first_one(files: dict[Kind, Contents], tmp_path: Path) -> None:
    for contents in files.values():
        assert next(iter(contents.operations)) == "serving_default"
        assert flatbuffer_utils.read_model(str(contents.path)).signatureDefs[0].subgraphIndex == 0
    again = tmp_path / "again.tflite"
    again.write_bytes(name_first(files["float32"].path.read_bytes(), "again"))
    assert read_contents(again).operations == files["float32"].operations
    before, after = (TFLitePredictor(path).predict(crops(1)) for path in (files["float32"].path, again))
    np.testing.assert_array_equal(before.landmarks, after.landmarks)


def test_signatures_loaded_together_answer_alike(files: dict[Kind, Contents]) -> None:
    """XNNPACK unpacks float16 constants, which the signatures of one file share."""
    images, initial = crops(4), initial_landmarks(4)
    alone = TFLitePredictor(files["float16"].path).predict(images).landmarks
    both = TFLitePredictor(files["float16"].path)
    refined = both.predict(images[:1], initial[:1]).landmarks
    for batch in (1, 4, 1):
        np.testing.assert_allclose(both.predict(images[:batch]).landmarks, alone[:batch], atol=1e-3)
        np.testing.assert_allclose(both.predict(images[:1], initial[:1]).landmarks, refined, atol=1e-3)


def test_other_families(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    described = dataclasses.replace(read_description(model), model=PRESETS["dhm_small"].model)
    monkeypatch.setattr(tflite_export, "read_description", lambda version: described)
    with pytest.raises(InputError, match="found a network of the family dhm"):
        convert(model)


def test_errors(model: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    with pytest.raises(InputError, match="kinds: found float8, expected some of float32"):
        convert(model, out, ["float8"])  # type: ignore[list-item]
    with pytest.raises(InputError, match="representative: found no crops"):
        convert(model, out, ["int8"])
    with pytest.raises(InputError, match=r"crop 1: found uint8 of shape \(16, 16, 3\)"):
        convert(model, out, ["int8"], [crops(1)[0], np.zeros((16, 16, 3), np.uint8)])
    with pytest.raises(InputError, match="found nothing, expected a folder"):
        convert(tmp_path / "none", out)
    assert not out.exists()


def test_native_output_is_shown_on_an_error_only(capfd: pytest.CaptureFixture[str]) -> None:
    with tflite_export.shown_on_error():
        os.write(2, b"of no use\n")
    assert capfd.readouterr() == ("", "")

    def fail() -> None:
        with tflite_export.shown_on_error():
            os.write(1, b"the reason\n")
            raise ValueError("wrong")

    with pytest.raises(ValueError, match="wrong"):
        fail()
    assert capfd.readouterr() == ("", "the reason\n")
    os.write(1, b"as before\n")
    assert capfd.readouterr() == ("as before\n", "")
