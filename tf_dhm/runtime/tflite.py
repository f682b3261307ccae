"""TFLite files: where they lie, the interpreter that runs them, and a predictor.

Nothing here needs TensorFlow where one of the small interpreters, `ai-edge-litert` or
`tflite-runtime`, is installed. The files are made by `tf_dhm.export.tflite`.
"""

from __future__ import annotations

import importlib
import importlib.metadata
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np

from tf_dhm.core.errors import InputError
from tf_dhm.core.types import Array, Image
from tf_dhm.face import geometry
from tf_dhm.face.heatmap import diffusion_heatmap
from tf_dhm.runtime.predictor import Prediction, check_crops, check_initial_landmarks, empty_prediction
from tf_dhm.runtime.store import find_savedmodel, model_name

Kind = Literal["float32", "float16", "dynamic_range", "int8"]
"""float16: weights halved, computed in float32. dynamic_range: large weights in 8 bits, activations
in float32. int8: weights and activations in 8 bits."""
KINDS: tuple[Kind, ...] = get_args(Kind)

DEFAULT_KIND: Kind = "float16"
"""Half the bytes of "float32", and landmarks that differ by less than 0.05 pixels (docs/runtime.md)."""

RUNTIMES = {
    "ai-edge-litert": "ai_edge_litert.interpreter",
    "tflite-runtime": "tflite_runtime.interpreter",
    "tensorflow": "tensorflow.lite.python.interpreter",
}
"""Packages that hold an interpreter and its module, the small ones first."""

NAMES = {3: "landmarks", 2: "visibility", 1: "confidence"}
"""Outputs of a model by their rank: (B, 68, 3), (B, 68) and (B,)."""


def load_runtime(package: str | None = None) -> tuple[str, Any]:
    """The interpreter class to use, which runs with XNNPACK by itself.

    Args:
        package: one of RUNTIMES; None: the first of them that is installed.

    Returns:
        "<package> <version>" and its class `Interpreter`; all have the same interface.

    Raises:
        InputError: it is not installed.
    """
    for name, module in RUNTIMES.items():
        if package in (None, name):
            try:
                interpreter = importlib.import_module(module).Interpreter
            except ModuleNotFoundError:
                continue
            return f"{name} {importlib.metadata.version(name)}", interpreter
    expected = " or ".join(RUNTIMES) if package is None else f"the package {package}"
    raise InputError(f"TFLite interpreter: found none installed, expected {expected}")


def tflite_name(model: str, kind: Kind) -> str:
    """The name of a model's TFLite file, which lies in the version folder beside the SavedModel."""
    return f"{model}_{kind}.tflite"


def find_tflite(path: str | Path, kind: Kind = DEFAULT_KIND) -> Path:
    """The TFLite file that `path` stands for.

    Args:
        path: a `.tflite` file, a version folder, a model folder (its newest version is taken), or the
            name of a model of this project.
        kind: which of the files of a folder.

    Raises:
        InputError: there is none; names what is there.
    """
    file = Path(path)
    if file.suffix == ".tflite" and not file.is_dir():
        if not file.is_file():
            raise InputError(f"model {path}: found nothing, expected a TFLite file")
        return file
    folder = find_savedmodel(path)
    file = folder / tflite_name(model_name(folder), kind)
    if not file.is_file():
        found = ", ".join(sorted(entry.name for entry in folder.glob("*.tflite"))) or "no TFLite file"
        raise InputError(f"model {folder}: found {found}, expected {file.name}, which export.py writes")
    return file


class TFLitePredictor:
    """A model of this project as a TFLite file; the interface of `saved_model.SavedModelPredictor`.

    Attributes:
        name: of the file, without its suffix.
        path: of the file.
        runtime: package and version of the interpreter.
        input_size: side S of its crops in pixels.
        can_refine: whether `predict` takes initial landmarks.
    """

    def __init__(
        self,
        path: str | Path,
        kind: Kind = DEFAULT_KIND,
        threads: int = 1,
        runtime: str | None = None,
    ) -> None:
        """Load a file.

        Args:
            path, kind: see `find_tflite`.
            threads: of the interpreter, 1 or more.
            runtime: see `load_runtime`.

        Raises:
            InputError: no such file, no model of this project, or no interpreter.
        """
        if threads < 1:
            raise InputError(f"threads: found {threads}, expected 1 or more")
        self.path = find_tflite(path, kind)
        self.name = self.path.stem
        self.runtime, interpreter = load_runtime(runtime)
        try:
            self._interpreter: Any = interpreter(model_path=str(self.path), num_threads=threads)
            self._interpreter.allocate_tensors()
        except (ValueError, RuntimeError) as error:
            raise InputError(f"model {self.path}: found no readable TFLite model: {error}") from error
        inputs, outputs = self._interpreter.get_input_details(), self._interpreter.get_output_details()
        # The default signature has no names for its outputs, but none of them has the rank of another.
        named = {NAMES.get(len(tensor["shape"]), "other"): tensor for tensor in outputs}
        expected = (geometry.NUM_LANDMARKS, 3)
        if (
            len(inputs) != 1
            or inputs[0]["dtype"] != np.uint8
            or len(inputs[0]["shape"]) != 4
            or len(named) != len(outputs)
            or "other" in named
            or "landmarks" not in named
            or tuple(named["landmarks"]["shape"][1:]) != expected
        ):
            found = [(tensor["dtype"].__name__, tensor["shape"].tolist()) for tensor in (*inputs, *outputs)]
            raise InputError(
                f"model {self.path}: found inputs and outputs {found}, expected crops, uint8 (B, S, S, 3), "
                f"and landmarks {expected}"
            )
        self.input_size = int(inputs[0]["shape"][1])
        self._input = inputs[0]["index"]
        self._outputs = {name: int(tensor["index"]) for name, tensor in named.items()}
        self._batch = int(inputs[0]["shape"][0])
        self.can_refine = "refine" in self._interpreter.get_signature_list()

    def predict(self, crops: Image, initial_landmarks: Array | None = None) -> Prediction:
        """Find the landmarks of a batch of crops, and what else the model knows of them.

        Args:
            crops: (B, S, S, 3) uint8 RGB; B may be 0.
            initial_landmarks: (B, 68, 3) crop pixels to start from in place of the mean shape.

        Raises:
            InputError: wrong shape or dtype, or the model cannot start from landmarks.
        """
        check_crops(crops, self.input_size)
        if initial_landmarks is not None:
            check_initial_landmarks(initial_landmarks, len(crops))
            if not self.can_refine:
                raise InputError(
                    f"model {self.path}: has no signature refine, so it cannot run a second pass"
                )
        if len(crops) == 0:
            return empty_prediction(self._outputs)
        if initial_landmarks is None:
            return Prediction.of(self._run(crops), self.path)
        return Prediction.of(self._run_refine(crops, initial_landmarks), self.path)

    def _run(self, crops: Image) -> dict[str, Array]:
        if len(crops) != self._batch:
            self._interpreter.resize_tensor_input(self._input, crops.shape)
            self._interpreter.allocate_tensors()
            self._batch = len(crops)
        self._interpreter.set_tensor(self._input, crops)
        self._interpreter.invoke()
        return {name: self._interpreter.get_tensor(index) for name, index in self._outputs.items()}

    def _run_refine(self, crops: Image, initial_landmarks: Array) -> dict[str, Array]:
        # Not held: while a runner lives, the interpreter takes no other call.
        runner = self._interpreter.get_signature_runner("refine")
        # TFLite has no operation that draws, so the map comes from outside.
        heatmap = np.stack([diffusion_heatmap(points, self.input_size) for points in initial_landmarks])
        details = runner.get_input_details()["heatmap"]
        if details["dtype"] == np.uint8:
            scale, zero = details["quantization"]
            heatmap = np.clip(np.rint(heatmap / scale) + zero, 0, 255).astype(np.uint8)
        return runner(crops=crops, heatmap=heatmap)
