"""Stand-ins for trained models: tiny SavedModels whose answers a test can compute by hand."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from tf_dhm.face import geometry
from tf_dhm.face.mean_face import mean_shape


class MeanShapeModel(tf.Module):
    """Answers the mean shape in every crop, or the landmarks it was given to start from."""

    def __init__(self, size: int, points: bool = False) -> None:
        super().__init__()
        self.points = points
        shape = geometry.unit_to_pixels(mean_shape(), size).astype(np.float32)
        self.shape = tf.Variable(shape, trainable=False)

    def serve(self, crops: tf.Tensor) -> dict[str, tf.Tensor]:
        landmarks = tf.tile(self.shape[None], [tf.shape(crops)[0], 1, 1])
        return {"landmarks": landmarks} | ({"points": landmarks[:, :5]} if self.points else {})

    def refine(self, crops: tf.Tensor, initial_landmarks: tf.Tensor) -> dict[str, tf.Tensor]:
        del crops
        return {"landmarks": tf.identity(initial_landmarks)}


def write_fake_model(
    folder: Path, size: int = 32, version: int = 1, refine: bool = True, points: bool = False
) -> Path:
    """Write a SavedModel of `MeanShapeModel` as folder/version; return folder.

    Args:
        folder: the model folder.
        size: side of the crops in pixels.
        version: name of the version folder.
        refine: whether the signature `refine` is there beside `serving_default`.
        points: whether it has an output `points` beside the landmarks.
    """
    model = MeanShapeModel(size, points)
    crops = tf.TensorSpec([None, size, size, 3], tf.uint8, "crops")
    landmarks = tf.TensorSpec([None, geometry.NUM_LANDMARKS, 3], tf.float32, "initial_landmarks")
    signatures = {"serving_default": tf.function(model.serve).get_concrete_function(crops)}
    if refine:
        signatures["refine"] = tf.function(model.refine).get_concrete_function(crops, landmarks)
    tf.saved_model.save(model, str(folder / str(version)), signatures)
    return folder


def mean_shape_in_box(box: NDArray[np.floating]) -> NDArray[np.floating]:
    """What `MeanShapeModel` finds in a box (x0, y0, x1, y1): (68, 3) photo pixels."""
    x, y, side = geometry.crop_square(box)
    return mean_shape() * (side / 2.0) + np.array([x, y, 0.0])


def draw_cartoon_face(
    size: int = 256, centre: tuple[float, float] = (128.0, 128.0), radius: float = 60.0
) -> NDArray[np.uint8]:
    """A drawn frontal face that the face detector takes for one.

    Its chin is 1.1 radius below the centre, its brows 0.36 above, its sides 0.8 beside.

    Returns:
        (size, size, 3) uint8 RGB.
    """
    image = np.full((size, size, 3), (90, 120, 160), np.uint8)

    def ellipse(x: float, y: float, width: float, height: float, colour: tuple[int, int, int]) -> None:
        middle = (round(centre[0] + x * radius), round(centre[1] + y * radius))
        axes = (max(1, round(width * radius)), max(1, round(height * radius)))
        cv2.ellipse(image, middle, axes, 0, 0, 360, colour, cv2.FILLED, cv2.LINE_AA)

    ellipse(0, -0.25, 0.95, 1.2, (60, 40, 30))  # hair
    ellipse(0, 0, 0.8, 1.1, (225, 180, 150))
    for side in (-1, 1):
        ellipse(side * 0.33, -0.15, 0.17, 0.08, (250, 250, 250))  # eye
        ellipse(side * 0.33, -0.15, 0.08, 0.08, (50, 30, 20))
        ellipse(side * 0.33, -0.36, 0.2, 0.04, (60, 40, 30))  # brow
        ellipse(side * 0.1, 0.25, 0.05, 0.04, (150, 100, 80))  # nostril
    ellipse(0, 0.12, 0.07, 0.2, (200, 150, 120))  # nose
    ellipse(0, 0.55, 0.3, 0.09, (180, 60, 70))  # mouth
    return np.asarray(cv2.GaussianBlur(image, (0, 0), radius / 40), np.uint8)


def read_lines(path: Path) -> list[dict[str, Any]]:
    """The records of a JSON Lines file."""
    return [json.loads(line) for line in path.read_text().splitlines()]
