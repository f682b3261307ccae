"""Random augmentation of training faces: drawn in the graph, applied by OpenCV or by graph ops.

All draws depend on a seed alone (stateless random ops), so a batch can be reproduced.
"""

from __future__ import annotations

import cv2
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from pipelines.input import image_ops
from pipelines.input.variation import BLUR_KERNEL, BLUR_LEVELS, LUMA, SMALLEST_OCCLUDER, error_factor
from pipelines.prepared.arrays import JoinedImages
from tf_dhm.core.types import Tensor
from tf_dhm.face.geometry import CROP_SCALE, MIRROR_68, NUM_LANDMARKS
from tf_dhm.face.mean_face import mean_landmarks
from tf_dhm.face.metrics import YAW_EDGES
from tf_dhm.runtime.crops import MAX_SHRINK, MAX_SUPERSAMPLING
from tf_dhm.training.config import AugmentConfig

APPEARANCE = ("colour", "blur_level", "occluder", "occluder_colour")
"""Keys of `sample_appearance` in the order in which `apply_opencv` and `apply_graph` take them."""


class SeedSequence:
    """Hands out stateless seeds: the n-th call for the same start is always the same."""

    def __init__(self, seed: Tensor) -> None:
        self.seed = seed
        self.count = 0

    def uniform(self, shape: Tensor, low: float = 0.0, high: float = 1.0) -> Tensor:
        return tf.random.stateless_uniform(shape, self._next(), low, high)

    def cut_normal(self, shape: Tensor, deviation: Tensor) -> Tensor:
        """Normal, redrawn inside two standard deviations."""
        return tf.random.stateless_truncated_normal(shape, self._next(), stddev=deviation)

    def normal(self, shape: Tensor) -> Tensor:
        return tf.random.stateless_normal(shape, self._next())

    def _next(self) -> Tensor:
        self.count += 1
        return tf.random.experimental.stateless_fold_in(self.seed, self.count)


def sample_crops(
    seed: SeedSequence, landmarks: Tensor, config: AugmentConfig, size: int
) -> dict[str, Tensor]:
    """Draw a crop of each face.

    The crop is that of the landmark box in the photo turned by a random angle, as an evaluation
    on the turned photo would cut it, then scaled, shifted and mirrored.

    Args:
        seed: source of randomness.
        landmarks: (B, 68, 3) pixels of the stored image.
        config: strengths; all 0 gives the plain crop of `geometry.crop_square`.
        size: side of the crop in pixels.

    Returns:
        matrix (B, 2, 3): crop pixels to stored pixels; landmarks (B, 68, 3): in crop pixels.
    """
    count = tf.shape(landmarks)[0]
    angle = seed.uniform([count], -1.0, 1.0) * (config.rotation * np.pi / 180.0)
    scale, shift = config.scale, config.shift
    if config.detected > 0.0:
        detected = seed.uniform([count]) < config.detected
        factor = tf.gather(tf.constant(config.detected_yaw_factors), jaw_yaw_bins(landmarks))
        scale = tf.where(detected, config.detected_scale * factor, scale)
        shift = tf.where(detected, config.detected_shift * factor, shift)[:, None]
    low, high = turned_box(landmarks, angle)
    side = CROP_SCALE * tf.reduce_max(high - low, -1)
    side *= tf.exp(seed.cut_normal([count], scale))
    centre = (low + high) / 2.0 + seed.cut_normal([count, 2], shift) * side[:, None]
    matrix = crop_matrix(angle, centre, side, sample_mirror(seed, count, config), size)
    return {"matrix": matrix, "landmarks": to_crop(landmarks, matrix, size)}


def jaw_yaw_bins(landmarks: Tensor) -> Tensor:
    """The yaw bin (B,) int32, 0 to 2, of landmarks (B, 68, 3), by the line between the ends of the jaw.

    That line crosses the image in a frontal face and points at the camera in a profile, however the face is
    rotated in the image. Landmarks without z count as frontal.
    """
    ends = landmarks[:, 16] - landmarks[:, 0]
    yaw = tf.atan2(tf.abs(ends[:, 2]), tf.norm(ends[:, :2], axis=-1)) * (180.0 / np.pi)
    return tf.reduce_sum(tf.cast(yaw[:, None] > YAW_EDGES, tf.int32), -1)


def sample_second_pass(
    seed: SeedSequence, landmarks: Tensor, roll: Tensor, config: AugmentConfig, size: int
) -> dict[str, Tensor]:
    """Draw a plausible first-pass prediction, and crop each face upright around it.

    Points that lie near each other have similar first-pass errors, as those of a network do:
    a Gaussian process over the mean face, with a fifth of its variance left to each point alone.

    Args:
        seed: source of randomness.
        landmarks: (B, 68, 3) pixels of the stored image.
        roll: (B,) radians, `crops.upright_roll` of the landmarks.
        config: strengths; second_pass_noise 0 gives the crop of `predictor.predict_photos` after
            a first pass without error.
        size: side of the crop in pixels.

    Returns:
        matrix and landmarks as `sample_crops`; initial (B, 68, 3): the first pass in crop pixels.
    """
    count = tf.shape(landmarks)[0]
    extent = tf.reduce_max(landmarks[..., :2], 1) - tf.reduce_min(landmarks[..., :2], 1)
    # E|e| of a plane Gaussian error e is sqrt(pi / 2) standard deviations.
    deviation = config.second_pass_noise * tf.sqrt(tf.reduce_prod(extent, -1) * 2.0 / np.pi)
    deviation *= seed.uniform([count], 0.0, 2.0)
    error = tf.einsum("ij,bjk->bik", tf.constant(error_factor()), seed.normal([count, NUM_LANDMARKS, 3]))
    initial = landmarks + deviation[:, None, None] * error
    angle = roll + seed.cut_normal([count], config.second_pass_noise)
    low, high = turned_box(initial, angle)
    side = CROP_SCALE * tf.reduce_max(high - low, -1)
    matrix = crop_matrix(angle, (low + high) / 2.0, side, sample_mirror(seed, count, config), size)
    return {
        "matrix": matrix,
        "landmarks": to_crop(landmarks, matrix, size),
        "initial": to_crop(initial, matrix, size),
    }


def sample_mirror(seed: SeedSequence, count: Tensor, config: AugmentConfig) -> Tensor:
    """Draw whether each face is mirrored: (B,) bool."""
    return seed.uniform([count]) < config.mirror


def turned_box(landmarks: Tensor, angle: Tensor) -> tuple[Tensor, Tensor]:
    """Least and greatest coordinates (B, 2) of landmarks along axes turned by `angle` (B,) radians."""
    turned = tf.matmul(landmarks[..., :2], image_ops.rotations(angle))
    return tf.reduce_min(turned, 1), tf.reduce_max(turned, 1)


def crop_matrix(angle: Tensor, centre: Tensor, side: Tensor, mirror: Tensor, size: int) -> Tensor:
    """Crop pixels to stored pixels, (B, 2, 3), of a square turned by `angle`.

    Args:
        angle: (B,) radians, clockwise.
        centre: (B, 2) along the turned axes.
        side: (B,) in stored pixels.
        mirror: (B,) whether the crop is mirrored.
        size: side of the crop in pixels.
    """
    turn = image_ops.rotations(angle)  # (B, 2, 2)
    sign = tf.where(mirror, -1.0, 1.0)
    linear = turn * (side / size)[:, None, None] * tf.stack([sign, tf.ones_like(sign)], -1)[:, None, :]
    offset = tf.linalg.matvec(turn, centre) - tf.reduce_sum(linear, -1) * ((size - 1) / 2.0)
    return tf.concat([linear, offset[..., None]], -1)


def to_crop(landmarks: Tensor, matrix: Tensor, size: int) -> Tensor:
    """Landmarks (B, 68, 3) of the stored image in the pixels of crops with `matrix` (B, 2, 3)."""
    linear = matrix[..., :2]
    offset = landmarks[..., :2] - matrix[:, None, :, 2]
    xy = tf.matmul(offset, tf.linalg.inv(linear), transpose_b=True)
    scale = tf.norm(linear[..., 1], axis=-1)  # stored pixels per crop pixel
    cropped = tf.concat([xy, landmarks[..., 2:] / scale[:, None, None]], -1)
    return tf.where(is_mirrored(matrix)[:, None, None], tf.gather(cropped, MIRROR_68, axis=1), cropped)


def is_mirrored(matrix: Tensor) -> Tensor:
    """Whether crops with `matrix` (B, 2, 3) show mirror images: (B,) bool."""
    return tf.linalg.det(matrix[..., :2]) < 0.0


def sample_appearance(
    seed: SeedSequence, count: Tensor, config: AugmentConfig, size: int
) -> dict[str, Tensor]:
    """Draw colours, blur and an occluder for each face.

    Returns:
        colour (B, 3, 4): affine map of RGB in [0, 255]; blur_level (B,) int32: 0 for none, else
        the 1-based index in `blur_sigmas`; occluder (B, 4): x0, y0, x1, y1 in crop pixels, without
        area for none; occluder_colour (B, 3) in [0, 255].
    """

    def factor(strength: float, *shape: int) -> Tensor:
        return 1.0 + strength * seed.uniform([count, *shape], -1.0, 1.0)

    contrast, brightness = factor(config.contrast, 1, 1), factor(config.brightness, 1, 1)
    saturation = factor(config.saturation, 1, 1)
    saturation = tf.where(seed.uniform([count, 1, 1]) < config.grey, 0.0, saturation)
    gain = factor(config.colour, 3, 1)
    luma = tf.tile(tf.constant([[LUMA]]), [1, 3, 1])  # (1, 3, 3)
    linear = contrast * brightness * gain * (saturation * tf.eye(3) + (1.0 - saturation) * luma)
    offset = 127.5 * brightness * (1.0 - contrast) * tf.ones([1, 3, 1])
    colour = tf.concat([linear, offset], -1)

    level = tf.cast(seed.uniform([count], 1.0, BLUR_LEVELS + 1.0), tf.int32)
    blurred = seed.uniform([count]) < (config.blur_probability if config.blur > 0 else 0.0)
    smallest = min(SMALLEST_OCCLUDER, config.occlusion_size)
    extent = seed.uniform([count, 2], smallest, config.occlusion_size) * size
    corner = seed.uniform([count, 2], -0.2, 1.0) * size
    occluded = (seed.uniform([count, 1]) < config.occlusion) & (config.occlusion_size > 0)
    occluder = tf.where(occluded, tf.concat([corner, corner + extent], -1), 0.0)
    return {
        "colour": colour,
        "blur_level": tf.where(blurred, level, 0),
        "occluder": tf.round(occluder),
        "occluder_colour": seed.uniform([count, 3], 0.0, 255.0),
    }


def sample_initial_shape(seed: SeedSequence, count: Tensor, config: AugmentConfig, size: int) -> Tensor:
    """The mean face in the crop, turned, scaled and shifted at random: (B, 68, 3) pixels."""
    mean = tf.constant(mean_landmarks(size))
    middle = (size - 1) / 2.0
    angle = seed.cut_normal([count], config.map_noise)
    scale = tf.exp(seed.cut_normal([count], config.map_noise))[:, None, None]
    shift = seed.cut_normal([count, 1, 2], config.map_noise * size)
    turn = image_ops.rotations(angle)  # (B, 2, 2)
    xy = tf.matmul(mean[None, :, :2] - middle, turn, transpose_b=True) * scale + middle + shift
    return tf.concat([xy, mean[None, :, 2:] * scale], -1)


def apply_opencv(
    images: NDArray[np.uint8] | JoinedImages,
    indices: NDArray[np.integer],
    matrix: NDArray[np.float32],
    colour: NDArray[np.float32],
    blur_level: NDArray[np.integer],
    occluder: NDArray[np.float32],
    occluder_colour: NDArray[np.float32],
    *,
    sigmas: tuple[float, ...],
    size: int,
) -> NDArray[np.uint8]:
    """Cut and change faces with OpenCV.

    Args:
        images: (N, C, C, 3) uint8, all stored faces.
        indices: (B,) numbers of the faces to cut.
        matrix, colour, blur_level, occluder, occluder_colour: see `sample_crops` and
            `sample_appearance`.
        sigmas: see `blur_sigmas`.
        size: side of the crop in pixels.

    Returns:
        (B, size, size, 3) uint8.
    """
    crops = np.empty((len(indices), size, size, 3), np.uint8)
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    for i, index in enumerate(indices):
        warp = matrix[i].astype(np.float64)
        shrink = float(np.sqrt(abs(np.linalg.det(warp[:, :2]))))
        # As `crops.cut_crops` does: bilinear sampling alone skips pixels of a larger face.
        factor = 1 if shrink <= MAX_SHRINK else min(int(np.ceil(shrink)), MAX_SUPERSAMPLING)
        if factor > 1:
            warp = image_ops.finer_map(warp, factor)
        crop = cv2.warpAffine(
            images[index], warp, (size * factor, size * factor), flags=flags, borderMode=cv2.BORDER_REFLECT
        )
        if factor > 1:
            crop = cv2.resize(crop, (size, size), interpolation=cv2.INTER_AREA)
        crop = cv2.transform(crop, colour[i])
        if blur_level[i]:
            crop = cv2.GaussianBlur(crop, BLUR_KERNEL, sigmas[blur_level[i] - 1])
        x0, y0, x1, y1 = (int(v) for v in np.clip(occluder[i], 0, size))
        crop[y0:y1, x0:x1] = occluder_colour[i].astype(np.uint8)
        crops[i] = crop
    return crops


def apply_graph(
    images: Tensor,
    matrix: Tensor,
    colour: Tensor,
    blur_level: Tensor,
    occluder: Tensor,
    occluder_colour: Tensor,
    *,
    sigmas: tuple[float, ...],
    size: int,
) -> Tensor:
    """`apply_opencv` in TensorFlow ops, which hold no lock of Python.

    Args:
        images: (B, C, C, 3) uint8, the stored faces of the batch, C known; the rest as
            `apply_opencv`.
    """
    crops = image_ops.smooth_crop(tf.cast(images, tf.float32), matrix, size)
    crops = tf.einsum("bhwc,bdc->bhwd", crops, colour[:, :, :3]) + colour[:, None, None, :, 3]
    crops = tf.clip_by_value(crops, 0.0, 255.0)
    crops = image_ops.gaussian_blur(crops, blur_level, sigmas)
    axis = tf.range(size, dtype=tf.float32)
    inside_x = (axis >= occluder[:, None, 0]) & (axis < occluder[:, None, 2])
    inside_y = (axis >= occluder[:, None, 1]) & (axis < occluder[:, None, 3])
    covered = inside_y[:, :, None, None] & inside_x[:, None, :, None]
    crops = tf.where(covered, tf.floor(occluder_colour)[:, None, None, :], crops)
    return tf.cast(tf.round(crops), tf.uint8)
