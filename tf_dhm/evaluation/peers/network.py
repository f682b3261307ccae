"""Networks on disk, TFLite, ONNX or SavedModel, as a function from one input to all outputs."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tf_dhm.core.errors import InputError
from tf_dhm.runtime import tflite

Network = Callable[[NDArray[Any]], list[NDArray[Any]]]
"""One input (1, ...) -> all outputs."""


def load_network(
    path: Path, threads: int, runtime: str | None
) -> tuple[Network, str, np.dtype[Any], list[str]]:
    """A model on disk: what runs it, its runtime, the type of its input and the names of its outputs.

    Raises:
        InputError: no such file, of no known kind, not readable, with other than one input, or its
            package is missing.
    """
    if path.is_dir():
        return load_saved_model(path)
    if not path.is_file():
        raise InputError(f"{path}: found no such file, expected a model (*.tflite, *.onnx or a SavedModel)")
    if path.suffix == ".tflite":
        return load_tflite(path, threads, runtime)
    if path.suffix == ".onnx":
        return load_onnx(path, threads)
    raise InputError(f"{path}: found a file *{path.suffix}, expected *.tflite, *.onnx or a SavedModel")


def load_tflite(
    path: Path, threads: int, runtime: str | None
) -> tuple[Network, str, np.dtype[Any], list[str]]:
    opened = tflite.Network(path, threads, runtime)
    inputs, outputs = opened.inputs, opened.outputs
    check_one_input(path, [tensor["name"] for tensor in inputs])
    shape = inputs[0]["shape"].tolist()

    def network(value: NDArray[Any]) -> list[NDArray[Any]]:
        check_input(path, shape, value)
        return opened.run(value)

    return network, f"TFLite, {opened.runtime}", np.dtype(inputs[0]["dtype"]), [o["name"] for o in outputs]


def load_onnx(path: Path, threads: int) -> tuple[Network, str, np.dtype[Any], list[str]]:
    try:
        onnxruntime: Any = importlib.import_module("onnxruntime")
    except ModuleNotFoundError as error:
        raise InputError(
            f"{path}: found no package onnxruntime; to install it: pip install onnxruntime"
        ) from error
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    try:
        session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # its errors have no common class
        raise InputError(f"{path}: found no readable ONNX model: {error}") from error
    inputs, outputs = session.get_inputs(), session.get_outputs()
    check_one_input(path, [tensor.name for tensor in inputs])
    # "tensor(float)", "tensor(uint8)", ...
    kind = inputs[0].type.removeprefix("tensor(").removesuffix(")")
    dtype = np.dtype({"float": "float32", "double": "float64"}.get(kind, kind))
    source, shape = inputs[0].name, inputs[0].shape

    def network(value: NDArray[Any]) -> list[NDArray[Any]]:
        check_input(path, shape, value)
        return session.run(None, {source: value})

    return network, f"onnxruntime {onnxruntime.__version__}", dtype, [o.name for o in outputs]


def load_saved_model(path: Path) -> tuple[Network, str, np.dtype[Any], list[str]]:
    import tensorflow as tf

    try:
        model = tf.saved_model.load(str(path))
        signature = model.signatures["serving_default"]
    except (OSError, ValueError, KeyError) as error:
        raise InputError(
            f"{path}: found no readable SavedModel with the signature serving_default: {error}"
        ) from error
    specs = signature.structured_input_signature[1]
    check_one_input(path, list(specs))
    ((name, spec),) = specs.items()
    names = sorted(signature.structured_outputs)
    shape = spec.shape.as_list() if spec.shape.rank is not None else [None] * 4

    def network(value: NDArray[Any]) -> list[NDArray[Any]]:
        check_input(path, shape, value)
        outputs = signature(**{name: tf.constant(value)})
        return [outputs[key].numpy() for key in names]

    # The signature does not keep its model alive.
    network.model = model  # type: ignore[attr-defined]
    return network, f"SavedModel, {tflite.load_runtime('tensorflow')[0]}", spec.dtype.as_numpy_dtype, names


def check_one_input(path: Path, names: list[str]) -> None:
    if len(names) != 1:
        raise InputError(f"{path}: found the inputs {', '.join(names) or 'none'}, expected one image")


def check_input(path: Path, shape: Sequence[Any], value: NDArray[Any]) -> None:
    """InputError unless a network of this input shape, where -1, None or a name is any, takes `value`."""
    fits = len(shape) == value.ndim and all(
        side == found
        for side, found in zip(shape, value.shape, strict=True)
        if isinstance(side, int) and side > 0
    )
    if not fits:
        raise InputError(f"{path}: found an input of the shape {list(shape)}, expected {list(value.shape)}")
