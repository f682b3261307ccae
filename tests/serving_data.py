"""Photos, good and bad, and models for the tests of serving."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

ASTRONAUT = Path(__file__).parent / "data" / "astronaut.jpg"
FACE = (180.0, 70.0, 270.0, 180.0)
"""Landmark box of the face on it, about."""


def encode(image: Image.Image, kind: str = "JPEG", **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def noise_photo(seed: int, width: int = 60, height: int = 50) -> Image.Image:
    """A photo like no other: smooth noise, which survives JPEG."""
    rng = np.random.default_rng(seed)
    small = rng.integers(0, 256, (height // 5, width // 5, 3)).astype(np.uint8)
    return Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC)


def with_orientation(image: Image.Image, orientation: int, kind: str) -> bytes:
    exif = Image.Exif()
    exif[0x010F] = "Maker"  # another entry before it
    exif[0x0112] = orientation
    return encode(image, kind, exif=exif)


def png_chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png_that_claims(width: int, height: int) -> bytes:
    """A PNG whose header states a size, with pixels for a few rows at most."""
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    pixels = png_chunk(b"IDAT", zlib.compress(bytes(100_000)))
    return b"\x89PNG\r\n\x1a\n" + png_chunk(b"IHDR", header) + pixels + png_chunk(b"IEND", b"")


def jpeg_that_claims(width: int, height: int) -> bytes:
    """A JPEG whose header states a size that it does not have."""
    content = bytearray(encode(noise_photo(0)))
    frame = content.index(b"\xff\xc0")
    content[frame + 5 : frame + 9] = struct.pack(">HH", height, width)
    return bytes(content)


def many_scans(copies: int) -> bytes:
    """A large progressive JPEG whose last scan is repeated: small, but long to decode."""
    content = encode(Image.new("RGB", (4000, 4000)), progressive=True)
    last = content.rindex(b"\xff\xda")
    return content[:-2] + content[last:-2] * copies + content[-2:]


def bad_photos() -> dict[str, bytes]:
    """Bytes that are no photo, or none that is decoded."""
    good = encode(noise_photo(1))
    png = encode(noise_photo(1), "PNG")
    return {
        "empty": b"",
        "one byte": b"\xff",
        "text": b"no photo at all\n" * 50,
        "zeros": bytes(1000),
        "truncated JPEG": good[: len(good) // 2],
        "JPEG header": good[:20],
        "JPEG start": good[:3],
        "truncated PNG": png[: len(png) // 2],
        "PNG header": png[:33],
        "PNG start": png[:8],
        "GIF": encode(noise_photo(1), "GIF"),
        "BMP": encode(noise_photo(1), "BMP"),
        "WebP": encode(noise_photo(1), "WEBP"),
        "PNG of 30,000 x 30,000": png_that_claims(30_000, 30_000),
        "PNG of 40,000 x 10": png_that_claims(40_000, 10),
        "PNG of 2^31": png_that_claims(2**31 - 1, 2**31 - 1),
        "PNG of 2^32": png_that_claims(2**32 - 1, 3),
        "PNG of 0 x 9": png_that_claims(0, 9),
        "JPEG of 65,500 x 65,500": jpeg_that_claims(65_500, 65_500),
        "JPEG of 0 x 9": jpeg_that_claims(0, 9),
        "JPEG of 100 scans": many_scans(100),
    }


def bad_boxes(width: float, height: float) -> dict[str, tuple[float, float, float, float]]:
    """Boxes that are none, or lie outside a photo of this size."""
    nan, inf = float("nan"), float("inf")
    return {
        "NaN": (nan, 0, 10, 10),
        "NaN behind": (0, 0, 10, nan),
        "infinite": (0, 0, inf, 10),
        "all infinite": (-inf, -inf, inf, inf),
        "no area": (5, 5, 5, 9),
        "reversed": (20, 20, 10, 10),
        "right of it": (width, 0, width + 10, 10),
        "above it": (0, -20, 10, 0),
        "largest numbers": (-3e38, -3e38, 3e38, 3e38),
        "too long": (0, 0, 2e6, 10),
    }


def random_boxes(rng: np.random.Generator, width: int, height: int, count: int) -> NDArray[np.float32]:
    """Boxes in and partly outside a photo, of all sizes."""
    centres = rng.uniform(0.1, 0.9, (count, 2)) * [width, height]
    sides = np.exp(rng.uniform(np.log(8.0), np.log(2.5 * max(width, height)), (count, 1)))
    half = sides * rng.uniform(0.6, 1.0, (count, 2)) / 2
    return np.concatenate([centres - half, centres + half], 1).astype(np.float32)
