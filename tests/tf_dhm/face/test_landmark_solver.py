"""The derivatives of Gauss-Newton, and its closed-form start."""

from __future__ import annotations

import numpy as np

from tf_dhm.core.types import Array
from tf_dhm.face.camera import look_at
from tf_dhm.face.geometry import rotation_matrix
from tf_dhm.face.landmark_solver import RIGID, LandmarkSolver, fill_motion, project
from tf_dhm.face.morphable import MorphableModel
from tf_dhm.face.reduced_basis import ReducedBasis


def test_derivatives_are_those_of_the_projection() -> None:
    rng = np.random.default_rng(0)
    face, basis = rng.normal(0, 3, (2, 3, 68)), rng.normal(0, 1, (2, 3, 68, 2))
    shift, extra = rng.normal(0, 1, (2, 3)) - [0, 0, 60], np.array([0.1, 0.2])
    distance, axis = np.array([55.0, 70.0]), look_at(np.array([[0.4, 0.3, -1.0], [0.0, -0.9, -1.0]]))[:, 2]

    def projected(turned: Array, moved: Array, more: Array) -> tuple[Array, Array]:
        system = np.zeros((2, 3, 68, RIGID + 3))
        system[..., RIGID:-1] = basis
        fill_motion(system, turned)
        return project(system[..., :-1], turned, moved, more, distance, axis), system

    start, derivatives = projected(face, shift, extra)
    for column in range(RIGID + 2):
        step = np.zeros(RIGID + 2)
        step[column] = 1e-6
        turned = face + np.cross(step[:3], face, axisb=1, axisc=1) + basis @ step[RIGID:]
        moved, _ = projected(turned, shift + step[3:6], extra + step[6])
        np.testing.assert_allclose((moved - start) / 1e-6, derivatives[..., column], atol=2e-4)


def test_the_start_has_the_exact_pose_of_the_mean_face() -> None:
    basis = ReducedBasis.of(MorphableModel.open_face(), 10)
    solver = LandmarkSolver(basis, np.zeros((3, 68)), 0.5)
    turn = rotation_matrix(np.array([0.3, -0.2]), np.array([-1.0, 0.5]), np.array([0.1, 0.4]))
    points = 12.0 * turn @ basis.mean + np.array([100.0, -50.0, 7.0])[:, None]
    solved = solver.solve(points, np.ones((2, 3, 68)), 0)
    np.testing.assert_allclose(solved.rotation, turn, atol=1e-12)
    np.testing.assert_allclose(solved.shape, 0, atol=1e-12)
    np.testing.assert_allclose(solved.scale, 12)
    np.testing.assert_allclose(solved.shift, [[100 / 12, -50 / 12, 0]] * 2)
    np.testing.assert_allclose(solved.offset, 7)


def test_known_shapes_are_where_gauss_newton_starts() -> None:
    basis = ReducedBasis.of(MorphableModel.open_face(), 10)
    solver = LandmarkSolver(basis, np.zeros((3, 68)), 0.5)
    shape = np.full((2, 10), 0.7)
    points = 12.0 * (basis.mean + basis.moves(shape))
    known = np.array([True, False])
    solved = solver.solve(points, np.ones((2, 3, 68)), 0, None, known, shape * known[:, None])
    np.testing.assert_array_equal(solved.shape[0], shape[0])
    np.testing.assert_allclose(solved.rotation[0], np.eye(3), atol=1e-9)
    assert np.abs(solved.shape[1] - shape[1]).max() > 0.01
