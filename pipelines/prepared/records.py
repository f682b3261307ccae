"""Prepared datasets: TFRecord shards of face cut-outs with an index for random access.

A prepared folder holds `dataset.json` (name, settings, counts), `index.parquet` (one row per face:
name, split, group, pose, shard, offset, length), `shard-*.tfrecord` and `rejected.csv`. A face is
stored as a square cut-out of its photo, `canvas` pixels wide, around its landmark box; photos
whose crop is larger than `crop_side` are reduced to it first, smaller ones keep their pixels.
"""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

import cv2
import numpy as np
import pandas as pd
import pyarrow  # noqa: F401  # with which pandas reads and writes Parquet
import tensorflow as tf
from filelock import FileLock, Timeout
from google.protobuf.message import DecodeError
from numpy.typing import NDArray

from pipelines.datasets.samples import FaceSample, Split, unknown_sigma
from pipelines.prepared.arrays import FaceArrays
from pipelines.prepared.config import DATASET_FILE, StoreConfig
from tf_dhm.core import configuration
from tf_dhm.core.errors import InputError
from tf_dhm.core.files import atomic_write
from tf_dhm.core.machine import software_versions
from tf_dhm.core.progress import Progress
from tf_dhm.face.geometry import box_size, crop_square, landmark_box
from tf_dhm.runtime.images import decode_raster

MEMORY_BYTES = 3 * 10**9
"""Decoded faces up to this size are held in memory; more are kept decoded on disk."""
INDEX_FILE = "index.parquet"
LOCK_FILE = ".lock"
"""Held while a folder is prepared or decoded; it stays there, empty."""
LEAST_COVERED = 0.01
"""Least share of a face's crop that its photo covers."""
RECORD_HEADER, RECORD_FOOTER = 12, 4  # length and checksum before the bytes, checksum after them


def cut_face(
    image: NDArray[np.uint8], landmarks: NDArray[np.float32], config: StoreConfig
) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """Cut the stored square around a face.

    Args:
        image: (H, W, 3) uint8.
        landmarks: (68, 3) pixels of it.

    Returns:
        (canvas, canvas, 3) uint8, the photo mirrored beyond its borders, and the landmarks in its
        pixels.

    Raises:
        InputError: landmarks that are not finite or span no box, or whose crop lies (almost) outside of the
            image.
    """
    points = np.array(landmarks, np.float64)
    box = landmark_box(points)
    height, width = image.shape[:2]
    if max(box[0] - width, box[1] - height) > -0.5 or min(box[2], box[3]) < -0.5:
        raise InputError(
            f"landmarks: found the box {box.round(1).tolist()} outside of the {width} x {height} image"
        )
    side = float(crop_square(box)[2])
    if side > config.crop_side:
        size = (
            max(1, round(width * config.crop_side / side)),
            max(1, round(height * config.crop_side / side)),
        )
        image = np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8)
        ratio = np.array([size[0] / width, size[1] / height])
        points[:, :2] = (points[:, :2] + 0.5) * ratio - 0.5
        points[:, 2] *= ratio.mean()
    square = crop_square(landmark_box(points))
    centre, half = square[:2], square[2] / 2
    height, width = image.shape[:2]
    inside = np.minimum(centre + half, [width - 0.5, height - 0.5]) - np.maximum(centre - half, -0.5)
    covered = float(np.maximum(inside, 0.0).prod() / square[2] ** 2)
    if covered < LEAST_COVERED:  # OpenCV never ends mirroring the empty part of an image far away
        raise InputError(
            f"landmarks: found the box {box.round(1).tolist()}, of whose crop the image covers "
            f"{covered:.2%}, expected at least {LEAST_COVERED:.0%}"
        )
    left, top = np.floor(centre - config.canvas / 2 + 0.5).astype(int)
    x0, y0 = max(left, 0), max(top, 0)
    x1, y1 = min(left + config.canvas, width), min(top + config.canvas, height)
    # Black borders would teach the network that nothing but black is ever beside a face.
    padding = (y0 - top, top + config.canvas - y1, x0 - left, left + config.canvas - x1)
    canvas = cv2.copyMakeBorder(image[y0:y1, x0:x1], *padding, cv2.BORDER_REFLECT_101)
    points[:, :2] -= (left, top)
    return np.asarray(canvas, np.uint8), points.astype(np.float32)


def encode_record(sample: FaceSample, config: StoreConfig) -> bytes:
    """One face as a serialized tf.train.Example; InputError if its image is unusable."""
    image = decode_raster(sample.read_image(), sample.name)
    landmarks = sample.landmarks
    if sample.photo is not None:  # the black border is cut off, so that the photo is mirrored beyond it
        x0, y0, x1, y1 = sample.photo
        image = image[y0:y1, x0:x1]
        if image.size == 0:
            raise InputError(f"{sample.name}: photo: found {sample.photo}, expected a part of the image")
        landmarks = landmarks - np.array([x0, y0, 0], np.float32)
    canvas, stored = cut_face(image, landmarks, config)
    quality = [cv2.IMWRITE_JPEG_QUALITY, config.jpeg_quality]
    _, encoded = cv2.imencode(".jpg", cv2.cvtColor(canvas, cv2.COLOR_RGB2BGR), quality)

    def as_bytes(value: bytes) -> tf.train.Feature:
        return tf.train.Feature(bytes_list=tf.train.BytesList(value=[value]))

    features = {
        "image": as_bytes(encoded.tobytes()),
        "landmarks": as_bytes(stored.astype("<f4").tobytes()),
        "visibility": as_bytes(sample.visibility.astype(np.uint8).tobytes()),
        "pose": as_bytes(sample.pose.astype("<f4").tobytes()),
        "name": as_bytes(sample.name.encode()),
    }
    if np.isfinite(sample.sigma).any():
        scale = box_size(landmark_box(stored)) / box_size(landmark_box(landmarks))
        features["sigma"] = as_bytes((scale * sample.sigma).astype("<f4").tobytes())
    example = tf.train.Example(features=tf.train.Features(feature=features))
    # The order of the features would otherwise be another one in every process.
    return example.SerializeToString(deterministic=True)


def is_prepared(folder: Path, name: str) -> bool:
    """Whether a folder holds a dataset in prepared form; InputError if it is another one than `name`."""
    if not (folder / DATASET_FILE).is_file():
        return False
    found = read_settings(folder)["name"]
    if found != name:
        raise InputError(f"{folder}: found the prepared dataset {found}, expected {name}")
    return True


def read_settings(folder: Path) -> dict:
    """The content of `dataset.json`; InputError if `folder` is not a finished prepared dataset."""
    path = Path(folder) / DATASET_FILE
    if not path.is_file():
        raise InputError(f"{folder}: found no {DATASET_FILE}, expected a folder that prepare.py has finished")
    try:
        settings = json.loads(path.read_text())
    except ValueError as error:
        raise InputError(f"{path}: found {error}, expected JSON") from error
    if not isinstance(settings, dict) or not {"name", "store"} <= set(settings):
        raise InputError(f"{path}: found no name and store, expected the settings that prepare.py writes")
    return settings


def write_settings(
    path: Path,
    name: str,
    config: StoreConfig,
    counts: dict[str, int],
    limit: int | None = None,
    source: dict[str, Any] | None = None,
) -> None:
    """Write the settings that `read_settings` reads. `counts`: faces of each split and "rejected"."""
    settings: dict[str, Any] = {"name": name, "store": asdict(config), "limit": limit, "counts": counts}
    settings["software"] = software_versions()
    if source is not None:
        settings["source"] = source
    path.write_text(json.dumps(settings, indent=2) + "\n")


def read_index(folder: Path) -> pd.DataFrame:
    """The index of a prepared dataset, one row per face in stored order; InputError if there is none."""
    read_settings(folder)
    path = Path(folder) / INDEX_FILE
    try:
        return read_parquet(path)
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: found {error}, expected the index that prepare.py writes") from error


def read_parquet(path: Path) -> pd.DataFrame:
    """A table, read without Arrow's threads: one still starting when the process ends aborts it."""
    return pd.read_parquet(path, use_threads=False)


def read_store(folder: Path) -> StoreConfig:
    """How the faces of a prepared dataset are stored."""
    return configuration.from_dict(StoreConfig, read_settings(folder)["store"], str(folder / DATASET_FILE))


def read_samples(folder: Path, split: Split) -> Iterator[FaceSample]:
    """The faces of a split as they are stored: cut-outs as JPEG, landmarks in their pixels.

    Raises:
        InputError: not a prepared dataset, no face of `split`, a missing or damaged shard.
    """
    index = read_index(folder)
    counts = index["split"].value_counts()
    if not counts.get(split, 0):
        raise InputError(f"{folder}: found splits {counts.to_dict()}, expected some faces of {split}")
    chosen = index[index["split"] == split]
    for shard, part in chosen.groupby("shard", sort=True):
        with _open_shard(folder / str(shard), len(part)) as file:
            for row in part.itertuples():
                file.seek(row.offset)
                features = parse_record(file.read(row.length), f"{folder / str(shard)} at byte {row.offset}")
                yield FaceSample(
                    name=row.name,
                    read_image=partial(bytes, features["image"]),
                    landmarks=np.frombuffer(features["landmarks"], "<f4").reshape(68, 3),
                    split=split,
                    group=row.group,
                    visibility=np.frombuffer(features["visibility"], np.uint8),
                    pose=np.frombuffer(features["pose"], "<f4"),
                    sigma=np.frombuffer(features["sigma"], "<f4"),
                )


def _open_shard(path: Path, count: int) -> BinaryIO:
    if not path.is_file():
        raise InputError(f"{path}: found no such file, expected a shard of {count} faces")
    return path.open("rb")


def load(folder: Path, split: str | None = None, memory_bytes: int = MEMORY_BYTES) -> FaceArrays:
    """Decode a prepared dataset (or one split of it), once.

    Up to `memory_bytes` the images are an array in memory; above that, they are decoded into a file
    `decoded-<split>.npy` of the folder and mapped, so that the system keeps as many in memory as fit.

    Raises:
        InputError: not a prepared dataset, no face of `split`, a missing or damaged shard, or no room
            on disk for the decoded faces.
    """
    folder = Path(folder)
    index = read_index(folder)
    store = read_store(folder)
    if split is not None:
        index = index[index["split"] == split]
    if index.empty:
        raise InputError(f"{folder}: found no face of split {split!r}, expected at least one")
    count = len(index)
    shape = (count, store.canvas, store.canvas, 3)
    if int(np.prod(shape)) <= memory_bytes:
        images = np.empty(shape, np.uint8)
        labels = _decode(folder, index, images)
    else:
        decoded = folder / f"decoded-{split or 'all'}.npy"
        labels_file = decoded.with_suffix(".npz")
        if not (labels_file.is_file() and decoded.is_file()):
            with locked(folder):
                if not (labels_file.is_file() and decoded.is_file()):
                    _decode_to_disk(folder, index, decoded, labels_file, shape)
        with np.load(labels_file) as archive:
            labels = {key: archive[key] for key in archive.files}
        if "sigma" not in labels:  # decoded before records had sigma
            labels["sigma"] = np.full((count, 68), np.nan, np.float32)
        images = np.load(decoded, mmap_mode="r")
    text = {key: index[key].to_numpy(str) for key in ("name", "split", "group")}
    return FaceArrays(images=images, **labels, **text)


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Keep other processes from writing to a prepared folder until this one has ended."""
    lock = FileLock(folder / LOCK_FILE)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        print(f"{folder}: another process writes to it; waiting until that ends", file=sys.stderr)
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def _decode_to_disk(
    folder: Path, index: pd.DataFrame, decoded: Path, labels_file: Path, shape: tuple[int, ...]
) -> None:
    """Decode the faces of `index` into an array file of `shape`, and their labels into another file."""
    needed, free = int(np.prod(shape)), shutil.disk_usage(folder).free
    # Writing to a mapped file on a full disk kills the process without a message.
    if free < needed:
        raise InputError(f"{decoded}: found {free:,} bytes free on its disk, expected {needed:,}")
    with atomic_write(decoded) as path:
        mapped = np.lib.format.open_memmap(path, "w+", np.uint8, shape)
        labels = _decode(folder, index, mapped)
        mapped.flush()
    with atomic_write(labels_file) as path:
        np.savez(path, **labels)


def _decode(folder: Path, index: pd.DataFrame, images: NDArray[np.uint8]) -> dict[str, NDArray[Any]]:
    """Decode the faces of `index` into `images`; returns their labels."""
    count = len(index)
    landmarks = np.empty((count, 68, 3), np.float32)
    visibility = np.empty((count, 68), np.uint8)
    pose = np.empty((count, 3), np.float32)
    sigma = np.empty((count, 68), np.float32)
    with Progress(total=count, desc=f"decoding {folder.name}", unit=" faces", leave=False) as progress:
        row = 0
        for shard, part in index.groupby("shard", sort=True):
            path = folder / str(shard)
            with _open_shard(path, len(part)) as file:
                for name, offset, length in zip(part["name"], part["offset"], part["length"], strict=True):
                    file.seek(offset)
                    features = parse_record(file.read(length), f"{path} at byte {offset}")
                    image = decode_raster(features["image"], name)
                    if image.shape != images.shape[1:]:
                        raise InputError(
                            f"{path} at byte {offset}: found an image of shape {image.shape}, "
                            f"expected {images.shape[1:]}"
                        )
                    images[row] = image
                    landmarks[row] = np.frombuffer(features["landmarks"], "<f4").reshape(68, 3)
                    visibility[row] = np.frombuffer(features["visibility"], np.uint8)
                    pose[row] = np.frombuffer(features["pose"], "<f4")
                    sigma[row] = np.frombuffer(features["sigma"], "<f4")
                    row += 1
            progress.update(len(part))
    return {"landmarks": landmarks, "visibility": visibility, "pose": pose, "sigma": sigma}


def parse_record(serialized: bytes, source: str) -> dict[str, bytes]:
    """The features of a record as bytes; InputError names `source` if it is damaged.

    Without a stored sigma, that of the result is NaN.
    """
    try:
        example = tf.train.Example.FromString(serialized)
        feature = example.features.feature
        names = ("image", "landmarks", "visibility", "pose")
        features = {key: feature[key].bytes_list.value[0] for key in names}
        features["sigma"] = (
            feature["sigma"].bytes_list.value[0] if "sigma" in feature else unknown_sigma().tobytes()
        )
        return features
    except (DecodeError, IndexError) as error:
        raise InputError(f"{source}: found a damaged record ({error}), expected a face") from error
