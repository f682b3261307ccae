"""TFLite files: their locations, the interpreter that runs them, and a predictor.

Nothing here needs TensorFlow if one of the small interpreters, `ai-edge-litert` or
`tflite-runtime`, is installed. The files are made by `tf_dhm.export.tflite`.
"""

from __future__ import annotations

import importlib
import os
import tempfile
import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from tf_dhm.core.errors import InputError
from tf_dhm.core.types import Array, Image
from tf_dhm.face import geometry
from tf_dhm.face.heatmap import diffusion_heatmap
from tf_dhm.runtime.predictor import Prediction, check_crops, check_initial_landmarks, empty_prediction
from tf_dhm.runtime.store import find_savedmodel, model_name

Kind = Literal["float32", "float16", "dynamic_range", "int8", "web"]
"""float16: weights halved, computed in float32. dynamic_range: large weights in 8 bits, activations
in float32. int8: weights and activations in 8 bits. web: as float16, for one crop at a time, because
LiteRT's runtime for browsers needs a fixed batch."""
KINDS: tuple[Kind, ...] = get_args(Kind)

DEFAULT_KIND: Kind = "float16"
"""Half the bytes of "float32", and landmarks that differ by less than 0.06 pixels (docs/runtime.md)."""

RUNTIMES = {
    "ai-edge-litert": "ai_edge_litert.interpreter",
    "tflite-runtime": "tflite_runtime.interpreter",
    "tensorflow": "tensorflow.lite.python.interpreter",
}
"""Packages that hold an interpreter and its module, the small ones first."""

START_NOTE = b"INFO: Created TensorFlow Lite"
"""What XNNPACK writes to the standard error when the first interpreter of a process is made."""

NAMES = {4: "points", 3: "landmarks", 2: "visibility", 1: "confidence"}
"""Outputs of a model by their rank: (B, 1, P, 3), (B, 68, 3), (B, 68) and (B,)."""


def load_runtime(package: str | None = None) -> tuple[str, Any]:
    """The interpreter class to use; it runs with XNNPACK by default.

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
            return f"{name} {package_version(name, module)}", interpreter
    expected = " or ".join(RUNTIMES) if package is None else f"the package {package}"
    raise InputError(f"TFLite interpreter: found none installed, expected {expected}")


def package_version(name: str, module: str) -> str:
    """The version of an imported package.

    The module is asked first: TensorFlow is also distributed under other names (tensorflow-cpu, ...), for
    which the metadata of `name` do not exist.
    """
    package = importlib.import_module(module.partition(".")[0])
    if own := getattr(package, "__version__", None):
        return str(own)
    from importlib.metadata import version  # only then, for its import takes long

    return version(name)


_start_lock = threading.Lock()
_started = False


@contextmanager
def quiet_start() -> Iterator[None]:
    """Keep the line that XNNPACK prints when the first interpreter starts off the standard error.

    The interpreters offer no switch for it. The descriptor is redirected only while the first one is made,
    and everything else that was written meanwhile is passed on.
    """
    global _started
    if _started:
        yield
        return
    with _start_lock:
        try:
            original = os.dup(2)
        except OSError:  # closed: nothing would be printed
            yield
            return
        with tempfile.TemporaryFile() as held:
            os.dup2(held.fileno(), 2)
            try:
                yield
            finally:
                os.dup2(original, 2)
                os.close(original)
                held.seek(0)
                for line in held:
                    if not line.startswith(START_NOTE):
                        os.write(2, line)
        _started = True


class Network:
    """A TFLite file in an interpreter of its own, which only one thread may use at a time.

    Attributes:
        runtime: package and version of the interpreter.
        interpreter: of TFLite.
        inputs, outputs: details of the tensors of the default signature, as the interpreter gives them.
    """

    def __init__(self, model: Path | bytes, threads: int = 1, runtime: str | None = None) -> None:
        """Open a file.

        Args:
            model: path or content of a TFLite file.
            threads: of the interpreter, 1 or more.
            runtime: see `load_runtime`.

        Raises:
            InputError: no such file, no TFLite file, a bad number of threads or no interpreter.
        """
        name = "model (bytes)" if isinstance(model, bytes) else f"model {model}"
        if threads < 1:
            raise InputError(f"threads: found {threads}, expected 1 or more")
        if not isinstance(model, bytes) and not model.is_file():
            raise InputError(f"{name}: found no such file, expected a TFLite file")
        source = {"model_content": model} if isinstance(model, bytes) else {"model_path": str(model)}
        self.runtime, interpreter = load_runtime(runtime)
        try:
            with quiet_start():
                self.interpreter: Any = interpreter(**source, num_threads=threads)
                self.interpreter.allocate_tensors()
        except (ValueError, RuntimeError) as error:
            raise InputError(f"{name}: found no readable TFLite model: {error}") from error
        self.inputs = self.interpreter.get_input_details()
        self.outputs = self.interpreter.get_output_details()
        self._shape = tuple(self.inputs[0]["shape"].tolist())

    def run(self, value: NDArray[Any]) -> list[NDArray[Any]]:
        """The outputs, in the order of `outputs`, for a value of the first input, of any batch size."""
        source = self.inputs[0]["index"]
        if value.shape != self._shape:
            self.interpreter.resize_tensor_input(source, value.shape)
            self.interpreter.allocate_tensors()
            self._shape = value.shape
        self.interpreter.set_tensor(source, value)
        return self._invoke()

    def run_filled(self, fill: Callable[[NDArray[Any]], None]) -> list[NDArray[Any]]:
        """The outputs for what `fill` writes into the first input, of the last batch size.

        Without the copy of `run`. The input holds any values before, and `fill` must not keep it.
        """
        fill(self.interpreter.tensor(self.inputs[0]["index"])())
        return self._invoke()

    def _invoke(self) -> list[NDArray[Any]]:
        self.interpreter.invoke()
        return [self.interpreter.get_tensor(output["index"]) for output in self.outputs]


class NetworkPool:
    """Interpreters of one TFLite file, of which each thread borrows one for each call.

    It opens as many as are used at the same time. Copies and pickles open their own.
    """

    def __init__(self, path: Path, threads: int = 1, runtime: str | None = None) -> None:
        self._arguments = path, threads, runtime
        self._idle = deque([Network(path, threads, runtime)])

    def __reduce__(self) -> tuple[type[NetworkPool], tuple[Path, int, str | None]]:
        return NetworkPool, self._arguments

    @contextmanager
    def borrow(self) -> Iterator[Network]:
        """A network that no other thread uses meanwhile."""
        try:
            network = self._idle.pop()  # atomic, unlike a test followed by a pop
        except IndexError:
            network = Network(*self._arguments)
        try:
            yield network
        finally:
            self._idle.append(network)


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
        raise InputError(
            f"model {folder}: found {found}, expected {file.name}; write it with: "
            f"python export.py --model {folder.parent} --tflite {kind}"
        )
    return file


def heatmap_steps(network: Network) -> tuple[float, int] | None:
    """Scale and zero point of the heat map of a model with 8-bit inputs; None of others."""
    details = network.interpreter.get_signature_runner("refine").get_input_details()["heatmap"]
    return details["quantization"] if details["dtype"] == np.uint8 else None


class TFLitePredictor:
    """A model of this project as a TFLite file (a `predictor.LandmarkModel`). Threads may share it.

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
        self.path = find_tflite(path, kind)
        self.name = self.path.stem
        self._networks = NetworkPool(self.path, threads, runtime)
        with self._networks.borrow() as network:
            self.runtime = network.runtime
            inputs, outputs = network.inputs, network.outputs
            self.can_refine = "refine" in network.interpreter.get_signature_list()
            self._heatmap_steps = heatmap_steps(network) if self.can_refine else None
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
        self._outputs = list(named)  # in the order of the network's

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
        with self._networks.borrow() as network:
            if initial_landmarks is None:
                outputs = dict(zip(self._outputs, network.run(crops), strict=True))
            else:
                outputs = self._refine(network, crops, initial_landmarks)
        if "points" in outputs:
            outputs["points"] = outputs["points"][:, 0]
        return Prediction.of(outputs, self.path)

    def _refine(self, network: Network, crops: Image, initial_landmarks: Array) -> dict[str, Array]:
        # Not kept: while a runner lives, the interpreter takes no other call.
        runner = network.interpreter.get_signature_runner("refine")
        # TFLite has no operation that draws, so the heat map is drawn here.
        heatmap = np.stack([diffusion_heatmap(points, self.input_size) for points in initial_landmarks])
        if self._heatmap_steps is not None:
            scale, zero = self._heatmap_steps
            heatmap = np.clip(np.rint(heatmap / scale) + zero, 0, 255).astype(np.uint8)
        return runner(crops=crops, heatmap=heatmap)
