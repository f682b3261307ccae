"""Made-up faces in the memory of JAX."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from pipelines.input.batches import rolls_of
from tests.made_faces import made_faces
from tools.jax_training.batches import Faces

FACES = made_faces(6)


def packed(images: NDArray[np.uint8]) -> NDArray[np.uint32]:
    """Images (N, C, C, 3) as (N, C, C), as `image_ops.cut_crops` takes them."""
    return (images.astype(np.uint32) << np.array([0, 8, 16], np.uint32)).sum(-1, dtype=np.uint32)


STORED = Faces(
    jnp.asarray(packed(np.asarray(FACES.images))),
    jnp.asarray(FACES.landmarks),
    jnp.asarray(rolls_of(FACES.landmarks)),
    jnp.zeros(len(FACES), jnp.int32),
    teacher=jnp.asarray(FACES.landmarks) + jnp.array([2.0, 0.0, 0.0]),
)
"""The same faces; the teacher finds every landmark two pixels to the right of its label."""
