"""What differs between Keras 2 (TensorFlow 2.15) and Keras 3 (TensorFlow 2.16 and later).

Everything else in the project is written in what both share; only this module asks for the version.
"""

from __future__ import annotations

from typing import Any

from tf_dhm.core.types import Tensor
from tf_dhm.networks.tensorflow import keras, tf

KERAS_3 = int(keras.__version__.split(".")[0]) >= 3
MULTI_WORKER = not KERAS_3
"""Whether networks can be trained by `tf.distribute.MultiWorkerMirroredStrategy`."""


def scale_loss(optimizer: Any, loss: Tensor) -> Tensor:
    """The loss as a `LossScaleOptimizer` wants it: scaled so that float16 gradients do not vanish."""
    return optimizer.scale_loss(loss) if KERAS_3 else optimizer.get_scaled_loss(loss)


def unscale_gradients(optimizer: Any, gradients: list[Tensor]) -> list[Tensor]:
    """Gradients of a scaled loss as `apply_gradients` of a `LossScaleOptimizer` wants them.

    That of Keras 3 unscales them itself.
    """
    return gradients if KERAS_3 else optimizer.get_unscaled_gradients(gradients)


def all_layers(model: tf.keras.Model) -> list[tf.keras.layers.Layer]:
    """The layers of a model, those inside other layers too."""
    found = model._flatten_layers() if KERAS_3 else model.submodules
    return [layer for layer in found if isinstance(layer, tf.keras.layers.Layer)]


def tf_variables(model: tf.keras.Model) -> list[tf.Variable]:
    """The weights of a model as TensorFlow's own variables.

    A SavedModel that holds the variables of Keras 3 instead is restored by `tf.saved_model.load`, but not by
    TF Serving and the TFLite converter.
    """
    return [weight.value if KERAS_3 else weight for weight in model.weights]
