"""The fit of the open face to 68 landmarks: exact faces are found again, under both cameras."""

from __future__ import annotations

import pickle

import numpy as np
import pytest

from tf_dhm.core.errors import InputError
from tf_dhm.core.types import Array
from tf_dhm.face.camera import FLIP, Camera, depth_scale, likely_angles, look_at
from tf_dhm.face.fit import (
    MODEL_LANDMARKS,
    NOT_A_FACE,
    NOT_CONFIDENT,
    NOT_FINITE,
    FaceFit,
    FaceFitter,
    FitConfig,
)
from tf_dhm.face.geometry import rotation_matrix
from tf_dhm.face.parameters import NUM_PARAMETERS


@pytest.fixture(scope="module")
def fitter() -> FaceFitter:
    return FaceFitter()


@pytest.fixture(scope="module")
def exact() -> FaceFitter:
    """A fitter that trusts its landmarks."""
    return FaceFitter(config=MODEL_LANDMARKS)


def random_p(fitter: FaceFitter, count: int, seed: int = 0) -> Array:
    """Faces in a photo of 480 pixels height."""
    rng = np.random.default_rng(seed)
    p = np.zeros((count, NUM_PARAMETERS))
    p[:, 0] = rng.uniform(8, 20, count)
    p[:, 1:4] = rng.uniform(-1, 1, (count, 3)) * [0.5, 1.3, 0.5]
    p[:, 4:6] = rng.uniform(150, 350, (count, 2))
    p[:, 6:] = rng.normal(0, 1, (count, NUM_PARAMETERS - 6)) * fitter.model.std
    return p


def angle_between(first: Array, second: Array) -> float:
    """Degrees between two rotations."""
    cosine = (np.trace(first.T @ second) - 1) / 2
    return float(np.degrees(np.arccos(np.clip(cosine, -1, 1))))


def test_exact_landmarks_give_the_pose_and_the_face_again(exact: FaceFitter) -> None:
    p = random_p(exact, 12)
    landmarks = exact.model.project(p, 480.0)
    for truth, fit in zip(p, exact.fit(landmarks, image_height=480.0), strict=True):
        assert fit.problem is None
        assert fit.residual < 1.0
        turned = angle_between(rotation_matrix(*fit.p[1:4]), rotation_matrix(*truth[1:4]))
        assert turned < 1.0
        assert fit.scale == pytest.approx(truth[0], rel=0.03)
        np.testing.assert_allclose(fit.landmarks, fit.head[exact.model.landmarks], atol=0.15)
        # The same face, seen from elsewhere: within 3 mm, when the mean face is 8 mm off.
        head = exact.model.shape(truth)
        error = np.linalg.norm(centred(fit.head) * fit.scale / truth[0] - centred(head), axis=1)
        mean_error = np.linalg.norm(centred(exact.model.mean) - centred(head), axis=1)
        assert error.mean() < 0.45 * mean_error.mean()


def centred(points: Array) -> Array:
    return points - points.mean(0)


def test_vertices_matrix_and_p_agree(fitter: FaceFitter) -> None:
    landmarks = fitter.model.project(random_p(fitter, 1), 480.0)
    [fit] = fitter.fit(landmarks, image_height=480.0)
    camera = fit.head @ fit.matrix[:3, :3].T + fit.matrix[:3, 3]
    np.testing.assert_allclose(camera[:, :2] * fit.scale, fit.vertices[:, :2], atol=1e-2)
    np.testing.assert_allclose(fitter.model.vertices(fit.p, 480.0)[:, :2], fit.vertices[:, :2], atol=0.05)
    assert np.linalg.det(fit.matrix[:3, :3]) == pytest.approx(1)
    depth = fit.vertices[fitter.model.landmarks, 2]
    assert depth.mean() == pytest.approx(0, abs=1e-2)
    nose, ears = fit.head[:, 2].argmax(), fit.head[:, 2].argmin()
    assert camera[nose, 2] < camera[ears, 2]  # the camera's z is forward
    assert fit.vertices[nose, 2] > fit.vertices[ears, 2]


def test_a_pickled_fit_holds_its_vertices_and_not_the_model(fitter: FaceFitter) -> None:
    [fit] = fitter.fit(fitter.model.project(random_p(fitter, 1), 480.0))
    data = pickle.dumps(fit)
    assert len(data) < fitter.basis.dense.nbytes / 5
    again = pickle.loads(data)
    np.testing.assert_array_equal(again.head, fit.head)
    np.testing.assert_array_equal(again.vertices, fit.vertices)


@pytest.mark.parametrize("across", [-40.0, -20.0, 0.0, 42.0])
@pytest.mark.parametrize("up", [-35.0, 0.0, 40.0])
def test_perspective_pose_anywhere_in_90_degrees(exact: FaceFitter, across: float, up: float) -> None:
    """The landmarks of faces 50 cm away, as drawn by a pinhole camera of 90 degrees."""
    camera = Camera.of_view(90.0, 1000, 1000)
    rng = np.random.default_rng(3)
    p = random_p(exact, 6, seed=7)
    faces = exact.model.shape(p)[:, exact.model.landmarks]
    ray = np.array([np.tan(np.radians(across)), np.tan(np.radians(up)), -1.0])
    place = 50.0 * ray / np.linalg.norm(ray)
    landmarks, rotations = [], []
    for face in faces:
        turn = rotation_matrix(*rng.uniform(-0.7, 0.7, 3))
        landmarks.append(draw(camera, turn, place, face))
        rotations.append(turn)
    fits = exact.fit(np.array(landmarks), camera=camera, image_height=1000.0)
    errors = [
        angle_between(np.diag([1, -1, -1]) @ fit.matrix[:3, :3], turn)
        for fit, turn in zip(fits, rotations, strict=True)
    ]
    assert max(errors) <= 0.1, errors
    for fit, face, points in zip(fits, faces, landmarks, strict=True):
        # The size of the head is known by its shape alone.
        np.testing.assert_allclose(fit.matrix[:3, 3], place * [1, -1, -1], rtol=0.02, atol=0.2)
        np.testing.assert_allclose(fit.landmarks, fit.head[exact.model.landmarks], atol=0.01)
        size = np.linalg.norm(fit.matrix[:3, 3]) / np.linalg.norm(place)
        np.testing.assert_allclose(fit.landmarks, face * size, atol=0.1)
        shown = fit.vertices[exact.model.landmarks]
        np.testing.assert_allclose(shown[:, :2], points[:, :2], atol=0.05)
        np.testing.assert_allclose(shown[:, 2], points[:, 2] - points[:, 2].mean(), atol=0.05)
        # p is a parallel projection along the line of sight: z is that of the photo, x and y are on average.
        parallel = exact.model.project(fit.p, 1000.0)
        np.testing.assert_allclose(parallel[:, :2].mean(0), shown[:, :2].mean(0), atol=0.05)
        np.testing.assert_allclose(parallel[:, 2] - parallel[:, 2].mean(), shown[:, 2], atol=0.05)


def draw(camera: Camera, turn: Array, place: Array, face: Array) -> Array:
    """Photo pixels of a head, z along the line of sight to its origin in pixels at that point."""
    turned = face @ turn.T  # y up, z to the viewer
    points = turned + place
    pixels = points[:, :2] / -points[:, 2:] * camera.focal * FLIP[:2] + camera.centre
    depth = turned @ -place / np.linalg.norm(place) * camera.focal
    depth *= np.sqrt(np.linalg.norm(place) / (-place[2]) ** 3)
    return np.concatenate([pixels, depth[:, None]], 1)


def test_look_at_turns_the_axis_to_the_face() -> None:
    camera = Camera(500.0, (320.0, 240.0))
    rays = camera.rays(np.array([[820.0, 740.0, 3.0], [320.0, 240.0, 0.0]]))  # 500 right and 500 below
    np.testing.assert_allclose(rays, [[1, -1, -1], [0, 0, -1]])
    views = look_at(rays)
    np.testing.assert_allclose(views[0] @ [0, 0, -1], np.array([1, -1, -1]) / np.sqrt(3), atol=1e-12)
    np.testing.assert_array_equal(views[1], np.eye(3))


def test_depth_is_in_pixels_of_the_stretched_picture() -> None:
    # 30 cm right at a depth of 40 cm: 1/40 across and 50/40^2 along, per centimetre and focal length.
    expected = np.sqrt(1 / 40 * 50 / 40**2)
    assert depth_scale(np.array([[30.0, 0, -40]]), np.array([0, 0, 1]))[0] == pytest.approx(expected)


def test_field_of_view() -> None:
    assert Camera.of_view(60.0, 1000, 500).focal == pytest.approx(500 / np.tan(np.radians(30)))
    assert Camera.of_view(60.0, 1000, 500).centre == (499.5, 249.5)
    with pytest.raises(InputError, match="field of view"):
        Camera.of_view(180.0, 1000, 500)
    with pytest.raises(InputError, match="camera"):
        Camera(0.0, (1.0, 1.0))


def test_faces_without_a_fit(fitter: FaceFitter) -> None:
    landmarks = fitter.model.project(random_p(fitter, 3), 480.0)
    landmarks[0, 5] = np.nan
    lost, unsure, good = fitter.fit(landmarks, confidence=[0.9, 0.2, 0.9])
    assert lost.problem == NOT_FINITE
    assert unsure.problem == NOT_CONFIDENT
    for fit in (lost, unsure):
        for name in ("p", "vertices", "head", "landmarks", "matrix", "pose", "residual", "scale"):
            assert np.isnan(getattr(fit, name)).all()
    assert good.problem is None
    alone = fitter.fit(landmarks[2:])[0]
    np.testing.assert_allclose(good.p, alone.p, atol=1e-9)
    assert fitter.fit(np.zeros((0, 68, 3))) == []


def test_points_that_are_no_face_have_no_fit(fitter: FaceFitter) -> None:
    point = np.full((1, 68, 3), 200.0)
    line = point + np.arange(68)[:, None] * [0.0, 1.0, 0.0]
    rng = np.random.default_rng(10)
    noise = [line[0] + rng.normal(0, 100, (68, 3)) * [1, 1, 4] for _ in range(20)]
    for camera in (None, Camera(300.0, (200.0, 200.0))):
        for fit in fitter.fit(np.concatenate([point, line]), camera=camera):
            assert fit.problem == NOT_A_FACE
            assert np.isnan(fit.matrix).all()
        for fit in fitter.fit(np.array(noise), camera=camera):
            assert np.isfinite(fit.matrix).all() == (fit.problem is None)


def test_hidden_landmarks_count_less(fitter: FaceFitter) -> None:
    landmarks = fitter.model.project(random_p(fitter, 1), 480.0)
    wrong = landmarks.copy()
    wrong[0, 8] += [0.0, 60.0, 0.0]  # the chin
    seen = np.ones((1, 68))
    seen[0, 8] = 0.0
    full, less = fitter.fit(wrong)[0], fitter.fit(wrong, seen)[0]
    chin = fitter.model.landmarks[8]
    assert less.vertices[chin, 1] < full.vertices[chin, 1]


def test_warm_start_reaches_the_same_face(fitter: FaceFitter) -> None:
    p = random_p(fitter, 1)
    landmarks = fitter.model.project(p, 480.0)
    first = fitter.fit(landmarks, image_height=480.0)[0]
    moved = landmarks + [3.0, -2.0, 0.0]
    cold, warm = fitter.fit(moved)[0], fitter.fit(moved, start=[first])[0]
    np.testing.assert_allclose(warm.vertices, cold.vertices, atol=0.2)
    settled = FaceFitter(config=FitConfig(iterations=8)).fit(moved)[0]
    assert np.abs(warm.vertices - settled.vertices).max() < np.abs(cold.vertices - settled.vertices).max()


def test_a_lost_face_does_not_start_the_next(fitter: FaceFitter) -> None:
    landmarks = fitter.model.project(random_p(fitter, 1), 480.0)
    lost: FaceFit = fitter.fit(np.full((1, 68, 3), np.nan))[0]
    assert fitter.fit(landmarks, start=[lost])[0].problem is None


def test_likely_angles() -> None:
    # In profile only the difference of pitch and roll shows; 1 degree of it is kept, the sum is not.
    profile = np.radians([[40.0, 90.0, 39.0]])
    pitch, yaw, roll = np.degrees(likely_angles(profile, 1 / 16))[0]
    assert yaw == 90
    assert pitch - roll == pytest.approx(2 / (2 + 1 / 256))
    assert pitch + roll == pytest.approx(0)
    # The two look alike but for a turn that is smaller than the noise.
    turned = angle_between(rotation_matrix(*profile[0]), rotation_matrix(*np.radians([pitch, yaw, roll])))
    assert turned < 0.01
    # With yaw 0 both keep 1 / (1 + 1/256).
    front = likely_angles(np.array([[0.4, 0.0, 0.2]]), 1 / 16)[0]
    np.testing.assert_allclose(front, np.array([0.4, 0.0, 0.2]) * 256 / 257)
    np.testing.assert_array_equal(likely_angles(profile, 0.0), profile)


def test_pose_is_in_the_axes_of_pose_para(fitter: FaceFitter) -> None:
    """The real mean face looks straight ahead."""
    from tf_dhm.face.mean_face import mean_landmarks

    [fit] = fitter.fit(mean_landmarks(200)[None].astype(np.float64))
    np.testing.assert_allclose(fit.pose, 0, atol=0.2)
    assert fit.residual < 0.5


def test_wrong_shapes(fitter: FaceFitter) -> None:
    with pytest.raises(InputError, match="landmarks"):
        fitter.fit(np.zeros((68, 3)))
    with pytest.raises(InputError, match="visibility"):
        fitter.fit(np.zeros((2, 68, 3)), np.zeros((2, 5)))
    with pytest.raises(InputError, match="noise: found 0"):
        FitConfig(noise=0.0)
