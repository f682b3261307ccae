"""Build `tf_dhm/assets/mediapipe_468.npz`: positions of MediaPipe's 468 face points on the open face.

    python tools/build_mediapipe_table.py canonical_face_model.obj

The file is `mediapipe/modules/face_geometry/data/canonical_face_model.obj` of MediaPipe (Apache-2.0). Only
its vertices are read, and only indices and weights of the open face are written. The open face is deformed
to MediaPipe's mean face (identity components under their prior, nearest points on the surface, alternately),
so that the nearest points are those of the same anatomy; the points are then carried back to the mean open
face.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import tyro
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from tf_dhm.core.cli import run_script

from tf_dhm.core.command_line import parse_options
from tf_dhm.core.errors import InputError
from tf_dhm.core.files import atomic_write
from tf_dhm.core.types import Array
from tf_dhm.face.mediapipe import TABLE
from tf_dhm.face.morphable import MorphableModel

POINTS = 468
ANCHORS = {8: 152, 27: 168, 30: 4, 33: 2, 36: 33, 39: 133, 42: 362, 45: 263, 48: 61, 51: 0, 54: 291, 57: 17}
"""Landmark of the 68: the MediaPipe point with the same anatomy. They begin the alignment."""
SURFACE = ("skin", "lips", "brows", "scalp", "ears")
ROUNDS = 12
NOISE = 0.15
"""Centimetres by which a point may lie off the deformed surface."""


@dataclass(frozen=True)
class Config:
    """Build the table of MediaPipe's face points on the open face."""

    canonical: Annotated[Path, tyro.conf.Positional]
    """MediaPipe's `canonical_face_model.obj`."""
    output: Path = TABLE


def read_points(path: Path) -> Array:
    """(468, 3) vertices of an OBJ file."""
    lines = [line.split() for line in path.read_text().splitlines() if line.startswith("v ")]
    points = np.array([fields[1:4] for fields in lines], np.float64)
    if points.shape != (POINTS, 3):
        raise InputError(f"{path}: found {len(points)} vertices, expected {POINTS}")
    return points


def similarity(moving: Array, fixed: Array) -> tuple[float, Array, Array]:
    """Scale, rotation and shift that bring points (N, 3) nearest to others."""
    a, b = moving - moving.mean(0), fixed - fixed.mean(0)
    u, values, vt = np.linalg.svd(b.T @ a)
    sign = np.array([1.0, 1.0, np.sign(np.linalg.det(u @ vt))])
    rotation = (u * sign) @ vt
    scale = float((values * sign).sum() / (a**2).sum())
    return scale, rotation, fixed.mean(0) - scale * rotation @ moving.mean(0)


def build(config: Config) -> None:
    from trimesh.triangles import closest_point, points_to_barycentric

    model, points = MorphableModel.open_face(), read_points(config.canonical)
    names = np.array(model.region_names)[model.region]
    triangles = model.triangles[np.isin(names, SURFACE)[model.triangles].all(1)]
    basis = (model.identity * model.identity_std[:, None, None]).astype(np.float64)  # (199, V, 3)
    mean = model.mean.astype(np.float64)

    def nearest(shape: Array, aims: Array) -> tuple[NDArray[np.intp], Array, Array]:
        """Triangles, weights and places (N, 3) of the points of a surface that are nearest to `aims`."""
        corners = shape[triangles]
        owner = np.empty(len(aims), np.intp)
        for row, aim in enumerate(aims):
            there = closest_point(corners, np.broadcast_to(aim, (len(corners), 3)))
            owner[row] = np.linalg.norm(there - aim, axis=1).argmin()
        there = closest_point(corners[owner], aims)
        return owner, points_to_barycentric(corners[owner], there, method="cross"), there

    anchors = model.landmarks[list(ANCHORS)], np.array(list(ANCHORS.values()))
    scale, rotation, shift = similarity(points[anchors[1]], mean[anchors[0]])
    aims, shape = scale * points @ rotation.T + shift, mean
    for _ in range(ROUNDS):
        owner, weights, there = nearest(shape, aims)
        corners = triangles[owner]
        scale, rotation, shift = similarity(aims, there)
        aims = scale * aims @ rotation.T + shift
        moves = np.einsum("nk,inkx->inx", weights, basis[:, corners]).reshape(len(basis), -1)
        moves = np.concatenate([moves, basis[:, anchors[0]].reshape(len(basis), -1)], 1)
        start = np.einsum("nk,nkx->nx", weights, mean[corners])
        residual = np.concatenate([(aims - start).ravel(), (aims[anchors[1]] - mean[anchors[0]]).ravel()])
        normal = moves @ moves.T / NOISE**2 + np.eye(len(basis))
        shape = mean + np.tensordot(np.linalg.solve(normal, moves @ residual / NOISE**2), basis, 1)
    owner, weights, there = nearest(shape, aims)
    corners = triangles[owner]
    deformed = 10 * np.linalg.norm(there - aims, axis=1)
    on_mean = np.einsum("nk,nkx->nx", weights, mean[corners])
    scale, rotation, shift = similarity(points, on_mean)
    rigid = 10 * np.linalg.norm(scale * points @ rotation.T + shift - on_mean, axis=1)

    # Each of the 68 landmarks is read from the MediaPipe point that lies nearest on the deformed face.
    gaps = np.linalg.norm(shape[model.landmarks][:, None] - there, axis=-1)
    partner = gaps.argmin(1)
    gap = 10 * gaps.min(1)
    with atomic_write(config.output) as path:
        np.savez_compressed(
            path,
            corners=corners.astype(np.int16),
            weights=weights.astype(np.float32),
            landmarks=partner.astype(np.int16),
        )
    print(f"points to the deformed open face: mean {deformed.mean():.2f} mm, largest {deformed.max():.2f} mm")
    print(f"mean faces after a similarity: mean {rigid.mean():.2f} mm, largest {rigid.max():.2f} mm")
    print(f"68 landmarks to their points: mean {gap.mean():.2f} mm, largest {gap.max():.2f} mm "
          f"(landmark {gap.argmax()})")  # fmt: skip
    kept = (partner[list(ANCHORS)] == anchors[1]).sum()
    print(f"anchors that are their own partners: {kept} of {len(ANCHORS)}")
    print(f"{config.output}: {config.output.stat().st_size} bytes")


if __name__ == "__main__":
    run_script(lambda: build(parse_options(Config, description=__doc__)))
