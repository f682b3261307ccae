"""Tests of tf_dhm.commands.options."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tf_dhm.commands.options import DEFAULT_OUTPUT, AlignConfig
from tf_dhm.core.errors import InputError
from tf_dhm.runtime.faces import Face
from tf_dhm.runtime.settings import TrackingConfig


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"inputs": ("a.jpg",), "camera": 0, "show": True}, "--camera: found the files a.jpg"),
        ({"camera": 0, "json": Path("f"), "resume": True}, "--resume: found --camera"),
        ({"inputs": ("a.jpg",), "crops": Path("c"), "resume": True}, "--resume: expected --output, --json"),
        ({"inputs": ("a.jpg",), "crops": Path("c"), "crop_size": 2}, "crop_size: found 2"),
        ({"inputs": ("a.mp4",), "json": Path("f"), "frames": 0}, "frames: found 0"),
        ({"inputs": ("a.jpg",), "min_confidence": 1.5}, "min_confidence: found 1.5"),
        ({"inputs": ("a.jpg",), "min_score": float("nan")}, "min_score: found nan"),
    ],
)
def test_bad_options(options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        AlignConfig(**options)


def test_pictures_are_written_if_nothing_else_is_asked_for() -> None:
    assert AlignConfig(("a.jpg",)).drawn_folder == DEFAULT_OUTPUT
    assert AlignConfig(("a.jpg",), output=Path("out")).drawn_folder == Path("out")
    for option in ("json", "csv", "crops"):
        config = AlignConfig(("a.jpg",), **{option: Path("x")})  # type: ignore[arg-type]
        assert config.drawn_folder is None
        assert not config.lists_files
    assert AlignConfig(("a.jpg",)).lists_files
    assert not AlignConfig(("a.jpg",), quiet=True).lists_files


@pytest.mark.parametrize(
    ("confidence", "score", "convincing"),
    [(0.6, 0.8, True), (0.59, 0.8, False), (0.6, 0.79, False), (None, 0.8, True), (0.6, None, True)],
)
def test_limits(confidence: float | None, score: float | None, convincing: bool) -> None:
    face = Face(np.zeros((68, 3), np.float32), np.zeros(4), score, np.zeros(3, np.float32))
    config = AlignConfig(("a.jpg",), min_confidence=0.6, min_score=0.8)
    assert config.is_convincing(dataclasses.replace(face, confidence=confidence)) is convincing


def test_options_on_which_records_depend() -> None:
    """All that change what is found; not those of outputs, or of how it is run."""
    kept = AlignConfig(("a.mp4",)).record_options
    assert json.loads(json.dumps(kept)) == kept
    differing: list[dict[str, Any]] = [
        {"passes": 1},
        {"mirror": True},
        {"draw": ("mesh",)},
        {"tracking": TrackingConfig(detect_every=7)},
    ]
    same: list[dict[str, Any]] = [
        {"threads": 2},
        {"quiet": True},
        {"json": Path("f")},
        {"draw": ("points",)},
    ]
    for change in differing:
        assert AlignConfig(("a.mp4",), **change).record_options != kept
    for change in same:
        assert AlignConfig(("a.mp4",), **change).record_options == kept
