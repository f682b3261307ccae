"""Convert exported SavedModels to TFLite.

The network is built again for inference, exactly equal to the SavedModel, so that constants are computed
once and not for each face:

- The stem's convolution is linear, so that of the scaled image, conv(x / 127.5 - 1), is
  conv(x) / 127.5 + conv(-1): the scale goes into its kernel, with that of the batch normalisation
  after it, and conv(-1) (which is not the same everywhere, as the borders are padded with zeros)
  is a constant map, as is the share of the DHM. Both are one constant, stored once.
- Pixels of the crop are put into the last dense layer.
- Dense layers are convolutions of one pixel, whose weights are quantised channel by channel.

The converter folds the other batch normalisations and the activations.
"""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray
from tensorflow.lite.tools import flatbuffer_utils

from tf_dhm.core.errors import InputError
from tf_dhm.core.files import atomic_write
from tf_dhm.core.types import Image, Tensor
from tf_dhm.export.description import read_description
from tf_dhm.export.saved_model import read_head, read_points, read_weights
from tf_dhm.face import geometry
from tf_dhm.face.heatmap import diffusion_heatmap
from tf_dhm.networks.config import ModelConfig
from tf_dhm.networks.keras_compat import tf_variables
from tf_dhm.networks.models import build_model, constant_heatmap, precision_policy
from tf_dhm.networks.quality import QualityHead
from tf_dhm.runtime.saved_model import SavedModelPredictor
from tf_dhm.runtime.store import find_savedmodel, model_name
from tf_dhm.runtime.tflite import KINDS, Kind, tflite_name
from tf_dhm.training.output_layer import OutputLayer

SIGNATURES = ("serving_default", "refine")
MIDDLE = 127.5
"""The pixel value that the network sees as 0."""


@dataclass(frozen=True)
class Contents:
    """What a TFLite file holds.

    Attributes:
        path: of the file.
        file_bytes: of the file.
        constant_bytes: of its constants: weights and the map of the stem.
        map_bytes: of the map of the stem, which holds the share of the DHM.
        operations: signature -> names of its operations in their order.
    """

    path: Path
    file_bytes: int
    constant_bytes: int
    map_bytes: int
    operations: dict[str, tuple[str, ...]]


class InferenceModule(tf.Module):
    """A trained network with its signatures for TFLite.

    serving_default: `crops` (B, S, S, 3) -> `landmarks` (B, 68, 3) crop pixels and, with a head,
    `confidence` (B,) and, if the head has it, `visibility` (B, 68); of an adapted model also `points`
    (B, 1, P, 3) crop pixels, whose rank tells them from the landmarks. refine: `crops` and `heatmap`
    (B, S, S, 3) float32, the DHM of the initial landmarks -> the same; only where the network sees a
    heat map.

    Crops are uint8; or, `for_int8`, float32 less 128, which is what their quantisation in 8 bits
    stands for, and float32 is what the converter quantises. The batch is free unless `batch` fixes it.
    """

    def __init__(
        self,
        network: tf.keras.Model,
        config: ModelConfig,
        head: QualityHead | None = None,
        points: OutputLayer | None = None,
        for_int8: bool = False,
        batch: int | None = None,
    ) -> None:
        super().__init__()
        size = config.input_size
        zero = 128.0 if for_int8 else 0.0
        stem = fold_stem(network, size, zero)
        body = tf.keras.Model(network.get_layer("stem_relu").input, network.get_layer("flatten").input)
        self.network_weights = tf_variables(body)
        hidden = network.get_layer("hidden").get_weights() if config.hidden_units else None
        last = last_layer(network, size)
        further = None if points is None else points_layer(points, size)

        def dense(inputs: Tensor, weights: Sequence[Any]) -> Tensor:
            return tf.nn.conv2d(inputs, weights[0][None, None], 1, "VALID") + weights[1]

        def finish(features: Tensor) -> dict[str, Tensor]:
            pooled = body(features, training=False)  # (B, 1, 1, C)
            outputs = pooled if hidden is None else tf.nn.relu(dense(pooled, hidden))
            # A constant shape except for the batch: XNNPACK does not take computed shapes.
            found = {"landmarks": tf.reshape(dense(outputs, last), [-1, geometry.NUM_LANDMARKS, 3])}
            if further is not None:
                found["points"] = tf.reshape(dense(outputs, further), [-1, 1, further[1].size // 3, 3])
            return found if head is None else found | judge(pooled, head)

        def judge(pooled: Tensor, head: QualityHead) -> dict[str, Tensor]:
            narrow = tf.nn.relu(dense(pooled, (head.narrow_kernel, head.narrow_bias)))
            count = len(head.narrow_kernel)
            # The sum of two, for joining features and narrow units would copy them.
            confidence = dense(pooled, (head.confidence_kernel[:count], head.confidence_bias))
            confidence += tf.nn.conv2d(narrow, head.confidence_kernel[None, None, count:], 1, "VALID")
            found = {"confidence": tf.reshape(tf.sigmoid(confidence), [-1])}
            if head.visibility_kernel is not None:
                visibility = dense(narrow, (head.visibility_kernel, head.visibility_bias))
                found["visibility"] = tf.reshape(tf.sigmoid(visibility), [-1, geometry.NUM_LANDMARKS])
            return found

        def serve(crops: Tensor) -> dict[str, Tensor]:
            image = tf.cast(crops, tf.float32)
            return finish(tf.nn.conv2d(image, stem.kernel, 2, "SAME") + stem.share)

        def refine(crops: Tensor, heatmap: Tensor) -> dict[str, Tensor]:
            image = tf.cast(crops, tf.float32) + (zero - MIDDLE)
            features = tf.nn.conv2d(image, stem.kernel, 2, "SAME") + stem.bias
            return finish(features + tf.nn.conv2d(heatmap, stem.heatmap_kernel, 2, "SAME"))

        shape = [batch, size, size, 3]
        crops = tf.TensorSpec(shape, tf.float32 if for_int8 else tf.uint8, "crops")
        # The converter gives an attribute called `serve` a meaning of its own.
        self.functions = {"serving_default": tf.function(serve, input_signature=[crops], autograph=False)}
        if config.heatmap_input:
            heatmap = tf.TensorSpec(shape, tf.float32, "heatmap")
            self.functions["refine"] = tf.function(refine, input_signature=[crops, heatmap], autograph=False)


def last_layer(network: tf.keras.Model, size: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Kernel and bias of the last layer of a network, which give pixels of its crops."""
    kernel, bias = network.get_layer("landmarks").get_weights()
    middle = np.tile([(size - 1) / 2.0, (size - 1) / 2.0, 0.0], geometry.NUM_LANDMARKS)
    return kernel * (size / 2.0), (bias * (size / 2.0) + middle).astype(np.float32)


def points_layer(layer: OutputLayer, size: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Kernel (F, 3 P) and bias (3 P,) of a layer of further points, which give pixels of the crops."""
    kernel = layer.kernel.reshape(len(layer.kernel), -1) * (size / 2.0)
    bias = layer.bias * (size / 2.0) + np.array([(size - 1) / 2.0, (size - 1) / 2.0, 0.0])
    return kernel.astype(np.float32), bias.ravel().astype(np.float32)


@dataclass(frozen=True)
class FoldedStem:
    """The first convolution of a network with its batch normalisation, for raw pixel values.

    Attributes:
        kernel: (3, 3, 3, C) for pixel values.
        heatmap_kernel: (3, 3, 0 or 3, C) for the DHM.
        bias: (C,) for pixel values less MIDDLE.
        share: (1, S / 2, S / 2, C) to be added to the convolution of pixel values less `zero`.
    """

    kernel: NDArray[np.float32]
    heatmap_kernel: NDArray[np.float32]
    bias: NDArray[np.float32]
    share: NDArray[np.float32]


def fold_stem(network: tf.keras.Model, size: int, zero: float) -> FoldedStem:
    """Fold scale, offset, batch normalisation and the DHM of the mean shape into the stem.

    Args:
        network: of `build_model`.
        size: side of its crops.
        zero: what was taken from the pixel values.
    """
    stem, norm = network.get_layer("stem"), network.get_layer("stem_normalization")
    variance = norm.moving_variance.numpy().astype(np.float64)
    scale = norm.gamma.numpy() / np.sqrt(variance + norm.epsilon)  # (C,)
    bias = norm.beta.numpy() - norm.moving_mean.numpy() * scale
    kernel = stem.kernel.numpy() * scale
    image_kernel, heatmap_kernel = kernel[:, :, :3] / MIDDLE, kernel[:, :, 3:]
    offset = np.full((1, size, size, 3), zero - MIDDLE)
    share = bias + tf.nn.conv2d(offset, image_kernel, 2, "SAME").numpy()
    if heatmap_kernel.shape[2]:
        heatmap = constant_heatmap(size).astype(np.float64)
        share += tf.nn.conv2d(heatmap, heatmap_kernel, 2, "SAME").numpy()
    parts = (image_kernel, heatmap_kernel, bias, share)
    return FoldedStem(*(part.astype(np.float32) for part in parts))


def convert(
    version_dir: str | Path,
    output_dir: Path | None = None,
    kinds: Sequence[Kind] = KINDS,
    representative: Iterable[Image] = (),
    name: str | None = None,
) -> dict[Kind, Contents]:
    """Convert a SavedModel to TFLite files, `<output_dir>/<name>_<kind>.tflite`.

    Args:
        version_dir: an exported model: its folder (the newest version) or version folder.
        output_dir: made if needed; None: the version folder, beside the SavedModel, where TF Serving
            leaves them alone, and a version keeps its own.
        kinds: which files.
        representative: crops (S, S, 3) uint8 RGB as those to come, a few hundred, by which "int8"
            chooses the ranges of activations; used for nothing else.
        name: of the model in the files' names; None: that of its folder.

    Returns:
        kind -> the contents of its file.

    Raises:
        InputError: no Fast DHM of this project, an unknown kind, crops that do not fit, or none
            where "int8" needs them.
    """
    version = find_savedmodel(version_dir)
    if unknown := [kind for kind in kinds if kind not in KINDS]:
        raise InputError(f"kinds: found {', '.join(unknown)}, expected some of {', '.join(KINDS)}")
    config = read_description(version).model
    if config.family != "fast_dhm":
        raise InputError(
            f"model {version}: found a network of the family {config.family}, which draws its own heat "
            "maps, and TFLite has no operation for that; expected fast_dhm"
        )
    crops = check_representative(representative, config.input_size) if "int8" in kinds else None
    with precision_policy("float32"):
        network = build_model(config)
    network.set_weights(read_weights(version))
    name = name or model_name(version)
    folder = version if output_dir is None else output_dir
    head, points = read_head(version), read_points(version)
    files: dict[Kind, Contents] = {}
    with tempfile.TemporaryDirectory() as temporary:
        for kind in kinds:
            # Kinds with the same functions convert the same folder.
            source = Path(temporary, kind if kind in ("int8", "web") else "plain")
            if not source.exists():
                batch = 1 if kind == "web" else None
                module = InferenceModule(network, config, head, points, for_int8=kind == "int8", batch=batch)
                tf.saved_model.save(module, str(source), module.functions)
            inputs = None
            if kind == "int8":
                assert crops is not None
                inputs = calibration_inputs(crops, version, config)
            content = name_first(convert_saved(source, kind, inputs), f"{name}, {kind}")
            file = folder / tflite_name(name, kind)
            with atomic_write(file) as path:
                path.write_bytes(content)
            files[kind] = read_contents(file)
    return files


def check_representative(crops: Iterable[Image], size: int) -> Image:
    """Representative crops as one array (N, S, S, 3), or InputError."""
    array = list(crops)
    if not array:
        raise InputError("representative: found no crops, expected some, as int8 needs them")
    for number, crop in enumerate(array):
        if crop.dtype != np.uint8 or crop.shape != (size, size, 3):
            raise InputError(
                f"representative: crop {number}: found {crop.dtype} of shape {crop.shape}, "
                f"expected uint8 ({size}, {size}, 3)"
            )
    stacked = np.stack(array)
    # So that the input is quantised in steps of 1 from 0 to 255, which changes no pixel value.
    stacked[0, 0, 0], stacked[0, 0, 1] = 0, 255
    return stacked


def calibration_inputs(
    crops: Image, version_dir: Path, config: ModelConfig
) -> dict[str, list[dict[str, NDArray[np.float32]]]]:
    """Inputs of each signature by which activations are given their ranges, crop by crop."""
    images = [crop[None].astype(np.float32) - 128.0 for crop in crops]
    inputs = {"serving_default": [{"crops": image} for image in images]}
    if config.heatmap_input:
        model = SavedModelPredictor(version_dir)
        maps = [
            diffusion_heatmap(model.predict(crop[None]).landmarks[0], config.input_size)[None]
            for crop in crops
        ]
        inputs["refine"] = [
            {"crops": image, "heatmap": heatmap} for image, heatmap in zip(images, maps, strict=True)
        ]
    return inputs


def convert_saved(
    folder: Path, kind: Kind, calibration: dict[str, list[dict[str, NDArray[np.float32]]]] | None
) -> bytes:
    """The TFLite model of a saved `InferenceModule`; `calibration` is for int8 alone, which needs it."""
    converter = tf.lite.TFLiteConverter.from_saved_model(str(folder))  # all its signatures
    if kind != "float32":
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
    if kind in ("float16", "web"):
        converter.target_spec.supported_types = [tf.float16]
    if calibration is not None:

        def representative() -> Iterator[tuple[str, dict[str, NDArray[np.float32]]]]:
            for signature, inputs in calibration.items():
                yield from ((signature, values) for values in inputs)

        converter.representative_dataset = representative
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
        converter.inference_input_type = tf.uint8
    with shown_on_error():
        return converter.convert()


@contextmanager
def shown_on_error() -> Iterator[None]:
    """Keep back what native code prints, and show it only if this ends with an error.

    The converter lists the operations of every network on standard error; no option stops it.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    saved = [os.dup(number) for number in (1, 2)]
    with tempfile.TemporaryFile() as said:
        for number in (1, 2):
            os.dup2(said.fileno(), number)
        try:
            yield
        except BaseException:
            said.seek(0)
            os.write(saved[1], said.read())
            raise
        finally:
            for number, copy in zip((1, 2), saved, strict=True):
                os.dup2(copy, number)
                os.close(copy)


def name_first(content: bytes, description: str) -> bytes:
    """Put the signature `serving_default` first, and write a description into the file.

    The converter sorts signatures by name, and an interpreter that is told none runs the first one. No
    option of the converter changes that. Its constants are left as they are: stored once already, and in
    float16 all of them; unpacking the map and the last bias to float32 made the file 27 % larger, was no
    faster (fast_dhm_m, LiteRT 2.3, one thread), and moved landmarks by 0.02 pixels.
    """
    model = flatbuffer_utils.convert_bytearray_to_object(bytearray(content))
    model.description = description
    order = sorted(model.signatureDefs, key=lambda entry: SIGNATURES.index(entry.signatureKey.decode()))
    model.subgraphs = [model.subgraphs[entry.subgraphIndex] for entry in order]
    for index, entry in enumerate(order):
        entry.subgraphIndex = index
    model.signatureDefs = order
    return bytes(flatbuffer_utils.convert_object_to_bytearray(model))


def read_contents(path: Path) -> Contents:
    """What a file written by `convert` holds."""
    model = flatbuffer_utils.read_model(str(path))
    constants: dict[int, int] = {}
    map_bytes = 0
    for graph in model.subgraphs:
        _, height, width, _ = graph.tensors[graph.inputs[0]].shape
        for tensor in graph.tensors:
            data = model.buffers[tensor.buffer].data
            if data is not None:
                constants[tensor.buffer] = len(data)
                if tensor.shape is not None and list(tensor.shape[:3]) == [1, height // 2, width // 2]:
                    map_bytes = len(data)
    operations = {
        entry.signatureKey.decode(): tuple(
            flatbuffer_utils.opcode_to_name(model, operator.opcodeIndex)
            for operator in model.subgraphs[entry.subgraphIndex].operators
        )
        for entry in model.signatureDefs
    }
    return Contents(path, path.stat().st_size, sum(constants.values()), map_bytes, operations)
