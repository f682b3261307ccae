"""Names of types that many modules share."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.floating]
"""Real numbers: points, boxes, angles, parameters."""
Floats = NDArray[Any]
"""The same for a mixture of float32 and float64, which NumPy's types cannot express."""
Ints = NDArray[np.integer]
"""Indices: vertices of triangles, rows of a table."""
Image = NDArray[np.uint8]
"""Pixels as (height, width, 3) RGB, or a batch of images."""
Tensor = Any
"""A TensorFlow tensor: TensorFlow 2.15 carries no types."""
