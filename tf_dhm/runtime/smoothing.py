"""The One-Euro filter for landmarks.

Casiez, Roussel, Vogel: "1 Euro Filter: A Simple Speed-based Low-pass Filter for Noisy Input in
Interactive Systems", CHI 2012. A low-pass filter whose cutoff rises with speed: still points are
held, moving ones are let through with little delay. Here all landmarks of a face are filtered at
once, each with its own cutoff, and speeds are in face sizes per second, so that one setting serves
faces of any size.
"""

from __future__ import annotations

import math
from typing import TypeVar

import numpy as np
from numpy.typing import ArrayLike

from tf_dhm.core.errors import InputError
from tf_dhm.core.types import Array
from tf_dhm.runtime.settings import SmoothingConfig

Numbers = TypeVar("Numbers", float, Array)


def smoothing_factor(cutoff: Numbers, interval: float) -> Numbers:
    """alpha = 1 / (1 + tau / Te), tau = 1 / (2 pi cutoff): the weight of the newest value.

    >>> float(smoothing_factor(1 / (2 * np.pi), 1.0))
    0.5
    """
    ratio = 2.0 * math.pi * interval * cutoff  # Te / tau
    return ratio / (1.0 + ratio)


class OneEuroFilter:
    """The filter of one face; it holds the last smoothed landmarks and their speed.

    >>> smooth = OneEuroFilter(SmoothingConfig(min_cutoff=1 / (2 * np.pi), beta=0.0))
    >>> [smooth(time, [[x, 0.0, 0.0]], size=100.0)[0, 0].item() for time, x in enumerate([0.0, 8.0, 8.0])]
    [0.0, 4.0, 6.0]
    """

    def __init__(self, config: SmoothingConfig) -> None:
        self.config = config
        self._time = 0.0
        self._landmarks: Array | None = None
        self._velocity: Array = np.array(0.0)

    def __call__(self, time: float, landmarks: ArrayLike, size: float) -> Array:
        """Smooth the landmarks of the next frame.

        Args:
            time: of the frame in seconds.
            landmarks: (N, 2 or 3) pixels.
            size: of the face in pixels, the unit of speed.

        Returns:
            (N, 2 or 3) float64 pixels; those of the first frame as they are.

        Raises:
            InputError: the frame is not later than the last one.
        """
        points = np.asarray(landmarks, np.float64)
        if self._landmarks is None:
            self._velocity = np.zeros(points.shape, np.float64)
            smoothed = points.copy()
        else:
            interval = time - self._time
            if not interval > 0:
                raise InputError(
                    f"time: found {time} s, expected more than that of the last frame, {self._time}"
                )
            # Algorithm 1 of the paper: the speed is taken from the last smoothed value.
            step = points - self._landmarks
            weight = smoothing_factor(self.config.speed_cutoff, interval)
            self._velocity = self._velocity + weight * (step / interval - self._velocity)
            # One speed for the x, y and z of a landmark, so that turning the picture changes nothing.
            speed = np.sqrt(np.square(self._velocity).sum(-1, keepdims=True)) / size  # (N, 1)
            weight = smoothing_factor(self.config.min_cutoff + self.config.beta * speed, interval)
            smoothed = self._landmarks + weight * step
        self._time, self._landmarks = time, smoothed
        return smoothed.copy()
