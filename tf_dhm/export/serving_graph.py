"""From encoded photos to landmarks inside the graph: what TF Serving runs.

Only operations of TensorFlow's own C++ kernels, so that the stock server can load them. What is cut
out is bit for bit what `crops.cut_crops` cuts out of what `images.read_photo` decodes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

from tf_dhm.core.types import Tensor
from tf_dhm.face import geometry
from tf_dhm.face.mean_face import mean_shape
from tf_dhm.runtime.crops import MAX_SHRINK, MAX_SUPERSAMPLING
from tf_dhm.runtime.images import BACKGROUND, MAX_PIXELS, MAX_SIDE

MAX_DECODED = 10 * MAX_PIXELS
"""Most pixels times scans of a progressive JPEG: each scan goes over all pixels once."""
MAX_BOX_SIDE = 2.0**20
"""Longest side of a box in pixels; beyond it positions of samples would overflow."""
HEADER_BYTES = 65536
"""Part of a photo in which its EXIF orientation and transparency are searched."""
PARALLEL_PHOTOS = 2
"""Photos of one request that are decoded at a time: bounds its memory."""

PART_MARGIN = 16
"""Pixels decoded around the needed part of a JPEG: colours at the edge are interpolated from fewer pixels."""

JPEG_START = b"\xff\xd8\xff"
PNG_START = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR"

# Of a fixed-point position of OpenCV's warps: bits of a step, and of what is left for the weights.
STEP_BITS, WEIGHT_BITS = 10, 5
WEIGHTS = 1 << WEIGHT_BITS


def pose(landmarks: Tensor) -> Tensor:
    """`geometry.pose_from_landmarks` against the mean face, in degrees.

    Args:
        landmarks: (B, 68, 3) float32 pixels.

    Returns:
        (B, 3) float32 pitch, yaw, roll; NaN if a landmark is not finite.
    """
    flip = np.array([1.0, -1.0, 1.0])
    source = mean_shape() * flip
    source = tf.constant(source - source.mean(0))
    finite = tf.reduce_all(tf.math.is_finite(landmarks), [1, 2])  # (B,)
    # Not into the decomposition: it need not end on NaN.
    target = tf.where(finite[:, None, None], tf.cast(landmarks, tf.float64), tf.zeros_like(source)) * flip
    target -= tf.reduce_mean(target, 1, keepdims=True)
    _, u, v = tf.linalg.svd(tf.matmul(target, source[None], transpose_a=True))
    sign = tf.sign(tf.linalg.det(tf.matmul(u, v, transpose_b=True)))
    rotation = tf.matmul(u * tf.stack([tf.ones_like(sign)] * 2 + [sign], -1)[:, None], v, transpose_b=True)
    # As `geometry.euler_angles`.
    sine = -rotation[:, 0, 2]
    locked = tf.abs(sine) > 1.0 - 1e-9
    yaw = tf.asin(tf.clip_by_value(sine, -1.0, 1.0))
    pitch = tf.where(
        locked,
        tf.atan2(-rotation[:, 2, 1], rotation[:, 1, 1]),
        tf.atan2(rotation[:, 1, 2], rotation[:, 2, 2]),
    )
    roll = tf.where(locked, tf.zeros_like(yaw), tf.atan2(rotation[:, 0, 1], rotation[:, 0, 0]))
    angles = tf.stack([pitch, yaw, roll], -1) * (180.0 / np.pi)
    return tf.cast(tf.where(finite[:, None], angles, np.nan), tf.float32)


def align_photos(
    photos: Tensor, boxes: Tensor, size: int, find: Callable[[Tensor], dict[str, Tensor]]
) -> dict[str, Tensor]:
    """Find the landmarks of one face in each of several encoded photos.

    A photo that cannot be read (no JPEG or PNG, broken, too large) or whose box is not finite, has no
    area or lies outside it gets 0 in all outputs, `confidence` among them; the others are not affected.
    (Not NaN: TF Serving writes NaN into its JSON, which JavaScript and others reject.)

    Args:
        photos: (B,) string, JPEG or PNG, of any sizes.
        boxes: (B, 4) float32 landmark boxes x0, y0, x1, y1 in pixels of the photo, turned as its
            EXIF orientation says.
        size: side S of the crops in pixels.
        find: crops (N, S, S, 3) uint8 -> `landmarks` (N, 68, 3) float32 in crop pixels and any
            other outputs with a row for each crop.

    Returns:
        the outputs of `find` with B rows, `landmarks` and any `points` in pixels of each photo.
    """
    count = tf.shape(photos)[0]

    def cut(index: Tensor, photo: Tensor, box: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        return (index, *cut_crop(photo, box, size))

    dataset = tf.data.Dataset.from_tensor_slices((tf.range(count), photos, boxes))
    dataset = dataset.map(
        tf.autograph.experimental.do_not_convert(cut), num_parallel_calls=PARALLEL_PHOTOS
    ).ignore_errors()
    # One more, so that there is a batch if no photo could be read: convolutions need not work on none.
    crop, square = tf.zeros([size, size, 3], tf.uint8), tf.ones([3], tf.float64)
    last = tf.data.Dataset.from_tensors((count, crop, square))
    dataset = dataset.concatenate(last).batch(tf.cast(count, tf.int64) + 1)
    index, crops, squares = dataset.get_single_element()
    index = index[:-1]
    found = tf.maximum(tf.size(index), 1)
    crops, squares = crops[:found], squares[:found]
    outputs = find(crops)
    scale = (squares[:, 2] / size)[:, None, None]
    middle = tf.concat([squares[:, :2], tf.zeros_like(squares[:, :1])], -1)[:, None]
    half = np.array([(size - 1) / 2.0] * 2 + [0.0])
    moved: dict[str, Tensor] = {
        name: tf.cast((tf.cast(outputs[name], tf.float64) - half) * scale + middle, tf.float32)
        for name in ("landmarks", "points")
        if name in outputs
    }
    outputs = {**outputs, **moved}
    # Row of each photo among the outputs; after the last of them if it has none.
    rows = tf.tensor_scatter_nd_update(tf.fill([count], found), index[:, None], tf.range(tf.size(index)))

    def scatter(output: Tensor) -> Tensor:
        return tf.gather(tf.concat([output, tf.zeros_like(output[:1])], 0), rows)

    return {name: scatter(output) for name, output in outputs.items()}


def cut_crop(photo: Tensor, box: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """Decode a photo and cut the crop of a box out of it, as `crops.cut_crops` does.

    Args:
        photo: () string.
        box: (4,) float32.
        size: side of the crop in pixels.

    Returns:
        crop (size, size, 3) uint8, and its square as of `geometry.crop_square`, (3,) float64.

    Raises:
        InvalidArgumentError: when run, on a photo that cannot be read or a box that is none.
    """
    head = tf.io.decode_raw(tf.strings.substr(photo, 0, HEADER_BYTES), tf.uint8)
    is_jpeg = tf.strings.substr(photo, 0, len(JPEG_START)) == JPEG_START
    height, width, exif = tf.cond(is_jpeg, lambda: read_jpeg(photo, head), lambda: read_png(photo, head))
    orientation = exif_orientation(head, exif)
    sideways = orientation >= 5
    shown = tf.where(sideways, [width, height], [height, width])
    box = tf.cast(tf.ensure_shape(box, [4]), tf.float64)
    sides, limits = box[2:] - box[:2], tf.cast(shown[::-1], tf.float64)
    # A comparison with NaN is false.
    good = tf.reduce_all((sides > 0) & (sides <= MAX_BOX_SIDE) & (box[:2] < limits) & (box[2:] > 0))
    with tf.control_dependencies([tf.debugging.Assert(good, ["box", box, "photo", shown])]):
        centre = (box[:2] + box[2:]) / 2.0
    side = geometry.CROP_SCALE * tf.reduce_max(sides)
    shrink = side / size
    factor = tf.minimum(tf.cast(tf.math.ceil(shrink), tf.int32), MAX_SUPERSAMPLING)
    factor = tf.where(shrink <= MAX_SHRINK, 1, factor)
    samples = size * factor
    x, places_x, weights_x = sample(centre[0], side, samples, shown[1], True)
    y, places_y, weights_y = sample(centre[1], side, samples, shown[0], False)
    # From the photo as it is shown to the raster as it is stored.
    rows, columns = tf.cond(sideways, lambda: (x, y), lambda: (y, x))
    rows = tf.where(is_one_of(orientation, (3, 4, 6, 7)), height - 1 - rows, rows)
    columns = tf.where(is_one_of(orientation, (2, 3, 7, 8)), width - 1 - columns, columns)
    block = tf.cond(
        is_jpeg,
        lambda: decode_part(photo, rows, columns, height, width),
        lambda: tf.gather(tf.gather(decode_png(photo, head), rows), columns, axis=1),
    )
    block = tf.ensure_shape(block, [None, None, None])
    block = tf.cond(sideways, lambda: tf.transpose(block, [1, 0, 2]), lambda: block)
    block = tf.cond(tf.shape(block)[2] == 4, lambda: over_background(block), lambda: tf.identity(block))
    block = tf.ensure_shape(block, [None, None, 3])  # (different y, different x, 3)
    # Whole numbers below 2^24 throughout: exact in float32.
    above, below = (tf.cast(tf.gather(block, places), tf.float32) for places in tf.split(places_y, 2))
    above_weights, below_weights = tf.split(weights_y[:, None, None], 2)
    block = above * above_weights + below * below_weights  # (samples, different x, 3)
    left, right = (tf.gather(block, places, axis=1) for places in tf.split(places_x, 2))
    left_weights, right_weights = tf.split(weights_x[:, None], 2)
    block = left * left_weights + right * right_weights  # (samples, samples, 3)
    block = tf.floor(block / WEIGHTS**2 + 0.5)
    block = tf.reduce_sum(tf.reshape(block, [size, factor, samples * 3]), 1)
    block = tf.reduce_sum(tf.reshape(block, [size, size, factor, 3]), 2)
    # OpenCV rounds halves up in the mean of 2 x 2, and to even in others.
    mean = tf.where(
        factor == 2, tf.floor(block / 4 + 0.5), tf.round(block * tf.cast(1 / factor**2, tf.float32))
    )
    return tf.cast(tf.ensure_shape(mean, [size, size, 3]), tf.uint8), tf.concat([centre, [side]], 0)


def sample(
    centre: Tensor, side: Tensor, samples: Tensor, length: Tensor, is_x: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """Positions at which a crop samples an axis of a photo, in the fixed point of OpenCV's `warpAffine`.

    Args:
        centre, side: of the crop's square, () float64 pixels.
        samples: how many, () int32.
        length: pixels of the photo on this axis.
        is_x: OpenCV rounds positions differently on the two axes.

    Returns:
        (P,) int32 different pixels; (2 samples) int32 which of them lie before the samples, then
        which behind; (2 samples) float32 their weights, whole numbers that sum to WEIGHTS for a
        sample; 0 outside the photo, so that it is black there.
    """
    scale = side / tf.cast(samples, tf.float64)
    first = centre - scale * (tf.cast(samples - 1, tf.float64) / 2.0)
    steps, one = scale * tf.cast(tf.range(samples), tf.float64), float(1 << STEP_BITS)
    fixed = tf.round(first * one) + tf.round(steps * one) if is_x else tf.round((steps + first) * one)
    fixed = tf.cast(fixed, tf.int64) + (1 << (STEP_BITS - WEIGHT_BITS - 1))
    fixed = tf.bitwise.right_shift(fixed, tf.constant(STEP_BITS - WEIGHT_BITS, tf.int64))
    before = tf.bitwise.right_shift(fixed, tf.constant(WEIGHT_BITS, tf.int64))
    behind_weights = fixed - before * WEIGHTS
    positions = tf.cast(tf.concat([before, before + 1], 0), tf.int32)
    weights = tf.cast(tf.concat([WEIGHTS - behind_weights, behind_weights], 0), tf.float32)
    weights = tf.where((positions >= 0) & (positions < length), weights, 0.0)
    pixels, places = tf.unique(tf.clip_by_value(positions, 0, length - 1))
    return pixels, places, weights


def over_background(pixels: Tensor) -> Tensor:
    """(H, W, 4) uint8 RGBA laid over `images.BACKGROUND`: (H, W, 3) uint8."""
    wide = tf.cast(pixels, tf.int32)
    alpha = wide[..., 3:]
    mixed = wide[..., :3] * alpha + tf.constant(BACKGROUND) * (255 - alpha)
    return tf.cast((mixed + 127) // 255, tf.uint8)


def read_jpeg(photo: Tensor, head: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Height and width of a JPEG as stored, and the position of its EXIF data in `head`, all () int32.

    Raises:
        InvalidArgumentError: when run, if it is too large.
    """
    height, width = tf.unstack(tf.io.extract_jpeg_shape(photo)[:2])
    content = tf.io.decode_raw(photo, tf.uint8)
    scans = tf.math.count_nonzero((content[:-1] == 0xFF) & (content[1:] == 0xDA))
    with tf.control_dependencies([check_size(height, width, scans)]):
        height = tf.identity(height)
    # A marker and a length of two bytes come before the name.
    return height, width, find_bytes(head, [0xFF, 0xE1, None, None, *b"Exif\0\0"])


def decode_part(photo: Tensor, rows: Tensor, columns: Tensor, height: Tensor, width: Tensor) -> Tensor:
    """Some rows and columns of a JPEG of this size: (R, C, 3) uint8, those of the whole picture.

    Only the part in which they lie is decoded, and the file is read no farther down: for a face that takes a
    third of the photo this is half the time. What is damaged below is not noticed.
    """

    def reach(places: Tensor, length: Tensor) -> tuple[Tensor, Tensor]:
        low = tf.maximum(tf.reduce_min(places) - PART_MARGIN, 0)
        return low, tf.minimum(tf.reduce_max(places) + 1 + PART_MARGIN, length) - low

    top, tall = reach(rows, height)
    left, wide = reach(columns, width)
    part = tf.io.decode_and_crop_jpeg(
        # The inverse transform that Pillow uses.
        photo, [top, left, tall, wide], channels=3, dct_method="INTEGER_ACCURATE"
    )  # fmt: skip
    return tf.gather(tf.gather(part, rows - top), columns - left, axis=1)


def read_png(photo: Tensor, head: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """As `read_jpeg`, of a PNG."""
    start = tf.strings.substr(photo, 0, len(PNG_START))
    with tf.control_dependencies([tf.debugging.Assert(start == PNG_START, ["found no JPEG or PNG"])]):
        width, height = (number(head, len(PNG_START) + offset, 4) for offset in (0, 4))
    with tf.control_dependencies([check_size(height, width, tf.constant(1, tf.int64))]):
        height = tf.identity(height)
    return height, width, find_bytes(head, b"eXIf")


def decode_png(photo: Tensor, head: Tensor) -> Tensor:
    """The pixels of a PNG, (H, W, 3 or, if some may be transparent, 4) uint8."""
    colour = tf.cast(head[len(PNG_START) + 9], tf.int32)
    # Bit 4 is an alpha channel; else a chunk may make a colour transparent.
    transparent = (tf.bitwise.bitwise_and(colour, 4) > 0) | (find_bytes(head, b"tRNS") > 0)
    return tf.cond(
        transparent,
        lambda: tf.io.decode_png(photo, channels=4),
        lambda: tf.io.decode_png(photo, channels=3),
    )


def check_size(height: Tensor, width: Tensor, scans: Tensor) -> Tensor:
    """Assert that a photo is not too large to decode."""
    pixels = tf.cast(height, tf.int64) * tf.cast(width, tf.int64)
    good = (tf.minimum(height, width) > 0) & (tf.maximum(height, width) <= MAX_SIDE)
    good &= (pixels <= MAX_PIXELS) & (scans <= MAX_DECODED // tf.maximum(pixels, 1))
    return tf.debugging.Assert(good, ["height, width, scans", height, width, scans])


def find_bytes(content: Tensor, pattern: Any) -> Tensor:
    """The position after the first occurrence of bytes, () int32; -1 if there is none.

    Args:
        content: (N,) uint8.
        pattern: values; None stands for any.
    """
    places = tf.maximum(tf.size(content) - len(pattern) + 1, 0)
    found = tf.ones([places], tf.bool)
    for offset, value in enumerate(pattern):
        if value is not None:
            found &= content[offset : offset + places] == value
    first = tf.reduce_min(tf.where(found, tf.range(places), tf.int32.max))
    return tf.where(tf.reduce_any(found), first + len(pattern), -1)


def exif_orientation(head: Tensor, start: Tensor) -> Tensor:
    """The orientation that EXIF data state, () int32; 1 if they state none.

    Args:
        head: (N,) uint8, the first bytes of a photo.
        start: where in it the EXIF data begin: a TIFF header; -1 for none.
    """
    little = number(head, start, 2) == 0x4949  # "II"; else "MM"

    def read(place: Tensor, length: int) -> Tensor:
        return tf.where(little, number(head, place, length, True), number(head, place, length))

    directory = start + read(start + 4, 4)
    entries = tf.minimum(read(directory, 2), 512)
    places = directory + 2 + 12 * tf.range(entries)
    kind = tf.where(read(places, 2) == 0x0112, read(places + 2, 2), 0)
    values = tf.where(kind == 3, read(places + 8, 2), 0)  # of 16 bits
    orientation = tf.reduce_max(tf.concat([[0], values], 0))
    return tf.where((start >= 0) & (orientation >= 1) & (orientation <= 8), orientation, 1)


def number(content: Tensor, place: Tensor, length: int, little: bool = False) -> Tensor:
    """Unsigned numbers of `length` bytes at places of (N,) uint8, as int32; bytes outside are 0."""
    total: Tensor = 0
    for index in range(length):
        byte = place + index
        inside = (byte >= 0) & (byte < tf.size(content))
        value = tf.gather(content, tf.clip_by_value(byte, 0, tf.maximum(tf.size(content) - 1, 0)))
        shift = 8 * (index if little else length - 1 - index)
        total += tf.where(inside, tf.cast(value, tf.int32), 0) * (1 << shift)
    return total


def is_one_of(value: Tensor, values: tuple[int, ...]) -> Tensor:
    return tf.reduce_any(value == tf.constant(values))
