"""Meshes with one material, and the shapes that they are built from."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pipelines.synthetic.vectors import unit
from tf_dhm.core.types import Floats, Ints


@dataclass(frozen=True)
class Part:
    """A mesh with one material.

    Attributes:
        vertices: (V, 3) cm.
        triangles: (T, 3).
        texture: (V, 3) coordinates for the procedural textures; in hair (across, along, 0).
        material: one of the materials above.
        colour: (3,) linear RGB.
        second: (3,) linear RGB of the texture's other colour.
        grain: strength of the texture.
        frequency: of the texture, per unit of `texture`.
        specular: strength of the highlight.
        shininess: exponent of the highlight.
    """

    vertices: Floats
    triangles: Ints
    texture: Floats
    material: int
    colour: Floats
    second: Floats
    grain: float = 0.3
    frequency: float = 1.0
    specular: float = 0.1
    shininess: float = 10.0


def grid_triangles(rows: int, columns: int) -> Ints:
    """Triangles of a (rows, columns) grid of vertices."""
    i = np.arange(rows * columns, dtype=np.int32).reshape(rows, columns)
    a, b, c, d = i[:-1, :-1].ravel(), i[:-1, 1:].ravel(), i[1:, 1:].ravel(), i[1:, :-1].ravel()
    return np.concatenate([np.stack([a, d, b], 1), np.stack([b, d, c], 1)])


def tube(path: Floats, radius: float | Floats, sides: int = 6) -> tuple[Floats, Ints]:
    """A tube along a (N, 3) path; radius (N,) or one number. Its ends are open."""
    tangent = np.gradient(path, axis=0)
    tangent /= np.linalg.norm(tangent, axis=1, keepdims=True) + 1e-9
    helper = np.where(np.abs(tangent[:, 1:2]) < 0.9, [[0, 1, 0]], [[1, 0, 0]])
    first = np.cross(tangent, helper)
    first /= np.linalg.norm(first, axis=1, keepdims=True) + 1e-9
    second = np.cross(tangent, first)
    angle = np.linspace(0, 2 * np.pi, sides + 1)[None, :, None]
    ring = np.cos(angle) * first[:, None] + np.sin(angle) * second[:, None]
    vertices = path[:, None] + np.broadcast_to(np.asarray(radius), len(path))[:, None, None] * ring
    return vertices.reshape(-1, 3).astype(np.float32), grid_triangles(len(path), sides + 1)


def sphere(rows: int = 9, columns: int = 13) -> tuple[Floats, Ints]:
    """A unit sphere."""
    polar, azimuth = np.linspace(0, np.pi, rows)[:, None], np.linspace(0, 2 * np.pi, columns)[None]
    points = np.stack(
        [np.sin(polar) * np.cos(azimuth), np.cos(polar) + 0 * azimuth, np.sin(polar) * np.sin(azimuth)], -1
    )
    return points.reshape(-1, 3).astype(np.float32), grid_triangles(rows, columns)


def join(meshes: list[tuple[Floats, Ints]]) -> tuple[Floats, Ints]:
    offsets = np.cumsum([0, *(len(vertices) for vertices, _ in meshes[:-1])])
    triangles = [t + offset for (_, t), offset in zip(meshes, offsets, strict=True)]
    return np.concatenate([v for v, _ in meshes]), np.concatenate(triangles).astype(np.int32)


def part_normals(part: Part) -> Floats:
    corners = part.vertices[part.triangles]
    faces = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    normals = np.zeros_like(part.vertices)
    for axis in range(3):
        for corner in range(3):
            normals[:, axis] += np.bincount(part.triangles[:, corner], faces[:, axis], len(normals))
    return unit(normals)
