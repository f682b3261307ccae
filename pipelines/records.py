"""Prepared datasets: TFRecord shards of face cut-outs with an index for random access.

A prepared folder holds `dataset.json` (name, settings, counts), `index.parquet` (a row a face:
name, split, group, pose, shard, offset, length), `shard-*.tfrecord` and `refused.csv`. A face is
stored as a square cut-out of its photo, `canvas` pixels wide, around its landmark box; photos
whose crop is larger than `crop_side` are reduced to it first, smaller ones keep their pixels.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd
import tensorflow as tf
from numpy.typing import NDArray
from tqdm import tqdm

from pipelines.samples import FaceSample
from tf_dhm.errors import InputError
from tf_dhm.files import atomic_write
from tf_dhm.geometry import crop_square, landmark_box

MEMORY_BYTES = 3 * 10**9
"""Decoded faces up to this size are held in memory; more are kept decoded on disk."""
DATASET_FILE = "dataset.json"
INDEX_FILE = "index.parquet"
RECORD_HEADER, RECORD_FOOTER = 12, 4  # length and checksum before the bytes, checksum behind


@dataclass(frozen=True)
class StoreConfig:
    """How faces are stored.

    Attributes:
        crop_side: a face's crop (square of side sqrt(2) x the longer side of its landmark box)
            is stored with at most so many pixels.
        margin: side of the stored square over crop_side; room for shift, scale and rotation.
        jpeg_quality: 1 to 100.
        shard_size: faces per shard.
    """

    crop_side: int = 128
    margin: float = 1.25
    jpeg_quality: int = 97
    shard_size: int = 1024

    @property
    def canvas(self) -> int:
        return round(self.crop_side * self.margin)


@dataclass(frozen=True)
class FaceArrays:
    """Faces in memory. N faces, canvas C.

    images (N, C, C, 3) uint8 RGB; landmarks (N, 68, 3) float32 pixels of the canvas, z NaN where
    unknown; visibility (N, 68) uint8; pose (N, 3) float32 degrees; name, split, group (N,) str.
    """

    images: NDArray[np.uint8]
    landmarks: NDArray[np.float32]
    visibility: NDArray[np.uint8]
    pose: NDArray[np.float32]
    name: NDArray[np.str_]
    split: NDArray[np.str_]
    group: NDArray[np.str_]

    def __len__(self) -> int:
        return len(self.images)


def decode_image(encoded: bytes, source: str) -> NDArray[np.uint8]:
    """Decode to (H, W, 3) uint8 RGB; InputError names `source` where it cannot be decoded."""
    image = cv2.imdecode(np.frombuffer(encoded, np.uint8), cv2.IMREAD_COLOR) if encoded else None
    if image is None:
        raise InputError(f"{source}: found {len(encoded)} bytes that do not decode, expected an image")
    return np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2RGB), np.uint8)


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
    """
    points = np.array(landmarks, np.float64)
    side = float(crop_square(landmark_box(points))[2])
    if side > config.crop_side:
        height, width = image.shape[:2]
        size = (
            max(1, round(width * config.crop_side / side)),
            max(1, round(height * config.crop_side / side)),
        )
        image = np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8)
        ratio = np.array([size[0] / width, size[1] / height])
        points[:, :2] = (points[:, :2] + 0.5) * ratio - 0.5
        points[:, 2] *= ratio.mean()
    centre = crop_square(landmark_box(points))[:2]
    left, top = np.floor(centre - config.canvas / 2 + 0.5).astype(int)
    height, width = image.shape[:2]
    x0, y0 = max(left, 0), max(top, 0)
    x1, y1 = min(left + config.canvas, width), min(top + config.canvas, height)
    if x1 <= x0 or y1 <= y0:
        raise InputError(f"landmarks: found a face wholly outside of its {width} x {height} image")
    # Black borders would teach the network that nothing but black is ever beside a face.
    padding = (y0 - top, top + config.canvas - y1, x0 - left, left + config.canvas - x1)
    canvas = cv2.copyMakeBorder(image[y0:y1, x0:x1], *padding, cv2.BORDER_REFLECT_101)
    points[:, :2] -= (left, top)
    return np.asarray(canvas, np.uint8), points.astype(np.float32)


def encode_record(sample: FaceSample, config: StoreConfig) -> bytes:
    """One face as a serialized tf.train.Example; InputError where its image is unusable."""
    image = decode_image(sample.read_image(), sample.name)
    canvas, landmarks = cut_face(image, sample.landmarks, config)
    quality = [cv2.IMWRITE_JPEG_QUALITY, config.jpeg_quality]
    _, encoded = cv2.imencode(".jpg", cv2.cvtColor(canvas, cv2.COLOR_RGB2BGR), quality)

    def as_bytes(value: bytes) -> tf.train.Feature:
        return tf.train.Feature(bytes_list=tf.train.BytesList(value=[value]))

    features = {
        "image": as_bytes(encoded.tobytes()),
        "landmarks": as_bytes(landmarks.astype("<f4").tobytes()),
        "visibility": as_bytes(sample.visibility.astype(np.uint8).tobytes()),
        "pose": as_bytes(sample.pose.astype("<f4").tobytes()),
        "name": as_bytes(sample.name.encode()),
    }
    return tf.train.Example(features=tf.train.Features(feature=features)).SerializeToString()


def read_settings(folder: Path) -> dict:
    """The content of `dataset.json`; InputError where `folder` is no finished prepared dataset."""
    path = Path(folder) / DATASET_FILE
    if not path.is_file():
        raise InputError(f"{folder}: found no {DATASET_FILE}, expected a folder that prepare.py has finished")
    return json.loads(path.read_text())


def write_settings(path: Path, name: str, config: StoreConfig, counts: dict[str, int]) -> None:
    path.write_text(json.dumps({"name": name, "store": asdict(config), "counts": counts}, indent=2) + "\n")


def read_index(folder: Path) -> pd.DataFrame:
    """The index of a prepared dataset, a row a face, in stored order."""
    read_settings(folder)
    return pd.read_parquet(Path(folder) / INDEX_FILE)


def load(folder: Path, split: str | None = None, memory_bytes: int = MEMORY_BYTES) -> FaceArrays:
    """Decode a prepared dataset (or one split of it), once.

    Up to `memory_bytes` the images are an array in memory; beyond, they are decoded into a file
    `decoded-<split>.npy` of the folder and mapped, so that the system keeps in memory what fits.

    Raises:
        InputError: not a prepared dataset, or no face of `split`.
    """
    folder = Path(folder)
    index = read_index(folder)
    settings = read_settings(folder)
    store = StoreConfig(**settings["store"])
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
        if not labels_file.is_file():
            with atomic_write(decoded) as path:
                mapped = np.lib.format.open_memmap(path, "w+", np.uint8, shape)
                labels = _decode(folder, index, mapped)
                mapped.flush()
            with atomic_write(labels_file) as path:
                np.savez(path, **labels)
        with np.load(labels_file) as archive:
            labels = {key: archive[key] for key in archive.files}
        images = np.load(decoded, mmap_mode="r")
    text = {key: index[key].to_numpy(str) for key in ("name", "split", "group")}
    return FaceArrays(images=images, **labels, **text)


def _decode(folder: Path, index: pd.DataFrame, images: NDArray[np.uint8]) -> dict[str, NDArray[Any]]:
    """Decode the faces of `index` into `images`; returns their labels."""
    count = len(index)
    landmarks = np.empty((count, 68, 3), np.float32)
    visibility = np.empty((count, 68), np.uint8)
    pose = np.empty((count, 3), np.float32)
    with tqdm(total=count, desc=f"decoding {folder.name}", unit="face", leave=False) as progress:
        row = 0
        for shard, part in index.groupby("shard", sort=True):
            path = folder / str(shard)
            with path.open("rb") as file:
                for name, offset, length in zip(part["name"], part["offset"], part["length"], strict=True):
                    file.seek(offset)
                    features = parse_record(file.read(length), f"{path} at byte {offset}")
                    images[row] = decode_image(features["image"], name)
                    landmarks[row] = np.frombuffer(features["landmarks"], "<f4").reshape(68, 3)
                    visibility[row] = np.frombuffer(features["visibility"], np.uint8)
                    pose[row] = np.frombuffer(features["pose"], "<f4")
                    row += 1
            progress.update(len(part))
    return {"landmarks": landmarks, "visibility": visibility, "pose": pose}


def parse_record(serialized: bytes, source: str) -> dict[str, bytes]:
    """The features of a record as bytes; InputError names `source` where it is damaged."""
    try:
        example = tf.train.Example.FromString(serialized)
        feature = example.features.feature
        return {key: feature[key].bytes_list.value[0] for key in ("image", "landmarks", "visibility", "pose")}
    except Exception as error:
        raise InputError(f"{source}: found a damaged record ({error}), expected a face") from error
