"""Geometry: values worked out by hand, and round trips over random faces."""

from __future__ import annotations

import doctest
import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy.io import loadmat

from tf_dhm.core.errors import InputError
from tf_dhm.face import geometry

MEAN_SHAPE = np.load(Path(geometry.__file__).parents[1] / "assets" / "mean_shape.npy")
HALF, ROOT_HALF, ROOT_3 = 0.5, np.sqrt(0.5), np.sqrt(3.0)

coordinates = st.floats(-1000.0, 1000.0)
landmarks_68 = hnp.arrays(np.float64, (68, 3), elements=coordinates)
angles = st.floats(-np.pi, np.pi)
acute_angles = st.floats(-1.5, 1.5)
squares = st.tuples(coordinates, coordinates, st.floats(1.0, 1000.0))
sizes = st.integers(1, 512)


def test_examples_in_docstrings() -> None:
    assert doctest.testmod(geometry).failed == 0


# Rotation and weak perspective (Eq. 2)


def test_rotation_by_pitch_alone() -> None:
    # 30 degrees about x: y goes to (0, cos, -sin), z to (0, sin, cos).
    expected = [[1, 0, 0], [0, ROOT_3 / 2, HALF], [0, -HALF, ROOT_3 / 2]]
    np.testing.assert_allclose(geometry.rotation_matrix(np.pi / 6, 0.0, 0.0), expected, atol=1e-12)


def test_rotation_by_yaw_alone() -> None:
    expected = [[ROOT_3 / 2, 0, -HALF], [0, 1, 0], [HALF, 0, ROOT_3 / 2]]
    np.testing.assert_allclose(geometry.rotation_matrix(0.0, np.pi / 6, 0.0), expected, atol=1e-12)


def test_rotation_by_roll_alone() -> None:
    expected = [[ROOT_3 / 2, HALF, 0], [-HALF, ROOT_3 / 2, 0], [0, 0, 1]]
    np.testing.assert_allclose(geometry.rotation_matrix(0.0, 0.0, np.pi / 6), expected, atol=1e-12)


def test_rotation_is_roll_first_then_yaw_then_pitch() -> None:
    # Quarter turns: Rz sends y to x, Ry sends x to z, Rx sends z to y; so y comes back to y.
    quarter = np.pi / 2
    rotation = geometry.rotation_matrix(quarter, quarter, quarter)
    np.testing.assert_allclose(rotation @ [0.0, 1.0, 0.0], [0.0, 1.0, 0.0], atol=1e-12)
    # x -> -y -> -y -> +z, z -> z -> -x -> -x
    np.testing.assert_allclose(rotation @ [1.0, 0.0, 0.0], [0.0, 0.0, 1.0], atol=1e-12)
    np.testing.assert_allclose(rotation @ [0.0, 0.0, 1.0], [-1.0, 0.0, 0.0], atol=1e-12)


def test_rotation_broadcasts_its_angles() -> None:
    rotation = geometry.rotation_matrix(np.zeros((4, 1)), np.zeros(3), 0.0)
    np.testing.assert_array_equal(rotation, np.broadcast_to(np.eye(3), (4, 3, 3, 3)))


@given(angles, angles, angles)
def test_rotation_is_orthonormal_and_proper(pitch: float, yaw: float, roll: float) -> None:
    rotation = geometry.rotation_matrix(pitch, yaw, roll)
    np.testing.assert_allclose(rotation @ rotation.T, np.eye(3), atol=1e-12)
    assert np.linalg.det(rotation) == pytest.approx(1.0)


@given(angles, acute_angles, angles)
def test_angles_to_rotation_and_back(pitch: float, yaw: float, roll: float) -> None:
    back = geometry.euler_angles(geometry.rotation_matrix(pitch, yaw, roll))
    difference = np.angle(np.exp(1j * (back - [pitch, yaw, roll])))  # -pi is pi
    np.testing.assert_allclose(difference, 0.0, atol=1e-9)


@given(angles, angles, angles)
def test_rotation_to_angles_and_back(pitch: float, yaw: float, roll: float) -> None:
    rotation = geometry.rotation_matrix(pitch, yaw, roll)
    angles_found = geometry.euler_angles(rotation)
    assert abs(angles_found[1]) <= np.pi / 2
    # Within 1e-9 of the lock in the sine, roll is dropped: an error of sqrt(2e-9) at most.
    np.testing.assert_allclose(geometry.rotation_matrix(*angles_found), rotation, atol=1e-4)


@pytest.mark.parametrize("yaw", [np.pi / 2, -np.pi / 2])
def test_at_the_gimbal_lock_roll_is_zero_and_the_rotation_the_same(yaw: float) -> None:
    rotation = geometry.rotation_matrix(0.3, yaw, 0.4)
    found = geometry.euler_angles(rotation)
    assert found[2] == 0.0
    assert found[1] == pytest.approx(yaw)
    np.testing.assert_allclose(geometry.rotation_matrix(*found), rotation, atol=1e-9)


def test_weak_perspective_by_hand() -> None:
    # f = 2, a quarter turn of yaw (x -> z, z -> -x), t = (10, 20).
    shape = [[1.0, 0.0, 0.0], [0.0, 3.0, 0.0], [0.0, 0.0, 4.0]]
    rotation = geometry.rotation_matrix(0.0, np.pi / 2, 0.0)
    projected = geometry.weak_perspective(shape, 2.0, rotation, [10.0, 20.0])
    np.testing.assert_allclose(projected, [[10, 20, 2], [10, 26, 0], [2, 20, 0]], atol=1e-12)


def test_weak_perspective_takes_batches() -> None:
    shape = np.ones((5, 1, 3))
    scale = np.arange(5.0)
    rotation = np.broadcast_to(np.eye(3), (5, 3, 3))
    projected = geometry.weak_perspective(shape, scale, rotation, np.zeros((5, 2)))
    np.testing.assert_allclose(projected[:, 0, :], scale[:, None] * np.ones(3))


def test_bfm_plane_to_pixels_by_hand() -> None:
    # X = 1 is the first column; Y = h is the first row of an image of height 450.
    points = [[1.0, 450.0, 7.0], [450.0, 1.0, -7.0]]
    np.testing.assert_allclose(geometry.bfm_to_pixels(points, 450), [[0, 0, 7], [449, 449, -7]])
    batch = geometry.bfm_to_pixels([points, points], [450, 451])
    np.testing.assert_allclose(batch[:, :, 1], [[0, 449], [1, 450]])


# Boxes and crops


def test_box_size_and_crop_by_hand() -> None:
    landmarks = [[10.0, 20.0, 1.0], [40.0, 30.0, 2.0], [20.0, 60.0, 3.0]]
    box = geometry.landmark_box(landmarks)
    np.testing.assert_array_equal(box, [10, 20, 40, 60])
    assert geometry.box_size(box) == pytest.approx(np.sqrt(30 * 40))
    np.testing.assert_allclose(geometry.crop_square(box), [25, 40, 40 * np.sqrt(2)])


def test_boxes_take_batches() -> None:
    boxes = np.array([[[0, 0, 2, 8], [0, 0, 3, 3]]], float)
    np.testing.assert_allclose(geometry.box_size(boxes), [[4, 3]])
    assert geometry.crop_square(boxes).shape == (1, 2, 3)
    assert geometry.landmark_box(np.random.default_rng(0).uniform(size=(2, 5, 68, 3))).shape == (2, 5, 4)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_landmarks_that_are_not_finite_have_no_box(bad: float) -> None:
    with pytest.raises(InputError, match="landmarks: found NaN or infinite"):
        geometry.landmark_box([[0.0, 0.0], [1.0, bad]])


def test_missing_depth_does_not_matter_to_the_box() -> None:
    np.testing.assert_array_equal(geometry.landmark_box([[0, 1, np.nan], [2, 3, np.nan]]), [0, 1, 2, 3])


@pytest.mark.parametrize(
    "landmarks", [[[1.0, 2.0], [1.0, 5.0]], [[1.0, 2.0], [3.0, 2.0]], [[4.0, 4.0], [4.0, 4.0]]]
)
def test_landmarks_on_a_line_along_an_axis_have_no_box(landmarks: list[list[float]]) -> None:
    with pytest.raises(
        InputError, match=r"box: found \[.*\], expected finite x0 < x1 and y0 < y1, not width and height"
    ):
        geometry.landmark_box(landmarks)


def test_a_bad_box_is_named() -> None:
    with pytest.raises(InputError, match=r"found \[5.0, 0.0, 1.0, 1.0\]"):
        geometry.check_box([[0, 0, 1, 1], [5, 0, 1, 1]])
    with pytest.raises(InputError, match=r"found shape \(3,\), expected \(..., 4\)"):
        geometry.check_box([0, 1, 2])
    with pytest.raises(InputError, match="expected finite"):
        geometry.check_box([0, 0, np.inf, 1])


def test_crop_to_image_by_hand() -> None:
    # A square of side 20 around (30, 40) cut to 10 x 10: two image pixels to one of the crop.
    # Its left edge, 20, is half a crop pixel left of the centre of column 0: 20 + 1 = 21.
    matrix = geometry.crop_to_image([30.0, 40.0, 20.0], 10)
    np.testing.assert_allclose(matrix, [[2, 0, 21], [0, 2, 31]])
    points = geometry.transform_landmarks(matrix, [[0.0, 0.0, 0.0], [9.0, 9.0, 3.0], [4.5, 4.5, -1.0]])
    np.testing.assert_allclose(points, [[21, 31, 0], [39, 49, 6], [30, 40, -2]])


def test_the_crop_of_a_whole_image_is_the_image() -> None:
    matrix = geometry.crop_to_image([49.5, 49.5, 100.0], 100)
    np.testing.assert_allclose(matrix, [[1, 0, 0], [0, 1, 0]], atol=1e-12)


def test_a_crop_turned_by_a_quarter_points_its_x_axis_down() -> None:
    # Clockwise on the screen: the crop's right is the image's down.
    matrix = geometry.crop_to_image([30.0, 40.0, 20.0], 10, np.pi / 2)
    turned = geometry.transform_landmarks(matrix, [[4.5, 4.5], [5.5, 4.5], [4.5, 5.5]])
    np.testing.assert_allclose(turned, [[30, 40], [30, 42], [28, 40]], atol=1e-12)


@given(landmarks_68, squares, sizes, angles)
def test_crop_to_image_and_back(
    landmarks: np.ndarray, square: tuple[float, float, float], size: int, roll: float
) -> None:
    matrix = geometry.crop_to_image(square, size, roll)
    image = geometry.transform_landmarks(matrix, landmarks)
    back = geometry.transform_landmarks(geometry.invert_affine(matrix), image)
    np.testing.assert_allclose(back, landmarks, atol=1e-5)


def test_affine_maps_take_batches() -> None:
    landmarks = np.random.default_rng(0).uniform(0, 10, (2, 68, 3))
    matrices = np.stack(
        [geometry.crop_to_image([30.0, 40.0, 20.0], 10), geometry.crop_to_image([0.0, 0.0, 5.0], 10, 0.5)]
    )
    inverses = geometry.invert_affine(matrices)
    moved = geometry.transform_landmarks(matrices, landmarks)
    for i in range(2):
        np.testing.assert_allclose(inverses[i], geometry.invert_affine(matrices[i]))
        np.testing.assert_allclose(moved[i], geometry.transform_landmarks(matrices[i], landmarks[i]))


@given(landmarks_68, sizes)
def test_mirroring_the_crop_mirrors_the_image(landmarks: np.ndarray, size: int) -> None:
    # A square about the middle of an image 101 wide: mirror then map = map then mirror.
    matrix = geometry.crop_to_image([50.0, 20.0, 40.0], size)
    first = geometry.transform_landmarks(matrix, geometry.mirror_landmarks(landmarks, size))
    second = geometry.mirror_landmarks(geometry.transform_landmarks(matrix, landmarks), 101)
    np.testing.assert_allclose(first, second, atol=1e-6)


# The mirror map


def test_the_mirror_map_is_an_involution_of_all_points() -> None:
    np.testing.assert_array_equal(np.sort(geometry.MIRROR_68), np.arange(68))
    np.testing.assert_array_equal(geometry.MIRROR_68[geometry.MIRROR_68], np.arange(68))


def test_the_mirror_map_fixes_the_middle_of_the_face_only() -> None:
    fixed = np.flatnonzero(np.arange(68) == geometry.MIRROR_68)
    np.testing.assert_array_equal(fixed, [8, 27, 28, 29, 30, 33, 51, 57, 62, 66])


@pytest.mark.parametrize(
    ("left", "right"),
    [
        (0, 16),
        (17, 26),
        (21, 22),
        (31, 35),
        (36, 45),
        (39, 42),
        (40, 47),
        (48, 54),
        (59, 55),
        (60, 64),
        (67, 65),
    ],
)
def test_the_mirror_map_pairs(left: int, right: int) -> None:
    assert geometry.MIRROR_68[left] == right


@given(landmarks_68, st.integers(1, 1000))
def test_mirrored_twice_is_the_face_itself(landmarks: np.ndarray, width: int) -> None:
    twice = geometry.mirror_landmarks(geometry.mirror_landmarks(landmarks, width), width)
    np.testing.assert_allclose(twice, landmarks, atol=1e-9)


def test_mirror_by_hand() -> None:
    landmarks = np.zeros((68, 3))
    landmarks[36] = [3.0, 5.0, 7.0]  # the outer corner of the eye on the left of the image
    mirrored = geometry.mirror_landmarks(landmarks, 10)
    np.testing.assert_array_equal(mirrored[45], [6.0, 5.0, 7.0])
    np.testing.assert_array_equal(landmarks[36], [3.0, 5.0, 7.0])  # the argument is not changed


def test_the_mean_shape_is_nearly_its_own_mirror_image() -> None:
    pixels = geometry.unit_to_pixels(MEAN_SHAPE, 100)
    difference = geometry.mirror_landmarks(pixels, 100) - pixels
    assert np.abs(difference).max() < 2.5


def test_the_mean_shape_lies_in_its_own_crop() -> None:
    # The crop is sqrt(2) times the longer side of the box and has the centre of the box.
    assert MEAN_SHAPE.shape == (68, 3)
    box = geometry.landmark_box(MEAN_SHAPE)
    np.testing.assert_allclose(geometry.crop_square(box), [0.0, 0.0, 2.0], atol=1e-5)
    assert MEAN_SHAPE[30, 2] > MEAN_SHAPE[[0, 16], 2].max()  # the nose is nearer than the ears
    assert MEAN_SHAPE[8, 1] > MEAN_SHAPE[27, 1]  # the chin is below the nose


# Units of the network


def test_units_by_hand() -> None:
    # The left edge of a crop of 4 pixels is -1; the centre of its first pixel is -0.75.
    pixels = [[0.0, 3.0, 4.0], [1.5, -0.5, -2.0]]
    unit = [[-0.75, 0.75, 2.0], [0.0, -1.0, -1.0]]
    np.testing.assert_allclose(geometry.unit_to_pixels(unit, 4), pixels)


@given(landmarks_68, sizes, sizes)
def test_units_do_not_depend_on_the_size_of_the_crop(unit: np.ndarray, small: int, large: int) -> None:
    # Resizing a crop moves pixel u to (u + 0.5) large / small - 0.5, and scales z.
    ratio = large / small
    resized = geometry.unit_to_pixels(unit, small) * ratio
    resized[:, :2] += (ratio - 1.0) / 2.0
    np.testing.assert_allclose(resized, geometry.unit_to_pixels(unit, large), rtol=1e-9, atol=1e-8)


# Pose


@given(acute_angles, acute_angles, angles, st.floats(0.1, 100.0), coordinates)
def test_pose_from_landmarks_finds_the_rotation(
    pitch: float, yaw: float, roll: float, scale: float, shift: float
) -> None:
    flip = [1.0, -1.0, 1.0]  # the model's y points up
    rotation = geometry.rotation_matrix(pitch, yaw, roll)
    turned = geometry.weak_perspective(MEAN_SHAPE * flip, scale, rotation, [shift, -shift]) * flip
    found = geometry.rotation_matrix(*geometry.pose_from_landmarks(turned, MEAN_SHAPE))
    np.testing.assert_allclose(found, rotation, atol=1e-6)


def test_the_rotation_of_landmarks_is_proper_and_that_of_their_pose() -> None:
    rng = np.random.default_rng(0)
    reference = rng.normal(size=(68, 3))
    for landmarks in (reference * [-1, 1, 1] + 500, reference + rng.normal(size=(5, 68, 3)) + [900, 40, 0]):
        rotation = geometry.rotation_from_landmarks(landmarks, reference)
        np.testing.assert_allclose(np.linalg.det(rotation), 1)
        pose = geometry.pose_from_landmarks(landmarks, reference)
        np.testing.assert_allclose(geometry.rotation_matrix(*np.moveaxis(pose, -1, 0)), rotation, atol=1e-9)


def test_pose_takes_batches() -> None:
    turned = MEAN_SHAPE @ np.diag([-1.0, -1.0, 1.0])  # upside down: half a turn of roll
    found = geometry.pose_from_landmarks(np.stack([MEAN_SHAPE, turned]), MEAN_SHAPE)
    np.testing.assert_allclose(np.abs(found), [[0.0, 0.0, 0.0], [0.0, 0.0, np.pi]], atol=1e-9)


def test_pose_of_the_mirrored_face_has_yaw_and_roll_reversed() -> None:
    flip = [1.0, -1.0, 1.0]
    symmetric = (MEAN_SHAPE + geometry.mirror_landmarks(MEAN_SHAPE, 1.0)) / 2
    rotation = geometry.rotation_matrix(0.2, 0.5, -0.3)
    turned = geometry.weak_perspective(symmetric * flip, 50.0, rotation, [0.0, 0.0]) * flip
    mirrored = geometry.mirror_landmarks(turned, 100.0)
    pose = geometry.pose_from_landmarks(mirrored, symmetric)
    np.testing.assert_allclose(pose, [0.2, -0.5, 0.3], atol=1e-9)


@pytest.mark.skipif("TF_DHM_TEST_DATA" not in os.environ, reason="TF_DHM_TEST_DATA is not set")
def test_pose_of_real_labels_has_the_signs_of_pose_para() -> None:
    folder = Path(os.environ["TF_DHM_TEST_DATA"]) / "aflw2000_3d_half"
    files = sorted(folder.rglob("image*.mat"))[:60]
    assert files
    labels = [loadmat(file) for file in files]
    landmarks = np.stack([label["pt3d_68"].T for label in labels])  # (F, 68, 3)
    expected = np.stack([label["Pose_Para"][0, :3] for label in labels])
    found = geometry.pose_from_landmarks(landmarks, MEAN_SHAPE)
    error = np.degrees(np.abs(np.angle(np.exp(1j * (found - expected)))))
    # Expressions and the shape of a face move the best rotation by a few degrees.
    assert (np.median(error, 0) < 6.0).all(), np.median(error, 0)
