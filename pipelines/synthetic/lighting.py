"""Lights, and their reflection by surfaces."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pipelines.synthetic.vectors import dot, unit, vector
from tf_dhm.core.types import Floats


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


def shade(
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
