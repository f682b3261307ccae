"""The study of the fitted mesh: its measures by hand, and a run on two faces."""

from __future__ import annotations

import numpy as np
import pytest

from pipelines.synthetic.config import RenderConfig
from tf_dhm.face.expression import face_units
from tf_dhm.face.fit import TRUE_LANDMARKS, FaceFitter
from tf_dhm.face.geometry import rotation_matrix
from tools.studies.mesh import (
    MeshStudy,
    align,
    correlation,
    perspective_rows,
    random_weights,
    render_heads,
    true_pixels,
)


def test_align_undoes_a_similarity() -> None:
    rng = np.random.default_rng(0)
    truth = rng.normal(size=(2, 9, 3))
    moved = 3.0 * truth @ rotation_matrix(0.3, -0.8, 0.2).T + [1.0, 2.0, 3.0]
    np.testing.assert_allclose(align(moved, truth), truth, atol=1e-12)


def test_correlation() -> None:
    assert correlation(np.array([1.0, 2.0, 3.0]), np.array([2.0, 4.0, 6.0])) == pytest.approx(1)
    assert correlation(np.zeros(3), np.array([2.0, 4.0, 6.0])) == 0


def test_expressions_are_few_and_mostly_of_both_sides() -> None:
    names, rng = face_units().names, np.random.default_rng(0)
    weights = np.array([random_weights(names, rng) for _ in range(3000)])
    active = weights > 0
    assert active.sum(1).min() >= 1
    assert active.sum(1).max() <= 6
    assert weights[active].min() >= 0.2
    left, right = names.index("mouthSmileLeft"), names.index("mouthSmileRight")
    both = active[:, left] & active[:, right]
    assert 0.6 < both.sum() / (active[:, left] | active[:, right]).sum() < 0.8
    assert not (active[:, names.index("jawLeft")] & active[:, names.index("jawRight")]).all()


def test_rendered_heads_know_where_their_vertices_are() -> None:
    heads = render_heads(MeshStudy(faces=2, seed=3, render=RenderConfig(size=64, occlusion=0.0)))
    fitter = FaceFitter(config=TRUE_LANDMARKS)
    pixels = true_pixels(heads, fitter)
    gap = np.linalg.norm(pixels[:, fitter.model.landmarks] - heads.landmarks[..., :2], axis=-1)
    assert gap.mean() < 1.5  # a perspective camera is taken for a parallel one
    (first,) = render_heads(MeshStudy(faces=1, seed=3, render=RenderConfig(size=64, occlusion=0.0))).images
    np.testing.assert_array_equal(first, heads.images[0])


def test_perspective_is_within_half_a_degree() -> None:
    rows = perspective_rows(FaceFitter(config=TRUE_LANDMARKS), count=10)
    assert len(rows) == 3
    for row in rows:
        assert float(row["with the camera: mean"][:-1]) <= 0.5
