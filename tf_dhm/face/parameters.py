"""The parameter vector p of Eq. 2: its 234 numbers, by name.

| slice | what |
|---|---|
| `p[0]` | f, pixels per unit of the model |
| `p[1:4]` | pitch, yaw, roll in radians, in the signs and order of 300W-LP's `Pose_Para` |
| `p[4:6]` | t_2d, pixels of the plane of F(p) |
| `p[6:205]` | 199 identity parameters |
| `p[205:234]` | 29 expression parameters |
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tf_dhm.core.errors import InputError

NUM_IDENTITY = 199
NUM_EXPRESSION = 29
NUM_PARAMETERS = 6 + NUM_IDENTITY + NUM_EXPRESSION

SCALE = 0
ANGLES = slice(1, 4)
TRANSLATION = slice(4, 6)
IDENTITY = slice(6, 6 + NUM_IDENTITY)
EXPRESSION = slice(6 + NUM_IDENTITY, NUM_PARAMETERS)


@dataclass(frozen=True, eq=False)
class Parameters:
    """The fields of p; leading dimensions (...) are those of p.

    Attributes:
        scale: (...) f.
        angles: (..., 3) pitch, yaw, roll in radians.
        translation: (..., 2) t_2d.
        identity: (..., 199) p_id.
        expression: (..., 29) p_exp.
    """

    scale: Any
    angles: Any
    translation: Any
    identity: Any
    expression: Any


def decompose(p: Any) -> Parameters:
    """Split p (..., 234), a NumPy array or a TensorFlow tensor, into its fields.

    Raises:
        InputError: the last dimension is not 234.

    >>> import numpy as np
    >>> decompose(np.zeros((2, 234))).angles.shape
    (2, 3)
    """
    if p.shape[-1] != NUM_PARAMETERS:
        raise InputError(f"p: found shape {tuple(p.shape)}, expected (..., {NUM_PARAMETERS})")
    return Parameters(
        p[..., SCALE], p[..., ANGLES], p[..., TRANSLATION], p[..., IDENTITY], p[..., EXPRESSION]
    )
