"""`align.py --mesh` and `--draw mesh`: the files written for photos and videos."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.fakes import draw_cartoon_face
from tf_dhm.commands.align import align_inputs
from tf_dhm.commands.options import AlignConfig
from tf_dhm.core.errors import InputError
from tf_dhm.face.expression import OFFERED
from tf_dhm.runtime import images
from tf_dhm.runtime.video_writer import VideoWriter


def config(fake_model: str, *inputs: Path, **options: Any) -> AlignConfig:
    return AlignConfig(tuple(map(str, inputs)), model=fake_model, backend="saved_model", **options)


def names(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def test_a_photo(fake_model: str, tmp_path: Path) -> None:
    photo, folder, lines = tmp_path / "a.png", tmp_path / "meshes", tmp_path / "faces.jsonl"
    Image.fromarray(draw_cartoon_face()).save(photo)
    assert align_inputs(config(fake_model, photo, mesh=folder, json=lines)) == 0
    assert names(folder) == ["a.png_0.glb", "a.png_0.obj", "a.png_depth.png", "a.png_pncc.png"]
    (face,) = json.loads(lines.read_text())["faces"]
    assert len(face["p"]) == 234
    assert np.array(face["matrix"]).shape == (4, 4)
    assert set(face["expression"]) == set(OFFERED)
    depth = np.asarray(Image.open(folder / "a.png_depth.png"))
    assert depth.shape == (256, 256)
    x, y = np.rint(face["landmarks"][30][:2]).astype(int)
    assert depth[y, x] > 250


def test_the_pictures_of_a_reduced_photo_have_its_pixels(
    fake_model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    photo, lines = tmp_path / "a.jpg", tmp_path / "faces.jsonl"
    Image.fromarray(draw_cartoon_face(512, (250, 250), 120)).save(photo)
    monkeypatch.setattr(images, "MAX_PIXELS", 256 * 256)
    align_inputs(config(fake_model, photo, mesh=tmp_path / "meshes", json=lines))
    depth = np.asarray(Image.open(tmp_path / "meshes" / "a.jpg_depth.png"))
    (face,) = json.loads(lines.read_text())["faces"]
    assert depth.shape == (256, 256)
    x, y = np.rint(np.array(face["landmarks"][30][:2]) / 2).astype(int)
    assert depth[y, x] > 250


def test_a_video(fake_model: str, tmp_path: Path) -> None:
    clip, folder = tmp_path / "clip.mp4", tmp_path / "meshes"
    with VideoWriter(clip, 25) as writer:
        for _ in range(3):
            writer.write(draw_cartoon_face(192, (96, 90), 50))
    assert align_inputs(config(fake_model, clip, mesh=folder, quiet=True)) == 0
    assert names(folder) == [f"clip.mp4/{frame:06d}_0.glb" for frame in range(3)]


def test_an_overlay(fake_model: str, tmp_path: Path) -> None:
    photo = tmp_path / "a.png"
    Image.fromarray(draw_cartoon_face()).save(photo)
    align_inputs(config(fake_model, photo, output=tmp_path / "out", draw=("mesh",)))
    changed = (np.asarray(Image.open(tmp_path / "out" / "a.png")) != draw_cartoon_face()).any(-1)
    assert 0.05 < changed.mean() < 0.6


def test_the_field_of_view_turns_faces_off_the_centre(fake_model: str, tmp_path: Path) -> None:
    photo, yaws = tmp_path / "a.png", []
    Image.fromarray(draw_cartoon_face(512, (420, 256), 50)).save(photo)
    for view in (None, 90.0):
        lines = tmp_path / f"{view}.jsonl"
        align_inputs(config(fake_model, photo, mesh=tmp_path / "m", json=lines, field_of_view=view))
        (face,) = json.loads(lines.read_text())["faces"]
        yaws.append(face["pose"]["yaw"])
    # The line of sight to the face is about 33 degrees off the axis of the camera.
    assert 20 < abs(yaws[1] - yaws[0]) < 45


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"field_of_view": 60.0}, "--field-of-view"),
        ({"field_of_view": 0.0, "draw": ("mesh",)}, "field of view"),
        ({"mesh": Path("m"), "resume": True}, "--resume"),
    ],
)
def test_bad_options(options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        AlignConfig(("a.jpg",), **options)
