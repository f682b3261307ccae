"""Crops with and without faces, and a head that is fitted to what a network finds in them."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from numpy.typing import NDArray

from pipelines.runs import quality_crops
from pipelines.runs.quality_crops import (
    KINDS,
    FeatureFinder,
    answer_crops,
    cover_face,
    crop_batches,
    cut_off,
    cut_square,
    empty,
    fit_quality,
    measure_quality,
    occlude,
    shuffle_tiles,
)
from tests.faces import TINY_MODEL
from tests.made_faces import made_faces
from tf_dhm.face import geometry
from tf_dhm.face.mean_face import mean_landmarks
from tf_dhm.networks.models import build_model
from tf_dhm.networks.quality import QualityConfig, QualityHead
from tf_dhm.runtime.crops import cut_crops

SIZE = TINY_MODEL.input_size


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def picture() -> NDArray[np.uint8]:
    """An image in which no two pixels have the same red and green."""
    y, x = np.mgrid[:SIZE, :SIZE]
    return np.stack([x * 7, y * 7, np.full_like(x, 9)], -1).astype(np.uint8)


@pytest.fixture(scope="module")
def batch() -> quality_crops.QualityCrops:
    faces = made_faces(5)
    faces = dataclasses.replace(faces, visibility=(np.arange(5 * 68) % 3).reshape(5, 68).astype(np.uint8))
    (found,) = crop_batches(faces, SIZE, 120)
    return found


def test_crops_and_what_is_known_of_them(batch: quality_crops.QualityCrops) -> None:
    assert batch.images.shape == (120, SIZE, SIZE, 3)
    assert batch.images.dtype == np.uint8
    assert set(batch.kind) == set(KINDS)
    has = np.isin(batch.kind, quality_crops.WITH_FACE)
    assert np.isfinite(batch.landmarks[has]).all()
    assert np.isnan(batch.landmarks[~has]).all()
    assert (batch.visibility[~has] == 255).all()
    assert (batch.visibility[has] < 255).all()


def test_faces_are_framed_as_by_a_detector(batch: quality_crops.QualityCrops) -> None:
    faces = batch.landmarks[batch.kind == "face"]
    centre = faces[..., :2].mean(1) - mean_landmarks(SIZE)[:, :2].mean(0)
    assert np.abs(centre).max() < 0.25 * SIZE
    sides = np.ptp(faces[..., :2], axis=1).max(-1) / np.ptp(mean_landmarks(SIZE)[:, :2], axis=0).max()
    assert 0.7 < sides.min() < sides.max() < 1.5
    astray = batch.landmarks[batch.kind == "astray"]
    assert np.ptp(astray[..., :2], axis=1).max() > 2 * SIZE  # some of a face fills the crop


def test_equal_seeds_give_equal_crops() -> None:
    faces = made_faces(3)
    first, second = (
        list(crop_batches(faces, SIZE, 5, seed=3, batch_size=2)),
        list(crop_batches(faces, SIZE, 5, 3)),
    )
    assert [len(part.kind) for part in first] == [2, 2, 1]
    np.testing.assert_array_equal(np.concatenate([part.images for part in first]), second[0].images)
    other = next(iter(crop_batches(faces, SIZE, 5, 4)))
    assert (other.images != second[0].images).any()


def test_a_square_that_is_not_moved_is_the_plain_crop() -> None:
    faces = made_faces(1)
    image, points = cut_square(faces.images[0], faces.landmarks[0], np.zeros(2), 1.0, 0.0, SIZE, rng())
    box = geometry.landmark_box(faces.landmarks[0])
    expected, matrices = cut_crops(faces.images[0], box[None], SIZE)
    np.testing.assert_array_equal(image, expected[0])
    plain = geometry.transform_landmarks(geometry.invert_affine(matrices[0]), faces.landmarks[0])
    np.testing.assert_allclose(points, plain, atol=1e-4)


def test_points_below_an_occluder_are_occluded() -> None:
    points = rng(7).integers(0, SIZE, (68, 3)).astype(float)
    flags = np.full(68, 2, np.uint8)
    flags[::5], flags[1::5] = 0, 255
    image, found = occlude(picture(), points, flags, rng(1))
    changed = (image != picture()).any(-1)
    x, y = points[:, :2].astype(int).T
    below = changed[y, x]
    assert 0 < below.sum() < 68
    np.testing.assert_array_equal(found[flags != 2], flags[flags != 2])
    # But for points at its very border.
    assert (found[flags == 2] != np.where(below, 1, 2)[flags == 2]).mean() < 0.1


def test_cut_off() -> None:
    for seed in range(4):
        black = (cut_off(np.full((SIZE, SIZE, 3), 200, np.uint8), rng(seed)) == 0).all(-1)
        assert 0 < black.mean() <= 0.32
        assert black.all(0).any() or black.all(1).any()


def test_tiles_are_shuffled() -> None:
    for seed in range(5):
        image = picture()
        found = shuffle_tiles(image, rng(seed))
        assert found.shape == image.shape
        assert (found == image).all(-1).mean() < 0.1


def test_the_face_is_covered() -> None:
    points = mean_landmarks(SIZE)
    image = np.full((SIZE, SIZE, 3), 200, np.uint8)
    found = cover_face(image, points, rng(2))
    x, y = np.rint(points[:, :2]).astype(int).T
    assert (found[y, x] != 200).any(-1).mean() > 0.9
    assert (found[0, 0] == 200).all()


def test_empty_crops() -> None:
    kinds = [empty(SIZE, rng(seed)) for seed in range(40)]
    assert all(image.shape == (SIZE, SIZE, 3) and image.dtype == np.float32 for image in kinds)
    assert min(image.min() for image in kinds) >= 0.0
    assert max(image.max() for image in kinds) <= 1.0
    assert any(np.ptp(image, axis=(0, 1)).max() == 0 for image in kinds)


def test_what_a_network_finds_is_right_or_not(batch: quality_crops.QualityCrops) -> None:
    class Knows:
        """Finds every second face, the more features the more right."""

        def __call__(
            self, crops: NDArray[np.uint8], initial: NDArray[np.float32] | None = None
        ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
            found = np.where(np.isnan(batch.landmarks), 0.0, batch.landmarks)
            found[::2] += 0.2 * SIZE
            return found, np.full((len(crops), 4), 0 if initial is None else 1, np.float32)

    answers = answer_crops(Knows(), [batch, batch])  # type: ignore[arg-type]
    # The first batch is shown twice.
    assert answers.features[:, 0].tolist() == [0] * 120 + [1] * 120 + [0] * 120
    expected = np.isin(batch.kind, quality_crops.WITH_FACE) & (np.arange(120) % 2 == 1)
    # Of an enormous face, a fifth of the crop is not much.
    assert (answers.right[:120] != expected).mean() < 0.05
    assert not answers.right[:120][np.isin(batch.kind, ("shuffled", "covered", "background"))].any()


def test_measures_of_a_head_that_knows(batch: quality_crops.QualityCrops) -> None:
    flags, right = batch.visibility, batch.kind == "face"
    seen = np.where(flags == 2, 1.0, -1.0)
    features = np.concatenate([seen, np.where(right, 1.0, -1.0)[:, None]], 1).astype(np.float32)
    confidence = np.zeros((69 + 68, 1), np.float32)
    confidence[68] = 1.0
    parts = (np.eye(69, 68), np.zeros(68), np.eye(68), np.full(68, -0.5), confidence, np.zeros(1))
    head = QualityHead(*(part.astype(np.float32) for part in parts))
    answers = quality_crops.CropFeatures(features, flags, right, batch.kind)
    found = measure_quality(head, answers)
    assert found["visibility_points"] == right.sum() * 68
    assert found["confidence_crops"] == 120
    aucs = [value for key, value in found.items() if "auc" in key and key != "confidence_auc_face"]
    assert aucs == [1.0] * 8
    assert found["confidence_auc_face"] is None  # no face was missed
    assert found["visibility_balanced_accuracy"] == found["confidence_balanced_accuracy"] == 1.0


def test_a_head_is_fitted_and_the_network_stays() -> None:
    network = build_model(TINY_MODEL)
    before = network.get_weights()
    config = QualityConfig(narrow=4, epochs=2, batch_size=32)
    heads = [fit_quality(network, SIZE, made_faces(12), made_faces(4), 40, config) for _ in range(2)]
    for weight, expected in zip(network.get_weights(), before, strict=True):
        np.testing.assert_array_equal(weight, expected)
    (head, measures), (again, _) = heads
    assert head.narrow_kernel.shape[1] == 4
    assert measures["confidence_crops"] == 8  # 4, and again as a second pass
    for first, second in zip(head.weights, again.weights, strict=True):
        np.testing.assert_array_equal(first, second)
    assert measures["visibility_points"] > 0


def test_no_visibility_of_faces_without_flags() -> None:
    faces = dataclasses.replace(made_faces(6), visibility=np.full((6, 68), 255, np.uint8))
    config = QualityConfig(narrow=4, epochs=1, batch_size=8)
    head, measures = fit_quality(build_model(TINY_MODEL), SIZE, faces, faces, 10, config)
    assert head.measures == "confidence"
    assert not [key for key in measures if "visibility" in key]


def test_a_second_pass_starts_from_what_was_found() -> None:
    network = build_model(TINY_MODEL)
    finder = FeatureFinder(network, SIZE)
    crops = np.stack([picture()] * 2)
    landmarks, features = finder(crops)
    same, _ = finder(crops, np.stack([mean_landmarks(SIZE)] * 2).astype(np.float32))
    np.testing.assert_allclose(same, landmarks, atol=1e-2)
    moved, _ = finder(crops, (landmarks + 4.0).astype(np.float32))
    assert landmarks.shape == (2, 68, 3)
    assert len(features) == 2
    assert np.abs(moved - landmarks).max() > 1e-3
