"""Random draws for a face: its parameters, rotation, paint, dress and things in front of it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipelines.synthetic import parts as face_parts
from pipelines.synthetic.config import RenderConfig
from pipelines.synthetic.materials import Looks
from pipelines.synthetic.meshes import Part
from pipelines.synthetic.rig import FaceRig, expression_names, expression_range
from pipelines.synthetic.vectors import linear
from tf_dhm.core.types import Floats, Ints
from tf_dhm.face.geometry import rotation_matrix

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


@dataclass(frozen=True)
class Dress:
    """Whether the head has long or short hair with body, something on it, and a beard with body."""

    hair: bool
    hat: bool
    beard: bool


def random_parameters(rig: FaceRig, rng: np.random.Generator) -> tuple[Floats, Floats]:
    """Identity (199,) and expression (29,) parameters of a random face."""
    identity = np.clip(rng.normal(0, 1.2, 199), -2.5, 2.5) * rig.model.identity_std
    names = {name: k for k, name in enumerate(expression_names())}
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
    low, high = expression_range().T
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
    """A random angle within ± `limit`; small angles are more frequent."""
    wide = rng.random() < 0.4
    return float(rng.uniform(-limit, limit) if wide else np.clip(rng.normal(0, limit / 4), -limit, limit))


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
) -> tuple[list[Part], tuple[Floats, Ints] | None]:  # fmt: skip
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
