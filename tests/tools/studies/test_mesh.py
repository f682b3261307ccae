"""The study of the fitted mesh: its measures by hand, and a run on two faces."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from pipelines.synthetic.camera import Camera as SceneCamera
from pipelines.synthetic.config import RenderConfig
from tf_dhm.face.camera import Camera
from tf_dhm.face.expression import face_units
from tf_dhm.face.fit import MODEL_LANDMARKS, TRUE_LANDMARKS, FaceFitter
from tf_dhm.face.geometry import rotation_matrix
from tools.studies.mesh import (
    MeshStudy,
    align,
    correlation,
    fit_true_landmarks,
    measure,
    perspective_rows,
    project,
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
    heads = render_heads(MeshStudy(faces=4, seed=3, render=RenderConfig(size=64, occlusion=0.0)))
    fitter = FaceFitter(config=TRUE_LANDMARKS)
    assert len({camera.distance for camera in heads.cameras}) > 1
    pixels = true_pixels(heads)[:, fitter.model.landmarks]
    np.testing.assert_allclose(pixels, heads.landmarks[..., :2], atol=1e-3)
    for fit, drawn in zip(fit_true_landmarks(heads, fitter), pixels, strict=True):
        assert np.linalg.norm(fit.vertices[fitter.model.landmarks, :2] - drawn, axis=1).mean() < 0.2
    (first,) = render_heads(MeshStudy(faces=1, seed=3, render=RenderConfig(size=64, occlusion=0.0))).images
    np.testing.assert_array_equal(first, heads.images[0])


@pytest.mark.slow
def test_perspective_is_within_half_a_degree() -> None:
    rows = perspective_rows(FaceFitter(config=MODEL_LANDMARKS), count=80)
    assert [row["faces"] for row in rows][-1] == sum(row["faces"] for row in rows[:-1]) == 80
    for row in rows:
        assert float(row["largest"][:-1]) <= 0.1
    assert float(rows[-1]["as parallel: median"][:-1]) > 10


@pytest.mark.slow
def test_the_tables_are_printed_and_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    measure(MeshStudy(faces=16, tables=tmp_path, render=RenderConfig(size=64, occlusion=0.0)))
    written = {path.stem: pd.read_csv(path) for path in tmp_path.iterdir()}
    assert set(written) == {"mesh_shape", "mesh_time", "mesh_perspective"}  # no photos, no pose
    shape = written["mesh_shape"]
    error = dict(zip(shape["face"], shape["vertex error, mm"], strict=True))
    assert error["fit to the true landmarks"] < error["mean face"]
    assert written["mesh_time"]["of the network's time"][0] == 1.0
    assert f"{error['mean face']:.2f}" in capsys.readouterr().out


def test_true_landmarks_are_those_of_the_renderer() -> None:
    rng = np.random.default_rng(0)
    shape, turn, distance = rng.normal(0, 5, (68, 3)), rotation_matrix(0.3, -0.8, 0.2), 45.0
    scene = SceneCamera(scale=12.0, origin=(300.0, 200.0), distance=distance)
    pinhole = Camera(scene.scale * distance, scene.origin)
    points = project(pinhole, turn, np.array([0.0, 0.0, -distance]), shape)
    np.testing.assert_allclose(points, scene.project(shape @ turn.T))
