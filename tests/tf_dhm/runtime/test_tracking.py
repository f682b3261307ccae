"""Tests of tf_dhm.runtime.tracking in a world of boxes: no detector, no network."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from tests.fakes import mean_shape_in_box
from tf_dhm.core.errors import InputError
from tf_dhm.core.types import Array
from tf_dhm.face import geometry
from tf_dhm.face.geometry import overlaps
from tf_dhm.runtime import following, tracking
from tf_dhm.runtime.detector import Detection
from tf_dhm.runtime.faces import Face
from tf_dhm.runtime.following import follow_box
from tf_dhm.runtime.settings import SmoothingConfig, TrackingConfig
from tf_dhm.runtime.tracking import Evidence, Tracker

FRAME = np.zeros((480, 640, 3), np.uint8)
RAW = TrackingConfig(smooth=False)


def box_at(x: float, y: float, side: float = 100.0) -> Array:
    """The landmark box of the mean face in a box about (x, y), so that the round trip keeps it."""
    half = side / 2
    return geometry.landmark_box(mean_shape_in_box(np.array([x - half, y - half, x + half, y + half])))


@dataclass
class World:
    """Faces that a detector and a model see; `align` pulls a box onto the face under it, if any."""

    faces: list[Array] = field(default_factory=list)
    detections: int = 0
    glances: int = 0
    glancing: bool = False
    blind: bool = False
    score: float = 0.9
    confidence: float | None = None
    aligned: list[Array] = field(default_factory=list)

    def detect(self, image: NDArray[np.uint8]) -> list[Detection]:
        self.detections += 1
        found = [] if self.blind else self.faces
        return [Detection(box, self.score, np.zeros((6, 2))) for box in found]

    def glance(self, image: NDArray[np.uint8]) -> list[Detection]:
        """Large faces only, above 150 px."""
        self.glances += 1
        return [Detection(box, self.score, np.zeros((6, 2))) for box in self.faces if box[2] - box[0] > 150]

    def align(self, image: NDArray[np.uint8], boxes: Array) -> list[Face]:
        self.aligned = list(boxes)
        faces = []
        for box in boxes:
            target = box
            if self.faces:
                overlap = overlaps([box], self.faces)[0]
                if overlap.max() > 0.2:
                    target = self.faces[int(overlap.argmax())]
            landmarks = mean_shape_in_box(target).astype(np.float32)
            faces.append(Face(landmarks, box, None, np.zeros(3, np.float32), confidence=self.confidence))
        return faces

    def tracker(self, config: TrackingConfig = RAW) -> Tracker:
        return Tracker(self.detect, self.align, config, glance=self.glance if self.glancing else None)


class Film:
    """Feeds a tracker frame by frame."""

    def __init__(self, world: World, config: TrackingConfig = RAW) -> None:
        self.world, self.tracker, self.frame = world, world.tracker(config), 0

    def show(self, *faces: Array, frames: int = 1, image: NDArray[np.uint8] = FRAME) -> list[Face]:
        for _ in range(frames):
            self.world.faces = list(faces)
            found = self.tracker.update(image, self.frame / 25)
            self.frame += 1
        return found

    def ids(self, *faces: Array, frames: int = 1) -> list[int | None]:
        return [face.id for face in self.show(*faces, frames=frames)]


def centre(face: Face) -> Array:
    box = geometry.landmark_box(face.landmarks)
    return (box[:2] + box[2:]) / 2


class TestFollowing:
    def test_a_still_face(self) -> None:
        film = Film(World())
        (first,) = film.show(box_at(300, 200))
        assert (first.id, first.score) == (0, 0.9)
        (last,) = film.show(box_at(300, 200), frames=20)
        assert (last.id, last.score) == (0, None)
        np.testing.assert_allclose(last.landmarks, mean_shape_in_box(box_at(300, 200)), atol=1e-3)
        # Frames 0, 10 and 20.
        assert film.world.detections == 3

    def test_a_moving_face(self) -> None:
        film = Film(World())
        for k in range(40):
            (face,) = film.show(box_at(100 + 8 * k, 200))
            assert face.id == 0
            np.testing.assert_allclose(
                centre(face), box_at(100 + 8 * k, 200).reshape(2, 2).mean(0), atol=1e-3
            )

    def test_a_fast_face_is_looked_for_where_it_will_be(self) -> None:
        film = Film(World())
        for k in range(5):
            film.show(box_at(100 + 10 * k, 200 + 5 * k))
        (looked,) = film.world.aligned
        np.testing.assert_allclose(looked, box_at(140, 220), atol=2.5)  # within the slack
        film.show(box_at(140, 220), frames=2)
        np.testing.assert_allclose(film.world.aligned[0], box_at(140, 220), atol=2.5)

    def test_several_faces_keep_their_ids(self) -> None:
        film = Film(World())
        for k in range(60):
            # They come in another order from frame to frame.
            faces = [box_at(100 + 4 * k, 100), box_at(500 - 4 * k, 350), box_at(320, 240, 60)]
            found = film.show(*np.roll(faces, k, 0))
            if k == 0:
                by_id = {
                    face.id: int(np.argmin([abs(centre(face) - f[:2]).sum() for f in faces]))
                    for face in found
                }
            assert [face.id for face in found] == [0, 1, 2]
            for face in found:
                expected = faces[by_id[face.id]].reshape(2, 2).mean(0)
                np.testing.assert_allclose(centre(face), expected, atol=1e-3)

    def test_a_new_face_is_found(self) -> None:
        film = Film(World())
        film.show(box_at(100, 100))
        assert film.ids(box_at(100, 100), box_at(400, 300), frames=10) == [0, 1]

    def test_no_face(self) -> None:
        film = Film(World())
        assert film.show(frames=5) == []
        assert film.world.detections == 6  # the first frame upside down, too
        # And it is found in the first frame in which it is there.
        assert film.ids(box_at(100, 100)) == [0]

    def test_smoothing(self) -> None:
        steady = Film(World(), TrackingConfig(smoothing=SmoothingConfig(min_cutoff=1.0, beta=0.0)))
        steady.show(box_at(300, 200), frames=5)
        (face,) = steady.show(box_at(310, 200))
        # One frame of 1/25 s at a cutoff of 1 Hz: alpha = 1 / (1 + 25 / (2 pi)) = 0.2008.
        start = box_at(300, 200).reshape(2, 2).mean(0)
        np.testing.assert_allclose(centre(face) - start, [2.008, 0], atol=2e-3)
        # The next crop is cut where the face goes, not where the smoothed one lags.
        steady.show(box_at(310, 200))
        np.testing.assert_allclose(steady.world.aligned[0].reshape(2, 2).mean(0), start + [20, 0], atol=2.5)

    def test_pose_is_that_of_the_smoothed_landmarks(self) -> None:
        (face,) = Film(World(), TrackingConfig()).show(box_at(300, 200))
        np.testing.assert_allclose(face.pose, 0, atol=1e-3)


class TestGlances:
    """Detections of frames 0 (of all sizes), 10, 20 (glances), 30 (of all sizes), ..."""

    LARGE = box_at(200, 200, 200)
    MIDDLING = box_at(500, 300, 100)
    SMALL = box_at(500, 300, 60)

    def test_of_three_detections_of_a_large_face_two_are_glances(self) -> None:
        film = Film(World(glancing=True))
        assert film.ids(self.LARGE, frames=61) == [0]
        assert (film.world.detections, film.world.glances) == (3, 4)

    @pytest.mark.parametrize("glances", [0, 1, 5])
    def test_their_number_is_set(self, glances: int) -> None:
        film = Film(World(glancing=True), replace(RAW, glances=glances))
        film.show(self.LARGE, frames=61)
        assert film.world.detections == {0: 7, 1: 4, 5: 2}[glances]
        assert film.world.glances == 7 - film.world.detections

    def test_a_small_face_is_never_glanced_at(self) -> None:
        film = Film(World(glancing=True))
        film.show(self.LARGE, self.SMALL, frames=31)
        assert (film.world.detections, film.world.glances) == (4, 0)

    def test_a_new_large_face_is_found_by_a_glance_and_a_small_one_later(self) -> None:
        film = Film(World(glancing=True))
        film.show(self.LARGE)
        assert film.ids(self.LARGE, box_at(480, 300, 180), frames=10) == [0, 1]
        assert film.world.glances == 1
        film = Film(World(glancing=True))
        film.show(self.LARGE)
        assert film.ids(self.LARGE, self.SMALL, frames=29) == [0]
        assert film.ids(self.LARGE, self.SMALL) == [0, 1]

    def test_a_glance_that_misses_a_face_is_followed_by_a_search(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        world = World(glancing=True)
        monkeypatch.setattr(world, "glance", lambda image: [])
        film = Film(world)
        assert film.ids(self.LARGE, frames=31) == [0]
        assert world.detections == 4

    def test_doubtful_and_lost_faces_are_searched_for(self) -> None:
        film = Film(World(glancing=True))
        film.show(self.LARGE, box_at(480, 300, 180))
        film.show(self.LARGE, frames=30)  # the other one is gone
        searched = film.world.detections
        film.show(self.LARGE, frames=3)
        assert film.world.detections == searched + 1
        film.world.confidence = 0.1
        film.show(self.LARGE)
        assert film.world.detections > searched + 1


class TestLosing:
    def test_a_face_that_is_gone_is_lost_and_found_again(self) -> None:
        film = Film(World())
        film.show(box_at(300, 200), frames=12)
        # The model still answers on the background; the detector does not.
        counts = [len(film.show()) for _ in range(20)]
        assert counts == sorted(counts, reverse=True)
        assert counts[-1] == 0
        # Back near its place: the same id. Elsewhere: another face.
        assert film.ids(box_at(320, 210)) == [0]
        film.show(frames=20)
        assert film.ids(box_at(100, 400)) == [1]

    def test_a_face_that_stays_away_for_long_gets_a_new_id(self) -> None:
        film = Film(World())
        film.show(box_at(300, 200), frames=12)
        assert film.show(frames=100) == []
        assert film.ids(box_at(300, 200)) == [1]

    def test_leaving_the_picture_and_returning(self) -> None:
        film = Film(World())
        for x in (500, 540, 580, 620, 660, 700):
            found = film.ids(box_at(x, 200))
        assert found == []
        film.show(frames=6)
        assert film.ids(box_at(620, 200)) == [0]

    def test_another_face_stays(self) -> None:
        film = Film(World())
        film.show(box_at(100, 100), box_at(400, 300), frames=12)
        assert film.ids(box_at(400, 300), frames=20) == [1]
        assert film.ids(box_at(400, 300), box_at(100, 110), frames=3) == [0, 1]

    def test_a_detection_that_fails_now_and_then_loses_nothing(self) -> None:
        film = Film(World())
        rng = np.random.default_rng(0)
        film.show(box_at(300, 200))
        for _ in range(300):
            film.world.blind = bool(rng.random() < 0.2)
            assert film.ids(box_at(300, 200)) == [0]

    def test_no_flip_flop_of_doubt(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Doubt that comes and goes costs detections, not the face."""
        film = Film(World())
        film.show(box_at(300, 200))
        turns = iter(range(10**6))
        monkeypatch.setattr(tracking, "is_doubtful", lambda *_: next(turns) % 2 == 0)
        for _ in range(50):
            assert film.ids(box_at(300, 200)) == [0]
        assert 10 < film.world.detections < 20

    def test_doubt_without_detections_loses_the_face(self, monkeypatch: pytest.MonkeyPatch) -> None:
        film = Film(World())
        film.show(box_at(300, 200))
        monkeypatch.setattr(tracking, "is_doubtful", lambda *_: True)
        film.world.blind = True
        counts = [len(film.show(box_at(300, 200))) for _ in range(8)]
        # Detections at frames 3 and 6.
        assert counts == [1, 1, 1, 1, 1, 0, 0, 0]

    def test_a_face_that_vanishes_is_dropped_as_confidence_falls(self) -> None:
        film = Film(World(confidence=0.95))
        film.show(box_at(300, 200), frames=15)
        before = film.world.detections
        film.world.confidence = 0.05
        counts = [len(film.show()) for _ in range(6)]
        # Detections in the first of these frames and from the fourth on, in frame 20 also upside down.
        assert counts == [1, 1, 1, 0, 0, 0]
        assert film.world.detections - before == 5

    def test_a_confidence_that_wavers_costs_few_detections(self) -> None:
        """Between the two limits nothing changes."""
        film = Film(World())
        rng = np.random.default_rng(0)
        film.world.confidence = 0.9
        film.show(box_at(300, 200), frames=5)
        before = film.world.detections
        for _ in range(100):
            film.world.confidence = float(rng.uniform(0.31, 0.9))
            assert film.ids(box_at(300, 200)) == [0]
        assert film.world.detections - before == 10  # as many as for a sure face
        for _ in range(100):
            film.world.confidence = float(rng.uniform(0.1, 0.7))
            assert film.ids(box_at(300, 200)) == [0]
        assert film.world.detections - before < 10 + 40

    def test_nothing_that_the_model_doubts_is_begun_with(self) -> None:
        film = Film(World(confidence=0.1))
        assert film.show(box_at(300, 200), frames=3) == []

    def test_a_fast_face_is_caught_by_the_detector(self) -> None:
        film = Film(World())
        film.show(box_at(100, 200), frames=3)
        found = film.ids(box_at(400, 200), frames=12)
        assert 1 in found
        assert film.ids(box_at(400, 200), frames=12) == [1]

    def test_a_box_that_drifted_is_set_by_the_detector(self) -> None:
        film = Film(World())
        film.show(box_at(300, 200))
        # A model that finds the face wherever it looks.
        film.tracker._align = lambda image, boxes: World().align(image, boxes)
        film.show(box_at(345, 200), frames=10)
        (face,) = film.show(box_at(345, 200))
        np.testing.assert_allclose(centre(face), box_at(345, 200).reshape(2, 2).mean(0), atol=2.5)

    def test_two_on_one_face_become_one(self) -> None:
        film = Film(World())
        film.show(box_at(200, 200), box_at(290, 200))
        for x in (280, 270, 260, 250, 240):
            film.show(box_at(x, 200))
        assert len(film.show(box_at(240, 200), frames=20)) == 1


class TestFrames:
    def test_another_size_starts_again(self) -> None:
        film = Film(World())
        film.show(box_at(300, 200), frames=3)
        (face,) = film.show(box_at(150, 100, 50), image=np.zeros((240, 320, 3), np.uint8))
        assert face.id == 1
        assert face.score == 0.9

    def test_time_must_rise(self) -> None:
        tracker = World().tracker()
        tracker.update(FRAME, 1.0)
        with pytest.raises(InputError, match=r"time: found 1.0 s, expected more than .* 1.0"):
            tracker.update(FRAME, 1.0)

    def test_small_faces_and_faces_outside_are_left_out(self) -> None:
        assert Film(World()).show(box_at(300, 200, 8)) == []
        assert Film(World()).show(box_at(-45, 200)) == []


def test_overlap_of_two_boxes_is_that_of_many() -> None:
    low = np.random.default_rng(0).uniform(0, 50, (40, 2))
    boxes = np.concatenate([low, low + np.random.default_rng(1).uniform(1, 60, (40, 2))], 1)
    one_by_one = [[following.iou(a, b) for b in boxes] for a in boxes]
    np.testing.assert_allclose(one_by_one, overlaps(boxes, boxes), rtol=1e-12)


class TestEvidence:
    def test_of_a_face_in_its_place(self) -> None:
        box = box_at(300, 200)
        face = World([box]).align(FRAME, box[None])[0]
        evidence = Evidence.of(face, geometry.landmark_box(face.landmarks))
        assert evidence.agreement == pytest.approx(1, abs=1e-4)
        assert evidence.residual == pytest.approx(0, abs=1e-3)
        assert not tracking.is_doubtful(evidence, RAW)

    def test_doubts(self) -> None:
        assert tracking.is_doubtful(Evidence(0.3, 0.05), RAW)
        assert tracking.is_doubtful(Evidence(0.9, 0.3), RAW)
        assert tracking.is_doubtful(Evidence(0.9, 0.05, 0.29), RAW)
        assert not tracking.is_doubtful(Evidence(0.9, 0.05, 0.31), RAW)

    def test_more_confidence_to_be_sure_again(self) -> None:
        assert tracking.is_doubtful(Evidence(0.9, 0.05, 0.59), RAW, before=True)
        assert not tracking.is_doubtful(Evidence(0.9, 0.05, 0.61), RAW, before=True)
        assert not tracking.is_doubtful(Evidence(0.9, 0.05), RAW, before=True)

    @pytest.mark.parametrize(("low", "high"), [(-0.1, 0.5), (0.6, 0.5), (0.5, 1.1), (np.nan, 0.5)])
    def test_bad_limits(self, low: float, high: float) -> None:
        with pytest.raises(InputError, match=r"(min|sure)_confidence: found"):
            TrackingConfig(min_confidence=low, sure_confidence=high)


class TestShapeResidual:
    def test_similar_faces(self) -> None:
        turned = mean_shape_in_box(np.array([0.0, 0, 50, 50])) @ geometry.rotation_matrix(0.3, -0.8, 1.2) + 70
        assert following.shape_residual(turned) == pytest.approx(0, abs=1e-6)

    def test_a_mirrored_mean_face_is_less_alike(self) -> None:
        face = mean_shape_in_box(np.array([0.0, 0, 50, 50]))
        assert following.shape_residual(face * [-1, 1, 1]) > 0.2

    def test_noise_is_no_face(self) -> None:
        noise = np.random.default_rng(0).normal(0, 1, (68, 3))
        assert following.shape_residual(noise) > 0.7

    def test_by_hand(self) -> None:
        """Noise that no similarity explains, r times as long as the face, gives r / sqrt(1 + r^2)."""
        face = mean_shape_in_box(np.array([0.0, 0, 50, 50]))
        face = face - face.mean(0)
        offset = np.zeros(68)
        offset[:2] = 1.0, -1.0
        # Remove from the offset in z whatever a shift, scale or turn of the face could explain.
        basis = np.stack([np.ones(68), *face.T], 1)
        offset -= basis @ np.linalg.lstsq(basis, offset, rcond=None)[0]
        offset *= 0.1 * np.linalg.norm(face) / np.linalg.norm(offset)
        disturbed = face + np.stack([0 * offset, 0 * offset, offset], 1)
        assert following.shape_residual(disturbed) == pytest.approx(0.1 / np.sqrt(1.01), abs=1e-6)


class TestFollowBox:
    def test_within_the_slack_it_stays(self) -> None:
        last = np.array([0.0, 0, 100, 80])
        np.testing.assert_allclose(follow_box(last, last + np.array([1.0, -1, 1, -1]), 0.02), last)
        np.testing.assert_allclose(follow_box(last, np.array([-0.5, -0.5, 100.5, 80.5]), 0.02), last)

    def test_beyond_it_goes_as_far_as_it_must(self) -> None:
        moved = follow_box(np.array([0.0, 0, 100, 80]), np.array([10.0, 0, 110, 80]), 0.02)
        np.testing.assert_allclose(moved, [8, 0, 108, 80])
        grown = follow_box(np.array([0.0, 0, 100, 100]), np.array([-10.0, -10, 110, 110]), 0.02)
        np.testing.assert_allclose(grown[2:] - grown[:2], 120 / 1.02)

    def test_without_slack_it_is_the_new_box(self) -> None:
        np.testing.assert_allclose(follow_box(np.zeros(4), np.array([3.0, 4, 9, 8]), 0.0), [3, 4, 9, 8])

    @given(
        st.lists(st.floats(-500, 500), min_size=4, max_size=4),
        st.lists(st.floats(5, 300), min_size=4, max_size=4),
    )
    def test_it_is_never_farther_than_the_slack(self, corners: list[float], sizes: list[float]) -> None:
        last = np.array([*corners[:2], corners[0] + sizes[0], corners[1] + sizes[1]])
        found = np.array([*corners[2:], corners[2] + sizes[2], corners[3] + sizes[3]])
        box = follow_box(last, found, 0.02)
        offset = (box[:2] + box[2:]) / 2 - (found[:2] + found[2:]) / 2
        assert (np.abs(offset) <= 0.02 * max(sizes[2:]) + 1e-9).all()
        ratio = (box[2:] - box[:2]) / (found[2:] - found[:2])
        assert (np.abs(np.log(ratio)) <= np.log(1.02) + 1e-9).all()


def test_distances_by_hand() -> None:
    a = [[0.0, 0, 10, 10]]
    assert following.distances(a, [[0.0, 20, 10, 30]])[0, 0] == pytest.approx(2.0)
    assert following.distances(a, [[-5.0, -5, 15, 15]])[0, 0] == pytest.approx(np.log(2))


def test_share_inside_by_hand() -> None:
    # A picture of 4 x 2 pixels covers x from -0.5 to 3.5 and y from -0.5 to 1.5.
    assert following.share_inside(np.array([-0.5, -0.5, 3.5, 1.5]), (2, 4, 3)) == 1
    assert following.share_inside(np.array([1.5, -0.5, 5.5, 1.5]), (2, 4, 3)) == pytest.approx(0.5)
    assert following.share_inside(np.array([5.0, 0, 6, 1]), (2, 4, 3)) == 0


def test_match_leaves_out_what_is_too_far() -> None:
    assert following.match(np.array([[0.9, 0.2], [0.1, 0.95]]), 0.8) == {0: 1, 1: 0}
    assert following.match(np.array([[0.9], [0.3]]), 0.8) == {1: 0}
    assert following.match(np.zeros((0, 3)), 0.8) == {}


@pytest.mark.parametrize(
    "values", [{"detect_every": 0}, {"max_misses": 0}, {"slack": -0.1}, {"remember": -1}]
)
def test_bad_config(values: dict[str, int]) -> None:
    with pytest.raises(InputError, match=f"{next(iter(values))}: found"):
        TrackingConfig(**values)  # type: ignore[arg-type]


@pytest.mark.parametrize("time", ["soon", float("nan"), float("inf"), 1.0, 0.5])
def test_times(time: Any) -> None:
    tracker = Tracker(lambda image: [], lambda image, boxes: [])
    tracker.update(np.zeros((8, 8, 3), np.uint8), 1.0)
    with pytest.raises(InputError, match="time: found"):
        tracker.update(np.zeros((8, 8, 3), np.uint8), time)


def test_without_times_the_clock_gives_them(monkeypatch: pytest.MonkeyPatch) -> None:
    times = iter([10.0, 10.04, 10.04])
    monkeypatch.setattr(tracking, "monotonic", lambda: next(times))
    world = World([box_at(300, 200)])
    tracker = world.tracker()
    assert [face.id for face in tracker.update(FRAME)] == [0]
    assert [face.id for face in tracker.update(FRAME)] == [0]
    with pytest.raises(InputError, match="time: found"):
        tracker.update(FRAME)


MARKED = np.zeros((480, 640, 3), np.uint8)
MARKED[0, 0] = 255


class TestUpsideDown:
    """A world whose faces are seen only if the frame is upside down, which its first pixel shows."""

    @pytest.fixture
    def film(self, monkeypatch: pytest.MonkeyPatch) -> Film:
        world = World(confidence=0.9)
        detect = world.detect
        self.searched: list[bool] = []

        def detect_turned(image: NDArray[np.uint8]) -> list[Detection]:
            self.searched.append(bool(image[-1, -1].all()))
            return detect(image) if self.searched[-1] else []

        monkeypatch.setattr(world, "detect", detect_turned)
        return Film(world)

    def test_a_face_is_found_and_followed(self, film: Film) -> None:
        box = box_at(200, 150)
        (face,) = film.show(box, image=MARKED)
        expected = mean_shape_in_box(box)
        np.testing.assert_allclose(face.landmarks[:, :2], [639, 479] - expected[:, :2], atol=1e-3)
        np.testing.assert_allclose(face.box, [639 - box[2], 479 - box[3], 639 - box[0], 479 - box[1]])
        assert abs(face.pose[2]) == pytest.approx(180, abs=1e-3)
        (face,) = film.show(box + 3, frames=25, image=MARKED)
        assert face.id == 0
        np.testing.assert_allclose(face.landmarks[:, :2], [636, 476] - expected[:, :2], atol=1e-3)
        assert self.searched == [False, True, True, True]  # frames 0, 10 and 20

    def test_it_is_searched_for_now_and_then(self, film: Film) -> None:
        film.show(frames=20, image=MARKED)
        assert self.searched == [False, True, *[False] * 10, True, *[False] * 9]

    def test_the_frame_as_it_is_comes_back(self, film: Film) -> None:
        film.show(box_at(200, 150), image=MARKED)
        assert film.show(frames=20, image=MARKED) == []
        upright = np.ascontiguousarray(MARKED[::-1, ::-1])  # seen as it is
        (face,) = film.show(box_at(200, 150), frames=10, image=upright)
        np.testing.assert_allclose(face.landmarks, mean_shape_in_box(box_at(200, 150)), atol=1e-3)
        assert face.id == 1

    def test_a_face_of_little_confidence_is_not_followed(self, film: Film) -> None:
        film.world.confidence = 0.5
        assert film.show(box_at(200, 150), frames=11, image=MARKED) == []
