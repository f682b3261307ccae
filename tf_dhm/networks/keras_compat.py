"""What differs between Keras 2 (TensorFlow 2.15) and Keras 3 (TensorFlow 2.16 and later).

Everything else in the project is written in what both share; only this module asks for the version.
"""

from __future__ import annotations

import keras

KERAS_3 = int(keras.__version__.split(".")[0]) >= 3
RNN_TAKES_IMAGES = not KERAS_3
"""Whether `tf.keras.layers.RNN` runs a cell with states of several axes. `Evolution` does on both."""
