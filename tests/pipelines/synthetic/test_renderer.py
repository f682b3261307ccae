"""Rendered faces: labels that agree with the model and the image, and images that can be made again."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from pipelines.datasets.samples import OCCLUDED, SELF_OCCLUDED, VISIBLE
from pipelines.synthetic import parts as face_parts
from pipelines.synthetic import series as synthetic
from pipelines.synthetic.camera import Camera
from pipelines.synthetic.config import RenderConfig
from pipelines.synthetic.meshes import Part, sphere
from pipelines.synthetic.renderer import FaceRenderer, RenderedFace, parameters
from pipelines.synthetic.rig import OBJECT, expression_range, load_rig, vertex_normals
from pipelines.synthetic.sampling import random_parameters, random_rotation
from pipelines.synthetic.scene import Scene
from tf_dhm.core.errors import InputError
from tf_dhm.face.geometry import MIRROR_68, euler_angles, landmark_box, pose_from_landmarks, rotation_matrix

COUNT = 24
BARE = np.zeros(228, np.float32)


@pytest.fixture(scope="module")
def faces() -> list[RenderedFace]:
    renderer = FaceRenderer(RenderConfig(size=64))
    return [renderer.render(1, index) for index in range(COUNT)]


def bare_scene(pitch: float, yaw: float, roll: float, parts: list[Part] | None = None) -> Scene:
    """The mean face, turned by degrees."""
    rig = load_rig()
    vertices = rig.model.mean.astype(np.float32)
    turn = rotation_matrix(*np.deg2rad([pitch, yaw, roll])).T.astype(np.float32)
    return Scene(rig, vertices, vertex_normals(rig, vertices), turn, parts or [])


def bare_visibility(scene: Scene, distance: float = np.inf) -> np.ndarray:
    rig = scene.rig
    at = rig.model.landmarks
    points, normals = scene.vertices[at].astype(np.float64), scene.table[at, :3]
    return scene.landmark_visibility(points, normals, Camera(1.0, (0.0, 0.0), distance))


def test_shapes_types_and_ranges(faces: list[RenderedFace]) -> None:
    for face in faces:
        assert face.image.shape == (64, 64, 3)
        assert face.image.dtype == np.uint8
        assert face.landmarks.shape == (68, 3)
        assert face.landmarks.dtype == np.float32
        assert face.p.shape == (234,)
        assert set(np.unique(face.visibility)) <= {SELF_OCCLUDED, OCCLUDED, VISIBLE}
        np.testing.assert_allclose(face.box, landmark_box(face.landmarks), rtol=1e-5)
        assert abs(face.landmarks[:, 2].mean()) < 1e-3
        assert face.image.std() > 2
    # The crop of the landmarks stands in the image, with the margin around it.
    centres = np.array([(f.box[:2] + f.box[2:]) / 2 for f in faces])
    assert np.abs(centres - 31.5).max() < 8
    sides = np.array([np.sqrt(2) * (f.box[2:] - f.box[:2]).max() for f in faces])
    np.testing.assert_allclose(np.exp(np.log(sides).mean()), 64 / 1.3, rtol=0.06)


def test_is_the_same_for_the_same_seed_and_index(faces: list[RenderedFace]) -> None:
    again = FaceRenderer(RenderConfig(size=64)).render(1, 7)
    np.testing.assert_array_equal(again.image, faces[7].image)
    np.testing.assert_array_equal(again.landmarks, faces[7].landmarks)
    np.testing.assert_array_equal(again.p, faces[7].p)
    assert (faces[6].image != faces[7].image).any()
    assert (FaceRenderer(RenderConfig(size=64)).render(2, 7).image != faces[7].image).any()


def test_p_gives_the_landmarks(faces: list[RenderedFace]) -> None:
    model = load_rig().model
    kinds = {face.perspective for face in faces}
    assert kinds == {True, False}
    for face in faces:
        projected = model.project(face.p, image_height=64)
        error = np.linalg.norm(projected[:, :2] - face.landmarks[:, :2], axis=1)
        # A camera near the face departs from weak perspective; parallel rays do not.
        assert error.max() < (7.0 if face.perspective else 1e-3)
        if not face.perspective:
            z = projected[:, 2] - projected[:, 2].mean()
            np.testing.assert_allclose(z, face.landmarks[:, 2], atol=1e-3)
        np.testing.assert_allclose(np.rad2deg(face.p[1:4]), face.pose, atol=1e-3)


def test_the_pose_is_that_of_the_landmarks(faces: list[RenderedFace]) -> None:
    reference = load_rig().model.landmark_mean * [1, -1, 1]
    for face in faces:
        found = rotation_matrix(*pose_from_landmarks(face.landmarks, reference))
        expected = rotation_matrix(*np.deg2rad(face.pose))
        angle = np.rad2deg(np.arccos(np.clip((np.trace(found.T @ expected) - 1) / 2, -1, 1)))
        assert angle < (20 if face.perspective else 12)  # expressions and persons differ from the mean


def test_yaw_is_spread_over_its_range() -> None:
    rng = np.random.default_rng(0)
    rotations = np.array([random_rotation(RenderConfig(), rng) for _ in range(900)])
    np.testing.assert_allclose(rotations @ rotations.transpose(0, 2, 1) - np.eye(3), 0, atol=1e-9)
    yaw = np.rad2deg(euler_angles(rotations)[:, 1])
    counts = np.histogram(yaw, np.arange(-90, 91, 30))[0]
    assert counts.min() > 110
    assert counts.max() < 190
    small = RenderConfig(max_yaw=20, max_pitch=10, max_roll=0)
    angles = np.rad2deg(euler_angles(np.array([random_rotation(small, rng) for _ in range(100)])))
    assert np.abs(angles[:, 1]).max() <= 20.0
    assert np.abs(angles[:, 0]).max() < 12.0


def test_the_image_shows_the_face_where_the_landmarks_are() -> None:
    """Silhouette of the bare mean face against its projected vertices."""
    scene = bare_scene(10, 35, -15)
    camera = Camera(4.0, (60.0, 66.0), 60.0)
    origins, directions = camera.rays(128, 128)
    hit = (scene.embree.run(origins, directions) >= 0).reshape(128, 128)
    points = camera.project(scene.vertices)
    inside = ((points[:, :2] > 1) & (points[:, :2] < 126)).all(1)
    x, y = points[inside, 0], points[inside, 1]
    # Every vertex falls on a pixel of the silhouette or its neighbour, and the silhouette ends there.
    near = cv2.dilate(hit.astype(np.uint8), np.ones((3, 3), np.uint8)) > 0
    assert near[np.round(y).astype(int), np.round(x).astype(int)].all()
    rows, columns = np.nonzero(hit)
    assert abs(columns.min() - max(x.min(), 0)) <= 1.5
    assert abs(rows.min() - y.min()) <= 1.5


def test_rays_go_through_the_pixels_they_belong_to() -> None:
    for distance in (np.inf, 50.0):
        camera = Camera(3.0, (20.0, 30.0), distance)
        origins, directions = camera.rays(40, 40)
        along = (origins + 17.0 * directions).reshape(40, 40, 3)
        pixels = camera.project(along[11, 25][None])
        np.testing.assert_allclose(pixels[0, :2], [25, 11], atol=1e-4)


def test_visibility_of_a_frontal_face_and_of_both_profiles() -> None:
    front = bare_visibility(bare_scene(0, 0, 0))
    assert (front[[*range(17, 31), 33, *range(36, 60)]] == VISIBLE).all()
    np.testing.assert_array_equal(front, front[MIRROR_68])
    # Positive yaw turns the nose to the left of the picture: the subject's right side is hidden.
    right, left = bare_visibility(bare_scene(0, 80, 0)), bare_visibility(bare_scene(0, -80, 0))
    assert (right[[*range(0, 6), 17, 18, 36, 37, 41, 48]] == SELF_OCCLUDED).all()
    assert (right[[*range(11, 17), 24, 25, 26, 30, 45, 54]] == VISIBLE).all()
    np.testing.assert_array_equal(left, right[MIRROR_68])


def test_a_thing_in_front_hides_only_what_is_behind_it() -> None:
    rig = load_rig()
    mouth = rig.model.landmark_mean[62]
    ball, triangles = sphere()
    grey = np.full(3, 0.5, np.float32)
    vertices = (ball * 2.0 + mouth + [0, 0, 6]).astype(np.float32)
    part = Part(vertices, triangles, ball, OBJECT, grey, grey)
    visibility = bare_visibility(bare_scene(0, 0, 0, [part]))
    assert (visibility[[51, 57, 62, 66]] == OCCLUDED).all()
    assert (visibility[[*range(17, 27), *range(36, 48), 30]] == VISIBLE).all()


def test_parameters_recover_a_weak_perspective_camera() -> None:
    rotation = rotation_matrix(0.2, -0.7, 0.3)
    shape = load_rig().model.landmark_mean @ rotation.T
    points = Camera(5.0, (40.0, 55.0), np.inf).project(shape)
    p = parameters(rotation, BARE, shape, points, 100)
    np.testing.assert_allclose(p[:6], [5.0, 0.2, -0.7, 0.3, 41.0, 45.0], atol=1e-6)


def test_random_parameters_stay_in_their_range() -> None:
    rng = np.random.default_rng(0)
    low, high = expression_range().T
    drawn = [random_parameters(load_rig(), rng) for _ in range(200)]
    expressions = np.array([expression for _, expression in drawn])
    assert (expressions >= low).all()
    assert (expressions <= high).all()
    identity = np.array([identity for identity, _ in drawn]) / load_rig().model.identity_std
    # Normal with 1.2 of the model's deviations, cut at 2.5: wider than the model's own heads.
    assert abs(identity).max() <= 2.5 + 1e-5
    np.testing.assert_allclose(identity.std(), 1.16, atol=0.03)


def test_parts_are_sound_meshes() -> None:
    rig = load_rig()
    vertices = rig.model.mean.astype(np.float32)
    normals = vertex_normals(rig, vertices)
    grey = np.full(3, 0.5, np.float32)
    for seed in range(6):
        rng = np.random.default_rng(seed)
        front = np.array([0, -1, 0])
        parts = [
            face_parts.hair(
                rig, vertices, rng, length=20 - 5.0 * seed, thickness=1.0, front=60, opening=70,
                colour=grey, second=grey,
            ),
            face_parts.hat(rig, vertices, rng, grey, grey),
            face_parts.torso(rig, vertices, rng, grey, grey),
            face_parts.glasses(rig, vertices, rng, grey)[0],
            face_parts.beard(rig, vertices, normals, rng, grey, grey),
            face_parts.face_mask(rig, vertices, normals, rng, grey, grey),
            face_parts.hand(rng, vertices[0], front, grey),
            face_parts.thing(rng, vertices[0], grey, grey),
        ]  # fmt: skip
        for part in parts:
            assert np.isfinite(part.vertices).all()
            assert part.texture.shape == part.vertices.shape
            assert 0 <= part.triangles.min() <= part.triangles.max() < len(part.vertices)
            assert np.ptp(part.vertices, axis=0).max() < 80


@pytest.mark.parametrize("wrong", [{"size": 4}, {"max_yaw": 120.0}, {"margin": 0.1}])
def test_a_wrong_configuration_is_named(wrong: dict[str, float]) -> None:
    with pytest.raises(InputError, match=next(iter(wrong))):
        RenderConfig(**wrong)  # type: ignore[arg-type]


def test_reader_yields_the_rendered_faces(faces: list[RenderedFace]) -> None:
    samples = list(synthetic.read(3, 1, start=6, val_every=7, config=RenderConfig(size=64)))
    assert [sample.name for sample in samples] == ["synthetic/1/6", "synthetic/1/7", "synthetic/1/8"]
    assert [sample.split for sample in samples] == ["train", "val", "train"]
    pixels = cv2.imdecode(np.frombuffer(samples[1].read_image(), np.uint8), cv2.IMREAD_COLOR)[..., ::-1]
    np.testing.assert_array_equal(pixels, faces[7].image)
    np.testing.assert_array_equal(samples[1].landmarks, faces[7].landmarks)
    np.testing.assert_array_equal(samples[1].visibility, faces[7].visibility)
    with pytest.raises(InputError, match="count -1"):
        list(synthetic.read(-1))


def test_the_renderer_version_stands_for_these_faces(faces: list[RenderedFace]) -> None:
    """Where this fails, rendered faces have changed: choose a new RENDERER_VERSION with the new values."""
    version, green, points = (
        "3c32d480190c3629",
        [
            [[163, 107, 80, 58], [133, 126, 105, 90], [103, 105, 113, 141], [89, 94, 143, 154]],
            [[148, 159, 155, 164], [107, 139, 153, 156], [99, 76, 101, 139], [188, 146, 99, 160]],
        ],
        [[[33.29, 24.48, 7.19], [23.4, 42.39, 8.65]], [[17.81, 28.27, 0.15], [34.58, 47.0, -2.86]]],
    )
    assert version == synthetic.RENDERER_VERSION
    for face, expected_green, expected_points in zip(faces, green, points, strict=False):
        small = cv2.resize(face.image, (4, 4), interpolation=cv2.INTER_AREA)[..., 1]
        np.testing.assert_allclose(small.astype(int), expected_green, atol=2)
        np.testing.assert_allclose(face.landmarks[[30, 8]], expected_points, atol=0.02)


@pytest.mark.slow
def test_most_landmarks_are_seen_and_some_are_hidden() -> None:
    renderer = FaceRenderer(RenderConfig(size=32, supersampling=1.0))
    visibility = np.array([renderer.render(9, index).visibility for index in range(200)])
    share = [(visibility == kind).mean() for kind in (SELF_OCCLUDED, OCCLUDED, VISIBLE)]
    assert 0.15 < share[0] < 0.45
    assert 0.05 < share[1] < 0.35
    assert share[2] > 0.4
