"""Small files in the real layouts of the datasets, made by the tests that read them."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import numpy as np
import scipy.io
from numpy.typing import ArrayLike, NDArray
from PIL import Image


def face(seed: int = 0, depth: bool = False) -> NDArray[np.float64]:
    """Made-up landmarks, (68, 2) or (68, 3) pixels of a 90 x 80 image; exact in float32."""
    rng = np.random.default_rng(seed)
    return rng.integers(20 * 8, 70 * 8, (68, 3 if depth else 2)) / 8.0


def write_image(path: Path, width: int = 90, height: int = 80) -> Path:
    """Write a grey image in the format that the suffix names."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (width, height), (90, 120, 150)).save(path)
    return path


def write_mat(path: Path, **fields: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    scipy.io.savemat(path, fields)
    return path


def write_t7(path: Path, points: ArrayLike, offset: int = 0) -> Path:
    """Write a tensor as Torch does (little-endian, 8-byte longs), after `offset` unused numbers."""
    array = np.asarray(points)
    kind = {"float32": b"Float", "float64": b"Double", "int64": b"Long"}[array.dtype.name]
    strides = [stride // array.itemsize for stride in np.ascontiguousarray(array).strides]

    def string(text: bytes) -> bytes:
        return struct.pack("<i", len(text)) + text

    def torch_object(index: int, name: bytes) -> bytes:
        return struct.pack("<ii", 4, index) + string(b"V 1") + string(name)

    content = torch_object(1, b"torch." + kind + b"Tensor") + struct.pack("<i", array.ndim)
    content += struct.pack(f"<{2 * array.ndim + 1}q", *array.shape, *strides, offset + 1)
    content += torch_object(2, b"torch." + kind + b"Storage") + struct.pack("<q", array.size + offset)
    content += np.concatenate([np.zeros(offset, array.dtype), array.ravel()]).tobytes()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def pose_para(pitch: float = 0.1, yaw: float = -0.5, roll: float = 0.2) -> NDArray[np.float32]:
    """(1, 7) `Pose_Para` with angles in radians."""
    return np.array([[pitch, yaw, roll, 40.0, 50.0, -10.0, 0.001]], np.float32)


def write_aflw2000(folder: Path, stem: str, points: ArrayLike | None = None, **fields: Any) -> Path:
    """Write an image and its `.mat`; `points` (68, 3) are 0-based, the file 1-based.

    A keyword replaces a field, and leaves it out if it is None.
    """
    points = np.asarray(face(depth=True) if points is None else points)
    content: dict[str, Any] = {
        "pt2d": np.full((2, 21), -1.0),
        "Pose_Para": pose_para(),
        "Shape_Para": np.zeros((199, 1)),
        "Exp_Para": np.zeros((29, 1)),
        "roi": np.array([[416, 121, 560, 265]], np.int16),
        "pt3d_68": (points + [1.0, 1.0, 0.0]).T.astype(np.float32),
        **fields,
    }
    write_image(folder / f"{stem}.jpg")
    return write_mat(folder / f"{stem}.mat", **{k: v for k, v in content.items() if v is not None})


def write_300w_lp(root: Path, folder: str, stem: str, points: ArrayLike | None = None, **fields: Any) -> Path:
    """Write an image, its `.mat` and, unless mirrored, its `_pts.mat`; `points` (68, 2) are 0-based."""
    points = np.asarray(face() if points is None else points)
    content: dict[str, Any] = {
        "pt2d": np.full((2, 68), 7.0),
        "Pose_Para": pose_para(),
        "Shape_Para": np.arange(199.0)[:, None],
        "Exp_Para": np.arange(29.0)[:, None],
        **fields,
    }
    write_image(root / folder / f"{stem}.jpg")
    if not folder.endswith("_Flip"):
        pts = {"pts_3d": points + 1.0, "pts_2d": points + 3.0}
        write_mat(root / "landmarks" / folder / f"{stem}_pts.mat", **pts)
    return write_mat(root / folder / f"{stem}.mat", **{k: v for k, v in content.items() if v is not None})
