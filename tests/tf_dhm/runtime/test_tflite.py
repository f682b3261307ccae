"""Tests of tf_dhm.runtime.tflite: finding files and interpreters, and the predictor's errors.

That a file answers as its SavedModel is tested in test_tflite_export.
"""

from __future__ import annotations

import importlib.metadata
import subprocess
import sys
import types
from pathlib import Path

import numpy as np
import pytest

from tests.tiny_models import write_tiny_model
from tf_dhm.core.errors import InputError
from tf_dhm.evaluation.peers.face_landmark import mediapipe_file
from tf_dhm.runtime import store, tflite
from tf_dhm.runtime.predictor import predict_boxes
from tf_dhm.runtime.saved_model import SavedModelPredictor
from tf_dhm.runtime.tflite import TFLitePredictor, find_tflite, load_runtime


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models") / "tiny"
    return write_tiny_model(folder, tflite=("float32", "float16"))


def test_version_of_a_package_under_another_name(monkeypatch: pytest.MonkeyPatch) -> None:
    """tensorflow-cpu installs the module tensorflow, and no distribution of that name."""
    module = types.ModuleType("tensorflow")
    module.__version__ = "2.15.1"  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "tensorflow", module)

    def missing(name: str) -> str:
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr("importlib.metadata.version", missing)
    assert tflite.package_version("tensorflow", "tensorflow.lite.python.interpreter") == "2.15.1"


def test_start_prints_nothing() -> None:
    code = (
        "import os; from tf_dhm.runtime import tflite; from tf_dhm.runtime.detector import NETWORK\n"
        "with tflite.quiet_start():\n"
        "    network = tflite.load_runtime()[1](model_path=str(NETWORK)); network.allocate_tensors()\n"
        "    os.write(2, b'an error of another part\\n')\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(__file__).parents[3],
    )
    assert done.stderr == "an error of another part\n"


def test_no_tensorflow_at_import() -> None:
    code = "import sys, tf_dhm.runtime.tflite; sys.exit('tensorflow' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parents[3])


class TestLoadRuntime:
    def test_tensorflow(self) -> None:
        name, interpreter = load_runtime("tensorflow")
        assert name.startswith("tensorflow 2.")
        assert interpreter.__name__ == "Interpreter"

    def test_small_ones_first(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("importlib.metadata.version", lambda name: "9.9")
        monkeypatch.setitem(sys.modules, "ai_edge_litert.interpreter", None)  # not even an installed one
        for package in ("tflite_runtime", "ai_edge_litert"):
            module = types.ModuleType(f"{package}.interpreter")
            module.Interpreter = package  # type: ignore[attr-defined]
            monkeypatch.setitem(sys.modules, package, types.ModuleType(package))
            monkeypatch.setitem(sys.modules, f"{package}.interpreter", module)
            assert load_runtime() == (f"{package.replace('_', '-')} 9.9", package)
        assert load_runtime("tflite-runtime") == ("tflite-runtime 9.9", "tflite_runtime")

    def test_none(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(tflite, "RUNTIMES", {"one": "no_such_module.interpreter", "two": "nor_this"})
        with pytest.raises(InputError, match="found none installed, expected one or two"):
            load_runtime()
        with pytest.raises(InputError, match="expected the package two"):
            load_runtime("two")


class TestFindTflite:
    def test_file_folder_and_name(self, model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        file = model / "1" / "tiny_float16.tflite"
        assert find_tflite(file) == file
        assert find_tflite(str(model)) == file
        assert find_tflite(model / "1", "float32") == model / "1" / "tiny_float32.tflite"
        monkeypatch.setattr(store, "SAVEDMODELS", model.parent)
        assert find_tflite("tiny") == file
        monkeypatch.chdir(model)
        assert find_tflite(".").resolve() == file

    def test_errors(self, model: Path, tmp_path: Path) -> None:
        with pytest.raises(
            InputError, match=r"found tiny_float16.tflite, tiny_float32.tflite, expected tiny_int8"
        ):
            find_tflite(model, "int8")
        with pytest.raises(InputError, match="found an empty folder, expected"):
            find_tflite(tmp_path)
        (tmp_path / "1").mkdir()
        (tmp_path / "1" / "saved_model.pb").touch()
        with pytest.raises(
            InputError,
            match=r"found no TFLite file, expected .*_float16.tflite; .*export.py .*--tflite float16",
        ):
            find_tflite(tmp_path)
        with pytest.raises(InputError, match=r"other.tflite: found nothing, expected a TFLite file"):
            find_tflite(tmp_path / "other.tflite")


def test_an_input_that_is_filled_in_place_gives_what_a_copied_one_gives(model: Path) -> None:
    network = tflite.Network(find_tflite(model))
    crops = np.random.default_rng(0).integers(0, 256, network.inputs[0]["shape"]).astype(np.uint8)

    def fill(values: np.ndarray) -> None:
        values[...] = crops

    for _ in range(2):  # the interpreter may use the memory of its input for other values
        for copied, filled in zip(network.run(crops), network.run_filled(fill), strict=True):
            np.testing.assert_array_equal(copied, filled)


class TestTFLitePredictor:
    def test_attributes(self, model: Path) -> None:
        found = TFLitePredictor(model, "float32", threads=2)
        assert (found.name, found.input_size, found.can_refine) == ("tiny_float32", 32, True)
        assert found.path == model / "1" / "tiny_float32.tflite"
        assert found.runtime.split()[0] in tflite.RUNTIMES
        assert found.predict(np.zeros((0, 32, 32, 3), np.uint8)).landmarks.shape == (0, 68, 3)

    def test_predict_boxes(self, model: Path) -> None:
        image = np.random.default_rng(0).integers(0, 256, (60, 80, 3)).astype(np.uint8)
        boxes = np.array([[10.0, 10.0, 40.0, 40.0], [30.0, 20.0, 70.0, 50.0]])
        expected = predict_boxes(SavedModelPredictor(model), image, boxes)
        found = predict_boxes(TFLitePredictor(model, "float32"), image, boxes)
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-3)

    def test_answers_are_copies(self, model: Path) -> None:
        found = TFLitePredictor(model)
        crops = np.random.default_rng(0).integers(0, 256, (2, 1, 32, 32, 3)).astype(np.uint8)
        first = found.predict(crops[0]).landmarks
        kept = first.copy()
        found.predict(crops[1])
        np.testing.assert_array_equal(first, kept)

    @pytest.mark.parametrize(
        ("shape", "dtype"),
        [((1, 16, 16, 3), np.uint8), ((1, 32, 32, 3), np.float32), ((32, 32, 3), np.uint8)],
    )
    def test_wrong_crops(self, model: Path, shape: tuple[int, ...], dtype: type) -> None:
        with pytest.raises(InputError, match=r"expected uint8 \(B, 32, 32, 3\)"):
            TFLitePredictor(model).predict(np.zeros(shape, dtype))

    def test_wrong_initial_landmarks(self, model: Path) -> None:
        with pytest.raises(InputError, match=r"found \(2, 68, 3\), expected \(1, 68, 3\)"):
            TFLitePredictor(model).predict(np.zeros((1, 32, 32, 3), np.uint8), np.zeros((2, 68, 3)))

    def test_no_model(self, model: Path, tmp_path: Path) -> None:
        broken = tmp_path / "broken.tflite"
        for content in (b"", b"not a model at all"):
            broken.write_bytes(content)
            with pytest.raises(InputError, match=r"broken.tflite: found no readable TFLite model"):
                TFLitePredictor(broken)
        other = mediapipe_file()
        with pytest.raises(InputError, match=r"found inputs and outputs \[\('float32', \[1, 192, 192, 3\]\)"):
            TFLitePredictor(str(other))
        with pytest.raises(InputError, match="threads: found 0, expected 1 or more"):
            TFLitePredictor(model, threads=0)
