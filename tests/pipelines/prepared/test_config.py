"""Configuration of prepared datasets."""

from __future__ import annotations

import dataclasses

import pytest

from pipelines.prepared.config import StoreConfig
from tf_dhm.core.errors import InputError


def test_canvas_is_the_crop_with_its_margin() -> None:
    assert StoreConfig(crop_side=128, margin=1.25).canvas == 160


def test_faces_are_stored_a_third_larger_than_the_input() -> None:
    assert [StoreConfig.for_input(size).crop_side for size in (64, 96, 112, 224)] == [128, 128, 149, 299]


@pytest.mark.parametrize(
    "change",
    [
        {"crop_side": 0},
        {"margin": 0.9},
        {"margin": float("nan")},
        {"jpeg_quality": 101},
        {"shard_size": 0},
    ],
)
def test_impossible_settings_are_rejected(change: dict[str, float]) -> None:
    with pytest.raises(InputError, match=next(iter(change))):
        dataclasses.replace(StoreConfig(), **change)  # type: ignore[arg-type]
