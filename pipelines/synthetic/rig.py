"""The open face prepared for rendering: static maps of its vertices, materials and expressions.

Lengths are centimetres in the axes of the open face: x to the subject's left, y up, z to the viewer,
origin at the mean landmark.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix
from scipy.spatial import cKDTree

from pipelines.synthetic.vectors import smoothstep, unit, vector
from tf_dhm.core.types import Floats, Ints
from tf_dhm.face.morphable import OPEN_FACE, MorphableModel

SKIN, EYE, INNER_MOUTH, TEETH, TONGUE, HAIR, CLOTH, OBJECT, HAND = range(9)
"""Materials."""
NUM_MAPS = 10
AMBIENT, LIPS, LIDS, EYE_SHADOW, SCALP, BEARD, MOUSTACHE, BLUSH, LASH, GUMS = range(NUM_MAPS)
"""Columns of `FaceRig.maps`: soft masks in [0, 1], but SCALP, which is the height in centimetres above the
hair line (negative below)."""
DOME_ROWS, DOME_COLUMNS = 15, 49


@dataclass(frozen=True)
class FaceRig:
    """Static data of the open face.

    Attributes:
        model: the open face.
        basis: (228, V * 3) float32, identity and expression components.
        maps: (V, NUM_MAPS) float32.
        triangles: (T, 3) the triangles of the model that can ever be seen.
        material: (T,) material of each of them.
        vertex_faces: (V, T) sparse sum of them at each vertex.
        eyes: vertices of the subject's left and right eyeball.
        brow: (5, 2) |x| and y of the brow's landmarks on the mean face, from the middle outwards.
        dome: (R, C, 3) unit directions around the skull: rows from the crown down to the horizon,
            columns round the head from the back (-180 degrees) over the front (0) to the back.
        dome_vertices, dome_weights: (R * C, 3) vertices of the skull at each direction and weights.
        skull: vertices whose centre the dome is around.
        teeth: vertices of the upper and of the lower row.
        neck_rim: vertices of the lower end of the neck.
    """

    model: MorphableModel
    basis: Floats
    maps: Floats
    triangles: Ints
    material: NDArray[np.uint8]
    vertex_faces: csr_matrix
    eyes: tuple[Ints, Ints]
    brow: Floats
    dome: Floats
    dome_vertices: Ints
    dome_weights: Floats
    skull: Ints
    teeth: tuple[Ints, Ints]
    neck_rim: Ints


@lru_cache(maxsize=1)
def expression_names() -> tuple[str, ...]:
    """Names of the 29 expression parameters of the open face."""
    with np.load(OPEN_FACE) as archive:
        return tuple(str(name) for name in archive["expression_names"])


@lru_cache(maxsize=1)
def expression_range() -> Floats:
    """(29, 2) lowest and highest value of the expression parameters."""
    with np.load(OPEN_FACE) as archive:
        return archive["expression_range"].astype(np.float32)


@lru_cache(maxsize=1)
def load_rig() -> FaceRig:
    """Load the open face and all that is the same for every image; takes about a second."""
    model = MorphableModel.open_face()
    with np.load(OPEN_FACE) as archive:
        ambient = archive["ambient"] / np.float32(255)
        masks = dict(zip(archive["mask_names"], archive["mask"] / np.float32(255), strict=True))
    mean = model.mean.astype(np.float32)
    names = np.array(model.region_names)[model.region]
    points = mean[model.landmarks]
    triangles = model.triangles
    # The walls of the eye sockets behind the eyeballs cost time and are never seen.
    socket = (
        (ambient[triangles].max(1) < 0.03)
        & (mean[triangles, 1].min(1) > 1)
        & (names[triangles] == "skin").all(1)
    )
    triangles = triangles[~socket]

    material = np.full(len(triangles), SKIN, np.uint8)
    for kind, regions in (
        (EYE, ("eye_whites", "irises")), (TEETH, ("teeth",)), (TONGUE, ("tongue",)),
        (INNER_MOUTH, ("inner_mouth",)),
    ):  # fmt: skip
        material[np.isin(names, regions)[triangles].all(1)] = kind

    skin = np.isin(names, ("skin", "lips", "brows", "scalp", "ears", "neck"))
    x, y, z = np.abs(mean[:, 0]), mean[:, 1], mean[:, 2]
    left = points[[*range(9, 17), *range(22, 27), *range(42, 48), 54]]  # the subject's left side
    ear = points[16]
    maps = np.zeros((len(mean), NUM_MAPS), np.float32)
    maps[:, AMBIENT] = ambient
    maps[:, LIPS] = masks["lips"]
    maps[:, LIDS] = masks["eyelids"]

    def blob(centre: Floats, radius: tuple[float, float, float]) -> Floats:
        folded = np.stack([x, y, z], 1) - centre
        return np.exp(-((folded / np.array(radius, np.float32)) ** 2).sum(1)) * skin

    eye = points[42:48].mean(0)
    maps[:, EYE_SHADOW] = blob(eye + vector([0.2, 0.7, 0]), (1.8, 0.8, 2.0))
    maps[:, BLUSH] = blob((points[45] + points[54]) / 2 + vector([0.8, 0.3, 0]), (1.9, 1.6, 3.0))
    # The hair line: over the forehead, down the temple, in front of the ear, and round to the nape.
    forward = z - ear[2]
    hairline = np.interp(forward, [-4, -1.5, 0.0, 2.5, 5.5, 9.0], [-3.5, -1.5, 1.0, 5.0, 8.0, 9.2]).astype(
        np.float32
    )
    maps[:, SCALP] = np.where(skin, y - hairline, -10)
    maps[np.isin(names, ("ears",)), SCALP] = -3
    jaw_line = np.interp(forward, [-0.5, 1.5, 5.0, 7.5], [2.0, 0.0, -2.0, -2.6])
    beard = smoothstep(jaw_line - y, -0.5, 1.0) * smoothstep(forward, -1.0, 0.8)
    beard *= smoothstep(y - (points[8, 1] - 4.5 + 0.25 * (points[8, 2] - z)), 0, 1.5)
    lip_distance = np.hypot(x / (left[-1, 0] + 0.5), (y - points[[51, 57], 1].mean()) / 1.25)
    maps[:, BEARD] = beard * smoothstep(lip_distance, 0.9, 1.2) * (1 - masks["lips"]) * skin
    maps[:, MOUSTACHE] = blob((points[51] + points[33]) / 2 + vector([0.0, 0.0, 0]), (2.6, 0.75, 1.5)) * (
        1 - masks["lips"]
    )
    rim = cKDTree(points[[*range(36, 40), *range(42, 46)]]).query(mean)[0]
    maps[:, LASH] = np.clip(1 - rim / 0.35, 0, 1) * masks["eyelids"]
    # Gums begin a tooth's height away from the bite, which is the edge of the row next to the other one.
    sinks = model.expression[expression_names().index("jaw_open")][:, 1] < -0.5
    teeth = tuple(
        np.flatnonzero((names == "teeth") & (sinks == low)).astype(np.int32) for low in (False, True)
    )
    for row, towards_bite in zip(teeth, (-1, 1), strict=True):
        near = cKDTree(mean[row][:, [0, 2]]).query_ball_point(mean[row][:, [0, 2]], 0.7)
        height = towards_bite * y[row]
        maps[row, GUMS] = smoothstep(np.array([height[k].max() for k in near]) - height, 0.5, 0.95)

    rows, columns = triangles.T.ravel(), np.tile(np.arange(len(triangles)), 3)
    vertex_faces = csr_matrix((np.ones(len(rows), np.float32), (rows, columns)), (len(mean), len(triangles)))
    ball = np.isin(names, ("eye_whites", "irises"))

    skull = np.flatnonzero((names == "scalp") | (np.isin(names, ("skin",)) & (y > ear[1] - 1.0)))
    skull = skull[ambient[skull] > 0.45].astype(np.int32)
    centre = skull_centre(mean, skull)
    polar = np.linspace(0, np.pi / 2, DOME_ROWS)[:, None]
    azimuth = np.linspace(-np.pi, np.pi, DOME_COLUMNS)[None]
    dome = np.stack(
        [np.sin(polar) * np.sin(azimuth), np.cos(polar) + 0 * azimuth, np.sin(polar) * np.cos(azimuth)], -1
    ).astype(np.float32)
    outward = mean[skull] - centre
    outward /= np.linalg.norm(outward, axis=1, keepdims=True)
    distance, nearest = cKDTree(outward).query(dome.reshape(-1, 3), k=3)
    weights = 1 / (distance + 1e-3)
    bottom = skin & (y < y[skin].min() + 1.5)
    return FaceRig(
        model=model,
        basis=np.concatenate([model.identity, model.expression]).reshape(-1, mean.size).astype(np.float32),
        maps=maps,
        triangles=triangles,
        material=material,
        vertex_faces=vertex_faces,
        eyes=(
            np.flatnonzero(ball & (mean[:, 0] > 0)).astype(np.int32),
            np.flatnonzero(ball & (mean[:, 0] < 0)).astype(np.int32),
        ),
        brow=np.stack([np.abs(points[22:27, 0]), points[22:27, 1]], 1),
        dome=dome,
        dome_vertices=skull[nearest].astype(np.int32),
        dome_weights=(weights / weights.sum(1, keepdims=True)).astype(np.float32),
        skull=skull,
        teeth=(teeth[0], teeth[1]),
        neck_rim=np.flatnonzero(bottom).astype(np.int32),
    )


def skull_centre(vertices: Floats, skull: Ints) -> Floats:
    """The middle between the extremes of the skull, at the height of its lowest third."""
    low, high = vertices[skull].min(0), vertices[skull].max(0)
    return np.array(
        [(low[0] + high[0]) / 2, low[1] + 0.4 * (high[1] - low[1]), (low[2] + high[2]) / 2], np.float32
    )


def vertex_normals(rig: FaceRig, vertices: Floats) -> Floats:
    corners = vertices[rig.triangles]
    faces = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    normals = rig.vertex_faces @ faces
    return unit(normals).astype(np.float32)


def inset_teeth(rig: FaceRig, vertices: Floats) -> None:
    """Move the teeth inwards a little, in place: in some mouths they would pierce the lips."""
    for row in rig.teeth:
        middle = vertices[row].mean(0)
        vertices[row] = middle + (vertices[row] - middle) * vector([0.88, 1.0, 0.9]) - vector([0, 0, 0.1])
