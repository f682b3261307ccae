"""Rendered faces with exact labels: the open face under random light, in random dress, by ray casting.

No display and no graphics library: `embreex` casts the rays, NumPy shades the points they hit.
Everything in an image is drawn from `numpy.random.default_rng((seed, index))`, so that any image
can be made anywhere, in any order.

The frame of the scene is that of Eq. 2, R S: x right in the picture, y up, z to the viewer,
centimetres. A weak-perspective camera casts parallel rays along -z; a perspective one stands at
(0, 0, distance) and has the same scale f at z = 0.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import cv2
import numpy as np
from embreex.mesh_construction import TriangleMesh
from embreex.rtcore_scene import EmbreeScene
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter
from scipy.sparse import csr_matrix

from pipelines.datasets.samples import OCCLUDED, SELF_OCCLUDED, VISIBLE
from pipelines.synthetic import face_parts
from pipelines.synthetic.face_parts import FaceRig, Part, dot, unit, vector
from tf_dhm.core.errors import InputError
from tf_dhm.face.geometry import CROP_SCALE, euler_angles, landmark_box, rotation_matrix
from tf_dhm.face.parameters import ANGLES, EXPRESSION, IDENTITY, NUM_PARAMETERS, SCALE, TRANSLATION

Floats = NDArray[Any]
"""Arrays of float32, and float64 while they are small: NumPy's types do not follow the mixture."""

RAY_START = 80.0
"""z in cm from which parallel rays start."""
CONTACT = 0.3
"""cm: a landmark counts as seen if nothing farther in front of it than this is in the way."""


@dataclass(frozen=True)
class RenderConfig:
    """What faces are drawn, and how.

    Attributes:
        size: side of the square image in pixels.
        margin: side of the image over that of the face's crop.
        supersampling: rays per pixel along each side.
        max_yaw: the yaw of `Pose_Para` is uniform over +- this, degrees.
        max_pitch, max_roll: the nod of the head and the roll of the camera stay within this, degrees.
        occlusion: factor on the probability of hats, glasses, masks, hands and things in front.
        degrade: factor on blur, noise and compression.
    """

    size: int = 128
    margin: float = 1.3
    supersampling: float = 1.25
    max_yaw: float = 90.0
    max_pitch: float = 40.0
    max_roll: float = 40.0
    occlusion: float = 1.0
    degrade: float = 1.0

    def __post_init__(self) -> None:
        if self.size < 16 or self.supersampling < 0.5 or self.margin < 0.5:
            raise InputError(
                f"renderer: found size {self.size}, supersampling {self.supersampling}, "
                f"margin {self.margin}, "
                "expected at least 16, 0.5 and 0.5"
            )
        if not (0 <= self.max_yaw <= 90 and 0 <= self.max_pitch <= 89 and 0 <= self.max_roll <= 180):
            raise InputError(
                f"renderer: found max_yaw {self.max_yaw}, max_pitch {self.max_pitch}, "
                f"max_roll {self.max_roll}, "
                "expected degrees up to 90, 89 and 180"
            )


@dataclass(frozen=True)
class RenderedFace:
    """A rendered image and its labels.

    Attributes:
        image: (S, S, 3) uint8 RGB.
        landmarks: (68, 3) float32, 0-based pixels, y down; z larger nearer, zero mean.
        visibility: (68,) uint8, SELF_OCCLUDED, OCCLUDED (by hair, dress or a thing) or VISIBLE.
        p: (234,) float64 of Eq. 2, in the layout of `tf_dhm.face.parameters`. Under a weak-perspective
            camera it gives the landmarks exactly; under a perspective one f and t_2d are the least
            squares fit to them.
        pose: (3,) float32 degrees pitch, yaw, roll in the signs of `Pose_Para`.
        box: (4,) float32 landmark box x0, y0, x1, y1.
        perspective: whether the camera was one.
    """

    image: NDArray[np.uint8]
    landmarks: Floats
    visibility: NDArray[np.uint8]
    p: NDArray[np.float64]
    pose: Floats
    box: Floats
    perspective: bool


@dataclass(frozen=True)
class Camera:
    """Scale f in pixels per cm at z = 0, image of the origin, distance in cm (inf: weak perspective)."""

    scale: float
    origin: tuple[float, float]
    distance: float

    def project(self, points: NDArray[np.floating]) -> NDArray[np.float64]:
        """(N, 3) cm -> (N, 3) pixels, y down; z in pixels at the depth of the origin."""
        z = np.asarray(points, np.float64)[:, 2]
        near = self.scale if np.isinf(self.distance) else self.scale * self.distance / (self.distance - z)
        x, y = near * points[:, 0] + self.origin[0], self.origin[1] - near * points[:, 1]
        return np.stack([x, y, self.scale * z], 1)

    def rays(self, size: int, side: int) -> tuple[Floats, Floats]:
        """Origins and directions (side * side, 3) of a `side` x `side` grid over `size` x `size` pixels."""
        u = (np.arange(side, dtype=np.float32) + 0.5) * (size / side) - 0.5
        x = np.broadcast_to((u - self.origin[0]) / self.scale, (side, side)).ravel()
        y = np.broadcast_to(((self.origin[1] - u) / self.scale)[:, None], (side, side)).ravel()
        origins, directions = np.zeros((side * side, 3), np.float32), np.zeros((side * side, 3), np.float32)
        directions[:, 2] = -1
        if np.isinf(self.distance):
            origins[:, 0], origins[:, 1], origins[:, 2] = x, y, RAY_START
        else:
            origins[:, 2] = self.distance
            directions[:, 0], directions[:, 1] = x / self.distance, y / self.distance
        return origins, directions

    def to_eye(self, points: NDArray[np.floating]) -> Floats:
        """Unit vectors (N, 3) from points to the camera."""
        towards = np.zeros(points.shape, np.float32)
        towards[:, 2] = 1
        if not np.isinf(self.distance):
            towards = np.array([0, 0, self.distance], np.float32) - points.astype(np.float32)
            towards = unit(towards)
        return towards


# What is drawn at random


def random_parameters(rig: FaceRig, rng: np.random.Generator) -> tuple[Floats, Floats]:
    """Identity (199,) and expression (29,) parameters of a random face."""
    identity = np.clip(rng.normal(0, 1.2, 199), -2.5, 2.5) * rig.model.identity_std
    names = {name: k for k, name in enumerate(face_parts.expression_names())}
    expression = np.zeros(29)
    if rng.random() < 0.8:
        on = rng.random(29) < 0.35
        amount = np.abs(rng.normal(0, 1, 29)) * rig.model.expression_std * 1.3
        expression = np.where(on, amount, 0)
    for name in ("jaw_side", "mouth_side"):
        expression[names[name]] *= rng.choice([-1, 1])
    mood = rng.random()
    if mood < 0.3:  # a smile, with or without teeth
        smile = rng.uniform(0.2, 1.0)
        expression[names["mouth_smile_left"]] = smile + rng.normal(0, 0.08)
        expression[names["mouth_smile_right"]] = smile + rng.normal(0, 0.08)
        expression[names["jaw_open"]] = rng.uniform(0, 0.35) * (rng.random() < 0.6)
        expression[names["mouth_upper_up"]] = rng.uniform(0, 0.5) * smile
        expression[names["cheek_squint"]] = rng.uniform(0, 0.6) * smile
        for name in (
            "mouth_frown_left",
            "mouth_frown_right",
            "mouth_funnel",
            "mouth_pucker",
            "mouth_roll_upper",
        ):
            expression[names[name]] = 0
    elif mood < 0.42:
        expression[names["jaw_open"]] = rng.uniform(0.3, 1.0)
    elif mood < 0.6:
        expression[names["jaw_open"]] = 0
    lids = rng.random()
    blink = 0.0 if lids < 0.3 else rng.uniform(0, 0.5) if lids < 0.88 else rng.uniform(0.8, 1.0)
    wink = rng.random() < 0.03
    expression[names["eye_blink_left"]] = blink
    expression[names["eye_blink_right"]] = rng.uniform(0, 1) if wink else blink
    if blink == 0 and rng.random() < 0.6:
        expression[names["eye_wide"]] = rng.uniform(0, 0.7)
        expression[names["eye_look_down"]] = 0
    if blink > 0.5:
        expression[names["eye_wide"]] = expression[names["eye_look_down"]] = 0
    low, high = face_parts.expression_range().T
    return identity.astype(np.float32), np.clip(expression, low, high).astype(np.float32)


def random_rotation(config: RenderConfig, rng: np.random.Generator) -> NDArray[np.float64]:
    """R (3, 3): the head nods and turns, the camera stands higher or lower and is rolled.

    The yaw of `Pose_Para`, by which results are binned, is uniform: nod, height and roll are drawn
    first, and the head is turned until the yaw is right. Where no turn gives it (a rolled profile
    has less yaw than a straight one) they are drawn again, smaller.
    """
    target = -np.sin(np.deg2rad(rng.uniform(-config.max_yaw, config.max_yaw)))  # R[0, 2]
    spread = 1.0
    while True:
        pitch = spread * _bounded(config.max_pitch, rng)
        roll = spread * _bounded(config.max_roll, rng)
        share = rng.random()
        nod, height = np.deg2rad(pitch * share), np.deg2rad(pitch * (1 - share))
        before = rotation_matrix(0, 0, np.deg2rad(roll)) @ rotation_matrix(height, 0, 0)
        after = rotation_matrix(nod, 0, 0)
        # R[0, 2] = a cos(turn) + b sin(turn) + c
        a = before[0, 0] * after[0, 2] + before[0, 2] * after[2, 2]
        b = before[0, 2] * after[0, 2] - before[0, 0] * after[2, 2]
        cosine = (target - before[0, 1] * after[1, 2]) / np.hypot(a, b)
        if abs(cosine) <= 1:
            turns = np.arctan2(b, a) + np.arccos(cosine) * np.array([-1, 1])
            turns = (turns + np.pi) % (2 * np.pi) - np.pi
            turn = turns[np.argmin(np.abs(turns))]
            if abs(turn) <= np.deg2rad(max(config.max_yaw, 5)):
                return before @ rotation_matrix(0, turn, 0) @ after
        spread *= 0.9


def _bounded(limit: float, rng: np.random.Generator) -> float:
    """A random angle within +- `limit`, more often small than large."""
    wide = rng.random() < 0.4
    return float(rng.uniform(-limit, limit) if wide else np.clip(rng.normal(0, limit / 4), -limit, limit))


def linear(rgb: NDArray[np.floating] | tuple[float, ...]) -> Floats:
    """sRGB in [0, 1] to linear light, with a plain exponent."""
    return (np.asarray(rgb, np.float32) ** 2.2).astype(np.float32)


SKIN_TONES = linear(np.array([
    (0.96, 0.85, 0.79), (0.93, 0.78, 0.69), (0.89, 0.72, 0.60), (0.82, 0.64, 0.50), (0.73, 0.54, 0.40),
    (0.61, 0.43, 0.31), (0.47, 0.32, 0.23), (0.34, 0.23, 0.17), (0.24, 0.16, 0.12),
]))  # fmt: skip
HAIR_TONES = linear(np.array([
    (0.07, 0.06, 0.06), (0.12, 0.08, 0.06), (0.22, 0.14, 0.09), (0.36, 0.23, 0.13), (0.52, 0.36, 0.20),
    (0.72, 0.57, 0.36), (0.48, 0.20, 0.09), (0.55, 0.54, 0.52), (0.85, 0.84, 0.82),
]))  # fmt: skip
IRIS_TONES = linear(
    np.array(
        [(0.25, 0.14, 0.07), (0.36, 0.22, 0.10), (0.36, 0.38, 0.18), (0.36, 0.48, 0.58), (0.45, 0.48, 0.50)]
    )
)


def random_colour(rng: np.random.Generator) -> Floats:
    """Any colour of cloth and things: grey and pale ones are as frequent as bright ones."""
    colour = rng.uniform(0.02, 1, 3)
    grey = colour.mean()
    return linear(np.clip(grey + (colour - grey) * rng.uniform(0, 1.2), 0.02, 0.98))


def mix_tone(tones: Floats, rng: np.random.Generator, at: float | None = None) -> Floats:
    """A colour between two neighbours of a row of tones, at a place in the row or anywhere, a little off."""
    at = rng.uniform(0, len(tones) - 1) if at is None else at
    low = min(int(at), len(tones) - 2)
    tone = tones[low] + (tones[low + 1] - tones[low]) * (at - low)
    return np.clip(tone * rng.normal(1, 0.07, 3), 0.003, 0.97).astype(np.float32)


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


def random_looks(rng: np.random.Generator, has_hair: bool) -> Looks:
    skin = mix_tone(SKIN_TONES, rng, at=8 * rng.beta(1.0, 1.7))
    dark = skin.mean() < 0.13
    tones = HAIR_TONES[:3] if dark and rng.random() < 0.8 else HAIR_TONES
    hair = mix_tone(tones, rng) if rng.random() < 0.95 else random_colour(rng)
    makeup = rng.random() < 0.3
    lip = skin * np.array(
        [rng.uniform(0.75, 1.1), rng.uniform(0.4, 0.75), rng.uniform(0.45, 0.85)], np.float32
    )
    if makeup and rng.random() < 0.8:
        lip = linear((rng.uniform(0.3, 0.95), rng.uniform(0.03, 0.5), rng.uniform(0.05, 0.6)))
    gaze = np.array([rng.normal(0, 0.22), rng.normal(0, 0.12), 1.0], np.float32)
    return Looks(
        skin=skin,
        hair=hair,
        second_hair=np.clip(hair * rng.uniform(1.2, 2.5), 0, 0.95).astype(np.float32),
        lip=lip.astype(np.float32),
        lip_strength=float(rng.uniform(0.35, 1.0)),
        blotches=float(rng.uniform(0.02, 0.3)),
        freckles=float(rng.uniform(0.1, 0.7) * (rng.random() < 0.25)),
        freckle_size=float(rng.uniform(2.0, 5.0)),
        redness=float(rng.uniform(0, 0.35)),
        stubble=float(rng.uniform(0.1, 0.75) * (rng.random() < 0.35)),
        blush=float(rng.uniform(0.1, 0.6) * (makeup or rng.random() < 0.2)),
        shadow=random_colour(rng) if rng.random() < 0.5 else skin * np.float32(0.4),
        shadow_strength=float(rng.uniform(0.2, 0.8) * makeup),
        brow_strength=float(rng.uniform(0.5, 1.0)),
        brow_width=float(rng.uniform(0.32, 0.72)),
        brow_lift=float(rng.normal(0, 0.12)),
        lashes=float(rng.uniform(0.3, 1.0)),
        painted_hair=float(1.0 if has_hair else rng.uniform(0.2, 0.95) * (rng.random() < 0.7)),
        hair_line=float(rng.uniform(-1.2, 1.0) if has_hair or rng.random() < 0.7 else rng.uniform(1, 7)),
        iris=mix_tone(IRIS_TONES[:2] if dark else IRIS_TONES, rng),
        iris_size=float(rng.uniform(0.40, 0.50)),
        pupil=float(rng.uniform(0.3, 0.6)),
        gaze=gaze / np.linalg.norm(gaze),
        vein=float(rng.uniform(0, 0.35)),
        teeth=linear((rng.uniform(0.75, 0.98), rng.uniform(0.7, 0.95), rng.uniform(0.55, 0.92))),
        specular=float(rng.uniform(0.01, 0.3)),
        shininess=float(rng.uniform(6, 30)),
        offset=rng.uniform(0, 64, 3).astype(np.float32),
    )


def random_parts(
    rig: FaceRig, vertices: Floats, normals: Floats, looks: Looks, dressed: Dress, config: RenderConfig,
    rng: np.random.Generator,
) -> tuple[list[Part], tuple[Floats, NDArray[np.int32]] | None]:  # fmt: skip
    """Hair, dress and things around the head, in its own frame; and the lenses of glasses, if any."""
    often = config.occlusion
    parts = []
    if rng.random() < 0.95:
        parts.append(face_parts.torso(rig, vertices, rng, random_colour(rng), random_colour(rng)))
    if dressed.hair:
        long = rng.random() < 0.5
        parts.append(
            face_parts.hair(
                rig, vertices, rng,
                length=float(rng.uniform(3, 26) if long else rng.uniform(-6, 3)),
                thickness=float(rng.uniform(0.4, 2.2) if rng.random() < 0.9 else rng.uniform(2, 5)),
                front=float(rng.uniform(48, 76) if rng.random() < 0.8 else rng.uniform(76, 96)),
                opening=float(rng.uniform(55, 85) if long else rng.uniform(70, 100)),
                colour=looks.hair, second=looks.second_hair,
            )
        )  # fmt: skip
    if dressed.hat:
        parts.append(face_parts.hat(rig, vertices, rng, random_colour(rng), random_colour(rng)))
    if dressed.beard:
        parts.append(face_parts.beard(rig, vertices, normals, rng, looks.hair, looks.second_hair))
    if rng.random() < 0.04 * often:
        colours = random_colour(rng), random_colour(rng)
        parts.append(face_parts.face_mask(rig, vertices, normals, rng, *colours))
    lenses = None
    if rng.random() < 0.2 * often:
        frame, lenses = face_parts.glasses(
            rig, vertices, rng, random_colour(rng) * np.float32(rng.uniform(0.1, 1))
        )
        parts.append(frame)
    return parts, lenses


@dataclass(frozen=True)
class Dress:
    """Whether the head has long or short hair with body, something on it, and a beard with body."""

    hair: bool
    hat: bool
    beard: bool


def random_things(
    looks: Looks, landmarks: Floats, config: RenderConfig, rng: np.random.Generator
) -> list[Part]:
    """Hands and things between the face and the camera, in the frame of the camera."""
    parts = []
    spread = float(np.ptp(landmarks[:, :2], axis=0).max())
    for _ in range(2):
        if rng.random() > 0.14 * config.occlusion:
            continue
        place = landmarks[rng.integers(68)] + rng.normal(0, 0.12 * spread, 3) * [1, 1, 0]
        place[2] = landmarks[:, 2].max() * rng.uniform(0.3, 1) + rng.uniform(1, 4)
        if rng.random() < 0.5:
            angle = rng.uniform(-np.pi, 0) if rng.random() < 0.8 else rng.uniform(0, np.pi)
            towards = np.array([np.cos(angle), np.sin(angle), rng.uniform(-0.2, 0.4)])
            tone = looks.skin if rng.random() < 0.8 else mix_tone(SKIN_TONES, rng)
            parts.append(face_parts.hand(rng, place, towards / np.linalg.norm(towards), tone))
        else:
            parts.append(face_parts.thing(rng, place, random_colour(rng), random_colour(rng)))
    return parts


# Textures


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


def mix(a: Floats, b: Floats, weight: Floats) -> Floats:
    """a + (b - a) weight, with weight (N,) and colours (N, 3) or (3,)."""
    return a + (b - a) * weight[:, None]


def skin_albedo(rig: FaceRig, looks: Looks, rest: Floats, maps: Floats) -> tuple[Floats, Floats]:
    """Colour (N, 3) and strength of the highlight (N,) of skin at points `rest` of the mean face."""
    clouds, grain = noise_volumes()
    at = rest + 64 + looks.offset
    low, fine = lookup(clouds, at * 5.0), lookup(grain, at * 9.0)
    colour = looks.skin * (1 + 0.35 * looks.blotches * low + 0.05 * fine)[:, None]
    centre = np.exp(-((rest[:, 0] / 4.5) ** 2) - ((rest[:, 1] - 0.3) / 3.0) ** 2) * (rest[:, 2] > 0)
    red = looks.redness * np.clip(0.5 * centre + 0.4 * maps[:, face_parts.BLUSH] + 0.15 * low, 0, 1)
    colour *= np.stack([1 + 0.1 * red, 1 - 0.45 * red, 1 - 0.4 * red], 1)
    if looks.freckles:
        spots = lookup(grain, at * looks.freckle_size + 17) > 1.35
        colour *= 1 - (0.55 * looks.freckles * spots * np.clip(centre + 0.35, 0, 1))[:, None]
    if looks.blush:
        colour *= 1 - looks.blush * maps[:, face_parts.BLUSH, None] * vector([0.0, 0.45, 0.35])
    if looks.shadow_strength:
        colour = mix(
            colour, looks.shadow, looks.shadow_strength * np.clip(maps[:, face_parts.EYE_SHADOW], 0, 1)
        )
    lips = np.clip(1.6 * maps[:, face_parts.LIPS] - 0.3, 0, 1)
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
    stubble = np.maximum(maps[:, face_parts.BEARD], maps[:, face_parts.MOUSTACHE])
    dots = 0.65 + 0.5 * lookup(grain, at * 15.0)
    hair = np.maximum(hair, looks.stubble * stubble * dots)
    edge = maps[:, face_parts.SCALP] - looks.hair_line + 0.35 * low + 0.25 * fine
    hair = np.maximum(hair, looks.painted_hair * np.clip(edge / 0.8, 0, 1) * (0.8 + 0.25 * dots))
    hair = np.maximum(hair, looks.lashes * np.clip(1.5 * maps[:, face_parts.LASH] - 0.45, 0, 1))
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
    if part.material == face_parts.HAIR:
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
    if part.material == face_parts.HAND:
        weight = np.clip(0.4 + 0.25 * lookup(clouds, at * 8 + 640), 0, 1)
    elif part.frequency % 0.2 < 0.1:
        weight = (np.sin(at[:, 0] * 2.0 + at[:, 1]) > 0.3) * part.grain  # stripes
    else:
        weight = np.clip(0.5 * lookup(clouds, at * 6 + 640) * part.grain, 0, 1)
    fine = 1 + 0.12 * part.grain * lookup(grain, texture * 7 + 640)
    colour = mix(part.colour, part.second, weight.astype(np.float32)) * fine[:, None]
    return colour, np.full(len(texture), part.specular, np.float32)


# Light


@dataclass(frozen=True)
class Light:
    """A light from far away: unit vector (3,) towards it, linear RGB, and whether it casts shadows."""

    direction: Floats
    colour: Floats
    shadow: bool


def random_lights(rng: np.random.Generator) -> tuple[list[Light], Floats, Floats]:
    """Directional lights, and the light of the sky and of the ground."""

    def tint(strength: float) -> Floats:
        return (
            strength
            * np.clip(1 + rng.normal(0, 0.18) * vector([1, 0.1, -1]) + rng.normal(0, 0.05, 3), 0.3, 2)
        ).astype(np.float32)

    lights = []
    for k in range(rng.choice([1, 2, 3], p=[0.45, 0.4, 0.15])):
        direction = rng.normal(0, 1, 3) * [1, 0.8, 0.7] + [0, 0.6, 0.9 if k == 0 else 0]
        direction = direction / (np.linalg.norm(direction) + 1e-9)
        strength = rng.uniform(0.4, 2.2) if k == 0 else rng.uniform(0.1, 1.5)
        lights.append(Light(direction.astype(np.float32), tint(strength), k == 0 or rng.random() < 0.3))
    ambient = rng.uniform(0.12, 0.9)
    return lights, tint(ambient), tint(ambient * rng.uniform(0.2, 1.0))


# The renderer


def _shade(
    colour: Floats, specular: Floats, shininess: Floats, normal: Floats, to_eye: Floats, ambient: Floats,
    soft: Floats, lights: list[Light], lit: list[Floats], sky: Floats, ground: Floats,
) -> Floats:  # fmt: skip
    """Radiance (N, 3): hemisphere light, wrapped diffuse light and Blinn-Phong highlights."""
    up = (0.5 + 0.5 * normal[:, 1])[:, None]
    total = colour * (ground + (sky - ground) * up) * ambient[:, None]
    wrap = vector([0.28, 0.14, 0.09])
    for light, shadow in zip(lights, lit, strict=True):
        cosine = normal @ light.direction
        skin = np.clip((cosine[:, None] + wrap) / (1 + wrap), 0, None)
        diffuse = np.where(soft[:, None], skin, np.clip(cosine, 0, None)[:, None])
        half = unit(to_eye + light.direction)
        glint = np.clip(dot(normal, half), 0, 1) ** shininess * (cosine > 0) * specular
        total += (colour * diffuse + glint[:, None]) * (light.colour * shadow[:, None])
    return total


class FaceRenderer:
    """Renders faces; `render(seed, index)` depends on nothing but its arguments and the configuration.

    >>> face = FaceRenderer(RenderConfig(size=64)).render(seed=0, index=5)
    >>> face.image.shape, face.landmarks.shape
    ((64, 64, 3), (68, 3))
    """

    def __init__(self, config: RenderConfig | None = None) -> None:
        self.config = config or RenderConfig()
        self.rig = face_parts.load_rig()

    def render(self, seed: int, index: int) -> RenderedFace:
        """The image `index` of the endless series `seed`."""
        rng = np.random.default_rng((seed, index))
        weights = np.concatenate(random_parameters(self.rig, rng))
        return self.render_head(weights, weights @ self.rig.basis, rng)

    def render_head(self, weights: Floats, offsets: Floats, rng: np.random.Generator) -> RenderedFace:
        """An image of a head of your own.

        Args:
            weights: (228,) p_id and p_exp that the label `p` is to have.
            offsets: (V * 3,) centimetres by which the vertices differ from the mean face's.
            rng: everything else is drawn from it.
        """
        config, rig = self.config, self.rig
        vertices = (rig.model.mean.ravel() + offsets).reshape(-1, 3).astype(np.float32)
        inset_teeth(rig, vertices)
        normals = vertex_normals(rig, vertices)
        rotation = random_rotation(config, rng)
        turn = rotation.T.astype(np.float32)
        landmarks3d = (vertices[rig.model.landmarks] @ turn).astype(np.float64)
        camera = random_camera(landmarks3d, config, rng)

        dressed = Dress(
            hair=rng.random() < 0.75, hat=rng.random() < 0.12 * config.occlusion, beard=rng.random() < 0.13
        )
        looks = random_looks(rng, dressed.hair)
        worn, lenses = random_parts(rig, vertices, normals, looks, dressed, config, rng)
        parts = [_moved(part, turn) for part in worn]
        parts += random_things(looks, landmarks3d.astype(np.float32), config, rng)
        scene = Scene(rig, vertices, normals, turn, parts)
        visibility = scene.landmark_visibility(landmarks3d, normals[rig.model.landmarks] @ turn, camera)

        lights, sky, ground = random_lights(rng)
        side = round(config.size * config.supersampling)
        radiance, depth = scene.radiance(camera, config.size, side, looks, lights, sky, ground, rng)
        if lenses is not None:
            moved = (lenses[0] @ turn).astype(np.float32), lenses[1]
            visibility = _tint_lenses(
                radiance, depth, moved, camera, config.size, visibility, landmarks3d, rng
            )
        image = finish(radiance, np.isfinite(depth), scene, config, rng)

        points = camera.project(landmarks3d)
        points[:, 2] -= points[:, 2].mean()
        p = parameters(rotation, weights, landmarks3d, points, config.size)
        return RenderedFace(
            image=image,
            landmarks=points.astype(np.float32),
            visibility=visibility,
            p=p,
            pose=np.rad2deg(p[ANGLES]).astype(np.float32),
            box=landmark_box(points).astype(np.float32),
            perspective=bool(np.isfinite(camera.distance)),
        )


def vertex_normals(rig: FaceRig, vertices: Floats) -> Floats:
    corners = vertices[rig.triangles]
    faces = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    normals = rig.vertex_faces @ faces
    return unit(normals).astype(np.float32)


def inset_teeth(rig: FaceRig, vertices: Floats) -> None:
    """Draw the teeth in a little, in place: in some mouths they would come through the lips."""
    for row in rig.teeth:
        middle = vertices[row].mean(0)
        vertices[row] = middle + (vertices[row] - middle) * vector([0.88, 1.0, 0.9]) - vector([0, 0, 0.1])


def part_normals(part: Part) -> Floats:
    corners = part.vertices[part.triangles]
    faces = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    normals = np.zeros_like(part.vertices)
    for axis in range(3):
        for corner in range(3):
            normals[:, axis] += np.bincount(part.triangles[:, corner], faces[:, axis], len(normals))
    return unit(normals)


def _moved(part: Part, turn: Floats) -> Part:
    return Part(**{**vars(part), "vertices": (part.vertices @ turn).astype(np.float32)})


def random_camera(landmarks: NDArray[np.float64], config: RenderConfig, rng: np.random.Generator) -> Camera:
    """A camera that shows the landmarks' crop in the middle of the image, near enough."""
    distance = np.inf if rng.random() < 0.35 else float(np.exp(rng.uniform(np.log(35), np.log(300))))
    x0, y0, x1, y1 = landmark_box(Camera(1.0, (0.0, 0.0), distance).project(landmarks))
    side = CROP_SCALE * max(x1 - x0, y1 - y0)
    scale = config.size / (config.margin * side * np.exp(rng.normal(0, 0.05)))
    shift = rng.normal(0, 0.025, 2) * config.size + (config.size - 1) / 2
    return Camera(scale, (shift[0] - scale * (x0 + x1) / 2, shift[1] - scale * (y0 + y1) / 2), distance)


def parameters(
    rotation: NDArray[np.float64],
    weights: Floats,
    shape: NDArray[np.float64],
    points: NDArray[np.float64],
    size: int,
) -> NDArray[np.float64]:
    """p of Eq. 2 in the plane of 300W-LP (1-based, y up): f and t_2d by least squares over the landmarks."""
    target = np.stack([points[:, 0] + 1, size - points[:, 1]], 1)
    centred = shape[:, :2] - shape[:, :2].mean(0)
    scale = (centred * (target - target.mean(0))).sum() / (centred**2).sum()
    p = np.empty(NUM_PARAMETERS)
    p[SCALE] = scale
    p[ANGLES] = euler_angles(rotation)
    p[TRANSLATION] = target.mean(0) - scale * shape[:, :2].mean(0)
    p[IDENTITY], p[EXPRESSION] = weights[:199], weights[199:]
    return p


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
            empty = np.zeros((len(part.vertices), face_parts.NUM_MAPS), np.float32)
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
        """(68,) of SELF_OCCLUDED, OCCLUDED, VISIBLE: what the ray to the camera meets first."""
        points = landmarks.astype(np.float32)
        to_eye = camera.to_eye(points)
        origins = points + CONTACT * to_eye
        hit = self.embree.run(origins, to_eye)
        visibility = np.full(len(points), VISIBLE, np.uint8)
        visibility[hit >= 0] = np.where(self.owner[hit[hit >= 0]] > 0, OCCLUDED, SELF_OCCLUDED)
        # A point that faces away by more than a grazing angle lies behind its own skin.
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
        ambient[face] = 0.25 + 0.75 * maps[:, face_parts.AMBIENT]
        skin = material[face] == face_parts.SKIN
        on = face[skin]
        colour[on], specular[on] = skin_albedo(rig, looks, texture[on], maps[skin])
        shininess[on], soft[on] = looks.shininess, True
        eyes = np.flatnonzero(material == face_parts.EYE)
        direction = unit(texture[eyes])
        colour[eyes], specular[eyes], shininess[eyes] = eye_albedo(looks, direction), 0.9, 120
        ambient[eyes] = 0.6
        deep = maps[:, face_parts.AMBIENT]
        flesh = linear((0.5, 0.2, 0.19))
        for kind, tone, gloss in (
            (face_parts.INNER_MOUTH, flesh, 0.05), (face_parts.TONGUE, linear((0.72, 0.36, 0.34)), 0.25),
            (face_parts.TEETH, looks.teeth, 0.4),
        ):  # fmt: skip
            here = material[face] == kind
            colour[face[here]], specular[face[here]] = tone, gloss
            if kind == face_parts.TEETH:
                colour[face[here]] = mix(tone, flesh, maps[here, face_parts.GUMS])
            # The mean mouth is shut, so that its depth, not its sky, tells how dark it is inside.
            ambient[face[here]] = (
                np.clip(0.35 + 0.5 * deep[here], 0, 1) if kind != face_parts.INNER_MOUTH else 0.3
            )
        for k, part in enumerate(self.parts):
            here = np.flatnonzero(owner == k + 1)
            if len(here):
                colour[here], specular[here] = part_albedo(part, texture[here])
                shininess[here] = part.shininess
                soft[here] = part.material == face_parts.HAND

        lit = []
        # Shadows are softened by a blur, so that every other point is enough.
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
        shaded = _shade(
            colour, specular, shininess, normal, to_eye, ambient, soft, lights, lit, sky, ground
        )  # fmt: skip
        image = np.zeros((side * side, 3), np.float32)
        image[hit] = shaded
        depth = np.full(side * side, np.inf, np.float32)
        depth[hit] = rays["tfar"][hit]
        return image.reshape(side, side, 3), depth.reshape(side, side)


def _tint_lenses(
    radiance: Floats, depth: Floats, lenses: tuple[Floats, NDArray[np.int32]], camera: Camera, size: int,
    visibility: NDArray[np.uint8], landmarks: NDArray[np.float64], rng: np.random.Generator,
) -> NDArray[np.uint8]:  # fmt: skip
    """Draw the lenses into `radiance` and `depth`; returns the visibility with what dark ones hide."""
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


# Background and camera


def background(side: int, rng: np.random.Generator) -> Floats:
    """A (side, side, 3) background in sRGB [0, 1]: gradients, clouds, shapes, sharp or blurred."""
    corners = rng.uniform(0, 1, (2, 2, 3)).astype(np.float32)
    muted = np.float32(np.sqrt(rng.uniform(0, 1)))
    if rng.random() < 0.4:
        corners = corners.mean((0, 1)) + 0.15 * (corners - 0.5)
    image = cv2.resize(corners, (side, side), interpolation=cv2.INTER_LINEAR)
    if rng.random() < 0.7:
        strength = rng.uniform(0.05, 0.4)
        for cells in (3, 7, 15, 31):
            noise = rng.normal(0, 1, (cells, cells, 3 if rng.random() < 0.5 else 1)).astype(np.float32)
            layer = cv2.resize(noise, (side, side), interpolation=cv2.INTER_CUBIC)
            image = image + strength * layer.reshape(side, side, -1)
            strength *= rng.uniform(0.3, 0.9)
    for _ in range(rng.integers(0, 14) if rng.random() < 0.7 else 0):
        colour = tuple(float(c) for c in rng.uniform(0, 1, 3))
        a, b = rng.integers(-side // 4, side * 5 // 4, (2, 2)).tolist()
        kind = rng.integers(3)
        if kind == 0:
            cv2.rectangle(image, a, b, colour, -1)
        elif kind == 1:
            axes = rng.integers(2, side // 3, 2).tolist()
            cv2.ellipse(image, a, axes, float(rng.uniform(0, 180)), 0, 360, colour, -1)
        else:
            cv2.line(image, a, b, colour, int(rng.integers(1, side // 10)))
    if rng.random() < 0.75:
        image = cv2.GaussianBlur(image, (0, 0), float(rng.uniform(0.5, 0.06 * side)))
    image = image + muted * (image.mean(2, keepdims=True) - image)
    return np.clip(image, 0, 1)


def finish(
    radiance: Floats, covered: NDArray[np.bool_], scene: Scene, config: RenderConfig, rng: np.random.Generator
) -> NDArray[np.uint8]:
    """Sampling, exposure, background, blur, noise and compression: (S, S, 3) uint8 RGB."""
    size = config.size
    exposed = radiance[covered][::4].mean(1)
    middle = float(np.percentile(exposed, rng.uniform(45, 80))) if len(exposed) else 1.0
    level = rng.uniform(0.38, 0.78) if rng.random() < 0.85 else rng.uniform(0.15, 0.95)
    radiance = np.minimum(radiance * np.float32(level**2.2 / (middle + 1e-4)), 4.0)
    tone: Floats = cv2.resize(radiance, (size, size), interpolation=cv2.INTER_AREA)
    matte = cv2.resize(covered.astype(np.float32), (size, size), interpolation=cv2.INTER_AREA)[..., None]
    tone /= np.maximum(matte, 1e-3)
    if rng.random() < 0.5:
        tone = tone * (1 + tone / 4) / (1 + tone)  # a soft shoulder
    image = np.clip(tone, 0, 1) ** np.float32(1 / rng.uniform(1.8, 2.6))
    behind = background(size, rng)
    if rng.random() < 0.25:
        behind = crowd(behind, scene, size, rng)
    return degrade(behind + (image - behind) * matte, config.degrade, rng)


def crowd(behind: Floats, scene: Scene, side: int, rng: np.random.Generator) -> Floats:
    """Other heads, small and out of focus, in a background."""
    small = 48
    angle = rng.uniform(-np.pi, np.pi)
    c, s = np.cos(angle), np.sin(angle)
    u = (np.arange(small, dtype=np.float32) / small - 0.5) * 36
    x, y = np.meshgrid(u, -u)
    axes = np.array([[c, 0, s], [0, 1, 0], [-s, 0, c]], np.float32)
    origins = np.stack([x, y, np.full_like(x, RAY_START)], -1).reshape(-1, 3) @ axes
    towards = np.ascontiguousarray(np.broadcast_to(-axes[2], origins.shape))
    rays = scene.embree.run(origins.astype(np.float32), towards, output=1)
    hit = rays["primID"] >= 0
    normal = unit(rays["Ng"])
    bright = 0.35 + 0.65 * np.abs(normal @ axes[2])
    tones = np.array([rng.uniform(0.2, 0.9, 3), *(part.colour**0.45 for part in scene.parts)])
    colour = np.zeros((small * small, 3), np.float32)
    colour[hit] = tones[scene.owner[rays["primID"][hit]]] * bright[hit, None]
    head = colour.reshape(small, small, 3)
    alpha = hit.reshape(small, small).astype(np.float32)
    for _ in range(rng.integers(1, 4)):
        zoom = rng.uniform(0.3, 1.3) * side / small
        shift = rng.uniform(-0.4, 1.0, 2) * side
        matrix = np.array([[zoom, 0, shift[0]], [0, zoom, shift[1]]])
        layer = cv2.warpAffine(head, matrix, (side, side))
        matte = cv2.warpAffine(alpha, matrix, (side, side))
        blur = float(rng.uniform(0.8, 6))
        matte = cv2.GaussianBlur(matte, (0, 0), blur)[..., None]
        behind = behind * (1 - matte) + cv2.GaussianBlur(layer, (0, 0), blur)
    return np.clip(behind, 0, 1)


def degrade(image: Floats, strength: float, rng: np.random.Generator) -> NDArray[np.uint8]:
    """What cameras and files do to an image in [0, 1]: colour, blur, low resolution, noise, JPEG."""
    size = len(image)
    image = image * (1 + rng.normal(0, 0.06, 3).astype(np.float32) * strength)
    mean = image.mean()
    image = (image - mean) * (1 + rng.normal(0, 0.15) * strength) + mean
    grey = image @ vector([0.299, 0.587, 0.114])
    saturation = 0.0 if rng.random() < 0.08 else 1 + rng.normal(0, 0.25) * strength
    image = grey[..., None] + (image - grey[..., None]) * saturation
    if rng.random() < 0.3 * strength:
        shade = cv2.resize(rng.uniform(0.55, 1.3, (2, 2)).astype(np.float32), (size, size))
        image = image * shade[..., None]
    if rng.random() < 0.25 * strength:
        image = cv2.GaussianBlur(image, (0, 0), float(rng.uniform(0.3, 1.5) * size / 128))
    if rng.random() < 0.1 * strength:
        length = int(rng.integers(3, 9))
        angle = rng.uniform(0, np.pi)
        kernel = np.zeros((length, length), np.float32)
        middle = (length - 1) / 2
        steps = np.linspace(-middle, middle, 2 * length)
        rows, columns = np.round(middle + steps * np.sin(angle)), np.round(middle + steps * np.cos(angle))
        np.add.at(kernel, (rows.astype(int), columns.astype(int)), 1)
        image = cv2.filter2D(image, -1, kernel / kernel.sum())
    if rng.random() < 0.2 * strength:
        small = max(24, int(size * rng.uniform(0.3, 0.9)))
        image = cv2.resize(image, (small, small), interpolation=cv2.INTER_AREA)
        image = cv2.resize(
            image, (size, size), interpolation=int(rng.choice([cv2.INTER_LINEAR, cv2.INTER_CUBIC]))
        )
    if rng.random() < 0.5 * strength:
        sigma = 0.003 + 0.037 * rng.uniform(0, 1) ** 2
        noise = rng.standard_normal(image.shape, np.float32) * np.float32(sigma)
        image = image + noise * np.sqrt(np.clip(image, 0.05, 1)) * np.float32(1.5)
    pixels: NDArray[Any] = (np.clip(image, 0, 1) * 255 + 0.5).astype(np.uint8)
    if rng.random() < 0.6 * strength:
        quality = [int(cv2.IMWRITE_JPEG_QUALITY), int(rng.integers(25, 96))]
        _, encoded = cv2.imencode(".jpg", pixels[..., ::-1], quality)
        pixels = cv2.imdecode(encoded, cv2.IMREAD_COLOR)[..., ::-1]
    return np.ascontiguousarray(pixels)
