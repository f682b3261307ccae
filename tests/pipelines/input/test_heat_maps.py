"""Heat maps by `tf.py_function`: one for every face, as the layer draws it, for all kinds of batches."""

from __future__ import annotations

import dataclasses
import doctest
from typing import Any, Literal

import numpy as np
import pytest
import tensorflow as tf
from numpy.typing import NDArray

from pipelines.input import batches, heat_maps
from pipelines.input.batches import training_batches
from pipelines.input.heat_maps import draw_heat_maps
from pipelines.input.order import make_order
from pipelines.prepared.arrays import FaceArrays
from tests.made_faces import made_faces
from tf_dhm.core.errors import InputError
from tf_dhm.face.heatmap import diffusion_heatmap
from tf_dhm.face.mean_face import mean_landmarks
from tf_dhm.networks.layers import DiffusionHeatMap
from tf_dhm.networks.models import constant_heatmap
from tf_dhm.training.config import AugmentConfig, TrainConfig

SIZE = 24
CONFIG = TrainConfig(batch_size=6, seed=3)
MAP_SOURCES: tuple[Literal["py_function", "layer"], ...] = ("py_function", "layer")


@pytest.fixture(scope="module")
def faces() -> FaceArrays:
    return made_faces(12)


def make_batches(
    faces: FaceArrays,
    augment: AugmentConfig,
    rows: slice = batches.ALL,
    heatmap_input: bool = True,
    **changes: Any,
) -> list[dict[str, NDArray]]:
    config = dataclasses.replace(CONFIG, **changes)
    order = make_order(faces, config)
    dataset = training_batches(faces, order, SIZE, config, augment, 0, 3, rows, heatmap_input=heatmap_input)
    return [{key: value.numpy() for key, value in batch.items()} for batch in dataset]


def test_examples_in_docstrings() -> None:
    assert doctest.testmod(heat_maps).failed == 0


@pytest.mark.parametrize(
    ("augment", "image_ops"),
    [
        pytest.param(AugmentConfig(), "opencv", id="mean face"),
        pytest.param(AugmentConfig(second_pass=0.5), "opencv", id="second pass"),
        pytest.param(AugmentConfig(second_pass=0.5, mirror=1.0), "opencv", id="mirrored"),
        pytest.param(AugmentConfig(map_noise=0.4), "opencv", id="leaving the crop"),
        pytest.param(
            AugmentConfig(second_pass=0.5, map_noise=0.05, mirror=0.0), "graph", id="second pass and noise"
        ),
    ],
)
def test_maps_are_those_of_the_layer(faces: FaceArrays, augment: AugmentConfig, image_ops: str) -> None:
    layer = DiffusionHeatMap(SIZE, dtype="float32")
    by_function, by_layer = (
        make_batches(faces, augment, image_ops=image_ops, map_source=source) for source in MAP_SOURCES
    )
    outside = 0
    for one, other in zip(by_function, by_layer, strict=True):
        assert one["heatmap"].shape == (6, SIZE, SIZE, 3)
        assert one["heatmap"].dtype == np.float32
        for key in ("image", "landmarks"):
            assert np.array_equal(one[key], other[key])
        initial = other.get("initial", np.empty((0, 68, 3), np.float32))
        assert len(initial) == (6 if augment.map_noise else round(6 * augment.second_pass))
        outside += int(((initial[..., :2] < 0) | (initial[..., :2] > SIZE - 1)).sum())
        expected = np.concatenate(
            [layer(initial), np.tile(constant_heatmap(SIZE), (6 - len(initial), 1, 1, 1))]
        )
        assert np.abs(one["heatmap"] - expected).max() < 1e-4
    assert outside or augment.map_noise < 0.4


def test_every_shape_has_its_own_map_and_the_mean_face_a_cached_one(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[int] = []
    draw = heat_maps.diffusion_heatmaps

    def count(landmarks: NDArray, size: int) -> NDArray:
        drawn.append(len(landmarks))
        return draw(landmarks, size)

    monkeypatch.setattr(heat_maps, "diffusion_heatmaps", count)
    mean = mean_landmarks(SIZE)
    shapes = np.stack([mean, mean + np.array([2, 0, 0], np.float32), mean * np.float32(0.7), mean])
    maps = draw_heat_maps(tf.constant(shapes), SIZE).numpy()
    assert drawn == [2]
    np.testing.assert_allclose(maps, [diffusion_heatmap(shape, SIZE) for shape in shapes], atol=1e-6)
    means = tf.constant(np.tile(mean, (4, 1, 1)))
    assert draw_heat_maps(means, SIZE) is draw_heat_maps(means, SIZE)
    np.testing.assert_array_equal(draw_heat_maps(means, SIZE)[3], maps[0])
    assert drawn == [2]


def test_a_worker_gets_the_maps_of_its_rows(faces: FaceArrays) -> None:
    augment = AugmentConfig(second_pass=0.5)
    whole, own = (make_batches(faces, augment, rows) for rows in (batches.ALL, slice(1, None, 2)))
    for one, other in zip(whole, own, strict=True):
        np.testing.assert_array_equal(one["heatmap"][1::2], other["heatmap"])


@pytest.mark.parametrize("map_source", MAP_SOURCES)
def test_a_network_without_heat_maps_gets_none(faces: FaceArrays, map_source: str) -> None:
    for batch in make_batches(
        faces, AugmentConfig(second_pass=0.5), heatmap_input=False, map_source=map_source
    ):
        assert set(batch) == {"step", "image", "landmarks"}


def test_options_without_effect_are_errors() -> None:
    layer, noise = dataclasses.replace(CONFIG, map_source="layer"), AugmentConfig(map_noise=0.1)
    heat_maps.check_options(True, layer, noise)
    heat_maps.check_options(False, CONFIG, AugmentConfig(second_pass=0.5))
    heat_maps.check_options(False, layer, AugmentConfig(), data_service=True)
    with pytest.raises(InputError, match="map_noise"):
        heat_maps.check_options(False, CONFIG, noise)
    with pytest.raises(InputError, match="map_source"):
        heat_maps.check_options(False, layer, AugmentConfig())
