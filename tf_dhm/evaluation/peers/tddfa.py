"""3DDFA_V2: its ONNX networks with the morphable face of its folder configs."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

from tf_dhm.core.errors import InputError
from tf_dhm.core.types import Array, Image
from tf_dhm.evaluation.peers.network import load_network
from tf_dhm.evaluation.peers.peer import size_on_disk, with_unknown_depth
from tf_dhm.face import geometry


class TddfaPeer:
    """3DDFA_V2 (Guo et al., ECCV 2020) as ONNX, with the .pkl files of its folder configs.

    The network gives 62 standardised parameters (3 x 4 camera, 40 of identity, 10 of expression) of a
    morphable face, in a crop whose side is sqrt(2) times the longer side of the landmark box; the camera
    counts pixels from 1 and y from below. Cropping and the way back are those of its own code.
    """

    SIZE = 120

    def __init__(self, path: Path, threads: int = 1) -> None:
        self._network, self.runtime, _, _ = load_network(path, threads, None)
        self.name = f"3DDFA_V2 {path.stem.partition('_')[0]}"
        self.input_size, self.box_start = self.SIZE, 0
        self.file_bytes = size_on_disk(path)
        standard = read_arrays(find_beside(path, f"param_mean_std_62d_{self.SIZE}x{self.SIZE}.pkl"))
        self._mean, self._std = field(standard, "mean", path), field(standard, "std", path)
        bfm = read_arrays(find_beside(path, "bfm_noneck_v3.pkl", "bfm_noneck.pkl"))
        rows = field(bfm, "keypoints", path).astype(np.int64)  # x, y and z of each of the 68
        self._mean_face = field(bfm, "u", path)[rows].reshape(-1)
        self._identity = field(bfm, "w_shp", path)[rows][:, :40]
        self._expression = field(bfm, "w_exp", path)[rows][:, :10]

    def find(self, images: Sequence[Image], boxes: ArrayLike) -> NDArray[np.float32]:
        checked = geometry.check_box(np.asarray(boxes, np.float64).reshape(-1, 4))
        found = []
        for image, box in zip(images, checked, strict=True):
            x, y, side = geometry.crop_square(box)
            corner = np.array([x, y]) - side / 2.0
            crop = crop_as_3ddfa(image, corner, side, self.SIZE)
            (parameters, *_) = self._network(self._input(crop))
            found.append(self.landmarks(parameters) * (side / self.SIZE) + corner)
        return with_unknown_depth(np.array(found).reshape(-1, geometry.NUM_LANDMARKS, 2))

    def landmarks(self, parameters: ArrayLike) -> Array:
        """(68, 2) pixels of the crop from the network's 62 numbers."""
        p = np.asarray(parameters, np.float64).ravel() * self._std + self._mean
        camera = p[:12].reshape(3, 4)
        face = self._mean_face + self._identity @ p[12:52] + self._expression @ p[52:62]
        x, y, _ = camera[:, :3] @ face.reshape(-1, 3).T + camera[:, 3:]
        return np.stack([x - 1.0, self.SIZE - y], -1)

    @staticmethod
    def _input(crop: Image) -> NDArray[np.float32]:
        value = (crop[..., ::-1].astype(np.float32) - 127.5) / 128.0
        return np.ascontiguousarray(value.transpose(2, 0, 1)[None])

    def network_call(self) -> Callable[[], object]:
        crop = np.random.default_rng(0).integers(0, 256, (self.SIZE, self.SIZE, 3), np.uint8)
        value = self._input(crop)
        return lambda: self._network(value)


def crop_as_3ddfa(image: Image, corner: Array, side: float, size: int) -> Image:
    """The crop (size, size, 3) of a square, cut at whole pixels, black outside the image."""
    x0, y0, x1, y1 = (round(float(value)) for value in (*corner, *(corner + side)))
    height, width = image.shape[:2]
    canvas = np.zeros((y1 - y0, x1 - x0, 3), np.uint8)
    inside = image[max(y0, 0) : max(min(y1, height), 0), max(x0, 0) : max(min(x1, width), 0)]
    top, left = max(-y0, 0), max(-x0, 0)
    canvas[top : top + inside.shape[0], left : left + inside.shape[1]] = inside
    return np.asarray(cv2.resize(canvas, (size, size), interpolation=cv2.INTER_LINEAR), np.uint8)


class ArrayUnpickler(pickle.Unpickler):
    """Reads pickles of arrays, lists and dictionaries and nothing else: a pickle can run any code."""

    ALLOWED = frozenset({"_reconstruct", "ndarray", "dtype", "scalar"})

    def find_class(self, module: str, name: str) -> Any:
        if module.partition(".")[0] == "numpy" and name in self.ALLOWED:
            return super().find_class(module, name)
        raise pickle.UnpicklingError(f"{module}.{name}")


def read_arrays(path: Path) -> dict[str, Any]:
    """A pickled dictionary of arrays; InputError if it holds anything else."""
    try:
        with path.open("rb") as file:
            content = ArrayUnpickler(file).load()
    except (pickle.UnpicklingError, EOFError, ValueError, AttributeError, ImportError) as error:
        raise InputError(f"{path}: found {error}, expected a pickled dictionary of arrays") from error
    if not isinstance(content, dict):
        raise InputError(f"{path}: found {type(content).__name__}, expected a pickled dictionary of arrays")
    return content


def field(content: dict[str, Any], name: str, path: Path) -> NDArray[Any]:
    if name not in content:
        raise InputError(f"{path}: found no {name} in its configs, only {', '.join(content)}")
    return np.asarray(content[name])


def find_beside(path: Path, *names: str) -> Path:
    """A file of 3DDFA_V2's folder configs: beside the model, or in the folder of its repository."""
    folders = (path.parent, path.parent / "configs", path.parent.parent / "configs")
    for folder in folders:
        for name in names:
            if (folder / name).is_file():
                return folder / name
    raise InputError(
        f"{path}: found no {' or '.join(names)} beside it, in configs or in ../configs, expected it there"
    )
