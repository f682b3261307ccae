"""Crops and their landmarks in JAX: the twin of the geometry in `pipelines.input.augmentation`.

Products of coordinates are calculated in full precision: GPUs round the factors of others to 10 bits.
"""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp

from tf_dhm.face.geometry import CROP_SCALE, MIRROR_68
from tf_dhm.face.metrics import YAW_EDGES

product = partial(jnp.einsum, precision="highest")


def rotations(angle: jax.Array) -> jax.Array:
    """Rotation matrices (B, 2, 2) of angles (B,) in radians, clockwise on the screen."""
    cos, sin = jnp.cos(angle), jnp.sin(angle)
    return jnp.stack([jnp.stack([cos, -sin], -1), jnp.stack([sin, cos], -1)], -2)


def turned_box(landmarks: jax.Array, angle: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Least and greatest coordinates (B, 2) of landmarks along axes turned by `angle` (B,) radians."""
    turned = product("bij,bjk->bik", landmarks[..., :2], rotations(angle))
    return turned.min(1), turned.max(1)


def crop_side(low: jax.Array, high: jax.Array) -> jax.Array:
    """Side (B,) of the crops of boxes with these corners (B, 2)."""
    return CROP_SCALE * (high - low).max(-1)


def jaw_yaw_bins(landmarks: jax.Array) -> jax.Array:
    """The yaw bin (B,), 0 to 2, of landmarks (B, 68, 3); see `augmentation.jaw_yaw_bins`."""
    ends = landmarks[:, 16] - landmarks[:, 0]
    yaw = jnp.degrees(jnp.arctan2(jnp.abs(ends[:, 2]), jnp.hypot(ends[:, 0], ends[:, 1])))
    return (yaw[:, None] > jnp.array(YAW_EDGES)).sum(-1)


def crop_matrix(
    angle: jax.Array, centre: jax.Array, side: jax.Array, mirror: jax.Array, size: int
) -> jax.Array:
    """Crop pixels to stored pixels, (B, 2, 3); the arguments are those of `augmentation.crop_matrix`."""
    turn = rotations(angle)
    sign = jnp.where(mirror, -1.0, 1.0)
    linear = turn * (side / size)[:, None, None] * jnp.stack([sign, jnp.ones_like(sign)], -1)[:, None, :]
    offset = product("bij,bj->bi", turn, centre) - linear.sum(-1) * ((size - 1) / 2.0)
    return jnp.concatenate([linear, offset[..., None]], -1)


def plain_matrix(landmarks: jax.Array, mirror: bool, size: int) -> jax.Array:
    """The matrix of crops that are cut by the boxes of landmarks (B, 68, 3), upright."""
    angle = jnp.zeros(len(landmarks))
    low, high = turned_box(landmarks, angle)
    mirrored = jnp.full(len(landmarks), mirror)
    return crop_matrix(angle, (low + high) / 2.0, crop_side(low, high), mirrored, size)


def to_crop(landmarks: jax.Array, matrix: jax.Array) -> jax.Array:
    """Landmarks (B, 68, 3) of stored images in the pixels of crops with `matrix` (B, 2, 3)."""
    (a, b), (c, d) = (matrix[:, row, :2].T for row in (0, 1))
    inverse = jnp.stack([jnp.stack([d, -b], -1), jnp.stack([-c, a], -1)], -2)
    inverse = inverse / determinant(matrix)[:, None, None]
    xy = product("bnj,bij->bni", landmarks[..., :2] - matrix[:, None, :, 2], inverse)
    cropped = jnp.concatenate([xy, landmarks[..., 2:] / pixel_size(matrix)], -1)
    return jnp.where(determinant(matrix)[:, None, None] < 0.0, cropped[:, MIRROR_68], cropped)


def weight_in_crop(weight: jax.Array, matrix: jax.Array) -> jax.Array:
    """Weights (B, 68) of the landmarks of crops with `matrix` (B, 2, 3): of mirrored crops, of the points
    that the mirror puts in their places."""
    return jnp.where(determinant(matrix)[:, None] < 0.0, weight[:, MIRROR_68], weight)


def from_crop(landmarks: jax.Array, matrix: jax.Array) -> jax.Array:
    """The inverse of `to_crop`."""
    mirrored = determinant(matrix)[:, None, None] < 0.0
    landmarks = jnp.where(mirrored, landmarks[:, MIRROR_68], landmarks)
    xy = product("bnj,bij->bni", landmarks[..., :2], matrix[..., :2]) + matrix[:, None, :, 2]
    return jnp.concatenate([xy, landmarks[..., 2:] * pixel_size(matrix)], -1)


def determinant(matrix: jax.Array) -> jax.Array:
    """Determinants (B,) of the linear parts of (B, 2, 3) maps, negative for mirror images."""
    return matrix[:, 0, 0] * matrix[:, 1, 1] - matrix[:, 0, 1] * matrix[:, 1, 0]


def pixel_size(matrix: jax.Array) -> jax.Array:
    """Stored pixels per crop pixel, (B, 1, 1)."""
    return jnp.sqrt((matrix[:, :, 1] ** 2).sum(-1))[:, None, None]


def to_unit(landmarks: jax.Array, size: int) -> jax.Array:
    """Crop pixels (B, 68, 3) in the unit of the network, as `geometry.unit_to_pixels` has it."""
    return landmarks / (size / 2.0) + _middle(size)


def to_pixels(landmarks: jax.Array, size: int) -> jax.Array:
    """The inverse of `to_unit`."""
    return (landmarks - _middle(size)) * (size / 2.0)


def _middle(size: int) -> jax.Array:
    return jnp.array([1.0 / size - 1.0] * 2 + [0.0])
