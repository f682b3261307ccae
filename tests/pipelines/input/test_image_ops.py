from __future__ import annotations

import cv2
import numpy as np
import pytest
import tensorflow as tf

from pipelines.input import image_ops
from pipelines.input.variation import BLUR_KERNEL
from tests.made_faces import smooth_image
from tf_dhm.face import geometry

WITH_AND_WITHOUT = (True, False) if image_ops.HAS_ADDONS else (False,)
needs_addons = pytest.mark.skipif(
    not image_ops.HAS_ADDONS, reason="tensorflow-addons has no release for this TensorFlow"
)


@pytest.fixture(scope="module")
def images() -> tf.Tensor:
    return tf.constant(np.stack([smooth_image(i, 40, 40) for i in range(3)]), tf.float32)


def crop_maps(squares: list[list[float]], size: int, rolls: list[float]) -> tf.Tensor:
    """The maps (B, 2, 3) of crops."""
    pairs = zip(squares, rolls, strict=True)
    return tf.constant([geometry.crop_to_image(square, size, roll) for square, roll in pairs], tf.float32)


MAPS = crop_maps([[20, 19, 30], [18, 22, 36], [5, 5, 50]], 24, [0.0, 0.5, -1.0])


def test_rotations_by_hand() -> None:
    for use_addons in WITH_AND_WITHOUT:
        found = image_ops.rotations(tf.constant([0.0, np.pi / 2], tf.float32), use_addons).numpy()
        assert found == pytest.approx(np.array([[[1, 0], [0, 1]], [[0, -1], [1, 0]]]), abs=1e-6)


@needs_addons
def test_rotations_with_and_without_addons() -> None:
    angles = tf.linspace(-3.0, 3.0, 13)
    assert np.array_equal(image_ops.rotations(angles), image_ops.rotations(angles, use_addons=False))


def test_affine_crop_by_hand() -> None:
    # Crop pixel (u, v) is image pixel (v + 1.5, u): the transposed image, half a pixel to the right.
    image = tf.reshape(tf.range(16, dtype=tf.float32), [1, 4, 4, 1])
    matrix = tf.constant([[[0.0, 1.0, 1.5], [1.0, 0.0, 0.0]]])
    for use_addons in WITH_AND_WITHOUT:
        crop = image_ops.affine_crop(image, matrix, 2, use_addons)
        assert crop.numpy()[0, :, :, 0].tolist() == [[1.5, 5.5], [2.5, 6.5]]


def test_outside_of_the_image_it_is_mirrored() -> None:
    image = tf.tile(tf.range(4, dtype=tf.float32)[None, None, :, None], [1, 4, 1, 1])  # rows of 0 1 2 3
    matrix = tf.constant([[[1.0, 0.0, 2.0], [0.0, 1.0, -1.0]]])
    for use_addons in WITH_AND_WITHOUT:
        crop = image_ops.affine_crop(image, matrix, 3, use_addons).numpy()[0, :, :, 0]
        assert crop.tolist() == [[2.0, 3.0, 3.0]] * 3


@needs_addons
def test_affine_crop_with_and_without_addons(images: tf.Tensor) -> None:
    with_addons = image_ops.affine_crop(images, MAPS, 24)
    assert np.array_equal(with_addons, image_ops.affine_crop(images, MAPS, 24, use_addons=False))


def test_affine_crop_is_opencv_s(images: tf.Tensor) -> None:
    crops = image_ops.affine_crop(images, MAPS, 24).numpy()
    for image, matrix, crop in zip(images.numpy(), MAPS.numpy(), crops, strict=True):
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        expected = cv2.warpAffine(image, matrix, (24, 24), flags=flags, borderMode=cv2.BORDER_REFLECT)
        # OpenCV rounds positions to 1/32 pixel.
        assert np.abs(crop - expected).mean() < 0.3


def test_finer_map_samples_each_pixel_s_parts() -> None:
    square, roll = [20.0, 18.0, 30.0], 0.3
    matrix = geometry.crop_to_image(square, 10, roll)
    for factor in (1, 2, 5):
        expected = geometry.crop_to_image(square, 10 * factor, roll)
        assert image_ops.finer_map(matrix, factor) == pytest.approx(expected, abs=1e-6)
        as_tensor = image_ops.finer_map(tf.constant(matrix[None], tf.float32), factor)
        assert as_tensor.numpy()[0] == pytest.approx(expected, abs=1e-5)


def test_smooth_crop_averages_a_larger_face() -> None:
    # Stripes one pixel wide: every second pixel would be one colour, a smooth crop is their mean.
    stripes = np.zeros((2, 40, 40, 1), np.float32)
    stripes[:, :, ::2] = 200.0
    maps = crop_maps([[19.5, 19.5, 32], [19.5, 19.5, 16]], 16, [0.0, 0.0])
    crops = image_ops.smooth_crop(tf.constant(stripes), maps, 16).numpy()
    assert crops[0] == pytest.approx(np.full((16, 16, 1), 100.0), abs=1e-3)
    assert np.array_equal(crops[1], stripes[1, 12:28, 12:28])


def test_smooth_crop_leaves_small_shrinking_alone(images: tf.Tensor) -> None:
    maps = crop_maps([[20, 20, 34]] * 3, 24, [0.0] * 3)
    crops = image_ops.smooth_crop(images, maps, 24)
    assert np.array_equal(crops, image_ops.affine_crop(images, maps, 24))


SIGMAS = (0.5, 1.0, 1.5)


@pytest.mark.parametrize("use_addons", WITH_AND_WITHOUT)
@pytest.mark.parametrize("level", [[0, 1, 3], [2, 2, 2], [0, 0, 0]])
def test_blur_is_opencv_s(images: tf.Tensor, level: list[int], use_addons: bool) -> None:
    blurred = image_ops.gaussian_blur(images, tf.constant(level), SIGMAS, use_addons).numpy()
    for image, number, found in zip(images.numpy(), level, blurred, strict=True):
        expected = image
        if number:
            expected = cv2.GaussianBlur(image, BLUR_KERNEL, SIGMAS[number - 1])
        assert found == pytest.approx(expected, abs=0.01)


def test_blur_by_hand() -> None:
    # A bright pixel becomes its Gaussian: beside it exp(-1/2) of the middle, for sigma 1.
    image = np.zeros((1, 21, 21, 1), np.float32)
    image[0, 10, 10] = 1.0
    for use_addons in WITH_AND_WITHOUT:
        blurred = image_ops.gaussian_blur(tf.constant(image), tf.constant([1]), (1.0,), use_addons).numpy()
        assert blurred.sum() == pytest.approx(1.0, abs=1e-5)
        assert blurred[0, 10, 11, 0] / blurred[0, 10, 10, 0] == pytest.approx(np.exp(-0.5), abs=1e-5)
        assert blurred[0, 12, 13, 0] / blurred[0, 10, 10, 0] == pytest.approx(np.exp(-6.5), abs=1e-5)


@needs_addons
def test_blur_with_and_without_addons_in_a_graph(images: tf.Tensor) -> None:
    @tf.function
    def difference(level: tf.Tensor) -> tf.Tensor:
        first = image_ops.gaussian_blur(images, level, SIGMAS)
        return tf.reduce_max(tf.abs(first - image_ops.gaussian_blur(images, level, SIGMAS, use_addons=False)))

    for level in ([1, 2, 3], [0, 0, 2], [0, 0, 0]):
        assert float(difference(tf.constant(level))) < 1e-3


def test_no_levels_no_blur(images: tf.Tensor) -> None:
    assert image_ops.gaussian_blur(images, tf.constant([0, 0, 0]), ()) is images
