"""Mutated photos and boxes into `align_jpeg`: no crash, no hang, no NaN."""

from __future__ import annotations

import struct
import time
import zlib

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.serving_data import encode, noise_photo, with_orientation
from tests.serving_double import Version
from tests.tiny_models import write_tiny_model

BATCH = 100
SEEDS = range(200)
"""A batch each: 20,000 cases. A failure names its seed, which makes the same bytes again."""
SPECIAL = np.array([np.nan, np.inf, -np.inf, 0.0, -0.0, 3e38, -3e38, 1e-45, 1e6, -1e6, 2.0**31, 59.999])

ORIGINALS = [
    encode(noise_photo(0)),
    encode(noise_photo(1), progressive=True),
    encode(noise_photo(2).convert("L")),
    encode(noise_photo(3).convert("CMYK")),
    encode(noise_photo(4), subsampling=2, restart_marker_blocks=4),
    with_orientation(noise_photo(5), 6, "JPEG"),
    encode(noise_photo(6), "PNG"),
    encode(noise_photo(7).quantize(16), "PNG", transparency=3),
    encode(noise_photo(8).convert("RGBA"), "PNG"),
    with_orientation(noise_photo(9).convert("L"), 7, "PNG"),
]
MARKERS = [
    b"\xff\xd8",
    b"\xff\xd9",
    b"\xff\xda",
    b"\xff\xc0",
    b"\xff\xc2",
    b"\xff\xc4",
    b"\xff\xdb",
    b"\xff\xe1",
]


def mutate(rng: np.random.Generator, original: bytes) -> bytes:
    """Change a photo in one to four places."""
    content = bytearray(original)
    for _ in range(rng.integers(1, 5)):
        if not content:
            break
        # Headers are a small part of the bytes, and the larger part of what can go wrong.
        end = len(content) if rng.random() < 0.5 else min(len(content), 200)
        place = int(rng.integers(0, end))
        length = int(rng.integers(1, 30))
        match rng.integers(0, 8):
            case 0:
                content[place] = int(rng.integers(0, 256))
            case 1:
                content[place] ^= 1 << int(rng.integers(0, 8))
            case 2:
                del content[place:]
            case 3:
                del content[place : place + length]
            case 4:
                content[place:place] = rng.bytes(length)
            case 5:
                content[place:place] = content[place : place + 8 * length]
            case 6:
                content[place : place + 4] = struct.pack(
                    ">I", int(rng.choice([0, 1, 255, 65535, 2**31 - 1, 2**32 - 1]))
                )
            case 7:
                content[place : place + 2] = MARKERS[rng.integers(0, len(MARKERS))]
    return mend_checksums(content) if rng.random() < 0.7 else bytes(content)


def mend_checksums(content: bytearray) -> bytes:
    """Make a PNG's checksums right again, so that its decoder goes beyond them."""
    if not content.startswith(b"\x89PNG\r\n\x1a\n"):
        return bytes(content)
    start = 8
    while start + 12 <= len(content):
        end = start + 8 + struct.unpack(">I", content[start : start + 4])[0]
        if end + 4 > len(content):
            break
        content[end : end + 4] = struct.pack(">I", zlib.crc32(content[start + 4 : end]))
        start = end + 4
    return bytes(content)


def make_batch(seed: int) -> tuple[NDArray[np.object_], NDArray[np.float32]]:
    """BATCH photos with boxes; the first is as it was."""
    rng = np.random.default_rng(seed)
    picks = rng.integers(0, len(ORIGINALS), BATCH)
    photos = np.array([mutate(rng, ORIGINALS[pick]) for pick in picks], object)
    boxes = np.sort(rng.uniform(-20, 80, (BATCH, 2, 2)), 1).reshape(BATCH, 4)
    wild = rng.random((BATCH, 4)) < 0.05
    boxes[wild] = rng.choice(SPECIAL, wild.sum())
    photos[0], boxes[0] = ORIGINALS[seed % len(ORIGINALS)], [5, 5, 50, 45]
    return photos, boxes.astype(np.float32)


def check_batch(model: Version, seed: int) -> int:
    """Returns how many photos were read."""
    photos, boxes = make_batch(seed)
    began = time.process_time()
    outputs = model.predict("align_jpeg", {"photos": photos, "boxes": boxes})
    assert time.process_time() - began < 20.0, f"seed {seed}"
    good = outputs["confidence"] > 0
    for name, output in outputs.items():
        assert len(output) == BATCH, f"seed {seed}, {name}"
        assert np.isfinite(output).all(), f"seed {seed}, {name}"
        assert not output[~good].any(), f"seed {seed}, {name}"
    assert (outputs["confidence"][~good] == 0).all(), f"seed {seed}"
    alone = model.predict("align_jpeg", {"photos": photos[:1], "boxes": boxes[:1]})
    np.testing.assert_allclose(
        outputs["landmarks"][0], alone["landmarks"][0], atol=1e-3, err_msg=f"seed {seed}"
    )
    return int(good.sum())


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Version:
    return Version(write_tiny_model(tmp_path_factory.mktemp("fuzz") / "tiny", quality=True) / "1")


def test_mutated_photos_and_boxes(model: Version) -> None:
    assert 0 < check_batch(model, 0) < BATCH


@pytest.mark.slow
def test_twenty_thousand_mutated_photos_and_boxes(model: Version) -> None:
    read = sum(check_batch(model, seed) for seed in SEEDS)
    # Enough of them get through to test the code after the decoders.
    assert 0.1 < read / (BATCH * len(SEEDS)) < 0.9


def test_the_same_seed_makes_the_same_bytes() -> None:
    photos, boxes = make_batch(7)
    again, same_boxes = make_batch(7)
    assert photos.tolist() == again.tolist()
    np.testing.assert_array_equal(boxes, same_boxes)
    assert make_batch(8)[0].tolist() != photos.tolist()
