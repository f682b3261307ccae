"""A model that finds the mean shape, moved, and faces to evaluate it on."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial

import cv2
import numpy as np
from numpy.typing import NDArray

from pipelines.datasets.samples import FaceSample
from tf_dhm.evaluation.entries import Entry, ModelSize, predict_faces
from tf_dhm.face import geometry
from tf_dhm.face.mean_face import mean_shape
from tf_dhm.runtime.predictor import Prediction

SIZE = ModelSize(bytes=1_000, parameters=204)


@dataclass
class ShiftModel:
    """Finds the mean shape moved by `shift` crop pixels; a second pass adds `shift` again."""

    shift: float = 0.0
    name: str = "shift"
    input_size: int = 16
    can_refine: bool = True
    batches: list[int] = field(default_factory=list)

    def predict(
        self, crops: NDArray[np.uint8], initial_landmarks: NDArray[np.floating] | None = None
    ) -> Prediction:
        self.batches.append(len(crops))
        start = geometry.unit_to_pixels(mean_shape(), self.input_size)[None]
        if initial_landmarks is not None:
            start = initial_landmarks
        # The mean grey shifts the output too, so that it depends on the crop.
        grey = crops.mean((1, 2, 3))[:, None, None] / 255.0
        landmarks = start + self.shift * np.array([1.0, 0.0, 0.0]) + 0.1 * grey
        return Prediction(landmarks.astype(np.float32))


def face(index: int = 0, yaw: float = 0.0, shape: tuple[int, int] = (60, 80)) -> FaceSample:
    """A black photo with a turned and stretched mean shape in it."""
    points = geometry.unit_to_pixels(mean_shape(), 40) * [1.0 + 0.02 * index, 1.0, 1.0] + [8.0, 6.0, 0.0]
    encoded = cv2.imencode(".png", np.zeros((*shape, 3), np.uint8))[1].tobytes()
    return FaceSample(
        name=f"face{index}",
        read_image=lambda: encoded,
        landmarks=points.astype(np.float32),
        split="test",
        group=str(index),
        pose=np.array([0.0, yaw, 0.0], np.float32),
    )


def faces(yaws: list[float]) -> list[FaceSample]:
    return [face(i, yaw) for i, yaw in enumerate(yaws)]


def entry(model: ShiftModel, passes: int = 1) -> Entry:
    return Entry(model.name, partial(predict_faces, model, passes=passes), SIZE)
