"""Networks alone as cases of a benchmark."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tf_dhm.core.errors import InputError
from tf_dhm.evaluation.timing import Case, local_timer
from tf_dhm.runtime.predictor import LandmarkModel
from tf_dhm.runtime.tflite import Network


def predict_call(predictor: LandmarkModel, batch: int) -> Callable[[], object]:
    """One call of a model on `batch` random crops."""
    crops = random_input((batch, predictor.input_size, predictor.input_size, 3), np.uint8)
    return lambda: predictor.predict(crops)


def tflite_case(name: str, path: Path, precision: str, batch: int, threads: int, runtime: str | None) -> Case:
    """The network of any TFLite file with one input, on random input.

    Raises:
        InputError: no such file, not readable, or with other than one image as input.
    """
    network = Network(path, threads, runtime)
    if len(network.inputs) != 1 or len(network.inputs[0]["shape"]) != 4:
        found = [tensor["shape"].tolist() for tensor in network.inputs]
        raise InputError(f"{path}: found inputs of the shapes {found}, expected one image")
    shape = (batch, *network.inputs[0]["shape"][1:].tolist())
    image = random_input(shape, network.inputs[0]["dtype"])
    runtime_name, size = f"TFLite, {network.runtime}", path.stat().st_size
    timer = local_timer(lambda: network.run(image))
    return Case(name, runtime_name, precision, "cpu", threads, "model", batch, shape[1], size, timer)


def random_input(shape: tuple[int, ...], dtype: Any) -> NDArray[Any]:
    """Noise in the range of pixels: 0 to 255 for integers, 0 to 1 for floats."""
    rng = np.random.default_rng(0)
    if np.issubdtype(dtype, np.integer):
        return rng.integers(0, 256, shape).astype(dtype)
    return rng.random(shape).astype(dtype)
