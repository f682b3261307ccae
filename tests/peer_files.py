"""Small stand-ins for the files of peers, whose answers can be computed by hand."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from numpy.typing import NDArray

from tf_dhm.evaluation.peers.adapter import Adapter
from tf_dhm.face import geometry
from tf_dhm.face.mean_face import mean_shape

SIZE = 16
BOX = np.array([40.0, 50.0, 100.0, 90.0])


class Answer(tf.Module):
    """Answers the same points always, and the input's first pixel."""

    def __init__(self, points: NDArray[np.floating], dtype: tf.DType = tf.float32) -> None:
        super().__init__()
        self.points = tf.constant(points, tf.float32)
        self.run = tf.function(self._run, input_signature=[tf.TensorSpec([1, SIZE, SIZE, 3], dtype, "x")])

    def _run(self, x: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"first": tf.cast(x[:, 0, 0], tf.float32), "points": self.points[None] + 0.0}


def write_saved_model(folder: Path, points: NDArray[np.floating], dtype: tf.DType = tf.float32) -> Path:
    module = Answer(points, dtype)
    tf.saved_model.save(module, str(folder), {"serving_default": module.run.get_concrete_function()})
    return folder


def write_tflite(path: Path, points: NDArray[np.floating]) -> Path:
    module = Answer(points)
    converter = tf.lite.TFLiteConverter.from_concrete_functions([module.run.get_concrete_function()], module)
    path.write_bytes(converter.convert())
    return path


def write_onnx(path: Path, shape: list[int], answer: NDArray[np.floating]) -> Path:
    """A network that adds nothing to `answer` but 0 times its input."""
    onnx = pytest.importorskip("onnx", reason="makes the file; it is no requirement of this project")
    pytest.importorskip("onnxruntime", reason="runs the file; it is no requirement of this project")
    helper, kind = onnx.helper, onnx.TensorProto.FLOAT
    constant = helper.make_tensor("answer", kind, list(answer.shape), answer.astype(np.float32).ravel())
    zero = helper.make_tensor("zero", kind, [1], np.zeros(1, np.float32))
    nodes = [
        helper.make_node("ReduceMean", ["input"], ["mean"], keepdims=0),
        helper.make_node("Mul", ["mean", "zero"], ["nothing"]),
        helper.make_node("Add", ["answer", "nothing"], ["output"]),
    ]
    graph = helper.make_graph(
        nodes,
        "net",
        [helper.make_tensor_value_info("input", kind, shape)],
        [helper.make_tensor_value_info("output", kind, list(answer.shape))],
        [constant, zero],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    onnx.save(model, str(path))
    return path


def photo(seed: int = 0) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (140, 160, 3), np.uint8)


def mean_pixels() -> NDArray[np.floating]:
    """(68, 2) of the mean face in pixels of a crop."""
    return geometry.unit_to_pixels(mean_shape(), SIZE)[:, :2]


def mean_in_square(x: float, y: float, side: float) -> NDArray[np.floating]:
    return mean_shape()[:, :2] * (side / 2.0) + [x, y]


def adapter(path: Path, **changes: Any) -> Adapter:
    return dataclasses.replace(Adapter(str(path), SIZE, output="points"), **changes)
