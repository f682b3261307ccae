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
from tf_dhm.runtime.predictor import UNSETTLED, Prediction, differ, predict_boxes, predict_photos
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


class Restless:
    """A model that moves the mean shape to the right until the right half of its crop is bright."""

    name = "restless"
    input_size = 64
    can_refine = True

    def __init__(self) -> None:
        self.batches: list[int] = []

    def predict(self, crops: NDArray[np.uint8], initial_landmarks: Array | None = None) -> Prediction:
        self.batches.append(len(crops))
        bright = crops[..., 0].mean((1, 2)) / 255
        shape = np.repeat(geometry.unit_to_pixels(mean_shape(), self.input_size)[None], len(crops), 0)
        shape[..., 0] += 10 * (1 - bright[:, None])
        return Prediction(
            shape.astype(np.float32),
            visibility=np.full((len(crops), 68), len(self.batches), np.float32),
            confidence=np.full(len(crops), len(self.batches), np.float32),
        )


class TestSettle:
    """Faces whose last two passes differ get one pass more, the others none."""

    photos = (np.full((100, 100, 3), 255, np.uint8), np.full((100, 100, 3), 0, np.uint8))
    boxes = (np.array([[30.0, 30, 70, 70]]), np.array([[30.0, 30, 70, 70], [30, 40, 50, 60]]))

    def test_only_unsettled_faces(self) -> None:
        mixed = np.concatenate(self.photos, 1)
        boxes = [np.array([[30.0, 30, 70, 70], [130, 30, 170, 70]]), np.zeros((0, 4)), self.boxes[0] + 5]
        model = Restless()
        found = predict_photos(model, [mixed, *self.photos], boxes, 2, settle=True)
        assert model.batches == [3, 3, 2]
        passes = [[] if part.confidence is None else part.confidence.tolist() for part in found]
        assert passes == [[2, 3], [], [3]]

    def test_they_are_as_after_three_passes(self) -> None:
        settled = predict_photos(Restless(), self.photos, self.boxes, 2, settle=True)
        two, three = (predict_photos(Restless(), self.photos, self.boxes, passes) for passes in (2, 3))
        for found, expected in zip(settled, (two[0], three[1]), strict=True):
            for name in ("landmarks", "visibility", "confidence"):
                np.testing.assert_array_equal(getattr(found, name), getattr(expected, name))
        assert np.abs(three[1].landmarks - two[1].landmarks).max() > 1

    def test_one_pass_is_settled(self) -> None:
        model = Restless()
        predict_photos(model, self.photos, self.boxes, 1, settle=True)
        assert model.batches == [3]

    def test_models_without_other_outputs(self) -> None:
        """Recorder moves by a pixel of 64 in each pass, which is less than the limit."""
        model = Recorder()
        (found,) = predict_photos(model, [ramp(100, 100)], [[[30, 30, 70, 70]]], 2, settle=True)
        assert len(model.crops) == 2
        assert found.confidence is None

    def test_the_limit_by_hand(self) -> None:
        face = np.zeros((2, 68, 3))
        face[:, 0], face[:, 1] = [0, 0, 9], [40, 10, -9]  # a box of size 20
        moved = face + np.array([[[0, 0.99 * UNSETTLED * 20, 50]], [[1.01 * UNSETTLED * 20, 0, 0]]])
        assert differ(moved, face).tolist() == [False, True]
        assert differ(face[:0], face[:0]).tolist() == []
