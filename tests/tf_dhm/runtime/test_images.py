"""Tests of tf_dhm.runtime.images: every kind of photo, and every kind of file that is none."""

from __future__ import annotations

import doctest
import io
import struct
import zlib
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import tensorflow as tf
from numpy.typing import NDArray
from PIL import ExifTags, Image

from tf_dhm.core.errors import InputError
from tf_dhm.runtime import images
from tf_dhm.runtime.images import Photo, read_photo

RED, GREY_VALUE = (200, 40, 30), 120


def encode(image: Image.Image, kind: str, **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def corner_photo() -> Image.Image:
    """60 x 40, red with a blue top left quarter."""
    image = Image.new("RGB", (60, 40), RED)
    image.paste((20, 30, 220), (0, 0, 30, 20))
    return image


def png_with_size(width: int, height: int) -> bytes:
    """A PNG that claims a size and holds no pixels: none are read of one that is too large."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b""))


def transparent(mode: str) -> Image.Image:
    image = Image.new("RGBA", (8, 6), (*RED, 255))
    image.paste((0, 0, 0, 0), (0, 0, 4, 6))
    return image.convert(mode)


def png16(channels: int) -> bytes:
    values = np.full((6, 8, channels) if channels > 1 else (6, 8), GREY_VALUE * 256 + 77, np.uint16)
    return bytes(cv2.imencode(".png", values)[1])


def palette_with_transparency() -> bytes:
    image = Image.new("P", (8, 6), 1)
    image.putpalette([0, 0, 0, *RED])
    image.paste(0, (0, 0, 4, 6))
    return encode(image, "PNG", transparency=0)


GREY = (GREY_VALUE,) * 3
WHITE = (255, 255, 255)

READ = {
    "JPEG": (encode(Image.new("RGB", (8, 6), RED), "JPEG", quality=95), RED, RED),
    "progressive JPEG": (
        encode(Image.new("RGB", (8, 6), RED), "JPEG", quality=95, progressive=True),
        RED,
        RED,
    ),
    "grey JPEG": (encode(Image.new("L", (8, 6), GREY_VALUE), "JPEG"), GREY, GREY),
    "CMYK JPEG": (encode(Image.new("CMYK", (8, 6), (0, 255, 255, 0)), "JPEG"), (255, 0, 0), (255, 0, 0)),
    "CMYK TIFF": (encode(Image.new("CMYK", (8, 6), (0, 255, 255, 0)), "TIFF"), (255, 0, 0), (255, 0, 0)),
    "PNG": (encode(Image.new("RGB", (8, 6), RED), "PNG"), RED, RED),
    "grey PNG": (encode(Image.new("L", (8, 6), GREY_VALUE), "PNG"), GREY, GREY),
    "bilevel PNG": (encode(Image.new("1", (8, 6), 1), "PNG"), WHITE, WHITE),
    "palette PNG": (encode(Image.new("RGB", (8, 6), RED).quantize(4), "PNG"), RED, RED),
    "RGBA PNG": (encode(transparent("RGBA"), "PNG"), WHITE, RED),
    "LA PNG": (encode(transparent("LA"), "PNG"), WHITE, (87, 87, 87)),
    "palette PNG with a transparent colour": (palette_with_transparency(), WHITE, RED),
    "16-bit grey PNG": (png16(1), GREY, GREY),
    "16-bit RGB PNG": (png16(3), GREY, GREY),
    "16-bit RGBA PNG": (png16(4), (191, 191, 191), (191, 191, 191)),  # alpha 120 over white
    "16-bit grey TIFF": (encode(Image.fromarray(np.full((6, 8), 30800, np.uint16)), "TIFF"), GREY, GREY),
    "LAB TIFF": (encode(Image.new("LAB", (8, 6), (255, 128, 128)), "TIFF"), WHITE, WHITE),
    "GIF": (encode(Image.new("RGB", (8, 6), RED), "GIF"), RED, RED),
    "BMP": (encode(Image.new("RGB", (8, 6), RED), "BMP"), RED, RED),
    "WebP": (encode(Image.new("RGB", (8, 6), RED), "WEBP", lossless=True), RED, RED),
    "JPEG 2000": (encode(Image.new("RGB", (8, 6), RED), "JPEG2000"), RED, RED),
    "PPM": (encode(Image.new("RGB", (8, 6), RED), "PPM"), RED, RED),
    "AVIF": (encode(Image.new("RGB", (8, 6), RED), "AVIF", quality=95), RED, RED),
}


@pytest.mark.parametrize("kind", READ)
def test_formats_and_modes(kind: str) -> None:
    data, left, right = READ[kind]
    photo = read_photo(data)
    assert (photo.width, photo.height, photo.reduction) == (8, 6, 1)
    assert photo.pixels.shape == (6, 8, 3)
    assert photo.pixels.dtype == np.uint8
    np.testing.assert_allclose(photo.pixels[3, 0], left, atol=4)
    np.testing.assert_allclose(photo.pixels[3, 7], right, atol=4)


@pytest.mark.parametrize("kind", ["GIF", "PNG", "WEBP"])
def test_animated_gives_the_first_frame(kind: str) -> None:
    frames = [Image.new("RGB", (8, 6), colour) for colour in (RED, (0, 0, 255), (0, 255, 0))]
    data = encode(frames[0], kind, save_all=True, append_images=frames[1:])
    np.testing.assert_allclose(read_photo(data).pixels[2, 2], RED, atol=8)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF", "WEBP"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation(kind: str, orientation: int) -> None:
    upright = np.asarray(corner_photo())
    stored = {
        1: upright,
        2: upright[:, ::-1],
        3: upright[::-1, ::-1],
        4: upright[::-1],
        5: upright.transpose(1, 0, 2),
        6: np.rot90(upright),  # shown turned clockwise by 90 degrees
        7: np.rot90(upright, 2).transpose(1, 0, 2),
        8: np.rot90(upright, -1),
    }[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    photo = read_photo(encode(Image.fromarray(np.ascontiguousarray(stored)), kind, exif=exif))
    assert (photo.width, photo.height) == (60, 40)
    assert photo.pixels.shape == (40, 60, 3)
    # The blue quarter is on top at the left again; away from its edges, which JPEG blurs.
    np.testing.assert_allclose(photo.pixels[5:12, 5:20].mean((0, 1)), (20, 30, 220), atol=12)
    for corner in (photo.pixels[28:, :20], photo.pixels[28:, 40:], photo.pixels[:12, 40:]):
        np.testing.assert_allclose(corner.mean((0, 1)), RED, atol=12)


@pytest.mark.filterwarnings("ignore:Corrupt EXIF")
@pytest.mark.parametrize("exif", [b"", b"garbage", b"II*\0\x08\0\0\0\xff\xff\x12\x01"])
def test_broken_exif_is_no_obstacle(exif: bytes) -> None:
    assert read_photo(encode(corner_photo(), "JPEG", exif=b"Exif\0\0" + exif)).pixels.shape == (40, 60, 3)


def test_one_pixel() -> None:
    assert read_photo(encode(Image.new("RGB", (1, 1), RED), "PNG")).pixels.tolist() == [[list(RED)]]


@pytest.mark.parametrize("suffix", [".png", ".txt", ""])
def test_the_suffix_does_not_matter(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"photo{suffix}"
    path.write_bytes(encode(corner_photo(), "JPEG"))
    assert read_photo(path).pixels.shape == (40, 60, 3)
    assert read_photo(str(path)).pixels.shape == (40, 60, 3)


BMFF = b"\x00\x00\x00\x18ftyp"

REJECTED = {
    "zero bytes": (b"", "found an empty file"),
    "one byte": (b"\xff", "found no known picture format"),
    "text": (b"a photo of nobody\n" * 20, "found no known picture format"),
    "zeros": (bytes(1000), "found no known picture format"),
    "truncated JPEG": (encode(corner_photo(), "JPEG")[:400], "found a broken picture: Truncated"),
    "JPEG without its end": (encode(corner_photo(), "JPEG", quality=100)[:-40], "found a broken JPEG"),
    "JPEG header only": (encode(corner_photo(), "JPEG")[:20], "broken"),
    "truncated PNG": (encode(corner_photo(), "PNG")[:-30], "broken PNG"),
    "truncated WebP": (encode(corner_photo(), "WEBP")[:-30], "found"),
    "truncated GIF": (encode(corner_photo(), "GIF")[:-30], "broken GIF"),
    "PNG without pixels": (png_with_size(8, 6), "broken PNG"),
    "floating-point TIFF": (encode(Image.new("F", (8, 6)), "TIFF"), "floating-point pixels"),
    "32-bit TIFF": (encode(Image.fromarray(np.full((6, 8), 70000, np.int32)), "TIFF"), "70000"),
    "HEIC": (BMFF + b"heic\0\0\0\0mif1heic" + bytes(99), "(a HEIC picture.*pillow-heif|broken)"),
    "HEIF": (BMFF + b"mif1\0\0\0\0mif1heic" + bytes(99), "(a HEIC picture|broken)"),
    "MP4": (BMFF + b"isom\0\0\0\0isommp42" + bytes(99), "found a video"),
    "PDF": (b"%PDF-1.7\n" + bytes(99), "a PDF document"),
    "9000 x 9000 PNG": (png_with_size(9000, 9000), "9000 x 9000 pixels, expected at most 67108864"),
    "20,000 x 20,000 PNG": (png_with_size(20000, 20000), "too many pixels"),
    "40,000 x 10 PNG": (png_with_size(40000, 10), "40000 x 10 pixels.*32766 a side"),
}


@pytest.mark.parametrize("kind", REJECTED)
def test_rejected(kind: str, tmp_path: Path) -> None:
    data, message = REJECTED[kind]
    with pytest.raises(InputError, match=r"photo \(bytes\): .*" + message):
        read_photo(data)
    path = tmp_path / "photo.jpg"
    path.write_bytes(data)
    with pytest.raises(InputError, match=f"photo {path}: .*{message}"):
        read_photo(path)


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"none\.jpg: cannot be read: No such file"):
        read_photo(tmp_path / "none.jpg")
    with pytest.raises(InputError, match="cannot be read: Is a directory"):
        read_photo(tmp_path)


@pytest.mark.filterwarnings("ignore::UserWarning:PIL")
@pytest.mark.parametrize("seed", range(5))
def test_broken_bytes_give_an_input_error_or_a_picture(seed: int) -> None:
    rng = np.random.default_rng(seed)
    for kind in (*images.FORMATS, "JPEG"):
        whole = np.frombuffer(encode(corner_photo(), kind), np.uint8)
        for _ in range(10):
            data = whole.copy()
            places = rng.integers(0, rng.choice([60, len(data)]), rng.integers(1, 6))
            data[places] = rng.integers(0, 256, len(places))
            try:
                assert read_photo(data.tobytes()).pixels.ndim == 3
            except InputError:
                continue


class TestLargePhotos:
    """With the limit moved, so that small pictures are large."""

    @pytest.fixture(autouse=True)
    def _limit(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(images, "MAX_PIXELS", 500)

    @pytest.mark.parametrize(("width", "height", "reduction"), [(20, 25, 1), (40, 48, 2), (150, 160, 8)])
    def test_jpeg_is_decoded_reduced(self, width: int, height: int, reduction: int) -> None:
        x = np.linspace(0, 255, width)
        ramp = np.repeat(np.broadcast_to(x, (height, width))[..., None], 3, -1).astype(np.uint8)
        photo = read_photo(encode(Image.fromarray(ramp), "JPEG", quality=100))
        assert (photo.width, photo.height, photo.reduction) == (width, height, reduction)
        shape = photo.pixels.shape
        assert shape[0] * shape[1] <= 500
        # Each pixel shows the place of the original that `to_original` says.
        inner = np.arange(1, shape[1] - 1)
        places = photo.to_original(np.stack([inner, np.zeros_like(inner)], -1))[:, 0]
        np.testing.assert_allclose(
            photo.pixels[shape[0] // 2, inner, 0], places * 255 / (width - 1), atol=255 / width + 2
        )

    def test_turned(self) -> None:
        exif = Image.Exif()
        exif[0x0112] = 6
        photo = read_photo(encode(Image.new("RGB", (49, 40)), "JPEG", exif=exif))
        assert (photo.width, photo.height, photo.pixels.shape) == (40, 49, (25, 20, 3))

    @pytest.mark.parametrize(
        "data",
        [
            encode(Image.new("RGB", (30, 30)), "PNG"),
            encode(Image.new("RGB", (30, 30)), "JPEG", progressive=True),
            encode(Image.new("RGB", (300, 300)), "JPEG"),
        ],
    )
    def test_rejected(self, data: bytes) -> None:
        with pytest.raises(InputError, match="pixels, expected at most 500"):
            read_photo(data)


def test_to_original_and_back() -> None:
    photo = Photo(np.zeros((10, 10, 3), np.uint8), 40, 40, 4)
    # Pixel 0 covers the original's pixels 0 to 3, whose middle is 1.5; z is a length.
    assert photo.to_original([[0.0, 1.0, 2.0]]).tolist() == [[1.5, 5.5, 8.0]]
    assert photo.boxes_to_pixels([[1.5, 5.5, 9.5, 13.5]]).tolist() == [[0.0, 1.0, 2.0, 3.0]]


class TestArrays:
    @pytest.mark.parametrize(
        ("array", "colour"),
        [
            (np.full((6, 8, 3), RED, np.uint8), RED),
            (np.full((6, 8), GREY_VALUE, np.uint8), GREY),
            (np.full((6, 8, 1), GREY_VALUE, np.uint8), GREY),
            (np.full((6, 8, 4), (*RED, 255), np.uint8), RED),
            (np.full((6, 8, 4), (*RED, 0), np.uint8), WHITE),
            (np.full((12, 16, 3), RED, np.uint8)[::2, ::2], RED),
        ],
    )
    def test_read(self, array: NDArray[np.uint8], colour: tuple[int, int, int]) -> None:
        photo = read_photo(array)
        assert (photo.width, photo.height) == (8, 6)
        assert photo.pixels.shape == (6, 8, 3)
        assert photo.pixels.flags.c_contiguous
        assert photo.pixels[2, 2].tolist() == list(colour)

    @pytest.mark.parametrize(
        "array",
        [
            np.zeros((6, 8, 3)),
            np.full((6, 8, 3), np.nan),
            np.zeros((6, 8, 3), np.uint16),
            np.zeros((6, 8, 3), bool),
            np.zeros((6, 8, 2), np.uint8),
            np.zeros((3, 6, 8), np.uint8),
            np.zeros((1, 6, 8, 3), np.uint8),
            np.zeros(48, np.uint8),
            np.zeros((0, 8, 3), np.uint8),
            np.zeros((1, 40000, 3), np.uint8),
        ],
        ids=lambda array: f"{array.dtype}{array.shape}",
    )
    def test_rejected(self, array: np.ndarray) -> None:
        with pytest.raises(InputError, match=r"photo \(array\): found .*, expected"):
            read_photo(array)


class Tensor:
    """What NumPy can turn into an array, as tensors are."""

    def __init__(self, pixels: Any) -> None:
        self.pixels = pixels

    def __array__(self, dtype: Any = None, copy: Any = None) -> np.ndarray:
        if isinstance(self.pixels, Exception):
            raise self.pixels
        return np.asarray(self.pixels)


class TestOtherTypes:
    pixels = np.random.default_rng(0).integers(0, 256, (20, 30, 3)).astype(np.uint8)

    @pytest.fixture
    def file(self, tmp_path: Path) -> Path:
        Image.fromarray(self.pixels).save(tmp_path / "a.png")
        return tmp_path / "a.png"

    def test_taken(self, file: Path) -> None:
        content = file.read_bytes()
        with file.open("rb") as opened:
            sources = [
                bytearray(content),
                memoryview(content),
                io.BytesIO(content),
                opened,
                Image.open(file),
                Image.fromarray(self.pixels),
                Tensor(self.pixels),
                tf.constant(self.pixels),
                np.ma.array(self.pixels),
                read_photo(self.pixels),
            ]
            for source in sources:
                np.testing.assert_array_equal(read_photo(source).pixels, self.pixels)
        assert read_photo(np.asmatrix(self.pixels[..., 0])).pixels.shape == (20, 30, 3)

    def test_a_pillow_image_is_turned_and_left_as_it_is(self, tmp_path: Path) -> None:
        exif = Image.Exif()
        exif[ExifTags.Base.Orientation] = 6
        Image.fromarray(self.pixels).save(tmp_path / "a.png", exif=exif)
        with Image.open(tmp_path / "a.png") as image:
            np.testing.assert_array_equal(read_photo(image).pixels, read_photo(tmp_path / "a.png").pixels)
            assert image.size == (30, 20)

    @pytest.mark.parametrize(
        ("source", "found"),
        [
            (None, "found None"),
            (7, "found int"),
            ([[1, 2], [3, 4]], "found list"),
            (object(), "found object"),
            (Path, "found the class pathlib.Path"),
            (Tensor(np.zeros((4, 4, 3))), "found float64"),
            (Tensor(TypeError("on a GPU")), "Tensor.*on a GPU"),
            (io.StringIO("text"), "found text"),
            ("https://host/photo.jpg", "found a URL"),
            ("a\0b", "found no path"),
            (np.zeros((4, 4, 3)), r"found float64.*255"),
        ],
    )
    def test_rejected(self, source: Any, found: str) -> None:
        with pytest.raises(InputError, match=found):
            read_photo(source)

    def test_a_closed_file(self, file: Path) -> None:
        with file.open("rb") as opened:
            pass
        with pytest.raises(InputError, match="cannot be read"):
            read_photo(opened)

    def test_a_broken_pillow_image(self, file: Path) -> None:
        file.write_bytes(file.read_bytes()[:-400])
        with Image.open(file) as image, pytest.raises(InputError, match=r"Pillow image.*broken"):
            read_photo(image)


def test_heic(tmp_path: Path) -> None:
    heif = pytest.importorskip("pillow_heif")
    pixels = np.full((64, 64, 3), (200, 60, 30), np.uint8)
    heif.from_pillow(Image.fromarray(pixels)).save(tmp_path / "a.heic")
    np.testing.assert_allclose(read_photo(tmp_path / "a.heic").pixels, pixels, atol=8)


def test_doctests() -> None:
    assert doctest.testmod(images).failed == 0
