"""Image operations of the graph pipeline. The only module that uses tensorflow-addons.

tensorflow-addons is at its end of life: each operation has a pure TensorFlow equal behind
`use_addons=False`, which a test compares, so that leaving it means deleting one branch.
"""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import tensorflow as tf

with warnings.catch_warnings():
    # It announces its end of life at import; requirements.txt is where that is dealt with.
    warnings.simplefilter("ignore")
    import tensorflow_addons as tfa

Tensor = Any

BLUR_KERNEL = (9, 9)
"""Size of the Gaussian blur's kernel in pixels."""


def affine_crop(images: Tensor, matrix: Tensor, size: int, use_addons: bool = True) -> Tensor:
    """Sample crops by affine maps, bilinear, 0 outside.

    Args:
        images: (B, H, W, C) float32.
        matrix: (B, 2, 3) from crop pixels to image pixels.
        size: side of the crop.

    Returns:
        (B, size, size, C) float32.
    """
    rows = tf.reshape(matrix, [-1, 6])
    transforms = tf.concat([rows, tf.zeros_like(rows[:, :2])], 1)
    if use_addons:
        return tfa.image.transform(
            images, transforms, interpolation="bilinear", output_shape=[size, size], fill_mode="constant"
        )
    return tf.raw_ops.ImageProjectiveTransformV3(
        images=images,
        transforms=transforms,
        output_shape=[size, size],
        fill_value=0.0,
        interpolation="BILINEAR",
        fill_mode="CONSTANT",
    )


def rotate(images: Tensor, angles: Tensor, use_addons: bool = True) -> Tensor:
    """Turn images counter-clockwise about their centres, bilinear, 0 outside.

    Args:
        images: (B, H, W, C) float32.
        angles: (B,) radians.
    """
    if use_addons:
        return tfa.image.rotate(images, angles, interpolation="bilinear", fill_mode="constant")
    height, width = tf.shape(images)[1], tf.shape(images)[2]
    middle_x, middle_y = (tf.cast(side - 1, tf.float32) / 2.0 for side in (width, height))
    cos, sin, zero = tf.cos(angles), tf.sin(angles), tf.zeros_like(angles)
    shift_x = middle_x - (cos * middle_x - sin * middle_y)
    shift_y = middle_y - (sin * middle_x + cos * middle_y)
    transforms = tf.stack([cos, -sin, shift_x, sin, cos, shift_y, zero, zero], -1)
    return tf.raw_ops.ImageProjectiveTransformV3(
        images=images,
        transforms=transforms,
        output_shape=tf.stack([height, width]),
        fill_value=0.0,
        interpolation="BILINEAR",
        fill_mode="CONSTANT",
    )


def gaussian_blur(
    images: Tensor, level: Tensor, sigmas: tuple[float, ...], use_addons: bool = True
) -> Tensor:
    """Blur each image by the Gaussian of its level, borders reflected.

    Args:
        images: (B, H, W, C) float32.
        level: (B,) int32; 0 leaves the image as it is, n blurs by sigmas[n - 1].
        sigmas: standard deviations in pixels.
    """
    for number, sigma in enumerate(sigmas, start=1):
        rows = tf.where(level == number)
        chosen = tf.gather_nd(images, rows)
        if use_addons:
            blurred = tfa.image.gaussian_filter2d(chosen, BLUR_KERNEL, sigma)
        else:
            blurred = _gaussian_filter(chosen, sigma)
        images = tf.tensor_scatter_nd_update(images, rows, blurred)
    return images


def _gaussian_filter(images: Tensor, sigma: float) -> Tensor:
    radius = BLUR_KERNEL[0] // 2
    weights = np.exp(-(np.arange(-radius, radius + 1) ** 2) / (2.0 * sigma**2))
    weights /= weights.sum()
    for axis in (1, 2):
        padding = [[0, 0]] * 4
        padding[axis] = [radius, radius]
        padded = tf.pad(images, padding, "REFLECT")
        length = tf.shape(images)[axis]
        taps = [
            tf.gather(padded, tf.range(tap, tap + length), axis=axis) * weight
            for tap, weight in enumerate(weights)
        ]
        images = tf.add_n(taps)
    return images
