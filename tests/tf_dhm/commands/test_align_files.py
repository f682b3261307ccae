"""Tests of tf_dhm.commands.align_files: photos, videos, a camera, resuming."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from tests.fakes import draw_cartoon_face, mean_shape_in_box, write_fake_model
from tf_dhm.commands import align_files
from tf_dhm.commands.align_files import (
    AlignConfig,
    InputFile,
    align_inputs,
    aligned_crop,
    check_outputs,
    find_inputs,
    output_path,
)
from tf_dhm.core.errors import InputError
from tf_dhm.face import geometry
from tf_dhm.runtime import images
from tf_dhm.runtime.aligner import Face
from tf_dhm.runtime.images import Photo, read_photo
from tf_dhm.runtime.video import Frame, VideoReader, VideoWriter


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


class TestFindInputs:
    def names(self, *arguments: str | Path) -> list[str]:
        return [str(file.name) for file in find_inputs([str(argument) for argument in arguments])]

    def test_folder(self, album: Path) -> None:
        assert self.names(album) == ["a.PNG", "b.jpg", "deep/c.jpg"]

    def test_nothing_is_found_in_output_folders(self, album: Path) -> None:
        found = find_inputs([str(album)], [album / "deep"])
        assert [str(file.name) for file in found] == ["a.PNG", "b.jpg"]
        with pytest.raises(InputError, match=r"found those of .*album in an output folder only"):
            find_inputs([str(album)], [album])

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
            with pytest.raises(InputError, match="files: found none"):
                find_inputs(arguments)


class TestPhotos:
    def config(self, fake_model: str, *photos: str | Path, **options: Any) -> AlignConfig:
        return AlignConfig(
            tuple(str(photo) for photo in photos), model=fake_model, backend="saved_model", **options
        )

    def test_folder(
        self, fake_model: str, album: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        output, lines = tmp_path / "out", tmp_path / "faces.jsonl"
        assert align_inputs(self.config(fake_model, album, output=output, json=lines)) == 0
        assert "files: 3, faces: 3, files without a face: 0, files failed: 0" in capsys.readouterr().out
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
        assert align_inputs(self.config(fake_model, missing, album, json=lines)) == 1
        captured = capsys.readouterr()
        assert "files: 7, faces: 3, files without a face: 1, files failed: 3" in captured.out
        assert f"error: photo {album / 'aa.jpg'}: found an empty file" in captured.err
        records = {Path(record["file"]).name: record for record in read_lines(lines)}
        assert "No such file" in records["none.jpg"]["error"]
        assert "HEIC" in records["heic.heic"]["error"]
        assert "faces" not in records["aa.jpg"]
        assert records["zz_nobody.png"]["faces"] == []
        assert len(records["b.jpg"]["faces"]) == 1

    def test_other_formats_are_written_as_png(self, fake_model: str, tmp_path: Path) -> None:
        Image.fromarray(draw_cartoon_face()).save(tmp_path / "a.gif")
        align_inputs(self.config(fake_model, tmp_path / "a.gif", output=tmp_path / "out"))
        with Image.open(tmp_path / "out" / "a.gif.png") as picture:
            assert picture.format == "PNG"

    def test_reduced_photo(self, fake_model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """The picture has the pixels that were decoded, the file the coordinates of the original."""
        Image.fromarray(draw_cartoon_face(512, (250, 250), 120)).save(tmp_path / "a.jpg")
        monkeypatch.setattr(images, "MAX_PIXELS", 256 * 256)
        lines = tmp_path / "faces.jsonl"
        align_inputs(self.config(fake_model, tmp_path / "a.jpg", output=tmp_path / "out", json=lines))
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
        with pytest.raises(InputError, match="found none of --output, --json"):
            self.config(fake_model, album)

    def test_errors_leave_nothing(self, album: Path, tmp_path: Path) -> None:
        config = self.config(str(tmp_path), album, json=tmp_path / "faces.jsonl", output=tmp_path / "out")
        with pytest.raises(InputError, match="expected saved_model"):
            align_inputs(config)
        assert not (tmp_path / "faces.jsonl").exists()
        assert not (tmp_path / "out").exists()

    def test_aligned_crop(self) -> None:
        """A face that lies on its side stands upright in its crop."""
        picture = np.ascontiguousarray(np.rot90(draw_cartoon_face(256, (120, 130), 70)))
        upright = mean_shape_in_box(np.array([64.0, 100, 176, 207]))
        turned = np.stack([upright[:, 1], 255 - upright[:, 0], upright[:, 2]], 1).astype(np.float32)
        face = Face(turned, geometry.landmark_box(turned), None, np.zeros(3, np.float32))
        crop = aligned_crop(picture, face, 128)
        assert crop.shape == (128, 128, 3)
        # The red mouth, at (120, 130 + 0.55 x 70), by the crop of side sqrt(2) x 112 about (120, 153.5).
        red = np.argwhere((crop[..., 0] > 150) & (crop[..., 1] < 100))
        np.testing.assert_allclose(red.mean(0), [63.5 + 15 * 128 / 158.4, 63.5], atol=1)

    def test_crops_are_written(self, fake_model: str, album: Path, tmp_path: Path) -> None:
        crops = tmp_path / "crops"
        assert align_inputs(self.config(fake_model, album, crops=crops, crop_size=40)) == 0
        written = sorted(str(path.relative_to(crops)) for path in crops.rglob("*") if path.is_file())
        assert written == ["a.PNG_0.png", "b.jpg_0.png", "deep/c.jpg_0.png"]
        assert Image.open(crops / "a.PNG_0.png").size == (40, 40)

    def test_results_inside_the_album_are_no_inputs(self, fake_model: str, album: Path) -> None:
        config = self.config(fake_model, album, output=album / "out", crops=album / "crops")
        assert align_inputs(config) == 0
        assert align_inputs(config) == 0
        assert len([path for path in (album / "out").rglob("*") if path.is_file()]) == 3


class TestResume:
    def run(self, fake_model: str, album: Path, resume: bool = True) -> int:
        out = album.parent
        config = AlignConfig(
            (str(album),),
            model=fake_model,
            backend="saved_model",
            output=out / "out",
            json=out / "faces.jsonl",
            csv=out / "faces.csv",
            resume=resume,
        )
        return align_inputs(config)

    def test_goes_on_where_it_stopped(
        self,
        fake_model: str,
        album: Path,
        monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        def stop_at_c(path: Path) -> Photo:
            if path.name == "c.jpg":
                raise KeyboardInterrupt
            return read_photo(path)

        with monkeypatch.context() as patch:
            patch.setattr(align_files, "read_photo", stop_at_c)
            assert self.run(fake_model, album, resume=False) == 130
        assert "--resume" in capsys.readouterr().err
        assert not (album.parent / "faces.jsonl").exists()
        first = (album.parent / "out" / "a.PNG").stat().st_mtime_ns
        assert self.run(fake_model, album) == 0
        # b.jpg came last, so that it may be unfinished.
        assert "files: 2, faces: 2, files without a face: 0, files failed: 0, files done before: 1" in (
            capsys.readouterr().out
        )
        assert (album.parent / "out" / "a.PNG").stat().st_mtime_ns == first
        names = [Path(record["file"]).name for record in read_lines(album.parent / "faces.jsonl")]
        assert names == ["a.PNG", "b.jpg", "c.jpg"]
        assert [Path(name).name for name in pd.read_csv(album.parent / "faces.csv").file] == names

    def test_failed_and_new_files_and_missing_pictures(
        self, fake_model: str, album: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        (album / "broken.jpg").write_bytes(b"")
        assert self.run(fake_model, album, resume=False) == 1
        Image.fromarray(draw_cartoon_face()).save(album / "broken.jpg")
        Image.fromarray(draw_cartoon_face()).save(album / "new.jpg")
        (album.parent / "out" / "b.jpg").unlink()
        assert self.run(fake_model, album) == 0
        assert "files: 3, faces: 3" in capsys.readouterr().out
        names = [Path(record["file"]).name for record in read_lines(album.parent / "faces.jsonl")]
        assert sorted(names) == ["a.PNG", "b.jpg", "broken.jpg", "c.jpg", "new.jpg"]
        assert (album.parent / "out" / "b.jpg").exists()

    def test_all_is_done(self, fake_model: str, album: Path, capsys: pytest.CaptureFixture[str]) -> None:
        assert self.run(fake_model, album, resume=False) == 0
        before = (album.parent / "faces.jsonl").read_text()
        assert self.run("there is no such model", album) == 0
        assert "files: 0, faces: 0" in capsys.readouterr().out
        assert (album.parent / "faces.jsonl").read_text() == before


def write_clip(path: Path, frames: int = 12) -> Path:
    """A face that stands still."""
    with VideoWriter(path, 25) as writer:
        for _ in range(frames):
            writer.write(draw_cartoon_face(192, (96, 90), 50))
    return path


class TestVideos:
    def test_clip(self, fake_model: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        clip = write_clip(tmp_path / "clip.avi.mp4")
        out = tmp_path / "out"
        config = AlignConfig(
            (str(clip),),
            model=fake_model,
            backend="saved_model",
            output=out,
            json=tmp_path / "faces.jsonl",
            csv=tmp_path / "faces.csv",
            crops=tmp_path / "crops",
        )
        assert align_inputs(config) == 0
        assert "files: 1, faces: 1, files without a face: 0, files failed: 0" in capsys.readouterr().out
        records = read_lines(tmp_path / "faces.jsonl")
        assert [record["frame"] for record in records] == list(range(12))
        np.testing.assert_allclose([record["time"] for record in records], np.arange(12) / 25, atol=1e-3)
        assert [[face["id"] for face in record["faces"]] for record in records] == [[0]] * 12
        table = pd.read_csv(tmp_path / "faces.csv")
        assert (table.frame.tolist(), set(table.id)) == (list(range(12)), {0})
        assert len(list((tmp_path / "crops" / clip.name).glob("*_0.png"))) == 12
        with VideoReader(out / clip.name) as video:
            frames = [frame.pixels.astype(int) for frame in video]
        assert len(frames) == 12
        # The points were drawn where the file says.
        x, y = np.rint(np.array(records[5]["faces"][0]["landmarks"])[8, :2]).astype(int)
        red, green, _ = frames[5][y, x]
        assert green > red + 60

    def test_a_broken_video_among_others(
        self, fake_model: str, album: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        (album / "a.mp4").write_bytes(b"no video")
        write_clip(album / "b.mp4", 3)
        lines = tmp_path / "faces.jsonl"
        assert (
            align_inputs(AlignConfig((str(album),), model=fake_model, backend="saved_model", json=lines)) == 1
        )
        captured = capsys.readouterr()
        assert "files: 5, faces: 4, files without a face: 0, files failed: 1" in captured.out
        assert f"error: video {album / 'a.mp4'}: found no readable video" in captured.err
        names = [Path(record["file"]).name for record in read_lines(lines)]
        assert names == ["a.PNG", "a.mp4", "b.jpg", "b.mp4", "b.mp4", "b.mp4", "c.jpg"]

    def test_a_video_that_is_cut_off_keeps_what_there_was(
        self, fake_model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        clip = write_clip(tmp_path / "clip.mp4")
        monkeypatch.setattr(align_files, "VideoReader", LongReader)
        lines = tmp_path / "faces.jsonl"
        config = AlignConfig(
            (str(clip),), model=fake_model, backend="saved_model", json=lines, output=tmp_path / "out"
        )
        assert align_inputs(config) == 1
        records = read_lines(lines)
        assert len(records) == 13
        assert "found 12 frames that can be decoded, expected 100" in records[-1]["error"]
        assert (tmp_path / "out" / "clip.mp4").exists()

    def test_frames(self, fake_model: str, tmp_path: Path) -> None:
        clip, lines = write_clip(tmp_path / "clip.mp4"), tmp_path / "faces.jsonl"
        assert (
            align_inputs(
                AlignConfig((str(clip),), model=fake_model, backend="saved_model", json=lines, frames=4)
            )
            == 0
        )
        assert len(read_lines(lines)) == 4


class LongReader(VideoReader):
    """A reader of a file that says it has 100 frames."""

    def __init__(self, source: Path) -> None:
        super().__init__(source)
        self.frame_count = 100


class StoppedReader(VideoReader):
    """In place of a camera: a file, at whose end the user presses Ctrl-C."""

    clip = Path()

    def __init__(self, source: int) -> None:
        super().__init__(self.clip)
        self.name = f"camera {source}"

    def __iter__(self) -> Iterator[Frame]:
        yield from super().__iter__()
        raise KeyboardInterrupt


class TestCamera:
    def test_until_it_is_stopped(
        self,
        fake_model: str,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        monkeypatch.setattr(StoppedReader, "clip", write_clip(tmp_path / "clip.mp4", 5))
        monkeypatch.setattr(align_files, "VideoReader", StoppedReader)
        lines = tmp_path / "faces.jsonl"
        config = AlignConfig(
            camera=2, model=fake_model, backend="saved_model", json=lines, output=tmp_path / "out"
        )
        assert align_inputs(config) == 0
        assert "frames: 5" in capsys.readouterr().out
        assert {record["file"] for record in read_lines(lines)} == {"camera 2"}
        with VideoReader(tmp_path / "out" / "camera_2.mp4") as video:
            assert len(list(video)) == 5


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"inputs": ("a.jpg",)}, "found none of --output"),
        ({"inputs": ("a.jpg",), "camera": 0, "show": True}, "--camera: found the files a.jpg, too"),
        ({"camera": 0, "json": Path("f"), "resume": True}, "--resume: found --camera"),
        ({"inputs": ("a.jpg",), "crops": Path("c"), "resume": True}, "--resume: expected --output, --json"),
        ({"inputs": ("a.jpg",), "crops": Path("c"), "crop_size": 2}, "--crop-size: found 2"),
        ({"inputs": ("a.mp4",), "json": Path("f"), "frames": 0}, "--frames: found 0"),
    ],
)
def test_bad_options(options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        AlignConfig(**options)


def test_records_over_inputs(fake_model: str, album: Path) -> None:
    for path, found in ((album / "b.jpg", "found an input of that name"), (album, "found a folder")):
        with pytest.raises(InputError, match=found):
            align_inputs(AlignConfig((str(album),), model=fake_model, backend="saved_model", json=path))
    same = album / "f.txt"
    with pytest.raises(InputError, match="--json and --csv: found"):
        align_inputs(AlignConfig((str(album),), model=fake_model, backend="saved_model", json=same, csv=same))


def test_output_path() -> None:
    def name(text: str) -> str:
        return str(output_path(Path("out"), InputFile(Path(text), Path(text))))

    assert name("a.JPG") == "out/a.JPG"
    assert name("a.webp") == "out/a.webp.png"
    assert name("a.mp4") == "out/a.mp4"
    assert name("a.MOV") == "out/a.MOV.mp4"


class TestCheckOutputs:
    def test_over_an_input(self, album: Path) -> None:
        with pytest.raises(InputError, match=r"would overwrite .*a\.PNG"):
            check_outputs(find_inputs([str(album)]), album)

    def test_two_of_one_name(self, album: Path, tmp_path: Path) -> None:
        photos = find_inputs([str(album), str(album / "deep")])
        assert len(photos) == 3  # the second folder lies in the first
        Image.new("RGB", (9, 9)).save(tmp_path / "b.jpg")
        photos = find_inputs([str(album), str(tmp_path / "b.jpg")])
        with pytest.raises(InputError, match=r"would both be written to .*b\.jpg"):
            check_outputs(photos, tmp_path / "out")
