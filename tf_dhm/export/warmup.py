"""Requests with which TF Serving warms a model up before it takes traffic."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow.core.framework import tensor_pb2
from tensorflow_serving.apis import prediction_log_pb2

from tf_dhm.face.mean_face import mean_landmarks

WARMUP_FILE = Path("assets.extra") / "tf_serving_warmup_requests"
"""Inside a version folder; the name that TF Serving looks for."""
BATCHES = (1, 8, 32)
"""Sizes of the requests, up to the largest batch of savedmodels/batching.config."""
PHOTO_SIDE = 64


def warmup_photos() -> list[bytes]:
    """A JPEG and a PNG of PHOTO_SIDE x PHOTO_SIDE pixels."""
    ramp = np.linspace(0, 255, PHOTO_SIDE, dtype=np.uint8)
    pixels = np.stack(np.broadcast_arrays(ramp[:, None], ramp[None], ramp[::-1, None]), -1)
    return [tf.io.encode_jpeg(pixels).numpy(), tf.io.encode_png(pixels).numpy()]


def warmup_requests(size: int) -> Iterator[prediction_log_pb2.PredictionLog]:
    """Requests for every signature in every size of BATCHES.

    Args:
        size: side of the model's crops in pixels.
    """
    photos = warmup_photos()
    quarter = PHOTO_SIDE / 4
    box = [quarter, quarter, 3 * quarter, 3 * quarter]
    for count in BATCHES:
        # One value stands for all of them.
        crops = tensor_pb2.TensorProto(dtype=tf.uint8.as_datatype_enum, int_val=[128])
        crops.tensor_shape.CopyFrom(tf.TensorShape([count, size, size, 3]).as_proto())
        initial = tf.make_tensor_proto(np.repeat(mean_landmarks(size)[None], count, 0))
        yield request("serving_default", crops=crops)
        yield request("refine", crops=crops, initial_landmarks=initial)
        yield request(
            "align_jpeg",
            photos=tf.make_tensor_proto([photos[index % 2] for index in range(count)]),
            boxes=tf.make_tensor_proto(np.array([box] * count, np.float32)),
        )


def request(signature: str, **inputs: Any) -> prediction_log_pb2.PredictionLog:
    """A request in the form of the warm-up file. It names no model: TF Serving knows which one it loads."""
    log = prediction_log_pb2.PredictionLog()
    log.predict_log.request.model_spec.signature_name = signature
    for name, value in inputs.items():
        log.predict_log.request.inputs[name].CopyFrom(value)
    return log


def write_warmup(version_dir: Path, size: int) -> None:
    """Put the warm-up requests into a version folder of a model."""
    path = version_dir / WARMUP_FILE
    path.parent.mkdir(exist_ok=True)
    with tf.io.TFRecordWriter(str(path)) as writer:
        for log in warmup_requests(size):
            writer.write(log.SerializeToString(deterministic=True))
