"""Eq. 1 and 2 in TensorFlow, from standardised parameters to landmarks: for networks that evolve p.

`tf_dhm.face.standardised` is the twin in NumPy; a test binds the two.
"""

from __future__ import annotations

import base64
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tf_dhm.core.types import Tensor
from tf_dhm.face.geometry import NUM_LANDMARKS
from tf_dhm.face.parameters import ANGLES, NUM_PARAMETERS, SCALE, TRANSLATION
from tf_dhm.face.standardised import ANGLE_STD, SCALE_STD, TRANSLATION_STD, StandardisedModel
from tf_dhm.networks.tensorflow import tf

register = tf.keras.utils.register_keras_serializable(package="tf_dhm")


def rotation_matrix(angles: Tensor) -> Tensor:
    """R = Rx(pitch) Ry(yaw) Rz(roll): (..., 3) radians -> (..., 3, 3); see `geometry`."""
    cos, sin = tf.unstack(tf.cos(angles), axis=-1), tf.unstack(tf.sin(angles), axis=-1)
    (cp, cy, cr), (sp, sy, sr) = cos, sin
    rows = [
        [cy * cr, cy * sr, -sy],
        [sp * sy * cr - cp * sr, sp * sy * sr + cp * cr, sp * cy],
        [cp * sy * cr + sp * sr, cp * sy * sr - sp * cr, cp * cy],
    ]
    return tf.stack([tf.stack(row, -1) for row in rows], -2)


def weak_perspective(shape: Tensor, scale: Tensor, angles: Tensor, translation: Tensor) -> Tensor:
    """F(p) of Eq. 2 with depth: (..., N, 3), (...), (..., 3), (..., 2) -> (..., N, 3)."""
    turned = tf.linalg.matmul(shape, rotation_matrix(angles), transpose_b=True)
    moved = tf.concat([translation, tf.zeros_like(translation[..., :1])], -1)
    return turned * scale[..., None, None] + moved[..., None, :]


def _shape(p: Tensor, mean: NDArray[np.floating], basis: NDArray[np.floating]) -> Tensor:
    """S of Eq. 1, (..., V, 3), from a mean (V, 3) and components (228, V, 3)."""
    columns = tf.constant(basis.reshape(len(basis), -1), p.dtype)
    flat = tf.tensordot(p[..., 6:], columns, 1)  # (..., 3 V)
    return tf.reshape(flat, tf.concat([tf.shape(flat)[:-1], mean.shape], 0)) + tf.constant(mean, p.dtype)


@register
class Projection(tf.keras.layers.Layer):
    """Landmarks in pixels of a crop from standardised parameters, differentiable.

    States (B, 234) -> (B, 68, 3) float32, the values of `StandardisedModel.project`. The model is
    a constant of the layer, 187 kB; it has no weights. Make it with `projection_layer`.
    """

    def __init__(self, size: int, model: str, **kwargs: Any) -> None:
        """
        Args:
            size: side of the crop in pixels.
            model: base64 of float32 numbers: the place of the mean face (2), its landmarks
                (68, 3), and the 228 components (228, 68, 3) of a `StandardisedModel`.
        """
        # Float16 cannot hold a place in a crop to a tenth of a pixel: no casts here.
        super().__init__(autocast=False, **kwargs)
        self.size = size
        self.model = model
        numbers = np.frombuffer(base64.b64decode(model), "<f4")
        landmarks = NUM_LANDMARKS * 3
        self._origin = numbers[:2]
        self._mean = numbers[2 : 2 + landmarks].reshape(NUM_LANDMARKS, 3)
        self._basis = numbers[2 + landmarks :].reshape(NUM_PARAMETERS - 6, NUM_LANDMARKS, 3)

    def call(self, states: Tensor) -> Tensor:
        u = tf.cast(states, tf.float32)
        shape = _shape(u, self._mean, self._basis)
        scale = 1.0 + SCALE_STD * u[..., SCALE]
        angles = u[..., ANGLES] * tf.constant(ANGLE_STD, tf.float32)
        place = u[..., TRANSLATION] * tf.constant(TRANSLATION_STD, tf.float32) + self._origin
        points = weak_perspective(shape, scale, angles, place)
        # The network's unit with y up -> pixels with y down, as `geometry.unit_to_pixels`.
        half, middle = self.size / 2.0, (self.size - 1) / 2.0
        return points * (half, -half, half) + (middle, middle, 0.0)

    def compute_output_shape(self, input_shape: Any) -> tuple[int | None, int, int]:
        return (input_shape[0], NUM_LANDMARKS, 3)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "size": self.size, "model": self.model}


def projection_layer(model: StandardisedModel, size: int, **kwargs: Any) -> Projection:
    """The `Projection` of a model for crops of `size` pixels."""
    parts = (model.origin, model.mean, model.basis)
    numbers = np.concatenate([np.asarray(part, "<f4").reshape(-1) for part in parts])
    return Projection(size, base64.b64encode(numbers.tobytes()).decode("ascii"), **kwargs)
