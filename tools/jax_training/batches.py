"""Training batches on the GPU: the random changes of `pipelines.input.augmentation`, in JAX."""

from __future__ import annotations

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import random

from pipelines.input.variation import BLUR_LEVELS, LUMA, SMALLEST_OCCLUDER, blur_sigmas, error_factor
from tf_dhm.face.geometry import NUM_LANDMARKS
from tf_dhm.face.mean_face import mean_landmarks
from tf_dhm.training.config import AugmentConfig
from tools.jax_training.crops import (
    crop_matrix,
    crop_side,
    jaw_yaw_bins,
    product,
    rotations,
    to_crop,
    turned_box,
    weight_in_crop,
)
from tools.jax_training.image_ops import cut_crops, draw_heatmaps, gaussian_blur

MOST_DRAWS = 40
"""Upper limit of the draws for a batch."""


class Faces(NamedTuple):
    """All training faces, in the memory of the GPU.

    Attributes:
        images: (N, C, C) uint32, see `image_ops.cut_crops`.
        landmarks: (N, 68, 3) float32 pixels of the stored images.
        rolls: (N,) float32 radians, `crops.upright_roll` of the landmarks.
        folds: (N,) int32, the fold of each face; a learner may leave one out.
        teacher: (N, 68, 3) float32, landmarks of teachers in pixels of the stored images, if there are any.
        weight: (N, 68) float32, weights of the labels in the loss, if they differ.
    """

    images: jax.Array
    landmarks: jax.Array
    rolls: jax.Array
    folds: jax.Array
    teacher: jax.Array | None = None
    weight: jax.Array | None = None


class Batch(NamedTuple):
    """Changed faces: images (B, S, S, 3) float32 RGB in [0, 255], heat maps (B, S, S, 3), landmarks and any
    teacher's landmarks (B, 68, 3) in crop pixels, and any weights (B, 68) of the landmarks."""

    image: jax.Array
    heatmap: jax.Array
    landmarks: jax.Array
    teacher: jax.Array | None = None
    weight: jax.Array | None = None


class Draws:
    """Random numbers from a key: the n-th call for the same key always gives the same."""

    def __init__(self, key: jax.Array) -> None:
        self._keys = iter(random.split(key, MOST_DRAWS))

    def uniform(self, shape: tuple[int, ...], low: float = 0.0, high: float = 1.0) -> jax.Array:
        return random.uniform(next(self._keys), shape, minval=low, maxval=high)

    def cut_normal(self, shape: tuple[int, ...], deviation: jax.Array | float) -> jax.Array:
        """Normal, redrawn inside two standard deviations."""
        return random.truncated_normal(next(self._keys), -2.0, 2.0, shape) * deviation

    def normal(self, shape: tuple[int, ...]) -> jax.Array:
        return random.normal(next(self._keys), shape)

    def choice(self, count: int, chosen: int) -> jax.Array:
        """`chosen` different numbers below `count`."""
        return random.permutation(next(self._keys), count)[:chosen]

    def integers(self, count: int, end: int) -> jax.Array:
        return random.randint(next(self._keys), (count,), 0, end)


def make_batch(key: jax.Array, index: jax.Array, faces: Faces, config: AugmentConfig, size: int) -> Batch:
    """Cut and change faces.

    Args:
        key: of the random changes.
        index: (B,) int32, which faces, in random order: the first ones are shown as a second pass sees them.
        faces: all faces.
        config: strengths of the changes; all 0 gives plain crops.
        size: side of the crops in pixels.
    """
    draws = Draws(key)
    landmarks = faces.landmarks[index]
    matrix = sample_crops(draws, landmarks, config, size)
    initial = sample_initial_shapes(draws, len(index), config, size)
    later = round(config.second_pass * len(index))
    if later:
        second, found = sample_second_pass(draws, landmarks[:later], faces.rolls[index[:later]], config, size)
        matrix = jnp.concatenate([second, matrix[later:]], 0)
        initial = jnp.concatenate([found, initial[later:]], 0)
    image = cut_crops(faces.images, index, matrix, size)
    image = change_colours(draws, image, config)
    image = blur_some(draws, image, config)
    return Batch(
        image=cover_parts(draws, image, config),
        heatmap=draw_heatmaps(initial, size),
        landmarks=to_crop(landmarks, matrix),
        teacher=None if faces.teacher is None else to_crop(faces.teacher[index], matrix),
        weight=None if faces.weight is None else weight_in_crop(faces.weight[index], matrix),
    )


def sample_crops(draws: Draws, landmarks: jax.Array, config: AugmentConfig, size: int) -> jax.Array:
    """Draw a crop of each face, (B, 2, 3); see `augmentation.sample_crops`."""
    count = len(landmarks)
    angle = draws.uniform((count,), -1.0, 1.0) * (config.rotation * math.pi / 180.0)
    detected = draws.uniform((count,)) < config.detected
    factor = jnp.array(config.detected_yaw_factors)[jaw_yaw_bins(landmarks)]
    scale = jnp.where(detected, config.detected_scale * factor, config.scale)
    shift = jnp.where(detected, config.detected_shift * factor, config.shift)[:, None]
    low, high = turned_box(landmarks, angle)
    side = crop_side(low, high) * jnp.exp(draws.cut_normal((count,), scale))
    centre = (low + high) / 2.0 + draws.cut_normal((count, 2), shift) * side[:, None]
    return crop_matrix(angle, centre, side, draws.uniform((count,)) < config.mirror, size)


def sample_initial_shapes(draws: Draws, count: int, config: AugmentConfig, size: int) -> jax.Array:
    """The mean face in the crop, turned, scaled and shifted at random: (count, 68, 3) pixels."""
    mean = jnp.asarray(mean_landmarks(size))
    middle = (size - 1) / 2.0
    turn = rotations(draws.cut_normal((count,), config.map_noise))
    scale = jnp.exp(draws.cut_normal((count,), config.map_noise))[:, None, None]
    shift = draws.cut_normal((count, 1, 2), config.map_noise * size)
    xy = product("nj,bij->bni", mean[:, :2] - middle, turn) * scale + middle + shift
    return jnp.concatenate([xy, mean[None, :, 2:] * scale], -1)


def sample_second_pass(
    draws: Draws, landmarks: jax.Array, rolls: jax.Array, config: AugmentConfig, size: int
) -> tuple[jax.Array, jax.Array]:
    """Draw a plausible first pass, and the crop of each face about it.

    See `augmentation.sample_second_pass`.

    Returns:
        The matrix of the crops (B, 2, 3), and the first pass (B, 68, 3) in their pixels.
    """
    count = len(landmarks)
    extent = landmarks[..., :2].max(1) - landmarks[..., :2].min(1)
    deviation = config.second_pass_noise * jnp.sqrt(extent.prod(-1) * 2.0 / math.pi)
    deviation = deviation * draws.uniform((count,), 0.0, 2.0)
    noise = draws.normal((count, NUM_LANDMARKS, 3))
    error = product("ij,bjk->bik", jnp.asarray(error_factor()), noise)
    first = landmarks + deviation[:, None, None] * error
    angle = rolls + draws.cut_normal((count,), config.second_pass_noise)
    low, high = turned_box(first, angle)
    mirror = draws.uniform((count,)) < config.mirror
    matrix = crop_matrix(angle, (low + high) / 2.0, crop_side(low, high), mirror, size)
    return matrix, to_crop(first, matrix)


def change_colours(draws: Draws, image: jax.Array, config: AugmentConfig) -> jax.Array:
    """Change brightness, contrast and colours of images (B, S, S, 3), each by an affine map of RGB."""
    count = len(image)

    def factor(strength: float, *shape: int) -> jax.Array:
        return 1.0 + strength * draws.uniform((count, *shape), -1.0, 1.0)

    contrast, brightness = factor(config.contrast, 1, 1), factor(config.brightness, 1, 1)
    saturation = factor(config.saturation, 1, 1)
    saturation = jnp.where(draws.uniform((count, 1, 1)) < config.grey, 0.0, saturation)
    gain = factor(config.colour, 3, 1)
    luma = jnp.tile(jnp.array([LUMA]), (3, 1))
    linear = contrast * brightness * gain * (saturation * jnp.eye(3) + (1.0 - saturation) * luma)
    offset = 127.5 * brightness * (1.0 - contrast)
    # Sums, not a matrix product, which a GPU would calculate in lower precision.
    channels = [(image * linear[:, None, None, channel]).sum(-1) for channel in range(3)]
    return jnp.clip(jnp.stack(channels, -1) + offset[:, :, :, None], 0.0, 255.0)


def blur_some(draws: Draws, image: jax.Array, config: AugmentConfig) -> jax.Array:
    """Blur `blur_probability` of the images, a fixed number of each batch, by one of the levels each."""
    sigmas = blur_sigmas(config)
    blurred = round(config.blur_probability * len(image)) if sigmas else 0
    if not blurred:
        return image
    rows = draws.choice(len(image), blurred)
    level = draws.integers(blurred, BLUR_LEVELS)
    return image.at[rows].set(gaussian_blur(image[rows], level, sigmas))


def cover_parts(draws: Draws, image: jax.Array, config: AugmentConfig) -> jax.Array:
    """Put a rectangle of one colour on some of the images (B, S, S, 3)."""
    count, size = image.shape[:2]
    smallest = min(SMALLEST_OCCLUDER, config.occlusion_size)
    extent = draws.uniform((count, 2), smallest, config.occlusion_size) * size
    corner = draws.uniform((count, 2), -0.2, 1.0) * size
    occluded = draws.uniform((count, 1)) < config.occlusion
    box = jnp.round(jnp.where(occluded, jnp.concatenate([corner, corner + extent], -1), 0.0))
    axis = jnp.arange(size, dtype=jnp.float32)
    across = (axis >= box[:, 0, None]) & (axis < box[:, 2, None])
    down = (axis >= box[:, 1, None]) & (axis < box[:, 3, None])
    colour = jnp.floor(draws.uniform((count, 3), 0.0, 255.0))
    return jnp.where((down[:, :, None] & across[:, None, :])[..., None], colour[:, None, None], image)
