"""How fast synthetic faces are rendered."""

from __future__ import annotations

import pytest

from pipelines.synthetic.config import RenderConfig
from tf_dhm.core.errors import InputError
from tools.studies import rendering_rate


def test_rates_of_rendering_are_printed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    render = RenderConfig(size=24, supersampling=1.0)
    # Processes are not started for little work.
    monkeypatch.setattr(rendering_rate.synthetic, "FACES_PER_WORKER", 100)
    rendering_rate.measure(rendering_rate.Config(faces=40, workers=2, render=render))
    printed = capsys.readouterr().out
    assert "24 x 24: " in printed
    assert "ms of one core per image" in printed
    assert "images/s, 2 processes (40 images)" in printed
    with pytest.raises(InputError, match="found 3, 0"):
        rendering_rate.Config(faces=3)
