"""Hair, hats, clothes, glasses, beards, masks, hands and things, as meshes around the open face.

Lengths are centimetres in the axes of the open face (see `pipelines.synthetic.rig`). Every function is
pure except that it draws from `rng`.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pipelines.synthetic.meshes import Part, grid_triangles, join, sphere, tube
from pipelines.synthetic.rig import (
    AMBIENT,
    BEARD,
    CLOTH,
    DOME_COLUMNS,
    DOME_ROWS,
    HAIR,
    HAND,
    MOUSTACHE,
    OBJECT,
    SKIN,
    FaceRig,
    skull_centre,
)
from pipelines.synthetic.vectors import smoothstep
from tf_dhm.core.types import Floats, Ints


def smooth_noise(rng: np.random.Generator, count: int, knots: int) -> Floats:
    """(count,) smooth noise of unit variance, closed: its end meets its beginning."""
    values = rng.normal(0, 1, knots)
    return np.interp(np.linspace(0, knots, count), np.arange(knots + 1), np.append(values, values[0])).astype(
        np.float32
    )


def shell(rig: FaceRig, vertices: Floats) -> tuple[Floats, Floats]:
    """The skull seen from its centre: centre (3,) and radius (R, C) in the directions of the dome."""
    centre = skull_centre(vertices, rig.skull)
    radius = np.linalg.norm(vertices[rig.dome_vertices] - centre, axis=-1)
    return centre, (radius * rig.dome_weights).sum(1).reshape(rig.dome.shape[:2])


def hair(
    rig: FaceRig, vertices: Floats, rng: np.random.Generator, *, length: float, thickness: float,
    front: float, opening: float, colour: Floats, second: Floats,
) -> Part:  # fmt: skip
    """Hair over the skull that hangs down at the sides and at the back.

    Args:
        length: cm below the widest part of the skull at the back; negative for short hair.
        thickness: cm over the skull.
        front: where it ends over the face, degrees from the crown.
        opening: azimuth in degrees from which on it hangs down to `length`.
    """
    rows = 20
    centre, radius = shell(rig, vertices)
    azimuth = np.linspace(-180, 180, DOME_COLUMNS)
    part = rng.uniform(-40, 40)  # the parting moves the hair line a little
    back = smoothstep(np.abs(azimuth), opening, opening + rng.uniform(15, 45))
    front_end = front + 6 * smooth_noise(rng, DOME_COLUMNS, 9) + 8 * np.cos(np.deg2rad(2 * (azimuth - part)))
    end = (1 - back) * np.clip(front_end, 25, 100) + back * (90 + 6.0 * length)
    end += rng.uniform(0.5, 3) * smooth_noise(rng, DOME_COLUMNS, 24)
    s = np.linspace(0, 1, rows)[:, None] * end[None]  # degrees from the crown, then 6 per cm
    polar = np.minimum(s, 90)
    drop = np.maximum(s - 90, 0) / 6.0
    row = polar / 90 * (DOME_ROWS - 1)
    low = np.minimum(row.astype(int), DOME_ROWS - 2)
    column = np.arange(DOME_COLUMNS)[None]
    r = radius[low, column] * (1 - row + low) + radius[low + 1, column] * (row - low)
    lumps = 1 + 0.25 * smooth_noise(rng, rows * DOME_COLUMNS, 90).reshape(rows, DOME_COLUMNS)
    edge = smoothstep(1 - np.linspace(0, 1, rows), 0, 0.12)[:, None]  # thin at the ends over the skin
    r = r + thickness * lumps * np.where(drop > 0, 1, np.maximum(edge, 0.15))
    flare = 1 + drop * rng.uniform(-0.02, 0.03)
    sin, cos = np.sin(np.deg2rad(polar)), np.cos(np.deg2rad(polar))
    a = np.deg2rad(azimuth)[None]
    # Below the skull the hair falls in towards the neck at the back, and hangs at the sides.
    inward = 1 - 0.25 * smoothstep(np.abs(azimuth), 120, 170)[None] * smoothstep(drop, 0, 7)
    wave = rng.uniform(0, 0.5) * np.sin(
        drop * rng.uniform(0.4, 1.2) + 3 * smooth_noise(rng, DOME_COLUMNS, 12)
    )
    r = (r + wave) * flare * inward
    points = np.stack([r * sin * np.sin(a), r * cos - drop, r * sin * np.cos(a)], -1) + centre
    across = np.broadcast_to(np.linspace(0, 1, DOME_COLUMNS)[None], s.shape)
    texture = np.stack([across, s / 90, 0 * s], -1)
    return Part(
        points.reshape(-1, 3).astype(np.float32), grid_triangles(rows, DOME_COLUMNS),
        texture.reshape(-1, 3).astype(np.float32), HAIR, colour, second,
        grain=float(rng.uniform(0.3, 0.9)), frequency=float(rng.uniform(40, 110)),
        specular=float(rng.uniform(0.02, 0.35)), shininess=float(rng.uniform(6, 40)),
    )  # fmt: skip


def hat(rig: FaceRig, vertices: Floats, rng: np.random.Generator, colour: Floats, second: Floats) -> Part:
    """A cap, a hat with a brim, a woollen hat or a hood."""
    kind = rng.choice(["beanie", "cap", "brim", "hood"], p=[0.3, 0.3, 0.2, 0.2])
    centre, radius = shell(rig, vertices)
    a = np.linspace(-np.pi, np.pi, DOME_COLUMNS)
    front = (1 + np.cos(a)) / 2
    end = rng.uniform(72, 98) - rng.uniform(-8, 12) * front
    rows = 14
    if kind == "hood":
        end = (
            90
            + rng.uniform(40, 70) * smoothstep(np.abs(a), *np.deg2rad([35, 75]))
            - rng.uniform(0, 15) * front
        )
    s = np.linspace(0, 1, rows)[:, None] * end[None]
    polar = np.minimum(s, 90)
    row = polar / 90 * (DOME_ROWS - 1)
    low = np.minimum(row.astype(int), DOME_ROWS - 2)
    column = np.arange(DOME_COLUMNS)[None]
    r = radius[low, column] * (1 - row + low) + radius[low + 1, column] * (row - low)
    r = np.maximum(r, r[:, ::-1])
    r = r + rng.uniform(0.5, 1.5)
    height = rng.uniform(1.0, 1.25) if kind != "hood" else 1.0
    sin, cos = np.sin(np.deg2rad(polar)), np.cos(np.deg2rad(polar))
    drop = np.maximum(s - 90, 0) / 6.0
    points = np.stack([r * sin * np.sin(a), height * r * cos - drop, r * sin * np.cos(a)], -1)
    if kind in ("cap", "brim"):
        size = rng.uniform(4, 8) if kind == "cap" else rng.uniform(3, 9)
        reach = size * (smoothstep(np.cos(a), 0.3, 0.9) if kind == "cap" else np.ones_like(a))
        rim = points[-1] * (1 + reach / np.linalg.norm(points[-1], axis=1))[:, None]
        rim[:, 1] = points[-1, :, 1] - rng.uniform(-0.2, 0.4) * reach
        points = np.concatenate([points, rim[None]])
    points = points + centre
    texture = np.concatenate([points[..., :1], points[..., 1:2], points[..., 2:]], -1)
    rows = len(points)
    return Part(
        points.reshape(-1, 3).astype(np.float32), grid_triangles(rows, DOME_COLUMNS),
        texture.reshape(-1, 3).astype(np.float32), CLOTH, colour, second,
        grain=float(rng.uniform(0, 1)), frequency=float(rng.uniform(0.3, 4)),
        specular=float(rng.uniform(0, 0.2)), shininess=8.0,
    )  # fmt: skip


def torso(rig: FaceRig, vertices: Floats, rng: np.random.Generator, colour: Floats, second: Floats) -> Part:
    """Shoulders and chest in clothes, from a collar round the neck downwards."""
    collar = rng.uniform(0.0, 3.0)
    heights = np.array([collar, 0.5, -1.0, -2.5, -5, -10, -22])
    width = np.array([6.3, 7.2, 11, 16, 20, 21, 20]) * rng.uniform(0.9, 1.15)
    depth = np.array([6.0, 6.6, 7.5, 8.5, 10, 11, 11]) * rng.uniform(0.9, 1.15)
    angle = np.linspace(0, 2 * np.pi, 33)
    x = width[:, None] * np.sin(angle)
    z = depth[:, None] * np.cos(angle)
    turn = np.deg2rad(rng.normal(0, 20))
    x, z = x * np.cos(turn) + z * np.sin(turn), z * np.cos(turn) - x * np.sin(turn)
    y = heights[:, None] + 0 * angle + 0.3 * (np.arange(7)[:, None] < 2) * -np.cos(angle) * rng.uniform(0, 6)
    points = np.stack([x, y, z - 0.5], -1) + vertices[rig.neck_rim].mean(0) + np.array([0, 0.5, 0])
    points = points.reshape(-1, 3).astype(np.float32)
    return Part(
        points, grid_triangles(7, 33), points, CLOTH, colour, second,
        grain=float(rng.uniform(0, 1)), frequency=float(rng.uniform(0.2, 3)), specular=0.03, shininess=8.0,
    )  # fmt: skip


def glasses(
    rig: FaceRig, vertices: Floats, rng: np.random.Generator, colour: Floats
) -> tuple[Part, tuple[Floats, Ints]]:
    """The frame of a pair of glasses, and the mesh of its lenses."""
    points = vertices[rig.model.landmarks]
    meshes, lenses = [], []
    width, height = rng.uniform(2.0, 3.0), rng.uniform(1.3, 2.6)
    square = rng.uniform(2, 5)  # exponent of the superellipse
    wire = rng.uniform(0.08, 0.35)
    angle = np.linspace(0, 2 * np.pi, 25)
    c, s = np.cos(angle), np.sin(angle)
    outline = np.stack([np.sign(c) * np.abs(c) ** (2 / square), np.sign(s) * np.abs(s) ** (2 / square)], 1)
    bridge_z = points[27, 2] + rng.uniform(0.3, 0.9)
    centre_y = (points[36:48, 1].mean() + rng.uniform(-0.6, 0.2)) if rng.random() < 0.85 else points[28, 1]
    inner = []
    for side, corners, ear in ((1.0, points[42:48], points[16]), (-1.0, points[36:42], points[0])):
        centre = np.array([corners[:, 0].mean() + side * rng.uniform(0, 0.2), centre_y, bridge_z])
        wrap = 0.25 * (outline[:, 0] * side + 1) ** 2 * rng.uniform(0.5, 1.2)
        ring = centre + np.stack([outline[:, 0] * width, outline[:, 1] * height, -wrap], 1)
        meshes.append(tube(ring, wire))
        fan = np.concatenate([ring, ring.mean(0, keepdims=True)])
        k = np.arange(24, dtype=np.int32)
        lenses.append((fan.astype(np.float32), np.stack([k, k + 1, np.full(24, 25, np.int32)], 1)))
        hinge = ring[np.argmax(ring[:, 0] * side)]
        temple = np.stack([hinge, (hinge + ear) / 2 + [side * 0.8, 0.6, 0], ear + [side * 0.6, 0.8, -2.0]])
        path = np.stack([np.interp(np.linspace(0, 2, 9), [0, 1, 2], temple[:, i]) for i in range(3)], 1)
        meshes.append(tube(path, wire))
        inner.append(ring[np.argmin(ring[:, 0] * side)])
    arch = np.stack([inner[0], (inner[0] + inner[1]) / 2 + [0, 0.3, 0.2], inner[1]])
    path = np.stack([np.interp(np.linspace(0, 2, 5), [0, 1, 2], arch[:, i]) for i in range(3)], 1)
    meshes.append(tube(path, wire))
    frame, triangles = join(meshes)
    part = Part(
        frame, triangles, frame, OBJECT, colour, colour, grain=0.1,
        specular=float(rng.uniform(0.1, 0.8)), shininess=float(rng.uniform(20, 80)),
    )  # fmt: skip
    return part, join(lenses)


def skin_shell(
    rig: FaceRig, vertices: Floats, normals: Floats, height: Floats, keep: NDArray[np.bool_]
) -> tuple[Floats, Ints, Ints]:
    """The skin where `keep` (V,), lifted by `height` (V,) cm: vertices, triangles and source vertices."""
    triangles = rig.triangles[keep[rig.triangles].all(1) & (rig.material == SKIN)]
    source, inverse = np.unique(triangles, return_inverse=True)
    lifted = vertices[source] + normals[source] * height[source, None]
    return lifted.astype(np.float32), inverse.reshape(-1, 3).astype(np.int32), source.astype(np.int32)


def beard(
    rig: FaceRig, vertices: Floats, normals: Floats, rng: np.random.Generator, colour: Floats, second: Floats
) -> Part:
    """A beard with body: the skin of the jaw, lifted, and lengthened at the chin."""
    mask = np.maximum(rig.maps[:, BEARD], rig.maps[:, MOUSTACHE] * (rng.random() < 0.8))
    if rng.random() < 0.3:  # goatee
        x = np.abs(rig.model.mean[:, 0])
        mask = mask * smoothstep(rng.uniform(3, 4) - x, 0, 1)
    lumps = rng.normal(1, 0.35, len(mask))
    height = mask * rng.uniform(0.3, 1.6) * np.clip(lumps, 0.2, 2)
    lifted, triangles, source = skin_shell(rig, vertices, normals, height.astype(np.float32), mask > 0.25)
    chin = rig.model.mean[source] - rig.model.landmark_mean[8]
    lifted[:, 1] -= (rng.uniform(0, 2.5) * mask[source] * np.exp(-((chin / 3.5) ** 2).sum(1))).astype(
        np.float32
    )
    texture = np.stack(
        [rig.model.mean[source, 0] * 0.08, rig.model.mean[source, 1] * 0.08, 0 * chin[:, 0]], 1
    )
    return Part(
        lifted, triangles, texture.astype(np.float32), HAIR, colour, second,
        grain=float(rng.uniform(0.4, 0.9)), frequency=float(rng.uniform(60, 150)), specular=0.05,
    )  # fmt: skip


def face_mask(
    rig: FaceRig, vertices: Floats, normals: Floats, rng: np.random.Generator, colour: Floats, second: Floats
) -> Part:
    """A cloth over nose, mouth and chin."""
    mean, points = rig.model.mean, rig.model.landmark_mean
    top = points[28 + rng.integers(0, 3), 1] + rng.uniform(-0.3, 0.3) - 0.25 * np.abs(mean[:, 0])
    keep = (mean[:, 1] < top) & (mean[:, 1] > points[8, 1] - 1.2) & (mean[:, 2] > points[16, 2] + 1.5)
    keep &= rig.maps[:, AMBIENT] > 0.2
    height = np.full(len(mean), rng.uniform(0.25, 0.8), np.float32)
    lifted, triangles, source = skin_shell(rig, vertices, normals, height, keep)
    # Taut: the hollows beside the nose and under the lips are spanned.
    hollow = 0.6 * np.exp(-(((mean[source, 1] - points[51, 1]) / 2.5) ** 2))
    lifted[:, 2] += (hollow * rng.uniform(0.5, 1.5)).astype(np.float32)
    return Part(
        lifted, triangles, mean[source].astype(np.float32), CLOTH, colour, second,
        grain=float(rng.uniform(0, 0.6)), frequency=float(rng.uniform(0.3, 3)), specular=0.03,
    )  # fmt: skip


def hand(rng: np.random.Generator, place: Floats, towards: Floats, skin: Floats) -> Part:
    """A hand of capsules with its finger tips near `place`, coming from the side `towards` points to."""
    across = np.cross(towards, rng.normal(0, 1, 3))
    across /= np.linalg.norm(across) + 1e-9
    meshes = []
    spread = rng.uniform(1.5, 2.1)
    for finger in range(4):
        length = [5.5, 7.0, 6.8, 5.0][finger] * rng.uniform(0.8, 1.1)
        base = place + towards * 7.5 + across * (finger - 1.5) * spread
        tip = place + towards * (7.5 - length) + across * (finger - 1.5) * spread * rng.uniform(0.7, 1.6)
        bend = np.cross(across, towards) * rng.uniform(-0.8, 1.2)
        steps = np.linspace(0, 1, 8)[:, None]
        path = base * (1 - steps) + tip * steps + bend * np.sin(np.pi * steps)
        radius = 0.85 * np.sqrt(np.clip(1 - (np.linspace(-0.6, 1, 8) ** 8), 0.02, 1)) * rng.uniform(0.85, 1.1)
        meshes.append(tube(path.astype(np.float32), radius.astype(np.float32), 8))
    ball, ball_triangles = sphere()
    frame = np.stack([across * 4.2, towards * 4.8, np.cross(across, towards) * 1.5])
    meshes.append(((ball @ frame + place + towards * 11).astype(np.float32), ball_triangles))
    wrist = np.stack([place + towards * (13 + 4 * k) for k in range(4)]).astype(np.float32)
    meshes.append(tube(wrist, 3.0, 10))
    vertices, triangles = join(meshes)
    return Part(
        vertices, triangles, vertices, HAND, skin, skin * np.float32(0.7), grain=0.25, frequency=0.5,
        specular=0.08, shininess=12.0,
    )  # fmt: skip


def thing(rng: np.random.Generator, place: Floats, colour: Floats, second: Floats) -> Part:
    """A box, a ball, a stick or a sheet at `place`, turned at random."""
    size = rng.uniform(1.0, 5.0, 3)
    kind = rng.integers(4)
    if kind == 0:
        ball, triangles = sphere()
        points = ball * size
    elif kind == 1:
        path = np.linspace([0, -12, 0], [0, 12, 0], 5).astype(np.float32)
        points, triangles = tube(path, float(rng.uniform(0.4, 3)), 10)
    else:
        x, y = np.meshgrid(np.linspace(-1, 1, 5), np.linspace(-1, 1, 5))
        thin = 0.3 if kind == 2 else 1.0
        sheet = np.stack([x.ravel(), y.ravel(), thin * np.ones(25)], 1)
        meshes = []
        for axis in range(3):
            for sign in (-1, 1):
                meshes.append((np.roll(sheet * [1, 1, sign], axis, 1) * [1, 1, 1], grid_triangles(5, 5)))
        points, triangles = join(meshes)
        points = points * size
    q, _ = np.linalg.qr(rng.normal(0, 1, (3, 3)))
    texture = points.astype(np.float32)
    return Part(
        (points @ q + place).astype(np.float32), triangles, texture, OBJECT, colour, second,
        grain=float(rng.uniform(0, 1)), frequency=float(rng.uniform(0.2, 2)),
        specular=float(rng.uniform(0, 0.6)), shininess=float(rng.uniform(5, 60)),
    )  # fmt: skip
