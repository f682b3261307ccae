"""Photos as RGB uint8 arrays: decoding, EXIF orientation, and clear errors for what is no photo."""

from __future__ import annotations

import io
import struct
import warnings
import zlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray
from PIL import ExifTags, Image, ImageOps, JpegImagePlugin, UnidentifiedImageError

from tf_dhm.core.errors import InputError

MAX_PIXELS = 8192 * 8192
"""Most pixels that are decoded. A larger JPEG is decoded at 1/2, 1/4 or 1/8 of its size."""
MAX_SIDE = 32766
"""Longest side in pixels that OpenCV's warps can read."""
BACKGROUND = (255, 255, 255)
"""What transparent pixels are laid over."""

PHOTO_SUFFIXES = frozenset(
    [".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".bmp", ".gif"]
    + [".tif", ".tiff", ".avif", ".jp2", ".ppm", ".pgm", ".heic", ".heif"]
)
"""Suffixes by which photos are looked for in a folder."""

FORMATS = ("AVIF", "BMP", "DIB", "GIF", "JPEG2000", "PNG", "PPM", "TIFF", "WEBP")
"""What is read beside JPEG: of Pillow's formats those that photos come in."""

Source = str | Path | bytes | np.ndarray
SIDEWAYS = (5, 6, 7, 8)  # EXIF orientations that swap width and height
HEIC_BRANDS = frozenset([b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"])
# What Pillow's decoders raise on broken data, as found by feeding them such data.
DECODE_ERRORS = (
    OSError,
    SyntaxError,
    ValueError,
    EOFError,
    OverflowError,
    RuntimeError,
    struct.error,
    zlib.error,
)


@dataclass(frozen=True, eq=False)
class Photo:
    """A decoded photo.

    Attributes:
        pixels: (H, W, 3) uint8 RGB, turned as its EXIF orientation says.
        width, height: size of the original in pixels, turned alike.
        reduction: original pixels per pixel of `pixels`, 1 unless the photo was too large.
    """

    pixels: NDArray[np.uint8] = field(repr=False)
    width: int
    height: int
    reduction: int = 1

    def to_original(self, points: ArrayLike) -> NDArray[np.floating]:
        """Points (..., 2 or 3) in pixels of `pixels` -> pixels of the original photo."""
        moved = np.array(points, np.float64) * self.reduction
        moved[..., :2] += (self.reduction - 1) / 2.0
        return moved

    def to_pixels(self, points: ArrayLike) -> NDArray[np.floating]:
        """Points (..., 2 or 3) in pixels of the original photo -> pixels of `pixels`."""
        moved = np.array(points, np.float64)
        moved[..., :2] -= (self.reduction - 1) / 2.0
        return moved / self.reduction

    def boxes_to_pixels(self, boxes: ArrayLike) -> NDArray[np.floating]:
        """Boxes (N, 4) in pixels of the original photo -> pixels of `pixels`."""
        return self.to_pixels(np.reshape(boxes, (-1, 2, 2))).reshape(-1, 4)


def read_photo(source: Source) -> Photo:
    """Decode a photo, whatever its format, into RGB.

    Files may be JPEG or any of FORMATS, whatever their suffix says: grey, palette, CMYK, 16-bit
    (the upper 8 bits are kept), with transparency (laid over white), animated (the first frame).

    Args:
        source: path, encoded bytes, or an array: uint8 (H, W, 3) RGB, (H, W, 4) RGBA, (H, W) or
            (H, W, 1) grey.

    Raises:
        InputError: no file, no picture, a broken, unsupported or too large picture, or an array of
            another dtype or shape; names the source.
    """
    if isinstance(source, np.ndarray):
        return photo_from_array(source)
    if isinstance(source, bytes):
        return decode(io.BytesIO(source), "photo (bytes)")
    path = Path(source)
    try:
        with path.open("rb") as file:
            return decode(file, f"photo {path}")
    except OSError as error:
        raise InputError(f"photo {path}: cannot be read: {error.strerror or error}") from error


def photo_from_array(array: np.ndarray) -> Photo:
    """Check an array as `read_photo` takes it and return it as RGB."""
    shape = array.shape
    if array.dtype != np.uint8 or array.ndim not in (2, 3) or (array.ndim == 3 and shape[2] not in (1, 3, 4)):
        raise InputError(
            f"photo (array): found {array.dtype} of shape {shape}, expected uint8 (H, W, 3) RGB, "
            "(H, W, 4) RGBA or (H, W) grey"
        )
    height, width = shape[:2]
    if not 0 < min(height, width) <= max(height, width) <= MAX_SIDE:
        raise InputError(f"photo (array): found {width} x {height} pixels, expected sides of 1 to {MAX_SIDE}")
    if array.ndim == 2 or shape[2] == 1:
        array = np.repeat(array.reshape(height, width, 1), 3, -1)
    elif shape[2] == 4:
        array = np.asarray(to_rgb(Image.fromarray(array)))
    return Photo(np.ascontiguousarray(array), width, height)


def decode(file: BinaryIO, name: str) -> Photo:
    """Decode an open file; `name` stands in the errors."""
    header = file.read(12)
    file.seek(0)
    if not header:
        raise InputError(f"{name}: found an empty file, expected a picture")
    try:
        image = open_image(file, header)
    except Image.DecompressionBombError as error:
        raise InputError(f"{name}: found too many pixels, expected at most {MAX_PIXELS}: {error}") from error
    except UnidentifiedImageError as error:
        raise InputError(f"{name}: found {describe(header)}, expected a picture (JPEG, PNG, ...)") from error
    except DECODE_ERRORS as error:
        raise InputError(f"{name}: found a broken picture: {error}") from error
    with image:
        width, height = image.size
        reduction = choose_reduction(image, name)
        try:
            sideways = image.getexif().get(ExifTags.Base.Orientation, 1) in SIDEWAYS
            if reduction > 1:
                image.draft(None, (image.width // reduction, image.height // reduction))
            image.load()
            ImageOps.exif_transpose(image, in_place=True)
            pixels = np.ascontiguousarray(to_rgb(image))
        except DECODE_ERRORS as error:
            raise InputError(f"{name}: found a broken {image.format} picture: {error}") from error
    if reduction == 1:
        height, width = pixels.shape[:2]
    elif sideways:
        height, width = width, height
    return Photo(pixels, width, height, reduction)


def open_image(file: BinaryIO, header: bytes) -> Image.Image:
    """Read a picture's header."""
    if header.startswith(b"\xff\xd8\xff"):
        # Not by Image.open: that refuses large pictures, and a JPEG can be decoded reduced.
        return JpegImagePlugin.JpegImageFile(file)
    with warnings.catch_warnings():
        # `choose_reduction` refuses what this warns of.
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        return Image.open(file, formats=FORMATS)


def choose_reduction(image: Image.Image, name: str) -> int:
    """By how much to reduce a picture while decoding it, so that memory stays bounded."""
    width, height = image.size
    # A progressive JPEG is held whole in memory, however small the picture made from it.
    can_reduce = image.format == "JPEG" and "progressive" not in image.info
    for reduction in (1, 2, 4, 8) if can_reduce else (1,):
        reduced = [-(-side // reduction) for side in (width, height)]
        if reduced[0] * reduced[1] <= MAX_PIXELS and max(reduced) <= MAX_SIDE:
            return reduction
    raise InputError(
        f"{name}: found {width} x {height} pixels, expected at most {MAX_PIXELS} in all and {MAX_SIDE} a side"
    )


def to_rgb(image: Image.Image) -> Image.Image:
    """Any of Pillow's modes to RGB; raises ValueError for one that holds no picture."""
    if image.mode.startswith("I;16") or image.mode == "I":
        values = np.asarray(image)
        if values.min() < 0 or values.max() > 65535:
            raise ValueError(f"grey values {values.min()} to {values.max()}, expected 0 to 65535")
        image = Image.fromarray((values >> 8).astype(np.uint8))
    elif image.mode == "F":
        raise ValueError("floating-point pixels, expected 8 or 16 bits")
    if image.has_transparency_data:
        front = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", front.size, BACKGROUND), front).convert("RGB")
    return image if image.mode == "RGB" else image.convert("RGB")


def describe(header: bytes) -> str:
    """What the first bytes of a file that is no readable picture are."""
    if header[4:8] == b"ftyp":
        if header[8:12] in HEIC_BRANDS:
            return "a HEIC picture, which cannot be read here (convert it to JPEG)"
        return "a video"
    if header.startswith(b"%PDF"):
        return "a PDF document"
    return "no known picture format"


def decode_raster(encoded: bytes, source: str) -> NDArray[np.uint8]:
    """Decode to (H, W, 3) uint8 RGB, in the stored raster, which the labels of datasets refer to.

    Unlike `read_photo` it leaves the EXIF orientation alone.

    Raises:
        InputError: no whole image, or one too large to decode; names `source`.
    """
    flags = cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION
    try:
        image = cv2.imdecode(np.frombuffer(encoded, np.uint8), flags) if encoded else None
    except cv2.error as error:
        raise InputError(f"{source}: found {error.err}, expected an image") from error
    if image is None:
        raise InputError(f"{source}: found {len(encoded)} bytes that do not decode, expected an image")
    return np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2RGB), np.uint8)
