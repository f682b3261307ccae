"""The tools that draw synthetic faces and measure how fast they are rendered."""

from __future__ import annotations

from pathlib import Path

import cv2
import pytest

from pipelines.synthetic.config import RenderConfig
from tf_dhm.core.errors import InputError
from tools import draw_gallery, measure_rendering


def test_a_gallery_is_one_image_of_all_faces(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "figures" / "gallery.jpg"
    draw_gallery.draw(draw_gallery.Config(output=path, columns=2))
    image = cv2.imread(str(path))
    assert image is not None
    assert image.shape == (256, 256, 3)
    assert image.std() > 10
    assert f"{path}: " in capsys.readouterr().out
    with pytest.raises(InputError, match="found 0, 85"):
        draw_gallery.Config(columns=0)


def test_rates_of_rendering_are_printed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    render = RenderConfig(size=24, supersampling=1.0)
    # Processes are not started for little work.
    monkeypatch.setattr(measure_rendering.synthetic, "FACES_PER_WORKER", 100)
    measure_rendering.measure(measure_rendering.Config(faces=40, workers=2, render=render))
    printed = capsys.readouterr().out
    assert "24 x 24: " in printed
    assert "ms of one core per image" in printed
    assert "images/s, 2 processes (40 images)" in printed
    with pytest.raises(InputError, match="found 3, 0"):
        measure_rendering.Config(faces=3)
