"""The fitted face as a mesh: normals, colours from the photo, OBJ and GLB files.

Files are in the frame of the head (centimetres, x right in a picture of the face, y up, z to the viewer),
so that every program shows the face upright and from the front.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from tf_dhm.core.errors import InputError
from tf_dhm.core.extras import packages_of
from tf_dhm.core.files import atomic_write
from tf_dhm.core.types import Array, Image
from tf_dhm.face.fit import FaceFit
from tf_dhm.face.morphable import OPEN_FACE
from tf_dhm.runtime.raster import rasterize

SUFFIXES = (".obj", ".glb")
FACE_MASK = 127
"""Least value of the asset's soft mask "face" where a picture shows the face."""
IN_FRONT = 0.02
"""A vertex counts as seen if nothing is nearer by more than this share of the depth of the face."""
STEEPEST = 0.15
CLEAREST = 0.5
"""Cosines between the normal and the line of sight: below the first a colour is not taken from the photo,
from the second on it is taken in full."""


@lru_cache(maxsize=1)
def _asset() -> dict[str, NDArray]:
    with np.load(OPEN_FACE) as archive:
        return {name: archive[name] for name in ("mirror", "mask", "mask_names", "region", "region_names")}


@lru_cache(maxsize=1)
def mirror_vertices() -> NDArray[np.int32]:
    """(V,) the vertex at the mirrored place of the open face."""
    return _asset()["mirror"].astype(np.int32)


@lru_cache(maxsize=1)
def face_vertices() -> NDArray[np.bool_]:
    """(V,) which vertices of the open face are the face: skin up to the ears, lips, brows and eyes."""
    asset = _asset()
    mask = asset["mask"][asset["mask_names"].tolist().index("face")] > FACE_MASK
    names = asset["region_names"][asset["region"]]
    return mask | np.isin(names, ["lips", "brows", "eye_whites", "irises"])


def face_triangles(triangles: NDArray[np.int32]) -> NDArray[np.int32]:
    """The triangles of the face alone, without skull, neck and the inside of the mouth."""
    return triangles[face_vertices()[triangles].all(1)]


def vertex_normals(vertices: Array, triangles: NDArray[np.int32]) -> NDArray[np.float32]:
    """Unit normals (V, 3), outwards in a frame with y up and z to the viewer; zero without a triangle."""
    corners = np.asarray(vertices, np.float32)[triangles]
    faces = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    normals = np.zeros((len(vertices), 3), np.float32)
    for axis in range(3):
        normals[:, axis] = np.bincount(triangles.ravel(), np.repeat(faces[:, axis], 3), len(vertices))
    return normals / np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-12)


def facing(fit: FaceFit) -> NDArray[np.float32]:
    """(V,) cosine between each normal and the line of sight, negative on the far side."""
    upward = fit.vertices * np.array([1, -1, 1], np.float32)
    return vertex_normals(upward, fit.triangles)[:, 2]


def visible_vertices(fit: FaceFit) -> NDArray[np.bool_]:
    """(V,) which vertices no other part of the head hides, inside the photo or not."""
    corner = np.floor(fit.vertices[:, :2].min(0)) - 1
    size = np.ptp(fit.vertices[:, :2], axis=0).max()
    # A head of 256 pixels is as fine as its mesh.
    zoom = min(1.0, 256.0 / size)
    moved = fit.vertices.copy()
    moved[:, :2] = (moved[:, :2] - corner) * zoom
    side = int(np.ceil(size * zoom)) + 3
    shown = rasterize(moved, fit.triangles, side, side)
    depth = np.full((side, side), -np.inf, np.float32)
    depth[shown.rows, shown.columns] = shown.depth
    x, y = np.rint(moved[:, :2]).astype(int).T
    slack = IN_FRONT * float(np.ptp(fit.vertices[:, 2]))
    return (fit.vertices[:, 2] >= depth[y, x] - slack) & (facing(fit) > 0)


def sample_colours(fit: FaceFit, photo: Image) -> Image:
    """Colours (V, 3) uint8 RGB of the vertices, from the photo.

    What the photo does not show (turned away, hidden by the head itself, outside the picture) takes the
    colour of the mirrored place, and what neither side shows the median colour of the face.

    Args:
        fit: in pixels of `photo`.
        photo: (H, W, 3) uint8 RGB.
    """
    height, width = photo.shape[:2]
    x, y = fit.vertices[:, 0].astype(np.float32), fit.vertices[:, 1].astype(np.float32)
    inside = (x >= 0) & (y >= 0) & (x <= width - 1) & (y <= height - 1)
    sampled = cv2.remap(photo, x[:, None], y[:, None], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    colours = sampled[:, 0].astype(np.float32)
    trust = np.clip((facing(fit) - STEEPEST) / (CLEAREST - STEEPEST), 0, 1)
    trust *= visible_vertices(fit) & inside
    mirror = mirror_vertices()
    known = (trust > 0) & face_vertices()
    middle = np.median(colours[known], 0) if known.any() else np.full(3, 128.0)
    # The mirrored side counts for what is missing here.
    other = trust[mirror] * (1 - trust)
    rest = np.maximum(1 - trust - other, 0)
    blend = trust[:, None] * colours + other[:, None] * colours[mirror] + rest[:, None] * middle
    return np.clip(np.rint(blend), 0, 255).astype(np.uint8)


def write_mesh(path: Path, fit: FaceFit, colours: Image | None = None) -> None:
    """Write the head as OBJ or GLB, by the suffix, with normals and the colours of its vertices.

    Args:
        path: `.obj` or `.glb`.
        fit: a face that was fitted.
        colours: (V, 3) uint8 RGB, see `sample_colours`; None: grey.

    Raises:
        InputError: another suffix, a face without a fit, or the package trimesh is not installed.
        OSError: the file cannot be written.
    """
    if path.suffix.lower() not in SUFFIXES:
        raise InputError(f"mesh {path}: found suffix {path.suffix!r}, expected {' or '.join(SUFFIXES)}")
    if fit.problem is not None:
        raise InputError(f"mesh {path}: found a face without a fit ({fit.problem}), expected a fitted one")
    mesh = load_trimesh().Trimesh(
        vertices=fit.head,
        faces=fit.triangles,
        vertex_normals=vertex_normals(fit.head, fit.triangles),
        vertex_colors=np.full(fit.head.shape, 180, np.uint8) if colours is None else colours,
        process=False,
    )
    kind = path.suffix.lower()[1:]
    content: Any = mesh.export(file_type=kind, include_normals=True)
    with atomic_write(path) as temporary:
        temporary.write_bytes(content.encode() if isinstance(content, str) else content)


def load_trimesh() -> Any:
    """The package trimesh, or InputError that says how to get it."""
    with packages_of("mesh", "meshes"):
        import trimesh
    return trimesh
