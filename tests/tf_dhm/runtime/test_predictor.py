"""Tests of tf_dhm.runtime.predictor."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.fakes import mean_shape_in_box, write_fake_model
from tf_dhm.core.errors import InputError
from tf_dhm.core.types import Array
from tf_dhm.face import geometry
from tf_dhm.face.mean_face import mean_shape
from tf_dhm.runtime.predictor import Prediction, predict_boxes
from tf_dhm.runtime.saved_model import SavedModelPredictor


def ramp(height: int, width: int) -> NDArray[np.uint8]:
    """A picture whose red is the x of a pixel and whose green its y."""
    y, x = np.mgrid[:height, :width]
    return np.stack([x, y, np.full_like(x, 255)], -1).astype(np.uint8)


class Recorder:
    """A model that returns the mean shape, moved by one pixel, and records its inputs."""

    name = "recorder"
    input_size = 64
    can_refine = True

    def __init__(self) -> None:
        self.crops: list[NDArray[np.uint8]] = []
        self.initial: list[Array | None] = []

    def predict(self, crops: NDArray[np.uint8], initial_landmarks: Array | None = None) -> Prediction:
        self.crops.append(crops)
        self.initial.append(initial_landmarks)
        shape = geometry.unit_to_pixels(mean_shape(), self.input_size) + [1.0, 0.0, 0.0]
        return Prediction(np.repeat(shape[None], len(crops), 0).astype(np.float32))


@pytest.fixture(scope="module")
def fake_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_fake_model(tmp_path_factory.mktemp("models") / "fake", size=32, version=3)


class TestPredictBoxes:
    boxes = np.array([[20.0, 30.0, 120.0, 150.0], [-15.0, 10.0, 40.0, 60.0]])

    def test_one_pass(self, fake_model: Path) -> None:
        landmarks = predict_boxes(SavedModelPredictor(fake_model), ramp(200, 200), self.boxes)
        assert landmarks.dtype == np.float32
        for found, box in zip(landmarks, self.boxes, strict=True):
            np.testing.assert_allclose(found, mean_shape_in_box(box), atol=1e-4)

    def test_further_passes_keep_photo_pixels(self, fake_model: Path) -> None:
        """The fake returns its initial landmarks, so the round trip must change nothing."""
        landmarks = predict_boxes(SavedModelPredictor(fake_model), ramp(200, 200), self.boxes, passes=3)
        for found, box in zip(landmarks, self.boxes, strict=True):
            np.testing.assert_allclose(found, mean_shape_in_box(box), atol=1e-3)

    def test_second_pass_starts_in_its_own_crop(self) -> None:
        model = Recorder()
        predict_boxes(model, ramp(200, 200), self.boxes, passes=2)
        first, second = model.initial
        assert first is None
        # The first landmarks are the mean shape moved by a pixel of the first crop. It is upright,
        # so the new crop is centred on it and it fills it as the mean shape does.
        assert second is not None
        expected = geometry.unit_to_pixels(mean_shape(), 64)
        np.testing.assert_allclose(second, np.repeat(expected[None], 2, 0), atol=1e-3)

    def test_no_boxes(self, fake_model: Path) -> None:
        assert predict_boxes(SavedModelPredictor(fake_model), ramp(9, 9), np.zeros((0, 4)), 2).shape == (
            0,
            68,
            3,
        )

    def test_passes(self) -> None:
        with pytest.raises(InputError, match="passes: found 0"):
            predict_boxes(Recorder(), ramp(9, 9), [[0, 0, 5, 5]], passes=0)

    def test_without_refine(self, tmp_path: Path) -> None:
        model = SavedModelPredictor(write_fake_model(tmp_path / "plain", refine=False))
        assert not model.can_refine
        with pytest.raises(InputError, match="has no signature refine"):
            predict_boxes(model, ramp(50, 50), [[10, 10, 30, 30]], passes=2)
