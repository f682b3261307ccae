"""Tests of tf_dhm.runtime.predictor."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from tests.fakes import mean_shape_in_box, write_fake_model
from tf_dhm.core.errors import InputError
from tf_dhm.core.types import Array
from tf_dhm.face import geometry
from tf_dhm.face.mean_face import mean_shape
from tf_dhm.runtime import predictor
from tf_dhm.runtime.predictor import (
    Predictor,
    cut_crops,
    find_savedmodel,
    predict_boxes,
    upright_boxes,
    upright_roll,
)


def fake_version(folder: Path) -> Path:
    folder.mkdir(parents=True)
    (folder / "saved_model.pb").write_bytes(b"not a graph")
    return folder


def ramp(height: int, width: int) -> NDArray[np.uint8]:
    """A picture whose red is the x of a pixel and whose green its y."""
    y, x = np.mgrid[:height, :width]
    return np.stack([x, y, np.full_like(x, 255)], -1).astype(np.uint8)


def posed_face(pitch: float, yaw: float, roll: float, size: float = 100.0) -> Array:
    """The mean face turned by degrees, around (150, 150) of a photo."""
    flip = np.array([1.0, -1.0, 1.0])
    rotation = geometry.rotation_matrix(*np.radians([pitch, yaw, roll]))
    shape = mean_shape() - mean_shape().mean(0)
    return (shape * flip) @ rotation.T * flip * size + [150.0, 150.0, 0.0]


class Recorder:
    """A model that answers the mean shape, moved by one pixel, and keeps what it was asked."""

    name = "recorder"
    input_size = 64
    can_refine = True

    def __init__(self) -> None:
        self.crops: list[NDArray[np.uint8]] = []
        self.initial: list[Array | None] = []

    def predict(
        self, crops: NDArray[np.uint8], initial_landmarks: Array | None = None
    ) -> NDArray[np.float32]:
        self.crops.append(crops)
        self.initial.append(initial_landmarks)
        shape = geometry.unit_to_pixels(mean_shape(), self.input_size) + [1.0, 0.0, 0.0]
        return np.repeat(shape[None], len(crops), 0).astype(np.float32)


class TestFindSavedmodel:
    def test_newest_version_by_number(self, tmp_path: Path) -> None:
        for version in ("2", "10", "9"):
            fake_version(tmp_path / version)
        (tmp_path / "11").mkdir()  # without a model: being written, or broken
        (tmp_path / "README.md").write_text("card")
        assert find_savedmodel(tmp_path) == tmp_path / "10"

    def test_version_folder(self, tmp_path: Path) -> None:
        assert find_savedmodel(fake_version(tmp_path / "3")) == tmp_path / "3"

    def test_name(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(predictor, "SAVEDMODELS", tmp_path)
        fake_version(tmp_path / "small" / "1")
        assert find_savedmodel("small") == tmp_path / "small" / "1"
        with pytest.raises(InputError, match=r"found nothing.*one of the models small"):
            find_savedmodel("large")

    def test_errors(self, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("x")
        (tmp_path / "empty").mkdir()
        (tmp_path / "other" / "variables").mkdir(parents=True)
        for name, found in [
            ("none", "found nothing, expected a folder"),
            ("file", "found a file, expected a folder"),
            ("empty", "found an empty folder, expected saved_model.pb"),
            ("other", "found variables, expected saved_model.pb"),
        ]:
            with pytest.raises(InputError, match=re.escape(str(tmp_path / name)) + ".*" + found):
                find_savedmodel(tmp_path / name)


@pytest.fixture(scope="module")
def fake_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_fake_model(tmp_path_factory.mktemp("models") / "fake", size=32, version=3)


class TestPredictor:
    def test_signatures(self, fake_model: Path) -> None:
        model = Predictor(fake_model)
        assert (model.name, model.input_size, model.can_refine) == ("fake", 32, True)
        assert model.version_dir == fake_model / "3"
        landmarks = model.predict(np.zeros((2, 32, 32, 3), np.uint8))
        assert landmarks.dtype == np.float32
        np.testing.assert_allclose(landmarks[1], geometry.unit_to_pixels(mean_shape(), 32), atol=1e-5)
        initial = np.random.default_rng(0).normal(size=(2, 68, 3))
        refined = model.predict(np.zeros((2, 32, 32, 3), np.uint8), initial)
        np.testing.assert_allclose(refined, initial, atol=1e-6)
        assert model.predict(np.zeros((0, 32, 32, 3), np.uint8)).shape == (0, 68, 3)

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
            Predictor(fake_model).predict(crops, initial)

    def test_not_finite(self, fake_model: Path) -> None:
        initial = np.full((1, 68, 3), np.nan)
        with pytest.raises(InputError, match="found NaN or infinite landmarks"):
            Predictor(fake_model).predict(np.zeros((1, 32, 32, 3), np.uint8), initial)

    def test_without_refine(self, tmp_path: Path) -> None:
        model = Predictor(write_fake_model(tmp_path / "plain", refine=False))
        assert not model.can_refine
        with pytest.raises(InputError, match="has no signature refine"):
            predict_boxes(model, ramp(50, 50), [[10, 10, 30, 30]], passes=2)

    def test_broken(self, tmp_path: Path) -> None:
        fake_version(tmp_path / "1")
        with pytest.raises(InputError, match="found no readable SavedModel"):
            Predictor(tmp_path)

    def test_without_tensorflow(self, fake_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(sys.modules, "tensorflow", None)
        with pytest.raises(InputError, match=r"no package tensorflow.*pip install \"\.\[tensorflow\]\""):
            Predictor(fake_model)


class TestCutCrops:
    @pytest.mark.parametrize("side", [20.0, 80.0, 130.0])  # of the box; the crop has 48 pixels
    @pytest.mark.parametrize("degrees", [0.0, 30.0, -100.0])
    def test_pixels_are_where_the_matrix_says(self, side: float, degrees: float) -> None:
        image = ramp(256, 256)
        centre = np.array([121.3, 130.8])
        box = np.concatenate([centre - side / 2, centre + side / 2])
        (crop,), (matrix,) = cut_crops(image, [box], 48, [np.radians(degrees)])
        y, x = np.mgrid[:48, :48]
        places = geometry.transform_landmarks(matrix, np.stack([x, y], -1).reshape(-1, 2).astype(float))
        # Interior pixels only: on the margin the crop blends with the black outside.
        inside = ((places > 5) & (places < 250)).all(1)
        assert inside.mean() > 0.6
        errors = crop.reshape(-1, 3)[inside, :2] - places[inside]
        assert np.abs(errors).max() < 1.0  # rounded twice
        assert np.abs(errors.mean(0)).max() < 0.05

    def test_outside_is_black(self) -> None:
        crops, _ = cut_crops(np.full((40, 40, 3), 200, np.uint8), [[0, 0, 40, 40], [500, 500, 540, 540]], 32)
        assert crops[0, 16, 16].tolist() == [200, 200, 200]
        assert not crops[0, 0].any()
        assert not crops[1].any()

    @pytest.mark.parametrize("side", [100, 300, 700])
    def test_fine_texture_is_averaged(self, side: int) -> None:
        """A chessboard of single pixels is grey from afar: bilinear sampling alone gives moire."""
        y, x = np.mgrid[:800, :800]
        board = np.repeat(((x + y) % 2 * 255).astype(np.uint8)[..., None], 3, -1)
        box = [400 - side / 3, 400 - side / 3, 400 + side / 3, 400 + side / 3]
        (crop,), _ = cut_crops(board, [box], 32)
        assert np.abs(crop.astype(float) - 127.5).max() < 20

    def test_memory_is_bounded(self) -> None:
        (crop,), _ = cut_crops(np.full((8, 8, 3), 9, np.uint8), [[-1e6, -1e6, 1e6, 1e6]], 32)
        assert crop.shape == (32, 32, 3)

    def test_no_boxes(self) -> None:
        crops, matrices = cut_crops(ramp(9, 9), np.zeros((0, 4)), 32)
        assert crops.shape == (0, 32, 32, 3)
        assert matrices.shape == (0, 2, 3)

    @pytest.mark.parametrize(
        ("image", "box"),
        [
            (np.zeros((9, 9, 3)), [0, 0, 5, 5]),
            (np.zeros((9, 9), np.uint8), [0, 0, 5, 5]),
            (np.zeros((0, 9, 3), np.uint8), [0, 0, 5, 5]),
            (np.zeros((9, 9, 3), np.uint8), [0, 0, np.nan, 5]),
            (np.zeros((9, 9, 3), np.uint8), [5, 0, 5, 5]),
        ],
    )
    def test_bad_input(self, image: np.ndarray, box: list[float]) -> None:
        with pytest.raises(InputError, match=r"(image|box): found .*, expected"):
            cut_crops(image, [box], 32)


class TestRoll:
    """A face that is rolled in the photo is upright in its crop."""

    @pytest.mark.parametrize("roll", [25.0, -70.0, 160.0])
    def test_rolled_face_is_upright_in_the_crop(self, roll: float) -> None:
        face = posed_face(0, 0, roll)
        image = np.zeros((300, 300, 3), np.uint8)
        left_eye, right_eye, chin = face[36:42].mean(0), face[42:48].mean(0), face[8]
        for channel, point in enumerate((left_eye, right_eye, chin)):
            x, y = np.rint(point[:2]).astype(int)
            image[y - 2 : y + 3, x - 2 : x + 3, channel] = 255
        angle = upright_roll(face)
        assert np.degrees(angle) == pytest.approx(roll)
        (crop,), _ = cut_crops(image, upright_boxes(face[None], [angle]), 64, [angle])
        spots = [np.argwhere(crop[..., channel] > 100).mean(0) for channel in range(3)]  # (y, x)
        assert spots[0][0] == pytest.approx(spots[1][0], abs=1.0)  # the eyes are level,
        assert spots[0][1] < 32 < spots[1][1]  # left is left,
        assert spots[2][0] > spots[0][0] + 20  # and the chin is below them
        assert spots[2][1] == pytest.approx(32, abs=1.0)

    @pytest.mark.parametrize(
        ("pose", "expected"),
        [
            ((0, 0, 0), 0.0),
            ((30, 0, 0), 0.0),
            ((0, 89.9, 40), 0.2),  # a profile: its roll leans the head out of the picture's plane
            ((20, -60, 0), 0.0),
            ((0, 60, 45), 26.57),  # atan(cos 60 tan 45)
        ],
    )
    def test_upright_roll(self, pose: tuple[float, float, float], expected: float) -> None:
        assert np.degrees(upright_roll(posed_face(*pose))) == pytest.approx(expected, abs=0.2)

    @given(st.floats(-np.pi, np.pi), st.floats(-np.pi, np.pi), st.integers(0, 99))
    def test_upright_boxes_turn_with_the_face(self, roll: float, turn: float, seed: int) -> None:
        points = np.random.default_rng(seed).normal(size=(1, 68, 2)) * 50
        rotation = geometry.crop_to_image([0.0, 0.0, 1.0], 1, turn)
        turned = geometry.transform_landmarks(rotation, points)
        before, after = upright_boxes(points, [roll])[0], upright_boxes(turned, [roll + turn])[0]
        np.testing.assert_allclose(after[2:] - after[:2], before[2:] - before[:2], atol=1e-9)
        centre = geometry.transform_landmarks(rotation, ((before[:2] + before[2:]) / 2)[None])[0]
        np.testing.assert_allclose((after[:2] + after[2:]) / 2, centre, atol=1e-9)

    def test_without_roll_it_is_the_landmark_box(self) -> None:
        face = posed_face(10, 20, 30)
        np.testing.assert_allclose(upright_boxes(face[None], [0.0])[0], geometry.landmark_box(face))


class TestPredictBoxes:
    boxes = np.array([[20.0, 30.0, 120.0, 150.0], [-15.0, 10.0, 40.0, 60.0]])

    def test_one_pass(self, fake_model: Path) -> None:
        landmarks = predict_boxes(Predictor(fake_model), ramp(200, 200), self.boxes)
        assert landmarks.dtype == np.float32
        for found, box in zip(landmarks, self.boxes, strict=True):
            np.testing.assert_allclose(found, mean_shape_in_box(box), atol=1e-4)

    def test_further_passes_keep_photo_pixels(self, fake_model: Path) -> None:
        """The fake answers what it starts from, so the way there and back must change nothing."""
        landmarks = predict_boxes(Predictor(fake_model), ramp(200, 200), self.boxes, passes=3)
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
        assert predict_boxes(Predictor(fake_model), ramp(9, 9), np.zeros((0, 4)), 2).shape == (0, 68, 3)

    def test_passes(self) -> None:
        with pytest.raises(InputError, match="passes: found 0"):
            predict_boxes(Recorder(), ramp(9, 9), [[0, 0, 5, 5]], passes=0)
