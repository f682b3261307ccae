"""A model and photos that the tests of the commands share."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from tests.fakes import draw_cartoon_face, write_fake_model


@pytest.fixture(scope="session")
def fake_model(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(write_fake_model(tmp_path_factory.mktemp("models") / "fake"))


@pytest.fixture
def album(tmp_path: Path) -> Path:
    """Three photos in two folders, and files that are none."""
    folder = tmp_path / "album"
    for name in ("b.jpg", "a.PNG", "deep/c.jpg"):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(draw_cartoon_face()).save(path)
    (folder / "notes.txt").write_text("no photo")
    (folder / "folder.jpg").mkdir()
    return folder
