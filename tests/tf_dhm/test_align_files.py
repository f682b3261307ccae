"""Tests of tf_dhm.align_files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.fakes import draw_cartoon_face, write_fake_model
from tf_dhm import images
from tf_dhm.align_files import AlignConfig, align_photos, check_outputs, find_photos
from tf_dhm.errors import InputError


@pytest.fixture(scope="module")
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


def read_lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


class TestFindPhotos:
    def names(self, *arguments: str | Path) -> list[str]:
        return [str(file.name) for file in find_photos([str(argument) for argument in arguments])]

    def test_folder(self, album: Path) -> None:
        assert self.names(album) == ["a.PNG", "b.jpg", "deep/c.jpg"]

    def test_pattern(self, album: Path) -> None:
        assert self.names(album / "*.jpg") == ["b.jpg"]
        assert self.names(album / "**" / "*.jpg") == ["b.jpg", "deep/c.jpg"]
        assert self.names(album / "d*" / "*") == ["deep/c.jpg"]

    def test_single_photos(self, album: Path) -> None:
        assert self.names(album / "deep/c.jpg", album / "b.jpg") == ["c.jpg", "b.jpg"]

    def test_single_photos_of_one_name(self, album: Path) -> None:
        (album / "b.jpg").rename(album / "c.jpg")
        assert self.names(album / "deep/c.jpg", album / "c.jpg") == ["deep/c.jpg", "c.jpg"]

    def test_each_once(self, album: Path) -> None:
        assert self.names(album / "b.jpg", album, album / "*.jpg") == ["b.jpg", "a.PNG", "deep/c.jpg"]

    def test_brackets_in_a_name(self, album: Path) -> None:
        (album / "b.jpg").rename(album / "b[1].jpg")
        assert self.names(album / "b[1].jpg") == ["b[1].jpg"]

    def test_missing_files_are_left_to_the_reader(self, tmp_path: Path) -> None:
        assert self.names(tmp_path / "none.jpg") == ["none.jpg"]

    def test_none(self, tmp_path: Path) -> None:
        for arguments in ([], [str(tmp_path)], [str(tmp_path / "*.jpg")]):
            with pytest.raises(InputError, match="photos: found none"):
                find_photos(arguments)


class TestAlignPhotos:
    def config(self, fake_model: str, *photos: str | Path, **options: Any) -> AlignConfig:
        return AlignConfig(tuple(str(photo) for photo in photos), model=fake_model, **options)

    def test_folder(
        self, fake_model: str, album: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        output, lines = tmp_path / "out", tmp_path / "faces.jsonl"
        assert align_photos(self.config(fake_model, album, output=output, json=lines)) == 0
        assert "photos: 3, faces: 3, photos without a face: 0, photos failed: 0" in capsys.readouterr().out
        written = sorted(str(path.relative_to(output)) for path in output.rglob("*") if path.is_file())
        assert written == ["a.PNG", "b.jpg", "deep/c.jpg"]
        drawn = np.asarray(Image.open(output / "a.PNG"))
        changed = (drawn != draw_cartoon_face()).any(-1)
        assert 100 < changed.sum() < 0.1 * changed.size
        records = read_lines(lines)
        assert [record["file"] for record in records] == [
            str(album / name) for name in ("a.PNG", "b.jpg", "deep/c.jpg")
        ]
        first = records[0]
        assert (first["width"], first["height"]) == (256, 256)
        (face,) = first["faces"]
        assert sorted(face) == ["box", "landmarks", "pose", "score"]
        # The points were drawn where the file says.
        x, y = np.rint(face["landmarks"][30][:2]).astype(int)
        assert changed[y, x]

    def test_broken_photos_are_reported(
        self, fake_model: str, album: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        (album / "aa.jpg").write_bytes(b"")
        (album / "heic.heic").write_bytes(b"\x00\x00\x00\x18ftypheic" + bytes(50))
        Image.new("RGB", (30, 30)).save(album / "zz_nobody.png")
        lines = tmp_path / "faces.jsonl"
        missing = tmp_path / "none.jpg"
        assert align_photos(self.config(fake_model, missing, album, json=lines)) == 1
        captured = capsys.readouterr()
        assert "photos: 7, faces: 3, photos without a face: 1, photos failed: 3" in captured.out
        assert f"error: photo {album / 'aa.jpg'}: found an empty file" in captured.err
        records = {Path(record["file"]).name: record for record in read_lines(lines)}
        assert "No such file" in records["none.jpg"]["error"]
        assert "HEIC" in records["heic.heic"]["error"]
        assert "faces" not in records["aa.jpg"]
        assert records["zz_nobody.png"]["faces"] == []
        assert len(records["b.jpg"]["faces"]) == 1

    def test_other_formats_are_written_as_png(self, fake_model: str, tmp_path: Path) -> None:
        Image.fromarray(draw_cartoon_face()).save(tmp_path / "a.gif")
        align_photos(self.config(fake_model, tmp_path / "a.gif", output=tmp_path / "out"))
        with Image.open(tmp_path / "out" / "a.gif.png") as picture:
            assert picture.format == "PNG"

    def test_reduced_photo(self, fake_model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """The picture has the pixels that were decoded, the file the coordinates of the original."""
        Image.fromarray(draw_cartoon_face(512, (250, 250), 120)).save(tmp_path / "a.jpg")
        monkeypatch.setattr(images, "MAX_PIXELS", 256 * 256)
        lines = tmp_path / "faces.jsonl"
        align_photos(self.config(fake_model, tmp_path / "a.jpg", output=tmp_path / "out", json=lines))
        drawn = np.asarray(Image.open(tmp_path / "out" / "a.jpg")).astype(int)
        assert drawn.shape == (256, 256, 3)
        (record,) = read_lines(lines)
        assert record["width"] == 512
        (face,) = record["faces"]
        np.testing.assert_allclose(np.mean(face["landmarks"], 0)[:2], [250, 275], atol=8)
        x, y = np.rint((np.array(face["landmarks"])[8, :2] - 0.5) / 2).astype(int)
        red, green, _ = drawn[y, x]
        assert green > red + 60

    def test_nothing_to_write(self, fake_model: str, album: Path) -> None:
        with pytest.raises(InputError, match="found neither --output nor --json"):
            align_photos(self.config(fake_model, album))

    def test_errors_leave_nothing(self, album: Path, tmp_path: Path) -> None:
        config = self.config(str(tmp_path), album, json=tmp_path / "faces.jsonl", output=tmp_path / "out")
        with pytest.raises(InputError, match="expected saved_model"):
            align_photos(config)
        assert not (tmp_path / "faces.jsonl").exists()
        assert not (tmp_path / "out").exists()


class TestCheckOutputs:
    def test_over_an_input(self, album: Path) -> None:
        with pytest.raises(InputError, match=r"would overwrite .*a\.PNG"):
            check_outputs(find_photos([str(album)]), album)

    def test_two_of_one_name(self, album: Path, tmp_path: Path) -> None:
        photos = find_photos([str(album), str(album / "deep")])
        assert len(photos) == 3  # the second folder lies in the first
        Image.new("RGB", (9, 9)).save(tmp_path / "b.jpg")
        photos = find_photos([str(album), str(tmp_path / "b.jpg")])
        with pytest.raises(InputError, match=r"would both be written to .*b\.jpg"):
            check_outputs(photos, tmp_path / "out")
