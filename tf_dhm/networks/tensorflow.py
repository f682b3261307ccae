"""TensorFlow and Keras for the modules that build and train networks; without them the extra is named.

The configurations of this package and of `tf_dhm.training` load without TensorFlow.
"""

from __future__ import annotations

from tf_dhm.core.extras import packages_of

with packages_of("train", __name__):
    import keras
    import tensorflow as tf

__all__ = ["keras", "tf"]
