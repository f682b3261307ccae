from __future__ import annotations

import dataclasses
from typing import Any

import cv2
import numpy as np
import pytest
import tensorflow as tf
from numpy.typing import NDArray

from pipelines.input import augmentation
from pipelines.input.augmentation import (
    APPEARANCE,
    SeedSequence,
    sample_appearance,
    sample_crops,
)
from pipelines.input.variation import LUMA, blur_sigmas
from tests.made_faces import mean_face, smooth_image
from tf_dhm.face import geometry, metrics
from tf_dhm.face.mean_face import mean_landmarks
from tf_dhm.runtime.crops import cut_crops, upright_boxes, upright_roll
from tf_dhm.training.config import NO_AUGMENTATION, AugmentConfig

CANVAS, SIZE, COUNT = 160, 96, 12
DOTS = (0, 8, 16, 17, 30, 36, 45, 48, 54)
"""Landmarks that are drawn: both ends and the middle of the jaw, a brow, the nose, eyes and mouth."""


def seed(*values: int) -> SeedSequence:
    return SeedSequence(tf.constant(values or (0, 0), tf.int64))


def apply(
    backend: str,
    images: NDArray[np.uint8],
    crops: dict[str, Any],
    looks: dict[str, Any],
    sigmas: tuple,
    size: int,
) -> NDArray[np.uint8]:
    values = [crops["matrix"], *(looks[key] for key in APPEARANCE)]
    if backend == "graph":
        return augmentation.apply_graph(tf.constant(images), *values, sigmas=sigmas, size=size).numpy()
    arrays = [value.numpy() for value in values]
    return augmentation.apply_opencv(images, np.arange(len(images)), *arrays, sigmas=sigmas, size=size)


def augmented(
    config: AugmentConfig,
    images: NDArray[np.uint8],
    landmarks: NDArray,
    backend: str,
    size: int = SIZE,
    step: int = 0,
) -> tuple[NDArray[np.uint8], NDArray[np.float32], dict[str, Any]]:
    """Crops, landmarks, and the random draws."""
    source = seed(5, step)
    crops = sample_crops(source, tf.constant(landmarks, tf.float32), config, size)
    looks = sample_appearance(source, len(images), config, size)
    changed = apply(backend, images, crops, looks, blur_sigmas(config), size)
    return changed, crops["landmarks"].numpy(), {**crops, **looks}


def dotted_faces() -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """Black pictures with a dot of its own brightness at each landmark of DOTS, at a whole pixel."""
    landmarks = np.stack([mean_face(75.0 + i, 80.0 - i / 2, 110.0 + i) for i in range(COUNT)])
    landmarks[..., :2] = landmarks[..., :2].round()
    images = np.zeros((COUNT, CANVAS, CANVAS, 3), np.uint8)
    for image, points in zip(images, landmarks, strict=True):
        for k, dot in enumerate(DOTS):
            x, y = points[dot, :2].astype(int)
            cv2.circle(image, (x, y), 2, (255, 0, 0), -1)
            image[image[..., 0] == 255] = (250, 10 + 25 * k, 0)
    return images, landmarks


def find_dots(crop: NDArray[np.uint8]) -> dict[int, NDArray]:
    """The centre of each dot in a crop: landmark -> (x, y); its green over its red says which it is."""
    _, components = cv2.connectedComponents((crop[..., 0] > 40).astype(np.uint8))
    found = {}
    for number in range(1, components.max() + 1):
        rows, columns = np.nonzero(components == number)
        weight = crop[rows, columns, 0].astype(float)
        ratio = crop[rows, columns, 1].sum() / weight.sum()
        dot = DOTS[int(np.clip(round((250 * ratio - 10) / 25), 0, len(DOTS) - 1))]
        found[dot] = np.array([columns @ weight, rows @ weight]) / weight.sum()
    return found


MOVES = {
    "nothing": NO_AUGMENTATION,
    "mirror": dataclasses.replace(NO_AUGMENTATION, mirror=1.0),
    "rotation": dataclasses.replace(NO_AUGMENTATION, rotation=60.0),
    "scale": dataclasses.replace(NO_AUGMENTATION, scale=0.1),
    "shift": dataclasses.replace(NO_AUGMENTATION, shift=0.08),
    "all": dataclasses.replace(NO_AUGMENTATION, mirror=0.5, rotation=60.0, scale=0.1, shift=0.05),
}


@pytest.mark.parametrize("backend", ["opencv", "graph"])
@pytest.mark.parametrize("moves", MOVES)
def test_landmarks_move_with_the_pixels(moves: str, backend: str) -> None:
    images, landmarks = dotted_faces()
    crops, moved, drawn = augmented(MOVES[moves], images, landmarks, backend)
    mirrored = np.linalg.det(drawn["matrix"].numpy()[:, :, :2]) < 0
    if moves in ("mirror", "all"):
        assert mirrored.any()
    checked = 0
    for crop, points, flipped in zip(crops, moved, mirrored, strict=True):
        for dot, where in find_dots(crop).items():
            # A dot drawn at the left eye is at the right eye of the mirrored face.
            name = int(geometry.MIRROR_68[dot]) if flipped else dot
            if ((where > 4) & (where < SIZE - 5)).all():  # whole, not cut off by the border
                assert np.abs(points[name, :2] - where).max() < 1.0, (dot, name)
                checked += 1
    assert checked > 0.7 * COUNT * len(DOTS)


def test_the_moves_are_of_the_strengths_asked_for() -> None:
    landmarks = np.stack([mean_face(80.0, 80.0, 100.0)] * 400)

    def summary(config: AugmentConfig) -> tuple[NDArray, NDArray, NDArray]:
        matrix = (
            sample_crops(seed(1, 1), tf.constant(landmarks), config, SIZE)["matrix"].numpy().astype(float)
        )
        angle = np.degrees(np.arctan2(matrix[:, 1, 0], matrix[:, 0, 0]))
        scale = np.log(np.sqrt(np.abs(np.linalg.det(matrix[:, :, :2]))) * SIZE / side)
        centre = matrix @ [(SIZE - 1) / 2, (SIZE - 1) / 2, 1.0]
        return angle, scale, (centre - square[:2]) / side

    square = geometry.crop_square(geometry.landmark_box(landmarks[0]))
    side = square[2]
    angle, scale, shift = summary(NO_AUGMENTATION)
    assert max(np.abs(angle).max(), np.abs(scale).max(), np.abs(shift).max()) < 1e-5
    angle, scale, shift = summary(dataclasses.replace(NO_AUGMENTATION, rotation=30.0))
    assert 29.0 < np.abs(angle).max() <= 30.0
    assert abs(angle.mean()) < 2.0
    angle, scale, shift = summary(dataclasses.replace(NO_AUGMENTATION, scale=0.05))
    assert 0.09 < np.abs(scale).max() <= 0.1 + 1e-6
    assert np.abs(angle).max() < 1e-5
    angle, scale, shift = summary(dataclasses.replace(NO_AUGMENTATION, shift=0.03))
    assert 0.055 < np.abs(shift).max() <= 0.06 + 1e-6
    mirror = dataclasses.replace(NO_AUGMENTATION, mirror=0.25)
    matrix = sample_crops(seed(1, 1), tf.constant(landmarks), mirror, SIZE)["matrix"].numpy()
    assert 0.18 < (np.linalg.det(matrix[:, :, :2]) < 0).mean() < 0.32


def augmented_landmarks(config: AugmentConfig, landmarks: NDArray) -> NDArray[np.float32]:
    return sample_crops(seed(1, 1), tf.constant(landmarks), config, SIZE)["landmarks"].numpy()


def test_mirroring_the_crop_is_mirroring_landmarks_and_pixels() -> None:
    images = np.stack([smooth_image(i, CANVAS, CANVAS) for i in range(3)])
    landmarks = np.stack([mean_face(78.0, 80.0 + i, 110.0) for i in range(3)])
    landmarks[..., 0] += np.linspace(0, 20, 68)  # unlike its mirror image
    for backend in ("opencv", "graph"):
        plain, points, _ = augmented(NO_AUGMENTATION, images, landmarks, backend)
        mirrored, moved, _ = augmented(MOVES["mirror"], images, landmarks, backend)
        assert moved == pytest.approx(geometry.mirror_landmarks(points, SIZE), abs=1e-3)
        assert np.abs(mirrored[:, :, ::-1].astype(int) - plain).mean() < 0.3


def test_a_rotated_face_is_cropped_as_on_the_rotated_photo() -> None:
    landmarks = np.stack([mean_face(80.0 + i, 78.0, 100.0) for i in range(COUNT)])
    moved = augmented_landmarks(dataclasses.replace(NO_AUGMENTATION, rotation=45.0), landmarks)
    box = geometry.landmark_box(moved)
    square = geometry.crop_square(box)
    assert square == pytest.approx(np.tile([(SIZE - 1) / 2, (SIZE - 1) / 2, SIZE], (COUNT, 1)), abs=1e-3)


def test_depth_is_scaled_like_the_rest() -> None:
    landmarks = np.stack([mean_face(80.0, 80.0, 100.0)] * COUNT)
    landmarks[0, :, 2] = np.nan
    crops = sample_crops(seed(2, 2), tf.constant(landmarks), MOVES["all"], SIZE)
    scale = np.sqrt(np.abs(np.linalg.det(crops["matrix"].numpy()[:, :, :2])))
    found = crops["landmarks"].numpy()[..., 2]
    assert np.isnan(found[0]).all()
    mirrored = np.linalg.det(crops["matrix"].numpy()[:, :, :2]) < 0
    for i in range(1, COUNT):
        depth = landmarks[i, geometry.MIRROR_68, 2] if mirrored[i] else landmarks[i, :, 2]
        assert found[i] == pytest.approx(depth / scale[i], rel=1e-4, abs=1e-4)
    assert np.isfinite(crops["landmarks"].numpy()[..., :2]).all()


@pytest.mark.parametrize("backend", ["opencv", "graph"])
@pytest.mark.parametrize("size", [96, 64, 32])
def test_without_strengths_it_is_the_crop_of_inference(size: int, backend: str) -> None:
    images = np.stack([smooth_image(i, CANVAS, CANVAS) for i in range(4)])
    landmarks = np.stack([mean_face(81.3 - i, 78.7 + i, 118.0 + 2 * i) for i in range(4)])
    crops, points, _ = augmented(NO_AUGMENTATION, images, landmarks, backend, size)
    for i in range(4):
        expected, matrices = cut_crops(images[i], geometry.landmark_box(landmarks[i]), size)
        inverse = geometry.invert_affine(matrices[0])
        assert points[i] == pytest.approx(geometry.transform_landmarks(inverse, landmarks[i]), abs=1e-3)
        difference = np.abs(crops[i].astype(int) - expected[0])
        # float32 against float64 positions, which OpenCV rounds to 1/32 pixel.
        assert difference.mean() < (0.05 if backend == "opencv" else 0.4)
        assert difference.max() <= 4


def test_a_plain_crop_by_hand() -> None:
    # The box spans 2 / sqrt(2) of 32, so the crop is pixels [64, 96) x [60, 92) as they are.
    image = smooth_image(0, CANVAS, CANVAS)
    half = 16.0 / geometry.CROP_SCALE
    landmarks = np.full((1, 68, 3), [79.5 - half, 75.5 - half, 0.0], np.float32)
    landmarks[0, 34:, :2] += 2 * half
    crops, points, drawn = augmented(NO_AUGMENTATION, image[None], landmarks, "opencv", 32)
    assert drawn["matrix"].numpy()[0] == pytest.approx(np.array([[1, 0, 64], [0, 1, 60]]), abs=1e-4)
    assert np.array_equal(crops[0], image[60:92, 64:96])
    assert points[0, 0] == pytest.approx([15.5 - half, 15.5 - half, 0.0], abs=1e-4)


@pytest.mark.parametrize("size", [96, 64])
def test_graph_and_opencv_agree(size: int) -> None:
    images = np.stack([smooth_image(i, CANVAS, CANVAS) for i in range(COUNT)])
    landmarks = np.stack([mean_face(80.0 + i, 80.0, 110.0 + i) for i in range(COUNT)])
    config = AugmentConfig(blur_probability=0.5, occlusion=0.5, scale=0.1)
    for step in range(3):
        first, _, drawn = augmented(config, images, landmarks, "opencv", size, step)
        second, _, _ = augmented(config, images, landmarks, "graph", size, step)
        assert drawn["blur_level"].numpy().any()
        difference = np.abs(first.astype(int) - second)
        assert difference.mean() < 0.6
        assert np.percentile(difference, 99.9) <= 4


class TestAppearance:
    def test_no_strength_changes_nothing(self) -> None:
        looks = sample_appearance(seed(), 5, NO_AUGMENTATION, SIZE)
        identity = np.concatenate([np.eye(3), np.zeros((3, 1))], 1)
        assert looks["colour"].numpy() == pytest.approx(np.tile(identity, (5, 1, 1)), abs=1e-6)
        assert not looks["blur_level"].numpy().any()
        assert not looks["occluder"].numpy().any()

    def test_grey(self) -> None:
        images = np.full((1, CANVAS, CANVAS, 3), (200, 100, 50), np.uint8)
        landmarks = mean_face(80.0, 80.0, 100.0)[None]
        grey = dataclasses.replace(NO_AUGMENTATION, grey=1.0)
        for backend in ("opencv", "graph"):
            crops, _, _ = augmented(grey, images, landmarks, backend)
            # 0.299 x 200 + 0.587 x 100 + 0.114 x 50
            assert np.unique(crops).tolist() == [124]

    @pytest.mark.parametrize("option", ["brightness", "contrast", "saturation", "colour"])
    def test_strength_bounds_the_change(self, option: str) -> None:
        changes: dict[str, Any] = {option: 0.2}
        config = dataclasses.replace(NO_AUGMENTATION, **changes)
        linear = sample_appearance(seed(), 300, config, SIZE)["colour"].numpy()
        pixel = np.array([150.0, 100.0, 60.0])
        changed = linear[:, :, :3] @ pixel + linear[:, :, 3]
        reference = {"contrast": np.full(3, 127.5), "saturation": np.full(3, pixel @ LUMA)}
        about = reference.get(option, np.zeros(3))
        ratio = (changed - about) / (pixel - about)
        assert 0.8 - 1e-4 <= ratio.min() < 0.81
        assert 1.19 < ratio.max() <= 1.2 + 1e-4
        # One factor for all three channels, but for the colour's own.
        assert (np.ptp(ratio, axis=1).max() < 1e-3) == (option != "colour")

    def test_blur_levels(self) -> None:
        config = dataclasses.replace(NO_AUGMENTATION, blur=1.5, blur_probability=0.5)
        levels = sample_appearance(seed(), 600, config, SIZE)["blur_level"].numpy()
        shares = np.bincount(levels, minlength=4) / 600
        assert len(shares) == 4
        assert shares == pytest.approx([0.5, 1 / 6, 1 / 6, 1 / 6], abs=0.06)

    @pytest.mark.parametrize(("largest", "smallest"), [(0.4, 0.1), (0.05, 0.05)])
    def test_occluders_are_of_the_size_asked_for(self, largest: float, smallest: float) -> None:
        config = dataclasses.replace(NO_AUGMENTATION, occlusion=0.5, occlusion_size=largest)
        boxes = sample_appearance(seed(), 400, config, SIZE)["occluder"].numpy()
        extent = boxes[:, 2:] - boxes[:, :2]
        there = (extent > 0).all(1)
        assert 0.4 < there.mean() < 0.6
        assert not boxes[~there].any()
        assert extent[there].max() <= largest * SIZE + 1
        assert extent[there].min() >= smallest * SIZE - 1

    def test_an_occluder_covers_its_pixels_and_no_other(self) -> None:
        images = np.full((COUNT, CANVAS, CANVAS, 3), 7, np.uint8)
        landmarks = np.stack([mean_face(80.0, 80.0, 100.0)] * COUNT)
        config = dataclasses.replace(NO_AUGMENTATION, occlusion=1.0, occlusion_size=0.4)
        for backend in ("opencv", "graph"):
            crops, _, drawn = augmented(config, images, landmarks, backend)
            for crop, box, colour in zip(
                crops, drawn["occluder"].numpy(), drawn["occluder_colour"], strict=True
            ):
                expected = np.full((SIZE, SIZE, 3), 7)
                x0, y0, x1, y1 = np.clip(box, 0, SIZE).astype(int)
                expected[y0:y1, x0:x1] = np.floor(colour)
                assert np.array_equal(crop, expected)


def test_a_share_is_cropped_as_by_a_detector() -> None:
    config = dataclasses.replace(
        NO_AUGMENTATION, scale=0.01, shift=0.01, detected=0.25, detected_scale=0.15, detected_shift=0.1
    )
    landmarks = tf.constant(np.tile(mean_face(80.0, 80.0, 90.0), (2000, 1, 1)))
    found = sample_crops(seed(), landmarks, config, SIZE)["landmarks"].numpy()
    squares = geometry.crop_square(geometry.landmark_box(found))  # (SIZE - 1) / 2, ..., SIZE when exact
    off = np.abs(squares[:, :2] - (SIZE - 1) / 2).max(1) > 0.021 * SIZE
    larger = np.abs(np.log(squares[:, 2] / SIZE)) > 0.021
    # Within the small deviations hardly any of the others lies, and none of the rest beyond them.
    assert (off | larger).mean() == pytest.approx(0.25, abs=0.03)
    assert np.log(squares[off | larger][:, 2] / SIZE).std() == pytest.approx(0.15 * 0.88, abs=0.02)
    assert np.abs(np.log(squares[:, 2] / SIZE)).max() < 0.301


def turned_face(yaw: float, roll: float) -> NDArray[np.float32]:
    """The mean face (68, 3), turned by yaw and then rotated in the image, in degrees."""
    turn = geometry.rotation_matrix(0.0, np.radians(yaw), 0.0)
    rotation = geometry.rotation_matrix(0.0, 0.0, np.radians(roll)) @ turn
    return (mean_face(0.0, 0.0, 90.0) @ rotation.T).astype(np.float32) + [80.0, 80.0, 0.0]


def test_the_ends_of_the_jaw_show_the_yaw_bin() -> None:
    yaws = [0.0, 27.0, -27.0, 33.0, -57.0, 63.0, -90.0]
    landmarks = np.stack([turned_face(yaw, roll) for roll in (0.0, 40.0, -130.0) for yaw in yaws])
    bins = augmentation.jaw_yaw_bins(tf.constant(landmarks, tf.float32)).numpy()
    assert bins.tolist() == [0, 0, 0, 1, 1, 2, 2] * 3
    landmarks[..., 2] = np.nan
    assert not augmentation.jaw_yaw_bins(tf.constant(landmarks, tf.float32)).numpy().any()


@pytest.mark.parametrize(("yaw", "factor"), [(0.0, 0.5), (-45.0, 1.0), (80.0, 2.0)])
def test_errors_of_a_detector_grow_with_the_yaw(yaw: float, factor: float) -> None:
    config = dataclasses.replace(
        NO_AUGMENTATION,
        detected=1.0,
        detected_scale=0.08,
        detected_shift=0.04,
        detected_yaw_factors=(0.5, 1.0, 2.0),
    )
    face = turned_face(yaw, 0.0)
    landmarks = tf.constant(np.tile(face, (4000, 1, 1)), tf.float32)
    matrix = sample_crops(seed(), landmarks, config, SIZE)["matrix"].numpy()
    square = geometry.crop_square(geometry.landmark_box(face[None]))[0]
    side = np.linalg.norm(matrix[:, :, 0], axis=1) * SIZE
    centre = matrix[:, :, :2].sum(-1) * (SIZE - 1) / 2 + matrix[:, :, 2]
    # A normal distribution cut at two deviations has 0.88 of the deviation.
    assert np.log(side / square[2]).std() == pytest.approx(0.88 * 0.08 * factor, rel=0.05)
    assert ((centre - square[:2]) / side[:, None]).std(0) == pytest.approx(0.88 * 0.04 * factor, rel=0.05)


class TestInitialShape:
    def test_is_the_mean_shape_without_noise(self) -> None:
        shapes = augmentation.sample_initial_shape(seed(), 3, NO_AUGMENTATION, SIZE).numpy()
        assert shapes == pytest.approx(np.tile(mean_landmarks(SIZE), (3, 1, 1)), abs=1e-4)

    def test_is_a_similar_shape_within_two_deviations(self) -> None:
        noise = 0.05
        config = dataclasses.replace(NO_AUGMENTATION, map_noise=noise)
        shapes = augmentation.sample_initial_shape(seed(), 200, config, SIZE).numpy().astype(float)
        mean = mean_landmarks(SIZE).astype(float)
        middle = (SIZE - 1) / 2
        from_middle = np.concatenate([mean[:, :2] - middle, np.ones((68, 1))], 1)
        for shape in shapes:
            fit, residual, _, _ = np.linalg.lstsq(from_middle, shape[:, :2], rcond=None)
            assert residual.max() < 1e-4
            linear, shift = fit[:2].T, fit[2] - middle
            scale = np.sqrt(np.linalg.det(linear))
            assert linear @ linear.T == pytest.approx(scale**2 * np.eye(2), abs=1e-4)
            assert abs(np.log(scale)) <= 2 * noise + 1e-4
            assert abs(np.arctan2(linear[1, 0], linear[0, 0])) <= 2 * noise + 1e-4
            assert np.abs(shift).max() <= 2 * noise * SIZE + 1e-2
            assert shape[:, 2] == pytest.approx(mean[:, 2] * scale, abs=1e-3)
        assert np.std(shapes[:, 30, 0]) > noise * SIZE / 2


class TestSecondPass:
    @staticmethod
    def turned_faces(count: int) -> NDArray[np.float32]:
        """Faces in a 160 x 160 image at all angles of roll, no two of them identical."""
        source = np.random.default_rng(0)
        shapes = []
        for roll in np.linspace(-3.0, 3.0, count):
            pitch, yaw = source.uniform(-0.3, 0.3, 2)
            rotation = geometry.rotation_matrix(pitch, yaw, 0.0)
            face = mean_face(0.0, 0.0, 90.0) * [1, -1, 1] @ rotation.T * [1, -1, 1]
            turn = geometry.crop_to_image(np.array([80.0, 78.0, 1.0]), 1, roll)
            shapes.append(np.concatenate([face[:, :2] @ turn[:, :2].T + turn[:, 2], face[:, 2:]], 1))
        return np.stack(shapes).astype(np.float32)

    def test_without_noise_it_is_the_crop_of_a_second_pass_that_found_the_truth(self) -> None:
        landmarks = self.turned_faces(7)
        roll = upright_roll(landmarks)
        found = augmentation.sample_second_pass(
            seed(), tf.constant(landmarks), tf.constant(roll, tf.float32), NO_AUGMENTATION, SIZE
        )
        image = np.zeros((CANVAS, CANVAS, 3), np.uint8)
        _, matrices = cut_crops(image, upright_boxes(landmarks, roll), SIZE, roll)
        assert found["matrix"].numpy() == pytest.approx(matrices, abs=1e-3)
        expected = geometry.transform_landmarks(geometry.invert_affine(matrices), landmarks)
        assert found["landmarks"].numpy() == pytest.approx(expected, abs=1e-2)
        assert np.array_equal(found["initial"], found["landmarks"])
        assert np.abs(upright_roll(found["landmarks"].numpy())).max() < 1e-3

    def test_the_first_pass_errs_as_much_as_is_asked_for(self) -> None:
        landmarks = np.tile(self.turned_faces(1), (400, 1, 1))
        roll = np.zeros(400, np.float32)
        config = dataclasses.replace(NO_AUGMENTATION, second_pass_noise=0.03)
        found = augmentation.sample_second_pass(seed(), tf.constant(landmarks), roll, config, SIZE)
        truth, initial = found["landmarks"].numpy(), found["initial"].numpy()
        errors = metrics.nme(initial, truth)
        assert errors.mean() == pytest.approx(3.0, abs=0.15)
        assert errors.min() < 0.3  # some first passes are nearly right
        # The crop lies tightly about what the first pass found, turned by its roll: 1.7 degrees off.
        turns = np.arctan2(found["matrix"].numpy()[:, 1, 0], found["matrix"].numpy()[:, 0, 0])
        assert turns.std() == pytest.approx(0.03 * 0.88, abs=0.003)  # cut at two deviations
        squares = geometry.crop_square(geometry.landmark_box(initial))
        assert squares == pytest.approx(np.tile([(SIZE - 1) / 2, (SIZE - 1) / 2, SIZE], (400, 1)), abs=2e-2)

    def test_a_mirrored_crop_shows_the_mirrored_face(self) -> None:
        landmarks = self.turned_faces(3)
        roll = tf.constant(upright_roll(landmarks), tf.float32)
        drawn = {
            mirror: augmentation.sample_second_pass(
                seed(),
                tf.constant(landmarks),
                roll,
                dataclasses.replace(NO_AUGMENTATION, mirror=mirror),
                SIZE,
            )
            for mirror in (0.0, 1.0)
        }
        for key in ("landmarks", "initial"):
            plain = drawn[0.0][key].numpy()[:, geometry.MIRROR_68]
            expected = plain * [-1.0, 1.0, 1.0] + [SIZE - 1.0, 0.0, 0.0]
            assert drawn[1.0][key].numpy() == pytest.approx(expected, abs=1e-2)


def test_seeds() -> None:
    def draw(*values: int) -> NDArray:
        source = seed(*values)
        return np.stack([source.uniform([4]), source.uniform([4]), source.cut_normal([4], 1.0)])

    assert np.array_equal(draw(3, 7), draw(3, 7))
    assert np.abs(draw(3, 7) - draw(3, 8)).min() > 0
    assert np.abs(draw(3, 7) - draw(4, 7)).min() > 0
    assert np.abs(draw(3, 7)[0] - draw(3, 7)[1]).min() > 0
