"""Tests of tf_dhm.runtime.saved_model."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from tests.fakes import write_fake_model
from tf_dhm.core.errors import InputError
from tf_dhm.face import geometry
from tf_dhm.face.mean_face import mean_shape
from tf_dhm.runtime.saved_model import SavedModelPredictor


@pytest.fixture(scope="module")
def fake_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_fake_model(tmp_path_factory.mktemp("models") / "fake", size=32, version=3)


class TestPredictor:
    def test_signatures(self, fake_model: Path) -> None:
        model = SavedModelPredictor(fake_model)
        assert (model.name, model.input_size, model.can_refine) == ("fake", 32, True)
        assert model.version_dir == fake_model / "3"
        landmarks = model.predict(np.zeros((2, 32, 32, 3), np.uint8)).landmarks
        assert landmarks.dtype == np.float32
        np.testing.assert_allclose(landmarks[1], geometry.unit_to_pixels(mean_shape(), 32), atol=1e-5)
        initial = np.random.default_rng(0).normal(size=(2, 68, 3))
        refined = model.predict(np.zeros((2, 32, 32, 3), np.uint8), initial).landmarks
        np.testing.assert_allclose(refined, initial, atol=1e-6)
        assert model.predict(np.zeros((0, 32, 32, 3), np.uint8)).landmarks.shape == (0, 68, 3)

    @pytest.mark.parametrize(
        ("crops", "initial", "message"),
        [
            (np.zeros((1, 31, 32, 3), np.uint8), None, r"uint8 of shape \(1, 31, 32, 3\)"),
            (np.zeros((1, 32, 32, 3), np.float32), None, "found float32"),
            (np.zeros((32, 32, 3), np.uint8), None, r"expected uint8 \(B, 32, 32, 3\)"),
            (np.zeros((1, 32, 32, 3), np.uint8), np.zeros((2, 68, 3)), r"initial_landmarks.*\(2, 68, 3\)"),
        ],
    )
    def test_bad_input(
        self, fake_model: Path, crops: np.ndarray, initial: np.ndarray | None, message: str
    ) -> None:
        with pytest.raises(InputError, match=message):
            SavedModelPredictor(fake_model).predict(crops, initial)

    def test_not_finite(self, fake_model: Path) -> None:
        initial = np.full((1, 68, 3), np.nan)
        with pytest.raises(InputError, match="found NaN or infinite landmarks"):
            SavedModelPredictor(fake_model).predict(np.zeros((1, 32, 32, 3), np.uint8), initial)

    def test_broken(self, tmp_path: Path) -> None:
        (tmp_path / "1").mkdir()
        (tmp_path / "1" / "saved_model.pb").write_bytes(b"not a graph")
        with pytest.raises(InputError, match="found no readable SavedModel"):
            SavedModelPredictor(tmp_path)

    def test_without_tensorflow(self, fake_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(sys.modules, "tensorflow", None)
        with pytest.raises(InputError, match=r"no package tensorflow.*\.\[tensorflow\]"):
            SavedModelPredictor(fake_model)
