"""The picture of training examples with their heat maps."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from tests.made_faces import made_faces
from tf_dhm.core.errors import InputError
from tf_dhm.face.heatmap import diffusion_heatmap
from tf_dhm.face.mean_face import mean_landmarks
from tf_dhm.training.presets import find_preset
from tools import draw_heat_maps
from tools.draw_heat_maps import INITIAL_COLOUR, Config, draw, draw_example


def test_a_row_by_hand() -> None:
    image = np.zeros((8, 8, 3), np.uint8)
    landmarks, initial = np.full((68, 3), 6.0, np.float32), np.full((68, 3), 1.0, np.float32)
    heatmap = np.zeros((8, 8, 3), np.float32)
    heatmap[2, 3] = [1.0, 0.5, 0.2]
    row = draw_example(image, landmarks, initial, heatmap, zoom=20)
    assert row.shape == (160, 640, 3)
    assert row[130, 130].tolist() == [0, 255, 0]
    assert row[30, 30].tolist() == list(INITIAL_COLOUR)
    for axis, value in enumerate((255, 128, 51)):
        channel = row[:, 160 * (axis + 1) : 160 * (axis + 2)]
        assert np.unique(channel).tolist() == [0, value]
        assert np.argwhere(channel[..., 0]).min(0).tolist() == [40, 60]
        assert np.argwhere(channel[..., 0]).max(0).tolist() == [59, 79]


def test_two_examples(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(draw_heat_maps.datasets, "prepared_folder", lambda *_, **__: tmp_path)
    monkeypatch.setattr(draw_heat_maps.records, "load", lambda *_: made_faces(8, canvas=60, side=44))
    path = tmp_path / "figures" / "maps.png"
    draw(Config(output=path, preset="tiny", step=1, zoom=1))
    size = find_preset("tiny").model.input_size
    picture = cv2.imread(str(path))[..., ::-1]
    assert picture.shape == (2 * size, 4 * size, 3)
    channels = picture[:size, size:].reshape(size, 3, size, 3)[..., 0]
    expected = diffusion_heatmap(mean_landmarks(size), size).transpose(0, 2, 1)
    np.testing.assert_allclose(channels / 255, expected, atol=0.01)
    second = picture[size:, size:].reshape(size, 3, size, 3)[..., 0]
    assert np.abs(second / 255 - expected).max() > 0.2  # another initial shape


def test_mistakes() -> None:
    with pytest.raises(InputError, match="found -1, 2, expected"):
        Config(step=-1)
