"""A scene of one face and the parts around it: ray casting by `embreex`, shading by NumPy."""

from __future__ import annotations

import cv2
import numpy as np
from embreex.mesh_construction import TriangleMesh
from embreex.rtcore_scene import EmbreeScene
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from pipelines.datasets.samples import OCCLUDED, SELF_OCCLUDED, VISIBLE
from pipelines.synthetic import rig as rigs
from pipelines.synthetic.camera import Camera
from pipelines.synthetic.lighting import Light, shade
from pipelines.synthetic.materials import Looks, eye_albedo, part_albedo, skin_albedo
from pipelines.synthetic.meshes import Part, part_normals
from pipelines.synthetic.rig import FaceRig
from pipelines.synthetic.sampling import random_colour
from pipelines.synthetic.vectors import dot, linear, mix, unit
from tf_dhm.core.types import Floats, Ints

CONTACT = 0.3
"""cm: a landmark counts as visible unless a surface is farther than this in front of it."""


class Scene:
    """The face and the parts around it, in the frame of the camera, ready for rays."""

    def __init__(
        self, rig: FaceRig, vertices: Floats, normals: Floats, turn: Floats, parts: list[Part]
    ) -> None:
        self.rig, self.parts = rig, parts
        rest = rig.model.mean.astype(np.float32).copy()
        for ball in rig.eyes:
            middle = (vertices[ball].min(0) + vertices[ball].max(0)) / 2
            rest[ball] = vertices[ball] - middle
            normals = normals.copy()
            normals[ball] = unit(rest[ball])
        self.vertices = np.concatenate([vertices @ turn, *(part.vertices for part in parts)])
        # At each vertex: normal, texture coordinates and the maps of the face.
        tables = [np.concatenate([normals @ turn, rest, rig.maps], 1)]
        for part in parts:
            empty = np.zeros((len(part.vertices), rigs.NUM_MAPS), np.float32)
            tables.append(np.concatenate([part_normals(part), part.texture, empty], 1))
        self.table = np.concatenate(tables).astype(np.float32)
        offsets = len(vertices) + np.cumsum([0, *(len(part.vertices) for part in parts)])
        shifted = (part.triangles + offset for part, offset in zip(parts, offsets[:-1], strict=True))
        self.triangles = np.concatenate([rig.triangles, *shifted]).astype(np.int32)
        self.owner = np.concatenate(
            [
                np.zeros(len(rig.triangles), int),
                *(np.full(len(q.triangles), k + 1) for k, q in enumerate(parts)),
            ]
        )
        self.embree = EmbreeScene()
        TriangleMesh(self.embree, self.vertices, self.triangles)

    def landmark_visibility(
        self, landmarks: NDArray[np.float64], normals: Floats, camera: Camera
    ) -> NDArray[np.uint8]:
        """(68,) of SELF_OCCLUDED, OCCLUDED, VISIBLE, by the first hit of the ray to the camera."""
        points = landmarks.astype(np.float32)
        to_eye = camera.to_eye(points)
        origins = points + CONTACT * to_eye
        hit = self.embree.run(origins, to_eye)
        visibility = np.full(len(points), VISIBLE, np.uint8)
        visibility[hit >= 0] = np.where(self.owner[hit[hit >= 0]] > 0, OCCLUDED, SELF_OCCLUDED)
        # A point that faces away by more than a grazing angle is hidden by its own skin.
        away = dot(normals, to_eye) < -0.35
        visibility[away & (visibility == VISIBLE)] = SELF_OCCLUDED
        return visibility

    def radiance(
        self, camera: Camera, size: int, side: int, looks: Looks, lights: list[Light], sky: Floats,
        ground: Floats, rng: np.random.Generator,
    ) -> tuple[Floats, Floats]:  # fmt: skip
        """Linear light (side, side, 3) and the way of the rays (side, side); 0 and inf without a hit."""
        rig = self.rig
        origins, directions = camera.rays(size, side)
        rays = self.embree.run(origins, directions, output=1)
        hit = np.flatnonzero(rays["primID"] >= 0)
        triangle = rays["primID"][hit]
        count = len(hit)
        u, v = rays["u"][hit], rays["v"][hit]
        # Barycentric interpolation as a sparse product: five times as fast as gathering the corners.
        barycentric = csr_matrix(
            (
                np.stack([1 - u - v, u, v], 1).ravel(),
                self.triangles[triangle].ravel(),
                np.arange(0, 3 * count + 1, 3, dtype=np.int32),
            ),
            (count, len(self.table)),
        )
        values = barycentric @ self.table
        points = origins[hit] + directions[hit] * rays["tfar"][hit, None]
        normal, texture = unit(values[:, :3]), values[:, 3:6]
        to_eye = camera.to_eye(points)
        normal *= np.where(dot(normal, to_eye) < -0.15, -1, 1).astype(np.float32)[:, None]

        colour, specular = np.empty((count, 3), np.float32), np.empty(count, np.float32)
        shininess, ambient = np.full(count, 10.0, np.float32), np.ones(count, np.float32)
        soft = np.zeros(count, bool)
        owner = self.owner[triangle]
        face = np.flatnonzero(owner == 0)
        material = np.full(count, 255, np.uint8)
        material[face] = rig.material[triangle[face]]
        maps = values[face, 6:]
        ambient[face] = 0.25 + 0.75 * maps[:, rigs.AMBIENT]
        skin = material[face] == rigs.SKIN
        on = face[skin]
        colour[on], specular[on] = skin_albedo(rig, looks, texture[on], maps[skin])
        shininess[on], soft[on] = looks.shininess, True
        eyes = np.flatnonzero(material == rigs.EYE)
        direction = unit(texture[eyes])
        colour[eyes], specular[eyes], shininess[eyes] = eye_albedo(looks, direction), 0.9, 120
        ambient[eyes] = 0.6
        deep = maps[:, rigs.AMBIENT]
        flesh = linear((0.5, 0.2, 0.19))
        for kind, tone, gloss in (
            (rigs.INNER_MOUTH, flesh, 0.05), (rigs.TONGUE, linear((0.72, 0.36, 0.34)), 0.25),
            (rigs.TEETH, looks.teeth, 0.4),
        ):  # fmt: skip
            here = material[face] == kind
            colour[face[here]], specular[face[here]] = tone, gloss
            if kind == rigs.TEETH:
                colour[face[here]] = mix(tone, flesh, maps[here, rigs.GUMS])
            # The mean mouth is shut, so its darkness inside follows from its depth, not from its sky.
            ambient[face[here]] = np.clip(0.35 + 0.5 * deep[here], 0, 1) if kind != rigs.INNER_MOUTH else 0.3
        for k, part in enumerate(self.parts):
            here = np.flatnonzero(owner == k + 1)
            if len(here):
                colour[here], specular[here] = part_albedo(part, texture[here])
                shininess[here] = part.shininess
                soft[here] = part.material == rigs.HAND

        lit = []
        # Shadows are softened by a blur, so every other point is enough.
        sampled = np.flatnonzero((hit + hit // side) % 2 == 0)
        starts = (points + 0.12 * normal)[sampled]
        for light in lights:
            brightness = np.ones(count, np.float32)
            if light.shadow and len(sampled):
                towards = np.ascontiguousarray(np.broadcast_to(light.direction, starts.shape))
                blocked = self.embree.run(starts, towards, query="OCCLUDED") >= 0
                plane = np.zeros((2, side * side), np.float32)  # light, and where it was asked for
                plane[0, hit[sampled]], plane[1, hit[sampled]] = ~blocked, 1
                blur = float(rng.uniform(0.006, 0.03)) * side
                soft_light, weight = (
                    cv2.GaussianBlur(layer.reshape(side, side), (0, 0), blur).ravel()[hit] for layer in plane
                )
                brightness = soft_light / (weight + 1e-6)
            lit.append(brightness)
        shaded = shade(
            colour, specular, shininess, normal, to_eye, ambient, soft, lights, lit, sky, ground
        )  # fmt: skip
        image = np.zeros((side * side, 3), np.float32)
        image[hit] = shaded
        depth = np.full(side * side, np.inf, np.float32)
        depth[hit] = rays["tfar"][hit]
        return image.reshape(side, side, 3), depth.reshape(side, side)


def tint_lenses(
    radiance: Floats, depth: Floats, lenses: tuple[Floats, Ints], camera: Camera, size: int,
    visibility: NDArray[np.uint8], landmarks: NDArray[np.float64], rng: np.random.Generator,
) -> NDArray[np.uint8]:  # fmt: skip
    """Draw the lenses into `radiance` and `depth`; returns the visibility, reduced by dark ones."""
    dark = rng.random() < 0.35
    opacity = rng.uniform(0.75, 1.0) if dark else rng.uniform(0.0, 0.25)
    tone = random_colour(rng) * np.float32(0.15 if dark else 1.0)
    glass = EmbreeScene()
    TriangleMesh(glass, *lenses)
    side = len(radiance)
    origins, directions = camera.rays(size, side)
    distance = glass.run(origins, directions, query="DISTANCE").reshape(side, side)
    seen = (distance < depth) & (distance < 1e6)
    gleam = np.linspace(0, 1, side, dtype=np.float32)[:, None] * rng.uniform(0, 0.5) * (rng.random() < 0.5)
    film = tone + gleam[..., None] * np.ones((side, side, 1), np.float32)
    radiance[seen] = (
        radiance[seen] * (1 - opacity) + film[seen] * opacity + 0.15 * gleam.repeat(side, 1)[seen][:, None]
    )
    depth[seen] = distance[seen]
    if opacity < 0.6:
        return visibility
    points = landmarks.astype(np.float32)
    hidden = glass.run(points, camera.to_eye(points)) >= 0
    return np.where(hidden & (visibility == VISIBLE), OCCLUDED, visibility).astype(np.uint8)
