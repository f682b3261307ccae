"""Meshes of fitted faces: colours, files, pictures, and the aligner's and tracker's part in them."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tf_dhm.core.errors import InputError
from tf_dhm.core.types import Image
from tf_dhm.face.expression import OFFERED
from tf_dhm.face.fit import NOT_CONFIDENT, NOT_FINITE, FaceFit, open_face_fitter
from tf_dhm.face.geometry import rotation_matrix
from tf_dhm.face.mean_face import mean_landmarks
from tf_dhm.runtime.aligner import Aligner
from tf_dhm.runtime.drawing import draw_faces
from tf_dhm.runtime.faces import Face
from tf_dhm.runtime.mesh import (
    face_vertices,
    facing,
    mirror_vertices,
    sample_colours,
    vertex_normals,
    visible_vertices,
    write_mesh,
)
from tf_dhm.runtime.mesh_pictures import depth_map, draw_mesh, pncc
from tf_dhm.runtime.settings import Part, TrackingConfig
from tf_dhm.runtime.tracking import Tracker

PHOTO = Path(__file__).parents[2] / "data" / "astronaut.jpg"
SIZE = 200


def turned_face(yaw: float) -> FaceFit:
    """The mean face turned by degrees, in a picture of SIZE pixels."""
    points = mean_landmarks(SIZE).astype(np.float64)
    centre = points.mean(0)
    flip = np.array([1, -1, 1])
    turned = ((points - centre) * flip) @ rotation_matrix(0, np.radians(yaw), 0).T * flip + centre
    return open_face_fitter().fit(turned[None])[0]


@pytest.fixture(scope="module")
def front() -> FaceFit:
    return turned_face(0.0)


@pytest.fixture(scope="module")
def astronaut() -> Face:
    (face,) = Aligner(mesh=True).align(PHOTO)
    return face


def test_normals_point_outwards() -> None:
    corners = np.array([[0.0, 0, 0], [1, 0, 0], [0, 1, 0], [9, 9, 9]])
    normals = vertex_normals(corners, np.array([[0, 1, 2]], np.int32))
    np.testing.assert_allclose(normals, [[0, 0, 1]] * 3 + [[0, 0, 0]], atol=1e-6)


def test_visible_vertices(front: FaceFit) -> None:
    model = open_face_fitter().model
    assert visible_vertices(front)[model.landmarks[[8, 30, 37, 44, 51]]].all()
    assert not visible_vertices(front)[front.head[:, 2].argmin()]  # the back of the head
    left = turned_face(-60.0)
    cheeks = visible_vertices(left)[model.landmarks[[3, 13]]]
    assert cheeks.sum() == 1
    # The cheek that shows is on the side to which the nose does not point.
    nose, middle = left.vertices[model.landmarks[30], 0], left.vertices[model.landmarks[[3, 13]], 0].mean()
    assert cheeks[1 if nose < middle else 0]


def test_hidden_colours_come_from_the_mirrored_place() -> None:
    fit = turned_face(-60.0)
    photo = np.zeros((SIZE, SIZE, 3), np.uint8)
    photo[..., 0] = 200
    photo[:90, :, 1] = 120
    colours = sample_colours(fit, photo)
    mirror, seen = mirror_vertices(), visible_vertices(fit) & (facing(fit) > 0.5)
    hidden = ~visible_vertices(fit) & seen[mirror] & face_vertices()
    assert hidden.sum() > 100
    np.testing.assert_array_equal(colours[hidden], colours[mirror[hidden]])
    x, y = np.rint(fit.vertices[seen & face_vertices(), :2]).astype(int).T
    inside = (x >= 0) & (x < SIZE) & (y >= 0) & (y < SIZE) & (np.abs(y - 90) > 1)
    exact = colours[seen & face_vertices()][inside]
    np.testing.assert_array_equal(exact, photo[y[inside], x[inside]])


@pytest.mark.parametrize("suffix", [".obj", ".glb"])
def test_files_hold_the_head(front: FaceFit, suffix: str, tmp_path: Path) -> None:
    import trimesh

    colours: Image = np.random.default_rng(0).integers(0, 255, (len(front.head), 3)).astype(np.uint8)
    path = tmp_path / f"head{suffix}"
    write_mesh(path, front, colours)
    loaded: Any = trimesh.load(path, process=False, force="mesh", maintain_order=True)
    np.testing.assert_allclose(loaded.vertices, front.head, atol=1e-4)
    np.testing.assert_array_equal(loaded.faces, front.triangles)
    np.testing.assert_allclose(loaded.visual.vertex_colors[:, :3], colours, atol=1)
    own = vertex_normals(front.head, front.triangles)
    # trimesh computes normals again when it loads a file: look into the file.
    content = path.read_bytes()
    if suffix == ".obj":
        lines = [line.split()[1:] for line in content.decode().splitlines() if line.startswith("vn ")]
        np.testing.assert_allclose(np.array(lines, float), own, atol=1e-5)
    else:
        length = int.from_bytes(content[12:16], "little")
        described = json.loads(content[20 : 20 + length])
        view = described["accessors"][described["meshes"][0]["primitives"][0]["attributes"]["NORMAL"]]
        start = 28 + length + described["bufferViews"][view["bufferView"]]["byteOffset"]
        stored = np.frombuffer(content, np.float32, own.size, start).reshape(own.shape)
        np.testing.assert_allclose(stored, own, atol=1e-5)


def test_no_file_without_a_fit_or_of_another_kind(front: FaceFit, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"\.stl"):
        write_mesh(tmp_path / "head.stl", front)
    with pytest.raises(InputError, match=NOT_FINITE):
        write_mesh(tmp_path / "head.obj", open_face_fitter().fit(np.full((1, 68, 3), np.nan))[0])
    assert not list(tmp_path.iterdir())


def test_without_trimesh(front: FaceFit, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "trimesh", None)
    with pytest.raises(InputError, match=r"\[mesh\]"):
        write_mesh(tmp_path / "head.obj", front)


def test_depth_and_places(front: FaceFit) -> None:
    model = open_face_fitter().model
    x, y = np.rint(front.vertices[model.landmarks[[30, 36, 45, 8]], :2]).astype(int).T
    depth = depth_map([front], SIZE, SIZE)
    assert depth[y[0], x[0]] == 255  # the tip of the nose
    assert depth[y[1], x[1]] < 200
    assert depth[2, 2] == 0
    places = pncc([front], SIZE, SIZE)
    assert places[y[1], x[1], 0] < 100 < 155 < places[y[2], x[2], 0]  # red runs from left to right
    assert places[y[3] - 1, x[3], 1] < places[y[1], x[1], 1]  # green runs upwards
    assert places[y[0], x[0], 2] > 250  # blue is nearest at the nose
    assert (places[depth == 0] == 0).all()
    lost = replace(front, problem=NOT_FINITE)
    assert not depth_map([lost], SIZE, SIZE).any()


def test_the_overlay_covers_the_face_alone(front: FaceFit) -> None:
    image = np.full((SIZE, SIZE, 3), 90, np.uint8)
    drawn = draw_mesh(image, [front])
    changed = (drawn != image).any(-1)
    np.testing.assert_array_equal(changed, depth_map([front], SIZE, SIZE) > 0)
    assert (image == 90).all()


def test_the_aligner_fits_meshes(astronaut: Face) -> None:
    mesh = astronaut.mesh
    assert mesh is not None
    assert mesh.problem is None
    assert mesh.residual < 1.5
    np.testing.assert_array_equal(astronaut.pose, mesh.pose)
    model = open_face_fitter().model
    shown = model.project(mesh.p, 512.0)  # the photo has 512 rows
    np.testing.assert_allclose(shown[:, :2], mesh.vertices[model.landmarks, :2], atol=0.05)
    near = np.linalg.norm(mesh.vertices[model.landmarks, :2] - astronaut.landmarks[:, :2], axis=1)
    assert near.mean() < 0.04 * np.ptp(astronaut.landmarks[:, 1])
    fields = astronaut.as_dict()
    assert len(fields["p"]) == 234
    np.testing.assert_allclose(fields["matrix"], mesh.matrix, atol=1e-5)
    assert set(fields["expression"]) == set(OFFERED)
    assert 0 <= fields["expression"]["jawOpen"] <= 1
    np.testing.assert_allclose(astronaut.fit(image_height=512.0).p, mesh.p)


def test_doubtful_faces_have_no_mesh(astronaut: Face) -> None:
    fit = replace(astronaut, confidence=0.1).fit()
    assert fit.problem == NOT_CONFIDENT
    fields = replace(astronaut, mesh=fit).as_dict()
    assert fields["fit_problem"] == NOT_CONFIDENT
    assert "p" not in fields


def test_a_plain_aligner_fits_none() -> None:
    (face,) = Aligner().align(PHOTO)
    assert face.mesh is None
    assert "p" not in face.as_dict()
    with pytest.raises(InputError, match="field of view"):
        Aligner(mesh=True, field_of_view=200.0)
    with pytest.raises(InputError, match="field_of_view: found 60 without a mesh, expected mesh=True"):
        Aligner(field_of_view=60)


def test_the_tracker_fits_smoothed_faces(monkeypatch: pytest.MonkeyPatch) -> None:
    from tf_dhm.runtime import tracking
    from tf_dhm.runtime.images import read_photo

    pixels = read_photo(PHOTO).pixels
    starts: list[list[FaceFit | None]] = []
    inner = tracking.with_meshes

    def spy(faces: list[Face], width: int, height: int, view: float | None, start: list) -> list[Face]:
        starts.append(list(start))
        return inner(faces, width, height, view, start)

    monkeypatch.setattr(tracking, "with_meshes", spy)
    tracker = Tracker.of(Aligner(mesh=True), TrackingConfig())
    first, second = (tracker.update(pixels, time)[0] for time in (0.0, 0.04))
    assert first.mesh is not None
    assert second.mesh is not None
    assert starts == [[None], [first.mesh]]
    np.testing.assert_allclose(second.mesh.pose, second.pose)


def test_drawing_a_mesh(astronaut: Face) -> None:
    from tf_dhm.runtime.images import read_photo

    pixels = read_photo(PHOTO).pixels
    parts: tuple[Part, ...] = ("mesh",)
    drawn = draw_faces(pixels, [astronaut], parts)
    assert astronaut.mesh is not None
    np.testing.assert_array_equal(drawn, draw_mesh(pixels, [astronaut.mesh]))
    assert (drawn != pixels).any()
    np.testing.assert_array_equal(draw_faces(pixels, [replace(astronaut, mesh=None)], parts), pixels)
