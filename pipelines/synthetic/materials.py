"""Procedural textures: the colour and the gloss of skin, eyes, hair, cloth and things."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from scipy.ndimage import gaussian_filter

from pipelines.synthetic import rig as rigs
from pipelines.synthetic.meshes import Part
from pipelines.synthetic.rig import FaceRig
from pipelines.synthetic.vectors import mix, vector
from tf_dhm.core.types import Floats


@dataclass(frozen=True)
class Looks:
    """The random paint of one face; colours are linear RGB, strengths in [0, 1]."""

    skin: Floats
    hair: Floats
    second_hair: Floats
    lip: Floats
    lip_strength: float
    blotches: float
    freckles: float
    freckle_size: float
    redness: float
    stubble: float
    blush: float
    shadow: Floats
    shadow_strength: float
    brow_strength: float
    brow_width: float
    brow_lift: float
    lashes: float
    painted_hair: float
    hair_line: float
    iris: Floats
    iris_size: float
    pupil: float
    gaze: Floats
    vein: float
    teeth: Floats
    specular: float
    shininess: float
    offset: Floats


@lru_cache(maxsize=1)
def noise_volumes() -> tuple[Floats, Floats]:
    """Two 64^3 periodic volumes of unit variance: clouds with many scales, and fine grain."""
    rng = np.random.default_rng(7)
    white = rng.normal(0, 1, (64, 64, 64)).astype(np.float32)

    def smooth(sigma: float) -> Floats:
        field = gaussian_filter(white, sigma, mode="wrap")
        return field / field.std()

    clouds = smooth(6) + 0.6 * smooth(3) + 0.4 * smooth(1.5)
    return (clouds / clouds.std()).astype(np.float32), smooth(0.7).astype(np.float32)


def lookup(volume: Floats, points: Floats) -> Floats:
    """Nearest value of a periodic 64^3 volume at (N, 3) points, one cell per unit."""
    i = points.astype(np.int32) & 63
    return volume.ravel()[(i[:, 0] << 12) | (i[:, 1] << 6) | i[:, 2]]


def skin_albedo(rig: FaceRig, looks: Looks, rest: Floats, maps: Floats) -> tuple[Floats, Floats]:
    """Colour (N, 3) and strength of the highlight (N,) of skin at points `rest` of the mean face."""
    clouds, grain = noise_volumes()
    at = rest + 64 + looks.offset
    low, fine = lookup(clouds, at * 5.0), lookup(grain, at * 9.0)
    colour = looks.skin * (1 + 0.35 * looks.blotches * low + 0.05 * fine)[:, None]
    centre = np.exp(-((rest[:, 0] / 4.5) ** 2) - ((rest[:, 1] - 0.3) / 3.0) ** 2) * (rest[:, 2] > 0)
    red = looks.redness * np.clip(0.5 * centre + 0.4 * maps[:, rigs.BLUSH] + 0.15 * low, 0, 1)
    colour *= np.stack([1 + 0.1 * red, 1 - 0.45 * red, 1 - 0.4 * red], 1)
    if looks.freckles:
        spots = lookup(grain, at * looks.freckle_size + 17) > 1.35
        colour *= 1 - (0.55 * looks.freckles * spots * np.clip(centre + 0.35, 0, 1))[:, None]
    if looks.blush:
        colour *= 1 - looks.blush * maps[:, rigs.BLUSH, None] * vector([0.0, 0.45, 0.35])
    if looks.shadow_strength:
        colour = mix(colour, looks.shadow, looks.shadow_strength * np.clip(maps[:, rigs.EYE_SHADOW], 0, 1))
    lips = np.clip(1.6 * maps[:, rigs.LIPS] - 0.3, 0, 1)
    colour = mix(colour, looks.lip * (1 + 0.06 * fine[:, None]), lips * looks.lip_strength)
    hair = np.zeros(len(rest), np.float32)
    # Brows: a band along the five landmarks, thinning outwards, of strands.
    x, y = np.abs(rest[:, 0]), rest[:, 1]
    inside = (x > rig.brow[0, 0] - 0.5) & (x < rig.brow[4, 0] + 0.5) & (rest[:, 2] > -3)
    line = np.interp(x[inside], rig.brow[:, 0], rig.brow[:, 1]) + looks.brow_lift
    along = (x[inside] - rig.brow[0, 0]) / (rig.brow[4, 0] - rig.brow[0, 0])
    width = looks.brow_width * np.interp(along, [-0.1, 0.1, 0.6, 1.1], [0.7, 1.0, 0.9, 0.35])
    strands = 0.75 + 0.35 * lookup(grain, np.stack([at[inside, 0] * 14, at[inside, 1] * 5, 0 * line], 1))
    ends = np.clip((along + 0.12) * 6, 0, 1) * np.clip((1.08 - along) * 6, 0, 1)
    hair[inside] = looks.brow_strength * np.exp(-(((y[inside] - line) / width) ** 4)) * ends * strands
    stubble = np.maximum(maps[:, rigs.BEARD], maps[:, rigs.MOUSTACHE])
    dots = 0.65 + 0.5 * lookup(grain, at * 15.0)
    hair = np.maximum(hair, looks.stubble * stubble * dots)
    edge = maps[:, rigs.SCALP] - looks.hair_line + 0.35 * low + 0.25 * fine
    hair = np.maximum(hair, looks.painted_hair * np.clip(edge / 0.8, 0, 1) * (0.8 + 0.25 * dots))
    hair = np.maximum(hair, looks.lashes * np.clip(1.5 * maps[:, rigs.LASH] - 0.45, 0, 1))
    hair = np.clip(hair, 0, 1).astype(np.float32)
    specular = looks.specular * (1 + 1.2 * lips + 0.3 * fine) * (1 - 0.7 * hair)
    return mix(colour, looks.hair, hair), specular


def eye_albedo(looks: Looks, direction: Floats) -> Floats:
    """Colour (N, 3) of the eyeball at unit `direction` from its centre, in the frame of the head."""
    _, grain = noise_volumes()
    angle = np.arccos(np.clip(direction @ looks.gaze, -1, 1)) / looks.iris_size
    fibre = lookup(grain, direction * 40 + 64)
    white = vector([0.78, 0.74, 0.70]) * (1 - 0.12 * np.clip(angle - 1, 0, 2))[:, None]
    white = white * (
        1 - looks.vein * np.clip(lookup(grain, direction * 25 + 80) - 0.3, 0, 1)[:, None] * [0.1, 0.7, 0.7]
    )
    iris = (
        looks.iris * (1 + 0.25 * fibre)[:, None] * (1.25 - 0.9 * np.clip(angle - 0.75, 0, 0.25) * 4)[:, None]
    )
    colour = mix(white.astype(np.float32), iris.astype(np.float32), np.clip((1.05 - angle) * 8, 0, 1))
    return mix(colour, vector([0.004, 0.004, 0.005]), np.clip((looks.pupil - angle) * 10, 0, 1))


def part_albedo(part: Part, texture: Floats) -> tuple[Floats, Floats]:
    """Colour (N, 3) and strength of the highlight (N,) of a part at texture coordinates (N, 3)."""
    clouds, grain = noise_volumes()
    if part.material == rigs.HAIR:
        across, along = texture[:, 0] * part.frequency, texture[:, 1]
        bend = 1.5 * np.sin(5 * along + 9 * texture[:, 0])
        strand = lookup(grain, np.stack([across * 3 + bend, along * 3, 0 * along], 1) + 64)
        lock = lookup(grain, np.stack([across * 0.7 + bend, along * 2, 0 * along + 9], 1) + 64)
        strand = 0.6 * strand + 0.6 * lock
        colour = mix(part.colour, part.second, np.clip(0.3 + 0.4 * part.grain * strand, 0, 1))
        return colour * np.clip(1 + 0.4 * part.grain * strand, 0.1, 2)[:, None], part.specular * np.clip(
            1 + strand, 0, 3
        )
    at = texture * part.frequency
    if part.material == rigs.HAND:
        weight = np.clip(0.4 + 0.25 * lookup(clouds, at * 8 + 640), 0, 1)
    elif part.frequency % 0.2 < 0.1:
        weight = (np.sin(at[:, 0] * 2.0 + at[:, 1]) > 0.3) * part.grain  # stripes
    else:
        weight = np.clip(0.5 * lookup(clouds, at * 6 + 640) * part.grain, 0, 1)
    fine = 1 + 0.12 * part.grain * lookup(grain, texture * 7 + 640)
    colour = mix(part.colour, part.second, weight.astype(np.float32)) * fine[:, None]
    return colour, np.full(len(texture), part.specular, np.float32)
