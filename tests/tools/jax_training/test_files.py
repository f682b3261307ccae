"""The files of a training folder."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import cv2
import numpy as np
import pytest

from tests.jax_faces import packed
from tests.made_faces import made_faces
from tf_dhm.core.errors import InputError
from tools.jax_training import files
from tools.jax_training.files import PackedFaces
from tools.jax_training.packing import pack_faces

FACES = made_faces(3, yaw=np.array([0.0, -50.0, np.nan]))
SIGMA = np.full((3, 68), [[1.5], [np.nan], [0.0]], np.float32)


def test_faces_come_back(tmp_path: Path) -> None:
    faces = dataclasses.replace(FACES, sigma=SIGMA)
    files.write_faces(tmp_path / "train.npz", pack_faces(faces, 24, 100))
    found = files.read_faces(tmp_path / "train.npz")
    np.testing.assert_allclose(found.landmarks, FACES.landmarks, atol=0.5 / files.COORDINATE_STEPS)
    np.testing.assert_array_equal(found.yaw, FACES.pose[:, 1])
    np.testing.assert_array_equal(found.sigma, SIGMA)
    chosen = found[np.array([2, 0])]
    assert chosen.images == [found.images[2], found.images[0]]
    np.testing.assert_array_equal(chosen.landmarks, found.landmarks[[2, 0]])
    np.testing.assert_array_equal(chosen.yaw, found.yaw[[2, 0]])
    np.testing.assert_array_equal(chosen.sigma, found.sigma[[2, 0]])
    decoded = files.decode_images(found.images, threads=1)
    assert decoded.dtype == np.uint32
    expected = packed(np.asarray(FACES.images))
    for shift in (0, 8, 16):
        difference = (decoded >> shift & 255).astype(int) - (expected >> shift & 255)
        assert np.abs(difference).mean() < 6.0


def test_a_lossless_image_keeps_its_channels() -> None:
    picture = np.zeros((2, 2, 3), np.uint8)
    picture[0, 1] = (1, 2, 3)  # blue, green, red
    encoded = cv2.imencode(".png", picture)[1].tobytes()
    assert files.decode_images([encoded])[0].tolist() == [[0, 3 + (2 << 8) + (1 << 16)], [0, 0]]


@pytest.mark.parametrize("value", [np.nan, 1000.0])
def test_landmarks_that_cannot_be_stored_are_rejected(tmp_path: Path, value: float) -> None:
    landmarks = FACES.landmarks.copy()
    landmarks[1, 5, 2] = value
    faces = PackedFaces([b""] * 3, landmarks, FACES.pose[:, 1], FACES.sigma)
    with pytest.raises(InputError, match=f"landmarks: found {value} in face 1"):
        files.write_faces(tmp_path / "train.npz", faces)
    assert not (tmp_path / "train.npz").exists()


def test_large_faces_are_rejected() -> None:
    with pytest.raises(InputError, match="input_size: found 16"):
        pack_faces(FACES, 16, 80)


def test_weights_of_another_network_are_rejected(tmp_path: Path) -> None:
    file = tmp_path / "tiny.npz"
    with pytest.raises(InputError, match=r"tiny\.npz"):
        files.read_weights(file, [(2,)])
    weights = [np.array([1.0, 2.0], np.float32), np.array([[3.0]], np.float32)]
    files.write_weights(file, weights)
    found = files.read_weights(file, [(2,), (1, 1)])
    assert [weight.tolist() for weight in found] == [[1.0, 2.0], [[3.0]]]
    with pytest.raises(InputError, match=r"tiny\.npz"):
        files.read_weights(file, [(2,), (1, 2)])
