"""Made-up faces to train on: mean faces of random place, size and stretch, drawn as dots."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pipelines.prepared.arrays import FaceArrays
from tf_dhm.face.mean_face import mean_shape
from tf_dhm.networks.config import ModelConfig
from tf_dhm.training.config import TrainConfig

SIDE = 80
TINY_MODEL = ModelConfig(
    input_size=32,
    stem_channels=8,
    stage_channels=(8, 16),
    stage_blocks=(0, 1),
    recurrent_channels=16,
    recurrent_steps=2,
    hidden_units=16,
)
TINY_RECIPE = TrainConfig(epochs=3, batch_size=16, warmup_epochs=0.5, learning_rate=3e-3)


def draw_face(rng: np.random.Generator) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """An image (SIDE, SIDE, 3) uint8 RGB and landmarks (68, 3) float32 in its pixels."""
    points = mean_shape() * rng.uniform(16.0, 24.0) * rng.uniform(0.8, 1.2, 3)
    points[:, :2] += SIDE / 2 + rng.uniform(-4.0, 4.0, 2)
    image = rng.integers(0, 80, (SIDE, SIDE, 3)).astype(np.uint8)
    for x, y in np.rint(points[:, :2]).astype(int):
        cv2.circle(image, (int(x), int(y)), 1, (250, 240, 230), -1)
    return image, points.astype(np.float32)


def face_arrays(count: int, seed: int = 0) -> FaceArrays:
    """Faces in memory, a third of them in each yaw bin."""
    rng = np.random.default_rng(seed)
    faces = [draw_face(rng) for _ in range(count)]
    yaw = np.resize([10.0, -45.0, 75.0], count)
    names = np.array([f"face{i:03d}" for i in range(count)])
    return FaceArrays(
        images=np.stack([image for image, _ in faces]),
        landmarks=np.stack([points for _, points in faces]),
        visibility=np.full((count, 68), 255, np.uint8),
        pose=np.stack([np.zeros(count), yaw, np.zeros(count)], -1).astype(np.float32),
        name=names,
        split=np.full(count, "train"),
        group=names,
        sigma=np.full((count, 68), np.nan, np.float32),
    )


def write_faces(folder: Path, train: int, val: int, depth: bool = True) -> Path:
    """Write faces as a landmark table with its images, a third of each split in each yaw bin."""
    rng = np.random.default_rng(0)
    (folder / "images").mkdir(parents=True)
    rows: list[dict[str, Any]] = []
    for number in range(train + val):
        image, points = draw_face(rng)
        name = f"images/face{number:03d}.png"
        cv2.imwrite(str(folder / name), image[..., ::-1])
        row: dict[str, Any] = {"image": name, "split": "train" if number < train else "val"}
        for axis, label in enumerate("xyz" if depth else "xy"):
            row |= {f"{label}{i}": float(value) for i, value in enumerate(points[:, axis])}
        rows.append({**row, "pitch": 0.0, "yaw": (10.0, -45.0, 75.0)[number % 3], "roll": 0.0})
    pd.DataFrame(rows).to_csv(folder / "faces.csv", index=False)
    return folder
