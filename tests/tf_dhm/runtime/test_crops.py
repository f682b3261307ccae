"""Tests of tf_dhm.runtime.crops."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from tf_dhm.core.errors import InputError
from tf_dhm.core.types import Array
from tf_dhm.face import geometry
from tf_dhm.face.mean_face import mean_shape
from tf_dhm.runtime.crops import cut_crops, upright_boxes, upright_roll


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

    def test_boxes_of_several_sizes_are_cut_as_each_alone(self) -> None:
        image = np.random.default_rng(0).integers(0, 256, (600, 600, 3)).astype(np.uint8)
        boxes = np.array([[10.0, 20, 50, 60], [30, 40, 500, 510], [200, 100, 350, 230], [0, 0, 590, 590]])
        roll = np.array([0.0, 0.3, -0.2, 0.1])
        crops, matrices = cut_crops(image, boxes, 32, roll)
        for box, angle, crop, matrix in zip(boxes, roll, crops, matrices, strict=True):
            alone = cut_crops(image, box, 32, angle)
            np.testing.assert_array_equal(crop, alone[0][0])
            np.testing.assert_array_equal(matrix, alone[1][0])

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
