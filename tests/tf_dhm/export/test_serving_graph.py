"""Photos to landmarks in the graph: equal to Python's crops and poses, and safe from bad photos."""

from __future__ import annotations

import io
import resource
import time
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from numpy.typing import NDArray
from PIL import Image

from tests import serving_data
from tests.serving_data import ASTRONAUT, bad_boxes, bad_photos, encode, noise_photo, with_orientation
from tf_dhm.export import serving_graph
from tf_dhm.face import geometry
from tf_dhm.face.mean_face import mean_shape
from tf_dhm.runtime.crops import cut_crops
from tf_dhm.runtime.images import read_photo

SIZE = 32


@pytest.fixture(scope="module")
def cut() -> Any:
    """photo, box -> crop and square, as one graph."""
    photo, box = tf.TensorSpec([], tf.string), tf.TensorSpec([4], tf.float32)
    return tf.function(lambda p, b: serving_graph.cut_crop(p, b, SIZE), input_signature=[photo, box])


@pytest.fixture(scope="module")
def align() -> Any:
    """photos, boxes -> outputs: the mean face in every crop, and the mean of its pixels."""
    face = tf.constant(geometry.unit_to_pixels(mean_shape(), SIZE), tf.float32)

    def find(crops: Any) -> dict[str, Any]:
        count = tf.shape(crops)[0]
        mean = tf.reduce_mean(tf.cast(crops, tf.float32), [1, 2])
        landmarks = tf.tile(face[None], [count, 1, 1])
        return {"landmarks": landmarks, "confidence": tf.ones([count]), "mean": mean}

    photos, boxes = tf.TensorSpec([None], tf.string), tf.TensorSpec([None, 4], tf.float32)
    return tf.function(
        lambda p, b: serving_graph.align_photos(p, b, SIZE, find), input_signature=[photos, boxes]
    )


def assert_same_crops(cut: Any, photo: bytes, boxes: NDArray[np.float32]) -> None:
    pixels = read_photo(photo).pixels
    for box in boxes:
        expected, _ = cut_crops(pixels, box, SIZE)
        crop, square = cut(tf.constant(photo), tf.constant(box))
        np.testing.assert_array_equal(crop, expected[0], err_msg=str(box))
        np.testing.assert_allclose(square, geometry.crop_square(box))


# Crops


PHOTOS = {
    "JPEG": encode(noise_photo(0, 300, 200), quality=95),
    "JPEG of odd size, halved colour": encode(noise_photo(1, 255, 201), subsampling=2),
    "progressive JPEG": encode(noise_photo(2, 200, 300), progressive=True),
    "grey JPEG": encode(noise_photo(3, 300, 200).convert("L")),
    "CMYK JPEG": encode(noise_photo(4, 300, 200).convert("CMYK")),
    "PNG": encode(noise_photo(5, 300, 200), "PNG"),
    "grey PNG": encode(noise_photo(6, 300, 200).convert("L"), "PNG"),
    "palette PNG": encode(noise_photo(7, 300, 200).quantize(16), "PNG"),
    "palette PNG with a transparent colour": encode(
        noise_photo(8, 300, 200).quantize(16), "PNG", transparency=3
    ),
    "RGB PNG with a transparent colour": encode(
        Image.new("RGB", (200, 90), (9, 8, 7)), "PNG", transparency=(9, 8, 7)
    ),
    "RGBA PNG": encode(
        Image.merge("RGBA", [*noise_photo(9, 300, 200).split(), noise_photo(10, 300, 200).split()[0]]), "PNG"
    ),
    "photo": ASTRONAUT.read_bytes(),
}


@pytest.mark.parametrize("kind", PHOTOS)
def test_crops_are_those_of_python(cut: Any, kind: str) -> None:
    width, height = Image.open(io.BytesIO(PHOTOS[kind])).size
    boxes = serving_data.random_boxes(np.random.default_rng(0), width, height, 12)
    assert_same_crops(cut, PHOTOS[kind], boxes)


def test_crops_of_all_shrinking_factors_are_those_of_python(cut: Any) -> None:
    photo = encode(noise_photo(0, 1200, 1000))
    sides = np.array([10, 30, 34, 36, 50, 60, 100, 200, 300, 360, 500, 900, 3000], np.float32)
    shrinks = np.ceil(np.sqrt(2) * sides / SIZE)
    assert {1, 2, 3} < set(shrinks)
    assert shrinks.max() > 16
    centre = np.array([611.3, 480.7], np.float32)
    boxes = np.concatenate([centre - sides[:, None] / 2, centre + sides[:, None] / 2], 1)
    assert_same_crops(cut, photo, boxes.astype(np.float32))


@pytest.mark.parametrize("subsampling", [0, 1, 2])
@pytest.mark.parametrize("progressive", [False, True])
def test_parts_of_jpegs_are_those_of_the_whole(cut: Any, subsampling: int, progressive: bool) -> None:
    """Wherever the part that is decoded ends, also within a block of colours."""
    photo = encode(noise_photo(3, 230, 170), subsampling=subsampling, progressive=progressive)
    boxes = serving_data.random_boxes(np.random.default_rng(1), 230, 170, 24)
    assert_same_crops(cut, photo, boxes)


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_exif_orientation_is_heeded(cut: Any, kind: str, orientation: int) -> None:
    photo = with_orientation(noise_photo(orientation, 120, 80), orientation, kind)
    shown = read_photo(photo)
    assert (shown.width > shown.height) == (orientation <= 4)
    boxes = serving_data.random_boxes(np.random.default_rng(0), shown.width, shown.height, 6)
    assert_same_crops(cut, photo, boxes)


@pytest.mark.parametrize(
    "exif", [b"", b"MM", b"garbage", b"II*\0\xff\xff\xff\x7f", b"II*\0\x08\0\0\0\xff\xff\x12\x01"]
)
def test_broken_exif_data_are_no_obstacle(cut: Any, exif: bytes) -> None:
    photo = encode(noise_photo(0, 120, 80), exif=b"Exif\0\0" + exif)
    crop, _ = cut(tf.constant(photo), tf.constant([10.0, 10.0, 60.0, 60.0]))
    np.testing.assert_array_equal(crop, cut_crops(read_photo(photo).pixels, [[10, 10, 60, 60]], SIZE)[0][0])


@pytest.mark.parametrize("kind", bad_photos())
def test_bad_photos_are_rejected(cut: Any, kind: str) -> None:
    with pytest.raises(tf.errors.OpError):
        cut(tf.constant(bad_photos()[kind]), tf.constant([10.0, 10.0, 20.0, 20.0]))


@pytest.mark.parametrize("kind", bad_boxes(60, 50))
def test_bad_boxes_are_rejected(cut: Any, kind: str) -> None:
    with pytest.raises(tf.errors.InvalidArgumentError, match="box"):
        cut(tf.constant(encode(noise_photo(0))), tf.constant(bad_boxes(60, 50)[kind], tf.float32))


# Batches


def test_landmarks_in_pixels_of_photos_of_different_size(align: Any) -> None:
    sizes = [(60, 50), (300, 200), (120, 400)]
    photos = [
        encode(noise_photo(i, *size), kind)
        for i, (size, kind) in enumerate(zip(sizes, ["JPEG", "PNG", "JPEG"], strict=True))
    ]
    boxes = np.array([[10, 5, 40, 45], [100.5, 20, 220, 190.25], [-30, 100, 90, 260]], np.float32)
    outputs = align(tf.constant(photos), tf.constant(boxes))
    for photo, box, found, mean in zip(photos, boxes, outputs["landmarks"], outputs["mean"], strict=True):
        crops, matrices = cut_crops(read_photo(photo).pixels, box, SIZE)
        expected = geometry.transform_landmarks(matrices, geometry.unit_to_pixels(mean_shape(), SIZE))
        np.testing.assert_allclose(found, expected[0], atol=1e-3)
        np.testing.assert_allclose(mean, crops[0].mean((0, 1)), rtol=1e-5)
    np.testing.assert_array_equal(outputs["confidence"], 1.0)


def test_bad_photos_do_not_touch_their_neighbours(align: Any) -> None:
    good = [encode(noise_photo(i)) for i in range(3)]
    bad = list(bad_photos().values())
    boxes = serving_data.random_boxes(np.random.default_rng(0), 60, 50, 3)
    alone = align(tf.constant(good), tf.constant(boxes))
    photos = [*bad[:5], good[0], *bad[5:9], good[1], good[2], *bad[9:]]
    places = [photos.index(photo) for photo in good]
    all_boxes = np.full((len(photos), 4), [10, 10, 20, 20], np.float32)
    all_boxes[places] = boxes
    began, memory = time.process_time(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    together = align(tf.constant(photos), tf.constant(all_boxes))
    assert time.process_time() - began < 20.0
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - memory < 300_000  # KB
    rest = np.setdiff1d(np.arange(len(photos)), places)
    for name, output in together.items():
        np.testing.assert_array_equal(output.numpy()[places], alone[name], err_msg=name)
        np.testing.assert_array_equal(output.numpy()[rest], 0.0)


def test_bad_boxes_do_not_touch_their_neighbours(align: Any) -> None:
    boxes = np.array([*bad_boxes(60, 50).values(), (10, 10, 40, 40)], np.float32)
    outputs = align(tf.constant([encode(noise_photo(0))] * len(boxes)), tf.constant(boxes))
    np.testing.assert_array_equal(outputs["confidence"], [0.0] * (len(boxes) - 1) + [1.0])
    np.testing.assert_array_equal(outputs["landmarks"][:-1], 0.0)
    assert np.ptp(outputs["landmarks"][-1], axis=0).all()


@pytest.mark.parametrize("photos", [[], [b""], [b"text", b""]])
def test_no_photo_at_all(align: Any, photos: list[bytes]) -> None:
    outputs = align(tf.constant(photos, tf.string), tf.zeros([len(photos), 4]))
    assert outputs["landmarks"].shape == (len(photos), 68, 3)
    np.testing.assert_array_equal(outputs["confidence"], np.zeros(len(photos)))


def test_as_many_boxes_as_photos_are_needed(align: Any) -> None:
    with pytest.raises(tf.errors.InvalidArgumentError):
        align(tf.constant([encode(noise_photo(0))] * 2), tf.ones([3, 4]))


# Poses


def test_pose_is_that_of_python() -> None:
    rng = np.random.default_rng(0)
    angles = rng.uniform(-1.5, 1.5, (60, 3))
    flip = np.array([1.0, -1.0, 1.0])
    turned = (mean_shape() * flip) @ np.swapaxes(geometry.rotation_matrix(*angles.T), -1, -2) * flip
    exact = (turned * rng.uniform(0.5, 500.0, (60, 1, 1)) + rng.uniform(-50, 50, (60, 1, 3))).astype(
        np.float32
    )
    np.testing.assert_allclose(serving_graph.pose(tf.constant(exact)), np.degrees(angles), atol=0.01)
    rough = exact + rng.normal(0, 5.0, exact.shape).astype(np.float32)
    expected = np.degrees(geometry.pose_from_landmarks(rough, mean_shape()))
    np.testing.assert_allclose(serving_graph.pose(tf.constant(rough)), expected, atol=0.01)


def test_pose_of_landmarks_that_are_none() -> None:
    landmarks = np.repeat(mean_shape().astype(np.float32)[None], 4, 0)
    landmarks[1, 5, 0] = np.nan
    landmarks[2, 60, 2] = np.inf
    landmarks[3] = 7.0
    found = serving_graph.pose(tf.constant(landmarks)).numpy()
    np.testing.assert_allclose(found[0], 0.0, atol=1e-4)
    assert np.isnan(found[1:3]).all()
    assert np.isfinite(found[3]).all()
    assert serving_graph.pose(tf.zeros([0, 68, 3])).shape == (0, 3)
