"""Tests of tools.studies.tracking_measures, with trackers whose jitter and lag are known."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.fakes import draw_cartoon_face, mean_shape_in_box, write_fake_model
from tf_dhm.core.errors import InputError
from tf_dhm.core.types import Array
from tf_dhm.face import geometry
from tf_dhm.runtime.settings import SmoothingConfig
from tf_dhm.runtime.video import Frame
from tools.studies import tracking_measures
from tools.studies.tracking_measures import (
    MeasureConfig,
    Motion,
    at_rest,
    delay,
    error,
    film,
    jitter,
    measure,
    measure_follow,
    shaking,
    smooth_series,
    swinging,
)

REST = mean_shape_in_box(np.array([70.0, 80, 130, 140]))[:, :2]
TIMES = [index / 30 for index in range(90)]
SWING = swinging(np.array([100.0, 110.0]), 60.0, 2.0)


def series(motion: Motion, late: float = 0.0) -> Array:
    return geometry.transform_landmarks(np.array([motion(time - late) for time in TIMES]), REST)


class TestScenes:
    def test_swinging_by_hand(self) -> None:
        # A quarter of the period: half a size to the right; no nod (sin pi).
        matrix = SWING(0.5)
        np.testing.assert_allclose(geometry.transform_landmarks(matrix, [[100.0, 110.0]]), [[130, 110]])
        roll = np.degrees(np.arctan2(matrix[1, 0], matrix[0, 0]))
        assert roll == pytest.approx(15 * np.sin(np.pi / 2 + 1))
        assert np.hypot(*matrix[:, 0]) == pytest.approx(1.15 ** np.sin(np.pi / 4))

    def test_shaking(self) -> None:
        motion = shaking(2.0, 30.0, seed=0)
        shifts = np.array([motion(time)[:, 2] for time in TIMES])
        assert np.abs(shifts).max() <= 2
        assert shifts.std() == pytest.approx(2 / np.sqrt(3), rel=0.15)
        np.testing.assert_array_equal(motion(TIMES[7]), motion(TIMES[7]))
        np.testing.assert_array_equal(motion(0.1)[:, :2], np.eye(2))

    def test_film_moves_the_photo(self) -> None:
        photo = draw_cartoon_face(200, (100, 110), 40)
        first, *_, last = film(photo, SWING, 16, 30.0, 0.0, 0)
        assert (last.index, last.time) == (15, 0.5)
        assert first.pixels.shape == last.pixels.shape == photo.shape
        # The red mouth is where the map puts it.
        mouth = np.array([[100, 110 + 0.55 * 40]])
        for frame in (first, last):
            red = (frame.pixels[..., 0] > 160) & (frame.pixels[..., 1] < 100)
            expected = geometry.transform_landmarks(SWING(frame.time), mouth)[0]
            np.testing.assert_allclose(np.argwhere(red).mean(0)[::-1], expected, atol=0.7)

    def test_noise(self) -> None:
        grey = np.full((50, 60, 3), 128, np.uint8)
        one, two = film(grey, at_rest, 2, 30.0, 4.0, 0)
        assert one.pixels.std() == pytest.approx(4, rel=0.05)
        assert (one.pixels != two.pixels).any()


class TestFigures:
    def test_the_truth_is_perfect(self) -> None:
        assert jitter(series(SWING), SWING, TIMES) == pytest.approx(0, abs=1e-9)
        assert error(series(SWING), REST, SWING, TIMES) == pytest.approx(0, abs=1e-9)
        assert delay(series(SWING), REST, SWING, TIMES) == pytest.approx(0, abs=1e-4)

    def test_lag(self) -> None:
        late = series(SWING, late=0.075)
        assert delay(late, REST, SWING, TIMES) == pytest.approx(0.075, abs=1e-4)
        assert error(late, REST, SWING, TIMES) > 5
        assert error(late, REST, SWING, TIMES, delay=0.075) == pytest.approx(0, abs=1e-9)

    def test_jitter_and_bias(self) -> None:
        noise = np.random.default_rng(0).normal(0, 0.5, (90, 68, 2))
        shake = shaking(2.0, 30.0, 0)
        # A constant offset is an error, and no jitter.
        noisy = series(shake) + noise + 3.0
        assert jitter(noisy, shake, TIMES) == pytest.approx(0.5 * np.sqrt(2), rel=0.02)
        assert error(series(shake) + 3.0, REST, shake, TIMES) == pytest.approx(3 * np.sqrt(2))

    def test_frames_without_a_face_do_not_count(self) -> None:
        gaps = series(SWING, late=0.05)
        gaps[10:20] = np.nan
        assert delay(gaps, REST, SWING, TIMES) == pytest.approx(0.05, abs=1e-4)
        smoothed = smooth_series(gaps, TIMES, SmoothingConfig())
        assert np.isnan(smoothed[10:20]).all()
        # It is reset by them.
        np.testing.assert_allclose(smoothed[20], gaps[20])

    def test_smoothing_lags(self) -> None:
        smoothed = smooth_series(series(SWING), TIMES, SmoothingConfig(1.0, 0.0))
        # At 0.5 Hz a low-pass filter with a cutoff of 1 Hz is late by atan(0.5) / pi s.
        assert delay(smoothed[45:], REST, SWING, TIMES[45:]) == pytest.approx(
            np.arctan(0.5) / np.pi, rel=0.15
        )


def follow_dots(frames: Iterable[Frame]) -> Iterator[Array | None]:
    """Answers REST on the second frame and later ones."""
    for frame in frames:
        yield None if frame.index == 0 else REST


def test_measure_follow() -> None:
    config = MeasureConfig(frames=30, warm_up=0)
    rows = measure_follow(follow_dots, draw_cartoon_face(200, (100, 110), 40), config)
    assert [(row["scene"], row["smoothed"]) for row in rows[:3]] == [
        ("still", False),
        ("still", True),
        ("shaken", False),
    ]
    assert [row["lost"] for row in rows] == [1] * 8
    still, _, shaken, _, swinging_slowly, *_ = rows
    assert still["jitter"] == pytest.approx(0, abs=1e-9)
    assert still["error"] == pytest.approx(0, abs=1e-9)
    # Shifts of 2 px / sqrt(3) in x and y that it does not follow, of a face of about 57 px.
    size = float(geometry.box_size(geometry.landmark_box(REST)))
    assert shaken["jitter"] == pytest.approx(100 * 2 * np.sqrt(2 / 3) / size, rel=0.15)
    assert swinging_slowly["jitter"] is None
    assert swinging_slowly["error"] > 20


def test_no_face_at_rest() -> None:
    with pytest.raises(InputError, match=r"astronaut\.jpg: found no face"):
        measure_follow(lambda frames: [None for _ in frames], draw_cartoon_face(), MeasureConfig())


def test_measure(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Image.fromarray(draw_cartoon_face()).save(tmp_path / "face.png")
    model = write_fake_model(tmp_path / "fake")
    config = MeasureConfig(
        photo=tmp_path / "face.png",
        model=str(model),
        backend="saved_model",
        mediapipe=False,
        frames=3,
        warm_up=0,
        json=tmp_path / "figures.json",
    )
    measure(config)
    lines = capsys.readouterr().out.splitlines()
    assert [cell.strip() for cell in lines[2].split("|")[1:5]] == ["fake", "still", "raw", "0"]
    written = json.loads((tmp_path / "figures.json").read_text())
    assert len(written["rows"]) == 8
    assert written["settings"]["tracking"]["smoothing"]["beta"] == config.tracking.smoothing.beta


def test_the_points_of_mediapipe_mirror_like_the_68() -> None:
    """Its mesh is symmetric: points on the middle line keep their place, others pair up."""
    points = np.array(tracking_measures.MEDIAPIPE_68)
    assert len(set(points)) == 68
    middle = np.flatnonzero(np.arange(68) == geometry.MIRROR_68)
    assert points[middle].tolist() == [152, 168, 197, 5, 4, 2, 0, 17, 13, 14]


def test_bad_config() -> None:
    with pytest.raises(InputError, match="frames: found 1"):
        MeasureConfig(frames=1)
