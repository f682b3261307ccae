"""The embedded open morphable face: its format, its symmetry and the anatomy of its landmarks."""

from __future__ import annotations

import numpy as np
import pytest

from tf_dhm.face.geometry import MIRROR_68, box_size, landmark_box
from tf_dhm.face.morphable import OPEN_FACE

FLIP = np.array([-1.0, 1.0, 1.0])


@pytest.fixture(scope="module")
def face() -> dict[str, np.ndarray]:
    with np.load(OPEN_FACE, allow_pickle=False) as arrays:
        return dict(arrays)


def similarity(moving: np.ndarray, fixed: np.ndarray) -> np.ndarray:
    """`moving` after the similarity that brings it nearest to `fixed`."""
    a, b = moving - moving.mean(0), fixed - fixed.mean(0)
    u, s, vt = np.linalg.svd(b.T @ a)
    sign = np.array([1, 1, np.linalg.det(u @ vt)])
    return (s * sign).sum() / (a**2).sum() * a @ ((u * sign) @ vt).T + fixed.mean(0)


def test_format(face: dict[str, np.ndarray]) -> None:
    vertices = len(face["mean"])
    assert OPEN_FACE.stat().st_size <= 10e6
    assert face["mean"].shape == (vertices, 3)
    assert face["mean"].dtype == np.float32
    assert face["identity"].shape == (199, vertices, 3)
    assert face["expression"].shape == (29, vertices, 3)
    assert face["identity_std"].shape == (199,)
    assert face["expression_std"].shape == (29,)
    assert face["triangles"].min() == 0
    assert face["triangles"].max() == vertices - 1
    assert len(np.unique(face["landmarks"])) == 68
    assert face["region"].max() == len(face["region_names"]) - 1
    assert set(np.unique(face["region"])) == set(range(len(face["region_names"])))
    assert all(np.isfinite(a).all() for a in face.values() if a.dtype.kind == "f")


def test_components(face: dict[str, np.ndarray]) -> None:
    identity, std = face["identity"].astype(np.float64), face["identity_std"]
    assert (np.diff(std) <= 0).all()
    assert std[-1] > 0
    flat = identity.reshape(199, -1)
    gram = flat @ flat.T / len(face["mean"])
    np.testing.assert_allclose(gram, np.eye(199), atol=2e-3)


def test_symmetry(face: dict[str, np.ndarray]) -> None:
    mirror = face["mirror"]
    np.testing.assert_array_equal(mirror[mirror], np.arange(len(mirror)))
    np.testing.assert_array_equal(mirror[face["landmarks"]], face["landmarks"][MIRROR_68])
    np.testing.assert_allclose(face["mean"][mirror] * FLIP, face["mean"], atol=1e-5)
    # Each identity component is symmetric or antisymmetric.
    identity = face["identity"].astype(np.float64)
    mirrored = identity[:, mirror] * FLIP
    sign = np.sign((identity * mirrored).sum((1, 2)))[:, None, None]
    np.testing.assert_allclose(mirrored, sign * identity, atol=5e-3)


def test_landmarks_are_on_the_outer_skin_and_in_order(face: dict[str, np.ndarray]) -> None:
    points = face["mean"][face["landmarks"]]
    names = face["region_names"][face["region"][face["landmarks"]]]
    assert set(names[:17]) <= {"skin", "neck", "ears"}
    assert set(names[48:68]) <= {"lips", "skin"}
    assert (np.diff(points[:17, 0]) > 0).all()  # the jaw runs from the subject's right to the left
    assert (np.diff(points[27:31, 1]) < 0).all()
    assert np.argmax(points[:, 2]) == 30
    assert (points[37:39, 1] > points[40:42, 1]).all()  # upper above lower lid
    assert points[8, 1] == points[:, 1].min()  # the chin is lowest
    np.testing.assert_allclose(points.mean(0), 0, atol=1e-4)
    # An adult's eyes are 8 to 10 cm from outer corner to outer corner.
    assert 8.0 < np.linalg.norm(points[45] - points[36]) < 10.0


def test_expressions_move_what_they_name(face: dict[str, np.ndarray]) -> None:
    names = list(face["expression_names"])
    move = dict(zip(names, face["expression"][:, face["landmarks"]].astype(np.float64), strict=True))
    assert move["jaw_open"][8, 1] < -1.0
    assert abs(move["jaw_open"][30]).max() < 0.3
    assert move["eye_blink_left"][43:45, 1].max() < -0.5
    assert abs(move["eye_blink_left"][37:39]).max() < 0.05
    assert move["mouth_smile_left"][54, 1] > 0.3
    assert move["mouth_smile_left"][54, 0] > 0.0
    assert move["brow_outer_up_right"][17:19, 1].min() > 0.2
    limits = face["expression_range"]
    assert (limits[:, 0] <= 0).all()
    assert (limits[:, 1] == 1).all()


def test_is_near_the_mean_of_real_faces(face: dict[str, np.ndarray]) -> None:
    """A check of the landmarks' places only: they were chosen by anatomy, never fitted."""
    real = np.load(OPEN_FACE.parent / "mean_shape.npy").astype(np.float64) * [1, -1, 1]
    points = similarity(face["mean"][face["landmarks"]].astype(np.float64), real)
    error = np.linalg.norm((points - real)[:, :2], axis=1).mean() / box_size(landmark_box(real))
    assert error < 0.025
