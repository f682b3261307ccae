"""Image operations of the graph pipeline. The only module that uses tensorflow-addons.

tensorflow-addons is at its end of life: each operation has a pure TensorFlow twin, used with
`use_addons=False`, which a test compares, so that leaving it means deleting one branch.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from functools import partial
from importlib.util import find_spec
from typing import Any

import numpy as np
import tensorflow as tf

from pipelines.input.variation import BLUR_KERNEL
from tf_dhm.core.types import Tensor
from tf_dhm.runtime.crops import MAX_SHRINK, MAX_SUPERSAMPLING

HAS_ADDONS = find_spec("tensorflow_addons") is not None
"""tensorflow-addons ends at TensorFlow 2.15; with a later version the functions of this project run."""
if HAS_ADDONS:
    with warnings.catch_warnings():
        # It announces its end of life at import; requirements.txt deals with that.
        warnings.simplefilter("ignore")
        import tensorflow_addons as tfa


def rotations(angles: Tensor, use_addons: bool = HAS_ADDONS) -> Tensor:
    """Rotation matrices, clockwise on a screen whose y points down.

    Args:
        angles: (B,) float32 radians.

    Returns:
        (B, 2, 2) float32.
    """
    if use_addons:
        # About the centre of a 1 x 1 image, which leaves no translation.
        rows = tfa.image.transform_ops.angles_to_projective_transforms(angles, 1, 1)  # (B, 8)
        return tf.reshape(tf.gather(rows, [0, 1, 3, 4], axis=1), [-1, 2, 2])
    cos, sin = tf.cos(angles), tf.sin(angles)
    return tf.stack([tf.stack([cos, -sin], -1), tf.stack([sin, cos], -1)], -2)


def affine_crop(images: Tensor, matrix: Tensor, size: int, use_addons: bool = HAS_ADDONS) -> Tensor:
    """Sample crops by affine maps (turned, scaled, shifted, mirrored), bilinear.

    Beyond the border the image is mirrored, its last pixel repeated: black would tell where the
    face was in the stored image.

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
            images, transforms, interpolation="bilinear", output_shape=[size, size], fill_mode="reflect"
        )
    return tf.raw_ops.ImageProjectiveTransformV3(
        images=images,
        transforms=transforms,
        output_shape=[size, size],
        fill_value=0.0,  # a required input
        interpolation="BILINEAR",
        fill_mode="REFLECT",
    )


def finer_map(matrix: Any, factor: int) -> Any:
    """The map of a crop with `factor` times as many pixels on a side: (..., 2, 3) array or tensor."""
    linear, offset = matrix[..., :2], matrix[..., 2:]
    offset = offset + linear @ np.full((2, 1), 0.5 / factor - 0.5, np.float32)
    concatenate = np.concatenate if isinstance(matrix, np.ndarray) else tf.concat
    return concatenate([linear / factor, offset], -1)


def smooth_crop(images: Tensor, matrix: Tensor, size: int) -> Tensor:
    """`affine_crop` that averages if an image is larger than its crop, as `crops.cut_crops` does.

    Args:
        images: (B, H, H, C) float32, H known.
        matrix, size: see `affine_crop`; the maps are similarities.
    """
    crops = affine_crop(images, matrix, size)
    shrink = tf.sqrt(tf.abs(tf.linalg.det(matrix[:, :, :2])))
    factors = tf.where(shrink <= MAX_SHRINK, 1, tf.cast(tf.math.ceil(shrink), tf.int32))
    # A crop more than twice as wide as the whole image is not sampled any finer.
    largest = max(1, min(MAX_SUPERSAMPLING, int(np.ceil(2 * images.shape[1] / size))))
    for factor in range(2, largest + 1):
        sample = partial(_sample_rows, images, matrix, size=size, factor=factor)
        crops = _update_rows(crops, tf.minimum(factors, largest) == factor, sample)
    return crops


def gaussian_blur(
    images: Tensor, level: Tensor, sigmas: tuple[float, ...], use_addons: bool = HAS_ADDONS
) -> Tensor:
    """Blur each image by the Gaussian of its level, borders reflected.

    Args:
        images: (B, H, W, C) float32.
        level: (B,) int32; 0 leaves the image as it is, n blurs by sigmas[n - 1].
        sigmas: standard deviations in pixels, more than 0.
    """
    for number, sigma in enumerate(sigmas, start=1):
        blur = partial(_blur_rows, images, sigma=sigma, use_addons=use_addons)
        images = _update_rows(images, level == number, blur)
    return images


def _update_rows(images: Tensor, chosen: Tensor, make: Callable[[Tensor], Tensor]) -> Tensor:
    """Put make(rows) in the place of the images chosen by a (B,) bool tensor; rows are (K, 1), K > 0."""
    rows = tf.where(chosen)
    # Skipped without images: gaussian_filter2d rejects an empty batch.
    return tf.cond(
        tf.size(rows) > 0,
        lambda: tf.tensor_scatter_nd_update(images, rows, make(rows)),
        lambda: images,
    )


def _sample_rows(images: Tensor, matrix: Tensor, rows: Tensor, size: int, factor: int) -> Tensor:
    fine = affine_crop(
        tf.gather_nd(images, rows), finer_map(tf.gather_nd(matrix, rows), factor), size * factor
    )
    return tf.nn.avg_pool2d(fine, factor, factor, "VALID")


def _blur_rows(images: Tensor, rows: Tensor, sigma: float, use_addons: bool) -> Tensor:
    chosen = tf.gather_nd(images, rows)
    if use_addons:
        return tfa.image.gaussian_filter2d(chosen, BLUR_KERNEL, sigma)
    return _gaussian_filter(chosen, sigma)


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
