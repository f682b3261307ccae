"""dlib's ensemble of regression trees."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tf_dhm.core.errors import InputError
from tf_dhm.core.types import Array, Image
from tf_dhm.evaluation.peers.peer import size_on_disk, with_unknown_depth
from tf_dhm.face import geometry

INSTALL = "to install it: pip install dlib-bin face-recognition-models"


class DlibPeer:
    """dlib's shape predictor, an ensemble of regression trees (Kazemi and Sullivan, CVPR 2014).

    It begins at the rectangle of dlib's face detector, which frames brows, eyes, nose and mouth. So its
    box is that of those landmarks, without the jaw: begun at the box of all 68 it is lost where a head
    is turned. The rectangle is put where the detector has it on average about that box: RECTANGLE,
    medians over 202 faces of wild68's `val` with less than 30 degrees of yaw on which it found one face.
    """

    RECTANGLE = (0.0, 0.02, 1.36)
    """Centre, right and down of that of the box, and side, in longer sides of the box."""

    def __init__(self) -> None:
        spec = importlib.util.find_spec("face_recognition_models")
        if spec is None or spec.origin is None:
            raise InputError(f"peer dlib: found no package face-recognition-models; {INSTALL}")
        try:
            self._dlib: Any = importlib.import_module("dlib")
        except ModuleNotFoundError as error:
            raise InputError(f"peer dlib: found no package dlib; {INSTALL}") from error
        # The package itself needs an old setuptools to be imported, its files do not.
        path = Path(spec.origin).parent / "models" / "shape_predictor_68_face_landmarks.dat"
        if not path.is_file():
            raise InputError(f"{path}: found no such file, expected dlib's 68-point shape predictor")
        self._predict = self._dlib.shape_predictor(str(path))
        self.name, self.runtime, self.input_size = "dlib ERT", f"dlib {self._dlib.__version__}", 0
        self.file_bytes, self.box_start = size_on_disk(path), 17

    def find(self, images: Sequence[Image], boxes: ArrayLike) -> NDArray[np.float32]:
        checked = geometry.check_box(np.asarray(boxes, np.float64).reshape(-1, 4))
        found = []
        for image, box in zip(images, checked, strict=True):
            shape = self._predict(image, self.rectangle(box))
            found.append([(shape.part(i).x, shape.part(i).y) for i in range(geometry.NUM_LANDMARKS)])
        return with_unknown_depth(np.array(found, np.float64).reshape(-1, geometry.NUM_LANDMARKS, 2))

    def rectangle(self, box: Array) -> Any:
        """The rectangle of dlib's detector, whole pixels, for a box."""
        x, y, side = self.RECTANGLE
        longer = float(np.max(box[2:] - box[:2]))
        centre = (box[:2] + box[2:]) / 2 + longer * np.array([x, y])
        corners = np.rint([*(centre - side * longer / 2), *(centre + side * longer / 2)]).astype(int)
        return self._dlib.rectangle(*corners.tolist())

    def network_call(self) -> Callable[[], object]:
        image = np.random.default_rng(0).integers(0, 256, (256, 256, 3), np.uint8)
        rectangle = self._dlib.rectangle(64, 64, 192, 192)
        return lambda: self._predict(image, rectangle)
