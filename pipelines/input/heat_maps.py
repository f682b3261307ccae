"""Diffusion heat maps of training batches, drawn with NumPy through `tf.py_function`.

The tf.data pipeline calls Python once per batch with the initial shapes of its faces, and gets one map
for each of them. `tf_dhm.networks.layers.DiffusionHeatMap` draws the same maps in the graph; a test
compares the two.
"""

from __future__ import annotations

from functools import lru_cache, partial

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from tf_dhm.core.errors import InputError
from tf_dhm.core.types import Tensor
from tf_dhm.face.heatmap import diffusion_heatmap, diffusion_heatmaps
from tf_dhm.face.mean_face import mean_landmarks
from tf_dhm.training.config import AugmentConfig, TrainConfig


def heat_maps(initial: Tensor, size: int) -> Tensor:
    """The heat maps of a batch, as an operation of a tf.data pipeline that runs in this process.

    Args:
        initial: (B, 68, 3) float32 initial shapes in crop pixels, B known.
        size: side of the crop in pixels.

    Returns:
        (B, size, size, 3) float32 in [0, 1].

    >>> shapes = np.tile(mean_landmarks(32), (2, 1, 1))
    >>> (batch,) = tf.data.Dataset.from_tensors(shapes).map(lambda points: heat_maps(points, 32))
    >>> batch.shape
    TensorShape([2, 32, 32, 3])
    """
    # TensorFlow never releases a function passed to it, so this one must hold nothing large.
    drawn = tf.py_function(partial(draw_heat_maps, size=size), [initial], tf.float32)
    return tf.ensure_shape(drawn, [initial.shape[0], size, size, 3])


def check_options(
    heatmap_input: bool, config: TrainConfig, augment: AugmentConfig, data_service: bool = False
) -> None:
    """Reject options about heat maps for a network without heat maps: they would have no effect.

    Args:
        heatmap_input: whether the network takes heat maps.
        config, augment: how batches are made.
        data_service: whether a data service makes them, which needs map_source "layer" in any case.

    Raises:
        InputError: names the option.
    """
    if heatmap_input:
        return
    for option, found, expected in (
        ("map_noise", augment.map_noise, 0.0),
        ("map_source", config.map_source, "layer" if data_service else "py_function"),
    ):
        if found != expected:
            raise InputError(
                f"{option}: found {found}, expected {expected} for a network without heatmap_input: "
                "it takes no heat map, so the option would have no effect"
            )


def draw_heat_maps(initial: Tensor, size: int) -> Tensor:
    """The body of the `tf.py_function`: draw the map of every initial shape of a batch.

    The map of the mean face is drawn once per process and copied from there for each face that starts
    from it; all other maps are drawn from their own landmarks. A batch in which every face starts from
    the mean face (without map noise) is one cached tensor, so that it costs no more than the call.

    Args:
        initial: (B, 68, 3) float32 eager tensor, crop pixels.
        size: side of the crop in pixels.

    Returns:
        (B, size, size, 3) float32 eager tensor in [0, 1].
    """
    points = initial.numpy()
    disturbed = (points != mean_landmarks(size)).any((1, 2))
    if not disturbed.any():
        return mean_heat_maps(len(points), size)
    maps = np.empty((len(points), size, size, 3), np.float32)
    maps[~disturbed] = mean_heat_map(size)
    maps[disturbed] = diffusion_heatmaps(points[disturbed], size)
    return in_memory(maps)


@lru_cache(maxsize=4)
def mean_heat_map(size: int) -> NDArray[np.float32]:
    """The map of the mean face: (size, size, 3) float32."""
    drawn = diffusion_heatmap(mean_landmarks(size), size)
    drawn.setflags(write=False)
    return drawn


@lru_cache(maxsize=4)
def mean_heat_maps(count: int, size: int) -> Tensor:
    """The map of the mean face for each of `count` faces: (count, size, size, 3) float32."""
    return in_memory(np.tile(mean_heat_map(size), (count, 1, 1, 1)))


def in_memory(maps: NDArray[np.float32]) -> Tensor:
    """Maps as a tensor in host memory, where tf.data runs, not on a GPU."""
    with tf.device("/CPU:0"):
        return tf.constant(maps)
