"""Photos as RGB uint8 arrays, from whatever a user has: files, bytes, arrays, Pillow images, tensors."""

from __future__ import annotations

import io
import os
import struct
import warnings
import zlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, Protocol

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray
from PIL import ExifTags, Image, ImageOps, JpegImagePlugin, UnidentifiedImageError

from tf_dhm.core.errors import InputError, type_name

HEADER_BYTES = 192
AVIF_BRANDS = (b"avif", b"avis")
VIDEO_MAGIC = (b"\x1aE\xdf\xa3", b"FLV", b"OggS", b"\x00\x00\x01\xba", b"\x30\x26\xb2\x75")
"""First bytes of Matroska and WebM, FLV, Ogg, MPEG program streams and WMV."""
MAX_BYTES = 2**30
"""Most bytes that are read of a pipe or an open file, which may have no end."""
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
"""Suffixes by which photos are searched for in a folder."""

FORMATS = ("AVIF", "BMP", "DIB", "GIF", "JPEG2000", "PNG", "PPM", "TIFF", "WEBP")
"""What is read beside JPEG: of Pillow's formats those that photos come in."""


class HasArray(Protocol):
    """Whatever NumPy can turn into an array: tensors of TensorFlow, PyTorch (on the CPU), JAX."""

    def __array__(self) -> np.ndarray: ...


Source = (
    str | os.PathLike[str] | bytes | bytearray | memoryview | BinaryIO | Image.Image | np.ndarray | HasArray
)
"""What a photo is read from, see `read_photo`."""
TAKEN = (
    "a path, encoded bytes, a file opened with 'rb', a Pillow image, or an array or tensor: uint8 "
    "(H, W, 3) RGB, (H, W, 4) RGBA or (H, W) grey"
)
"""The same in words, for errors."""
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
        moved = np.array(points, np.float64)
        if self.reduction > 1:
            moved *= self.reduction
            moved[..., :2] += (self.reduction - 1) / 2.0
        return moved

    def to_pixels(self, points: ArrayLike) -> NDArray[np.floating]:
        """Points (..., 2 or 3) in pixels of the original photo -> pixels of `pixels`."""
        moved = np.array(points, np.float64)
        if self.reduction > 1:
            moved[..., :2] -= (self.reduction - 1) / 2.0
            moved /= self.reduction
        return moved

    def boxes_to_pixels(self, boxes: ArrayLike) -> NDArray[np.floating]:
        """Boxes (N, 4) in pixels of the original photo -> pixels of `pixels`."""
        return self.to_pixels(np.reshape(boxes, (-1, 2, 2))).reshape(-1, 4)


def read_photo(source: Source | Photo) -> Photo:
    """Decode a photo, whatever its format, into RGB.

    Files may be JPEG or any of FORMATS, whatever their suffix says: grey, palette, CMYK, 16-bit
    (the upper 8 bits are kept), with transparency (laid over white), animated (the first frame).
    Pixels that are given must be uint8: floating-point pixels are rejected, because their range
    (0 to 1, or 0 to 255) cannot be known.

    Args:
        source: a path; encoded bytes (`bytes`, `bytearray`, `memoryview`); a binary file, read from where it
            stands; a Pillow image, turned as its EXIF orientation says; an array, or an object that NumPy
            turns into one (a tensor): uint8 (H, W, 3) RGB, (H, W, 4) RGBA, (H, W) or (H, W, 1) grey; or a
            `Photo`, which is returned as it is.

    Returns:
        the photo in RGB.

    Raises:
        InputError: no file, no picture, a broken, unsupported or too large picture, an array of another dtype
            or shape, or an object of another type; names the source.

    Example:
        >>> photo = read_photo(np.zeros((48, 64), np.uint8))
        >>> photo.pixels.shape, photo.width, photo.height
        ((48, 64, 3), 64, 48)
    """
    if isinstance(source, Photo):
        return source
    if isinstance(source, np.ndarray):
        return photo_from_array(source)
    if isinstance(source, bytes | bytearray | memoryview):
        return decode(io.BytesIO(source), "photo (bytes)")
    if isinstance(source, str | os.PathLike):
        return read_file(source)
    if isinstance(source, Image.Image):
        return photo_from_pillow(source)
    if hasattr(source, "read"):
        return read_opened(source)
    if hasattr(source, "__array__"):
        return photo_from_array(as_array(source))
    if source is None:
        raise InputError(
            f"photo: found None (cv2.imread gives it for a file it cannot read), expected {TAKEN}"
        )
    raise InputError(f"photo: found {type_name(source)}, expected {TAKEN}")


def read_file(path: str | os.PathLike[str]) -> Photo:
    """Decode a file."""
    name = f"photo {os.fspath(path)}"
    if not os.fspath(path):
        raise InputError("photo: found an empty path, expected that of a file")
    if isinstance(path, str) and "://" in path:
        raise InputError(f"{name}: found a URL, which is not downloaded; expected a path")
    try:
        with Path(path).open("rb") as file:
            return decode(file, name)
    except OSError as error:
        raise InputError(f"{name}: cannot be read: {error.strerror or error}") from error
    except ValueError as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{name!r}: found no path: {error}") from error  # a null byte in it


def read_opened(file: Any) -> Photo:
    """Decode the rest of an open file."""
    name = f"photo {getattr(file, 'name', '(file)')}"
    return decode(io.BytesIO(read_stream(file, name)), name)


def read_stream(file: Any, name: str) -> bytes:
    """The rest of an open file or pipe.

    Raises:
        InputError: it cannot be read, is opened as text or holds more than MAX_BYTES.
    """
    chunks, size = [], 0
    try:
        while size <= MAX_BYTES and (chunk := file.read(MAX_BYTES + 1 - size)):
            chunks.append(chunk)
            size += len(chunk)
    except (OSError, ValueError) as error:
        raise InputError(f"{name}: cannot be read: {getattr(error, 'strerror', None) or error}") from error
    if not all(isinstance(chunk, bytes | bytearray | memoryview) for chunk in chunks):
        raise InputError(f"{name}: found text, expected a file opened with 'rb'")
    if size > MAX_BYTES:
        raise InputError(f"{name}: found more than {MAX_BYTES:,} bytes, expected a picture")
    return b"".join(chunks)


def photo_from_pillow(image: Image.Image) -> Photo:
    """The pixels of a Pillow image, which is left as it is."""
    name = f"photo (Pillow image {image.mode} of {image.width} x {image.height} pixels)"
    if image.width * image.height > MAX_PIXELS or not 0 < min(image.size) <= max(image.size) <= MAX_SIDE:
        raise InputError(f"{name}: expected sides of 1 to {MAX_SIDE} and at most {MAX_PIXELS} pixels")
    try:
        turned = ImageOps.exif_transpose(image)
        return photo_from_array(np.asarray(to_rgb(image if turned is None else turned)))
    except DECODE_ERRORS as error:
        raise InputError(f"{name}: found a broken picture: {error}") from error


def as_array(source: Any) -> np.ndarray:
    """An object with `__array__` as an array."""
    try:
        return np.asarray(source)
    except Exception as error:
        # Libraries raise types of their own, for example of a tensor on a GPU or in a graph.
        raise InputError(f"photo ({type_name(source)}): found no pixels on the CPU: {error}") from error


def photo_from_array(array: np.ndarray) -> Photo:
    """Check an array as `read_photo` takes it and return it as RGB."""
    array = np.asarray(array)  # of its sub-classes a matrix cannot be indexed like an array
    shape = array.shape
    if array.dtype != np.uint8 or array.ndim not in (2, 3) or (array.ndim == 3 and shape[2] not in (1, 3, 4)):
        hint = "; pixels from 0 to 1 become uint8 by (255 * pixels).astype(np.uint8)"
        raise InputError(
            f"photo (array): found {array.dtype} of shape {shape}, expected uint8 (H, W, 3) RGB, "
            f"(H, W, 4) RGBA or (H, W) grey{hint if array.dtype.kind == 'f' else ''}"
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
    header = file.read(HEADER_BYTES)
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
        # Not by Image.open: that rejects large pictures, and a JPEG can be decoded reduced.
        return JpegImagePlugin.JpegImageFile(file)
    with warnings.catch_warnings():
        # `choose_reduction` rejects what this warns of.
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        return Image.open(file, formats=FORMATS + (heif_formats() if header[4:8] == b"ftyp" else ()))


def heif_formats() -> tuple[str, ...]:
    """The name of the HEIC format if pillow-heif, which adds it to Pillow, is installed."""
    try:
        import pillow_heif
    except ImportError:
        return ()
    pillow_heif.register_heif_opener()
    return ("HEIF",)


def choose_reduction(image: Image.Image, name: str) -> int:
    """The factor by which a picture is reduced while it is decoded, so that memory stays bounded."""
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


def frame_pixels(image: Source | Photo) -> NDArray[np.uint8]:
    """The pixels of a frame of a video, (H, W, 3) uint8 RGB.

    Raises:
        InputError: it is no photo as `read_photo` takes it, or larger than MAX_PIXELS.
    """
    photo = read_photo(image)
    if photo.reduction > 1:
        raise InputError(f"frame: found {photo.width} x {photo.height} pixels, expected at most {MAX_PIXELS}")
    return photo.pixels


def describe(header: bytes) -> str:
    """What the first bytes of a file that is no readable picture are."""
    if header[4:8] == b"ftyp" and header[8:12] in HEIC_BRANDS:
        return "a HEIC picture, for which the package pillow-heif must be installed"
    if is_video(header):
        return "a video"
    if header.startswith(b"%PDF"):
        return "a PDF document"
    return "no known picture format"


def is_video(header: bytes) -> bool:
    """Whether a file that begins with these HEADER_BYTES is a video.

    >>> is_video(b"RIFF0000AVI LIST"), is_video(b"GIF89a")
    (True, False)
    """
    if header[4:8] == b"ftyp":
        return header[8:12] not in (*HEIC_BRANDS, *AVIF_BRANDS)
    if header[:4] == b"RIFF":
        return header[8:12] == b"AVI "
    is_transport_stream = header[:1] == header[188:189] == b"G"  # the first byte of each packet
    return header.startswith(VIDEO_MAGIC) or is_transport_stream


def decode_raster(encoded: bytes, source: str) -> NDArray[np.uint8]:
    """Decode to (H, W, 3) uint8 RGB, in the stored raster, which the labels of datasets refer to.

    Unlike `read_photo` it ignores the EXIF orientation.

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
