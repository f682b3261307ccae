"""Training batches in JAX: without changes those of the pipeline, and what each change does."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from pipelines.input.batches import plain_crops
from tests.jax_faces import FACES, STORED
from tf_dhm.face.geometry import MIRROR_68
from tf_dhm.face.heatmap import diffusion_heatmaps
from tf_dhm.face.mean_face import mean_landmarks
from tf_dhm.training.config import NO_AUGMENTATION
from tools.jax_training.batches import Faces, make_batch
from tools.jax_training.crops import jaw_yaw_bins, turned_box

SIZE = 24
INDEX = np.array([4, 0, 3, 1])


def batch(seed: int = 0, faces: Faces = STORED, **changes: Any) -> Any:
    config = dataclasses.replace(NO_AUGMENTATION, **changes)
    made = make_batch(jax.random.PRNGKey(seed), jnp.asarray(INDEX), faces, config, SIZE)
    return jax.tree_util.tree_map(np.asarray, made)


def test_without_changes_they_are_plain_crops() -> None:
    images, landmarks = plain_crops(FACES, SIZE)
    found = batch()
    np.testing.assert_allclose(found.landmarks, landmarks[INDEX], atol=1e-3)
    # OpenCV samples at 32nds of a pixel.
    assert np.abs(found.image - images[INDEX]).mean() < 1.0
    assert np.abs(found.image - images[INDEX]).max() < 8.0
    mean = diffusion_heatmaps(mean_landmarks(SIZE)[None], SIZE)
    np.testing.assert_allclose(found.heatmap, np.repeat(mean, len(INDEX), 0), atol=1e-5)
    shift = found.teacher - found.landmarks
    assert (shift[..., 0] > 1.0).all()
    np.testing.assert_allclose(shift[..., 1:], 0.0, atol=1e-3)


def test_a_mirrored_face() -> None:
    plain, mirrored = batch(), batch(mirror=1.0)
    np.testing.assert_allclose(mirrored.image, plain.image[:, :, ::-1], atol=0.1)
    expected = plain.landmarks[:, MIRROR_68] * [-1.0, 1.0, 1.0] + [SIZE - 1.0, 0.0, 0.0]
    np.testing.assert_allclose(mirrored.landmarks, expected, atol=1e-3)


def test_weights_follow_their_points_into_a_mirrored_crop() -> None:
    weight = jnp.arange(len(FACES) * 68.0).reshape(-1, 68)
    faces = STORED._replace(weight=weight)
    plain, mirrored = (batch(faces=faces, mirror=mirror).weight for mirror in (0.0, 1.0))
    np.testing.assert_array_equal(plain, np.asarray(weight)[INDEX])
    np.testing.assert_array_equal(mirrored, plain[:, MIRROR_68])


def test_a_second_pass_without_error_has_the_map_of_its_upright_landmarks() -> None:
    found = batch(second_pass=0.5, rotation=90.0)
    maps = diffusion_heatmaps(found.landmarks[:2], SIZE)
    np.testing.assert_allclose(found.heatmap[:2], maps, atol=1e-3)
    low, high = turned_box(jnp.asarray(found.landmarks[:2]), jnp.zeros(2))
    np.testing.assert_allclose((low + high) / 2.0, (SIZE - 1) / 2.0, atol=1e-2)
    np.testing.assert_allclose(found.heatmap[2:], batch().heatmap[2:], atol=1e-5)


def test_changes_of_the_crop_and_of_the_map_depend_on_the_key() -> None:
    changes: dict[str, Any] = {
        "rotation": 20.0,
        "scale": 0.1,
        "shift": 0.1,
        "map_noise": 0.1,
        "detected": 0.5,
    }
    first, again, other = (batch(seed, **changes) for seed in (1, 1, 2))
    for name, value in first._asdict().items():
        if value is None:
            continue
        np.testing.assert_array_equal(value, getattr(again, name))
        assert np.abs(value - getattr(other, name)).max() > 0.1
    assert np.abs(first.landmarks - batch().landmarks).max() < 0.5 * SIZE


def test_a_detectors_errors_have_the_factor_of_the_yaw_bin() -> None:
    exact, wrong = (
        batch(detected=1.0, detected_shift=0.1, detected_scale=0.1, detected_yaw_factors=factors)
        for factors in ((0.0, 1.0, 1.0), (1.0, 0.0, 0.0))
    )
    frontal = np.asarray(jaw_yaw_bins(STORED.landmarks[INDEX])) == 0
    plain = batch().landmarks
    for found, is_exact in ((exact, frontal), (wrong, ~frontal)):
        far = np.abs(found.landmarks - plain).max((1, 2)) > 1e-3
        np.testing.assert_array_equal(far, ~is_exact)


def test_changes_of_the_look_leave_the_landmarks() -> None:
    plain = batch()
    grey = batch(grey=1.0)
    np.testing.assert_allclose(grey.image, plain.image @ [[0.299], [0.587], [0.114]] * [1, 1, 1], atol=0.1)
    covered = batch(occlusion=1.0, occlusion_size=0.5)
    changed = np.abs(covered.image - plain.image).max(-1) > 0.5  # (B, S, S)
    assert changed.any((1, 2)).sum() >= 2  # some lie outside
    for face, where in zip(covered.image, changed, strict=True):
        assert len(np.unique(face[where], axis=0)) <= 1
    blurred = batch(blur=2.0, blur_probability=0.5)
    assert (np.abs(blurred.image - plain.image).max((1, 2, 3)) > 0.5).sum() == 2
    strong = batch(brightness=0.5, contrast=0.5, saturation=0.5, colour=0.2)
    assert np.abs(strong.image - plain.image).max() > 5.0
    assert strong.image.min() >= 0.0
    assert strong.image.max() <= 255.0
    for found in (grey, covered, blurred, strong):
        np.testing.assert_allclose(found.landmarks, plain.landmarks, atol=1e-3)
        np.testing.assert_allclose(found.heatmap, plain.heatmap, atol=1e-5)
