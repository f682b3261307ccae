"""Threads that share an aligner, a detector or a predictor get the right answers; copies work alone."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.fakes import draw_cartoon_face
from tf_dhm.core.types import Image
from tf_dhm.runtime.aligner import Aligner
from tf_dhm.runtime.detector import FaceDetector
from tf_dhm.runtime.images import read_photo
from tf_dhm.runtime.saved_model import SavedModelPredictor
from tf_dhm.runtime.store import SAVEDMODELS, find_savedmodel
from tf_dhm.runtime.tflite import TFLitePredictor
from tf_dhm.runtime.tracking import Tracker

THREADS, ROUNDS = 8, 6
PHOTO = Path(__file__).resolve().parents[2] / "data" / "astronaut.jpg"


@pytest.fixture(scope="module")
def photos() -> list[Image]:
    """A different photo for each thread, with one face or two."""
    portrait = read_photo(PHOTO).pixels[:256, 80:368]
    moved = [np.roll(portrait, 9 * shift, axis=1) for shift in range(3)]
    mirrored = np.ascontiguousarray(portrait[:, ::-1])
    return [
        *moved,
        mirrored,
        np.hstack([portrait, mirrored]),
        draw_cartoon_face(),
        portrait[::2, ::2],
        portrait[20:],
    ]


def check_threads(function: Callable[[Any], NDArray[Any]], inputs: Sequence[Any]) -> None:
    """Each thread computes with its own input, all at the same time; compare with one after another."""
    expected = [function(value) for value in inputs]
    with ThreadPoolExecutor(THREADS) as pool:
        found = list(pool.map(function, list(inputs) * ROUNDS))
    for number, value in enumerate(found):
        np.testing.assert_array_equal(value, expected[number % len(inputs)])


def test_aligner(photos: list[Image]) -> None:
    aligner = Aligner()
    check_threads(lambda photo: np.array([face.landmarks for face in aligner.align(photo)]), photos)


def test_detector(photos: list[Image]) -> None:
    detector = FaceDetector()
    check_threads(lambda photo: np.array([found.box for found in detector.detect(photo)]), photos)


@pytest.mark.parametrize("refine", [False, True])
def test_tflite_predictor(refine: bool) -> None:
    """Batches of different sizes, so that a shared interpreter would be resized under a call."""
    model = TFLitePredictor("fast_dhm_s")
    generator = np.random.default_rng(0)
    size = model.input_size
    batches = [
        generator.integers(0, 256, (count, size, size, 3)).astype(np.uint8)
        for count in (1, 2, 3, 5, 1, 4, 2, 1)
    ]
    initial = [generator.uniform(0, size, (len(batch), 68, 3)) for batch in batches]
    check_threads(
        lambda row: model.predict(batches[row], initial[row] if refine else None).landmarks,
        range(len(batches)),
    )


def test_trackers_of_several_videos_share_an_aligner(photos: list[Image]) -> None:
    aligner = Aligner()

    def track(photo: Image) -> NDArray[Any]:
        tracker = Tracker.of(aligner)
        return np.array([face.landmarks for time in range(3) for face in tracker.update(photo, time)])

    check_threads(track, photos)


@pytest.mark.parametrize("make_copy", [copy.deepcopy, lambda value: pickle.loads(pickle.dumps(value))])
def test_copies(make_copy: Callable[[Any], Any], photos: list[Image]) -> None:
    aligner = Aligner("fast_dhm_s", passes=1)
    (face,) = aligner.align(photos[0])
    again = make_copy(aligner)
    (other,) = again.align(photos[0])
    np.testing.assert_array_equal(other.landmarks, face.landmarks)
    assert again.passes_detected == 1
    np.testing.assert_array_equal(make_copy(face).landmarks, face.landmarks)


def test_copy_of_a_saved_model() -> None:
    model = SavedModelPredictor(find_savedmodel(SAVEDMODELS / "fast_dhm_s"))
    again = pickle.loads(pickle.dumps(model))
    crops = np.zeros((1, model.input_size, model.input_size, 3), np.uint8)
    np.testing.assert_array_equal(again.predict(crops).landmarks, model.predict(crops).landmarks)
