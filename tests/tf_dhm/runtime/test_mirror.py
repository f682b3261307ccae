"""The mean of crops and their mirror images."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.tiny_models import write_tiny_model
from tf_dhm.face.geometry import MIRROR_68, mirror_landmarks
from tf_dhm.face.mean_face import mean_landmarks
from tf_dhm.runtime.aligner import Aligner
from tf_dhm.runtime.mirror import MirrorAveraged
from tf_dhm.runtime.predictor import Prediction
from tf_dhm.runtime.saved_model import SavedModelPredictor


class Shifted:
    """Finds the initial landmarks two pixels to the right, whatever the crop shows."""

    name, input_size, can_refine = "shifted", 32, True

    def predict(self, crops: NDArray[np.uint8], initial: NDArray[np.floating] | None = None) -> Prediction:
        start = np.repeat(mean_landmarks(32)[None], len(crops), 0) if initial is None else initial
        visibility = np.repeat(np.linspace(0.0, 1.0, 68, dtype=np.float32)[None], len(crops), 0)
        confidence = crops[:, 0, 0, 0] / np.float32(255.0)
        return Prediction((start + [2.0, 0.0, 0.0]).astype(np.float32), visibility, confidence)


def test_a_shift_to_one_side_is_gone_in_the_mean() -> None:
    crops = np.zeros((2, 32, 32, 3), np.uint8)
    crops[:, :, -1] = 255  # one side is white
    rng = np.random.default_rng(0)
    for initial in (None, mean_landmarks(32)[None] + rng.normal(0.0, 3.0, (2, 68, 3))):
        found = MirrorAveraged(Shifted()).predict(crops, initial)
        expected = np.repeat(mean_landmarks(32)[None], 2, 0) if initial is None else initial
        np.testing.assert_allclose(found.landmarks, expected, atol=1e-4)
    assert found.confidence is not None
    assert found.visibility is not None
    assert found.confidence.tolist() == [0.5, 0.5]
    line = np.linspace(0.0, 1.0, 68)
    np.testing.assert_allclose(found.visibility[0], (line + line[MIRROR_68]) / 2.0, atol=1e-6)


def test_a_photo_and_its_mirror_image_agree(tmp_path: Path) -> None:
    model = SavedModelPredictor(write_tiny_model(tmp_path / "tiny", quality=True))
    image = np.random.default_rng(0).integers(0, 256, (80, 80, 3)).astype(np.uint8)
    # A square box in the middle, whose crop is sampled symmetrically.
    box = [20.0, 20.0, 59.0, 59.0]
    averaged = Aligner(model, passes=1, mirror=True)
    (face,) = averaged.align(image, boxes=[box])
    (mirrored,) = averaged.align(np.ascontiguousarray(image[:, ::-1]), boxes=[box])
    np.testing.assert_allclose(mirror_landmarks(mirrored.landmarks, 80), face.landmarks, atol=0.05)
    assert face.confidence == pytest.approx(mirrored.confidence, abs=1e-2)
    (plain,) = Aligner(model, passes=1).align(image, boxes=[box])
    assert np.abs(plain.landmarks - face.landmarks).max() > 0.5
