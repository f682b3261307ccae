"""The files of a training folder: packed faces, weights, and the results of a training.

Neither TensorFlow nor JAX is loaded: `pack` and `export` run where the one is, `train` where the other is.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from tf_dhm.core.errors import InputError
from tf_dhm.core.files import atomic_write

TRAIN_FILE, VAL_FILE = "train.npz", "val.npz"
PACK_FILE = "pack.json"
INITIAL_FOLDER = "initial"
"""Weights to begin with, NAME.npz, and the description of the model they are from, NAME.json."""
TEACHER_FILE = "teacher.npz"
RESULTS_FILE = "training.json"
COORDINATE_STEPS = 64
"""Landmarks are stored as whole 64ths of a pixel."""


@dataclass(frozen=True)
class Pack:
    """What the faces of a training folder are: the content of PACK_FILE.

    Attributes:
        command: the command line that packed them.
        dataset: names of the datasets.
        datasets: name -> its number of faces and its note, for model cards.
        input_size: side of the crop, in pixels, of the networks that they are stored for.
        quality: of the WebP images, 1 to 100.
        train: number of training faces.
        train_of_each: number of training faces of each dataset, in whose order they are stored.
        val: number of validation faces.
    """

    command: str
    dataset: tuple[str, ...]
    datasets: dict[str, str]
    input_size: int
    quality: int
    train: int
    train_of_each: tuple[int, ...]
    val: int


@dataclass(frozen=True)
class NetworkResult:
    """Metrics of a trained network on `val`, by `metrics.summarize`: of faces, and of the mean of what it
    finds in a face and in its mirror image."""

    val: dict[str, Any]
    val_mirrored: dict[str, Any]


@dataclass(frozen=True)
class Results:
    """A training: the content of RESULTS_FILE.

    Attributes:
        command: the command line.
        options: of the command.
        networks: name -> metrics, of each network.
        teachers: what is known of the teachers; empty without them.
        machine: the device that trained, and the version of JAX.
        seconds: time of the joint training, without the teachers.
        history: a row for each line of the log.
    """

    command: str
    options: dict[str, Any]
    networks: dict[str, NetworkResult]
    teachers: dict[str, Any]
    machine: str
    seconds: float
    history: list[dict[str, Any]]


@dataclass(frozen=True, eq=False)
class PackedFaces:
    """Faces of one split.

    Attributes:
        images: N files in the format WebP, of square images of one size.
        landmarks: (N, 68, 3) float32 pixels of the images.
        yaw: (N,) float32 degrees, NaN where unknown.
        sigma: (N, 68) float32 pixels, how uncertain the landmarks are, NaN where unknown.
    """

    images: list[bytes]
    landmarks: NDArray[np.float32]
    yaw: NDArray[np.float32]
    sigma: NDArray[np.float32]

    def __getitem__(self, rows: NDArray[np.int64]) -> PackedFaces:
        labels = (self.landmarks[rows], self.yaw[rows], self.sigma[rows])
        return PackedFaces([self.images[row] for row in rows.tolist()], *labels)


def write_faces(file: Path, faces: PackedFaces) -> None:
    """Write the faces of a split; landmarks are rounded to 1 / COORDINATE_STEPS pixels.

    Raises:
        InputError: a landmark is unknown, or too far from the image.
    """
    scaled = np.rint(faces.landmarks * COORDINATE_STEPS)
    limits = np.iinfo(np.int16)
    usable = (scaled >= limits.min) & (scaled <= limits.max)  # False for NaN
    if not usable.all():
        face = int(np.flatnonzero(~usable.all((1, 2)))[0])
        raise InputError(
            f"landmarks: found {faces.landmarks[face][~usable[face]][0]} in face {face}, expected x, y and z "
            f"within {limits.max / COORDINATE_STEPS:.0f} pixels; datasets without z cannot be packed"
        )
    with atomic_write(file) as path:
        np.savez(
            path,
            images=np.frombuffer(b"".join(faces.images), np.uint8),
            ends=np.cumsum([len(image) for image in faces.images]),
            landmarks=scaled.astype(np.int16),
            yaw=faces.yaw.astype(np.float32),
            sigma=faces.sigma.astype(np.float16),
        )


def read_faces(file: Path) -> PackedFaces:
    """The faces that `write_faces` wrote.

    Raises:
        InputError: no such file.
    """
    if not file.is_file():
        raise InputError(f"{file}: found no such file, expected faces that `pack` wrote")
    with np.load(file) as content:
        parts = np.split(content["images"], content["ends"][:-1])
        return PackedFaces(
            [part.tobytes() for part in parts],
            content["landmarks"].astype(np.float32) / COORDINATE_STEPS,
            content["yaw"],
            content["sigma"].astype(np.float32),
        )


def decode_images(images: Sequence[bytes], threads: int = 0) -> NDArray[np.uint32]:
    """Decode images: (N, C, C) uint32, red + 2^8 green + 2^16 blue.

    Args:
        images: files.
        threads: that decode; 0 for one per core.
    """

    def decode(encoded: bytes) -> NDArray[np.uint8]:
        return np.asarray(cv2.imdecode(np.frombuffer(encoded, np.uint8), cv2.IMREAD_COLOR), np.uint8)

    side = len(decode(images[0]))
    decoded = np.zeros((len(images), side, side, 4), np.uint8)

    def put(number: int) -> None:
        decoded[number, :, :, :3] = decode(images[number])[..., ::-1]

    with ThreadPoolExecutor(threads or None) as pool:
        list(pool.map(put, range(len(images)), chunksize=64))
    return decoded.view("<u4")[..., 0]


def write_weights(file: Path, weights: Sequence[NDArray[np.float32]]) -> None:
    """Write the weights of a network, in the order of Keras' `get_weights`."""
    with atomic_write(file) as path:
        np.savez(path, *weights)


def read_weights(file: Path, shapes: Sequence[tuple[int, ...]]) -> list[NDArray[np.float32]]:
    """The weights that `write_weights` wrote.

    Raises:
        InputError: no such file, or the weights of a network with other `shapes`.
    """
    if not file.is_file():
        raise InputError(f"{file}: found no such file, expected the weights of a network")
    with np.load(file) as content:
        weights = [content[name] for name in content.files]
    if [weight.shape for weight in weights] != list(shapes):
        raise InputError(f"{file}: found the weights of another network, expected {len(shapes)} that fit")
    return weights
