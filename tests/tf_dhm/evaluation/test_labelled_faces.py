"""Faces to evaluate on, and how they are decoded."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from pipelines.datasets.samples import Rejection
from tests.shift_model import face, faces
from tf_dhm.evaluation import labelled_faces
from tf_dhm.evaluation.labelled_faces import Face, Rejected, read_batches
from tf_dhm.runtime.images import decode_raster


def test_samples_and_rejections_are_distinguished() -> None:
    assert isinstance(face(), Face)
    assert not isinstance(face(), Rejected)
    assert isinstance(Rejection("a", "b"), Rejected)


def test_batches_are_bounded_in_images_and_pixels(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(labelled_faces, "BATCH_IMAGES", 4)
    monkeypatch.setattr(labelled_faces, "BATCH_PIXELS", 3 * 60 * 80)
    small = faces([0.0] * 3)
    sizes = [len(b) for b in read_batches([*small, *small[:2]], [])]
    assert sizes == [3, 2]
    monkeypatch.setattr(labelled_faces, "BATCH_PIXELS", 10**9)
    assert [len(b) for b in read_batches([*small, *small[:2]], [])] == [4, 1]


def test_images_keep_their_stored_raster() -> None:
    # JPEG with the EXIF orientation "turned by 90 degrees": labels refer to the pixels as stored.
    jpeg = cv2.imencode(".jpg", np.zeros((20, 30, 3), np.uint8))[1].tobytes()
    exif = b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0"
    turned = jpeg[:2] + b"\xff\xe1" + (len(exif) + 2).to_bytes(2, "big") + exif + jpeg[2:]
    assert cv2.imdecode(np.frombuffer(turned, np.uint8), cv2.IMREAD_COLOR).shape == (30, 20, 3)
    assert decode_raster(turned, "turned").shape == (20, 30, 3)


def test_images_are_rgb() -> None:
    red = np.zeros((2, 2, 3), np.uint8)
    red[..., 2] = 255  # OpenCV writes BGR
    encoded = cv2.imencode(".png", red)[1].tobytes()
    assert decode_raster(encoded, "red")[0, 0].tolist() == [255, 0, 0]
