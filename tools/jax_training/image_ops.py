"""Operations on the pixels of faces in JAX: crops, blur and heat maps."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from pipelines.input.variation import BLUR_KERNEL
from tf_dhm.face.heatmap import RADIUS, SIGMA

CHANNEL_SHIFTS = (0, 8, 16)
"""Bits by which red, green and blue are shifted in a packed pixel."""


def cut_crops(images: jax.Array, index: jax.Array, matrix: jax.Array, size: int) -> jax.Array:
    """Cut crops by affine maps, bilinear; beyond the border the image is mirrored, its last pixel repeated.

    Unlike `pipelines.input.augmentation` it does not average the pixels of a larger face: stored faces are
    at most `crops.MAX_SHRINK` times as large as their plain crops.

    Args:
        images: (N, C, C) uint32, all stored faces, the channels packed by CHANNEL_SHIFTS.
        index: (B,) int32, the faces to cut.
        matrix: (B, 2, 3) crop pixels to stored pixels.
        size: side of the crops in pixels.

    Returns:
        (B, size, size, 3) float32 in [0, 255].
    """
    canvas = images.shape[1]
    # One index for all pixels of all faces, of which a GPU gathers fastest.
    stored = images.reshape(-1)
    first = (index.astype(jnp.int32) * (canvas * canvas))[:, None, None]
    axis = jnp.arange(size, dtype=jnp.float32)
    at = [
        matrix[:, row, 0, None, None] * axis[None, None, :]
        + matrix[:, row, 1, None, None] * axis[None, :, None]
        + matrix[:, row, 2, None, None]
        for row in (0, 1)
    ]
    corner = [jnp.floor(value) for value in at]
    right, lower = ((value - whole)[..., None] for value, whole in zip(at, corner, strict=True))
    column, row = (value.astype(jnp.int32) for value in corner)

    def inside(position: jax.Array) -> jax.Array:
        position = jnp.mod(position, 2 * canvas)
        return jnp.where(position >= canvas, 2 * canvas - 1 - position, position)

    def pixels(down: int, across: int) -> jax.Array:
        packed = stored[first + inside(row + down) * canvas + inside(column + across)]
        return jnp.stack([(packed >> shift) & 255 for shift in CHANNEL_SHIFTS], -1).astype(jnp.float32)

    top = pixels(0, 0) * (1.0 - right) + pixels(0, 1) * right
    bottom = pixels(1, 0) * (1.0 - right) + pixels(1, 1) * right
    return top * (1.0 - lower) + bottom * lower


def gaussian_blur(images: jax.Array, level: jax.Array, sigmas: tuple[float, ...]) -> jax.Array:
    """Blur each image (B, S, S, 3) by the Gaussian sigmas[level], level (B,), borders reflected."""
    radius = BLUR_KERNEL[0] // 2
    taps = np.arange(-radius, radius + 1)
    rows = [np.exp(-(taps**2) / (2.0 * sigma**2)) for sigma in sigmas]
    kernels = jnp.asarray(np.stack([row / row.sum() for row in rows]), jnp.float32)[level]  # (B, taps)
    side = images.shape[1]
    for axis in (1, 2):
        padding = [(0, 0)] * 4
        padding[axis] = (radius, radius)
        padded = jnp.pad(images, padding, mode="reflect")
        parts = [
            lax.slice_in_dim(padded, tap, tap + side, axis=axis) * kernels[:, tap, None, None, None]
            for tap in range(len(taps))
        ]
        images = sum(parts[1:], parts[0])
    return images


def draw_heatmaps(landmarks: jax.Array, size: int) -> jax.Array:
    """The diffusion heat maps (B, size, size, 3) of landmarks (B, N, 3), as `DiffusionHeatMap` draws them."""
    low, high = landmarks.min(1, keepdims=True), landmarks.max(1, keepdims=True)
    values = (landmarks - low) / jnp.where(high > low, high - low, 1.0)
    pixels = jnp.round(landmarks[:, :, :2, None]) + jnp.arange(-RADIUS, RADIUS + 1, dtype=jnp.float32)
    gaussian = jnp.exp(-((pixels - landmarks[:, :, :2, None]) ** 2) / (2.0 * SIGMA**2))
    gaussian = jnp.where((pixels >= 0) & (pixels <= size - 1), gaussian, 0.0)  # (B, N, 2, patch)
    at = jnp.clip(pixels, 0, size - 1).astype(jnp.int32)
    patches = gaussian[:, :, 1, :, None, None] * gaussian[:, :, 0, None, :, None]
    patches = patches * values[:, :, None, None, :]
    face = jnp.arange(len(landmarks))[:, None, None, None]
    maps = jnp.zeros((len(landmarks), size, size, 3), jnp.float32)
    return maps.at[face, at[:, :, 1, :, None], at[:, :, 0, None, :]].max(patches, mode="clip")
