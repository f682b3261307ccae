"""Small arithmetic of vectors and colours that the modules of the renderer share."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tf_dhm.core.types import Floats


def vector(values: list[float]) -> Floats:
    return np.array(values, np.float32)


def dot(a: Floats, b: Floats) -> Floats:
    """(N,) inner products of (N, 3) vectors; several times as fast as a sum over a short axis."""
    return np.einsum("ij,ij->i", a, b)


def unit(vectors: Floats) -> Floats:
    """(N, 3) vectors scaled to length 1; zero vectors are kept."""
    return vectors / (np.sqrt(dot(vectors, vectors))[:, None] + 1e-9)


def smoothstep(x: NDArray[np.floating], low: float, high: float) -> NDArray[np.floating]:
    t = np.clip((x - low) / (high - low), 0, 1)
    return t * t * (3 - 2 * t)


def linear(rgb: NDArray[np.floating] | tuple[float, ...]) -> Floats:
    """sRGB in [0, 1] to linear light, with a plain exponent."""
    return (np.asarray(rgb, np.float32) ** 2.2).astype(np.float32)


def mix(a: Floats, b: Floats, weight: Floats) -> Floats:
    """a + (b - a) weight, with weight (N,) and colours (N, 3) or (3,)."""
    return a + (b - a) * weight[:, None]
