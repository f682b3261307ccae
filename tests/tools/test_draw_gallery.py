"""The gallery of synthetic faces."""

from __future__ import annotations

from pathlib import Path

import cv2
import pytest

from tf_dhm.core.errors import InputError
from tools import draw_gallery


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
