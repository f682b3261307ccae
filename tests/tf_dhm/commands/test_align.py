"""Tests of tf_dhm.commands.align: photos, resuming, and what must not be overwritten."""

from __future__ import annotations

import dataclasses
import io
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from tests.fakes import draw_cartoon_face, read_lines
from tf_dhm.commands import align
from tf_dhm.commands.align import align_inputs, check_outputs
from tf_dhm.commands.face_records import FaceRecords, Record
from tf_dhm.commands.inputs import find_inputs
from tf_dhm.commands.options import AlignConfig
from tf_dhm.core.errors import InputError
from tf_dhm.core.extras import EXTRAS
from tf_dhm.runtime import images
from tf_dhm.runtime.faces import Face
from tf_dhm.runtime.images import Photo, read_photo


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

    def test_without_options_pictures_and_a_line_for_each_photo(
        self,
        fake_model: str,
        album: Path,
        monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        Image.new("RGB", (30, 30)).save(album / "zz.png")
        (album / "broken.jpg").write_bytes(b"")
        monkeypatch.chdir(album)
        config = AlignConfig((".",), model=fake_model, backend="saved_model")
        for _ in range(2):  # the second time, the folder of the first is there
            assert align_inputs(config) == 1
            captured = capsys.readouterr()
            *lines, summary = captured.out.splitlines()
            assert lines == [
                "a.PNG: 1 face, drawn in aligned/a.PNG",
                "b.jpg: 1 face, drawn in aligned/b.jpg",
                "deep/c.jpg: 1 face, drawn in aligned/deep/c.jpg",
                "zz.png: no face, drawn in aligned/zz.png",
            ]
            assert summary.startswith("files: 5, faces: 3")
            assert "broken.jpg" in captured.err
        assert Image.open(album / "aligned" / "deep" / "c.jpg").size == (256, 256)

    def test_quiet(
        self, fake_model: str, album: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        (album / "broken.jpg").write_bytes(b"")
        assert align_inputs(self.config(fake_model, album, quiet=True, json=tmp_path / "f.jsonl")) == 1
        captured = capsys.readouterr()
        assert captured.out == ""
        (line,) = captured.err.splitlines()
        assert line.startswith("error: ")
        assert "broken.jpg" in line

    def test_the_longest_names_are_written(self, fake_model: str, album: Path, tmp_path: Path) -> None:
        """Names of 255 bytes, of which two need a longer one for their picture."""
        names = ["写" * 83 + ".jpeg", "写" * 83 + ".webp", "写" * 82 + "龍.webp"]
        for name in names:
            Image.fromarray(draw_cartoon_face()).save(album / name)
        output, crops, lines = tmp_path / "out", tmp_path / "crops", tmp_path / "f.jsonl"
        config = self.config(fake_model, album, output=output, crops=crops, json=lines, resume=True)
        assert align_inputs(config) == 0
        assert len(read_lines(lines)) == 6
        for folder in (output, crops):
            assert len([path for path in folder.iterdir() if path.is_file()]) == 5
        assert (output / names[0]).is_file()
        before = lines.read_text()
        assert align_inputs(config) == 0
        assert lines.read_text() == before

    def test_an_output_that_fails_is_the_error_of_its_file(
        self, fake_model: str, album: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        save = align.save_picture

        def fail_for_b(picture: np.ndarray, path: Path) -> None:
            if path.name == "b.jpg":
                raise OSError(28, "No space left on device", str(path))
            save(picture, path)

        monkeypatch.setattr(align, "save_picture", fail_for_b)
        lines = tmp_path / "f.jsonl"
        assert align_inputs(self.config(fake_model, album, output=tmp_path / "out", json=lines)) == 1
        records = read_lines(lines)
        assert ["error" in record for record in records] == [False, True, False]
        assert "No space left" in records[1]["error"]
        assert (tmp_path / "out" / "deep" / "c.jpg").exists()

    def test_records_that_cannot_be_written_end_the_run(
        self, fake_model: str, album: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def fail(self: FaceRecords, record: Record) -> None:
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(FaceRecords, "write", fail)
        with pytest.raises(OSError, match="No space left"):
            align_inputs(self.config(fake_model, album, json=tmp_path / "f.jsonl"))

    def test_links_to_nothing_are_errors(
        self, fake_model: str, album: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        (album / "gone.jpg").symlink_to("nowhere.jpg")
        lines = tmp_path / "f.jsonl"
        config = self.config(fake_model, album, json=lines, output=tmp_path / "out", resume=True)
        for done_before in (0, 3):
            assert align_inputs(config) == 1
            assert f"files failed: 1, files done before: {done_before}" in capsys.readouterr().out
            records = {Path(record["file"]).name: record for record in read_lines(lines)}
            assert sorted(records) == ["a.PNG", "b.jpg", "c.jpg", "gone.jpg"]
            assert "nowhere.jpg" in records["gone.jpg"]["error"]

    def test_standard_input(self, fake_model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        encoded = io.BytesIO()
        Image.fromarray(draw_cartoon_face()).save(encoded, "PNG")
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(encoded.getvalue())))
        lines = tmp_path / "f.jsonl"
        assert align_inputs(self.config(fake_model, "-", output=tmp_path / "out", json=lines)) == 0
        (record,) = read_lines(lines)
        assert (record["file"], len(record["faces"])) == ("-", 1)
        assert (tmp_path / "out" / "stdin.png").exists()

    def test_standard_input_that_is_no_photo(
        self, fake_model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        lines = tmp_path / "f.jsonl"
        for content in (b"", b"no photo"):
            monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(content)))
            assert align_inputs(self.config(fake_model, "-", json=lines)) == 1
            (record,) = read_lines(lines)
            assert record["error"].startswith("photo -: ")

    def test_faces_below_a_limit_are_recorded_and_not_drawn(
        self, fake_model: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """The fake model has no confidence; the score of the cartoon is below 1."""
        Image.fromarray(draw_cartoon_face()).save(tmp_path / "a.png")
        folders = {"output": tmp_path / "out", "crops": tmp_path / "crops"}
        lines, table = tmp_path / "f.jsonl", tmp_path / "f.csv"
        config = self.config(fake_model, tmp_path / "a.png", json=lines, csv=table, min_score=1.0, **folders)
        assert align_inputs(config) == 0
        (face,) = read_lines(lines)[0]["faces"]
        assert face["below_limit"] is True
        assert pd.read_csv(table).below_limit.tolist() == [1]
        assert not folders["crops"].exists()
        totals = "files: 1, faces: 0, files without a face: 1, files failed: 0"
        limits = "--min-confidence or --min-score"
        assert capsys.readouterr().out == f"{totals}, faces below {limits}: 1\n"
        np.testing.assert_array_equal(
            np.asarray(Image.open(folders["output"] / "a.png")), draw_cartoon_face()
        )
        assert align_inputs(dataclasses.replace(config, min_score=face["score"] - 0.001)) == 0
        assert capsys.readouterr().out.endswith("files failed: 0\n")
        assert "below_limit" not in read_lines(lines)[0]["faces"][0]
        assert [path.name for path in folders["crops"].iterdir()] == ["a.png_0.png"]

    @pytest.mark.parametrize(
        ("score", "limit"), [(0.0, "--min-confidence"), (1.0, "--min-confidence or --min-score")]
    )
    def test_a_face_below_a_limit_is_named_beside_no_face(
        self,
        fake_model: str,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str],
        score: float,
        limit: str,
    ) -> None:
        monkeypatch.setattr(Face, "is_convincing", lambda *_: False)
        monkeypatch.chdir(tmp_path)
        Image.fromarray(draw_cartoon_face()).save("a.png")
        assert (
            align_inputs(AlignConfig(("a.png",), model=fake_model, backend="saved_model", min_score=score))
            == 0
        )
        assert capsys.readouterr().out.startswith(
            f"a.png: no face but 1 below {limit}, drawn in aligned/a.png"
        )

    def test_errors_leave_nothing(self, album: Path, tmp_path: Path) -> None:
        config = self.config(str(tmp_path), album, json=tmp_path / "faces.jsonl", output=tmp_path / "out")
        with pytest.raises(InputError, match="expected saved_model"):
            align_inputs(config)
        assert not (tmp_path / "faces.jsonl").exists()
        assert not (tmp_path / "out").exists()

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

    def test_resumes_where_it_stopped(
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
            patch.setattr(align, "read_photo", stop_at_c)
            assert self.run(fake_model, album, resume=False) == 130
        assert "--resume" in capsys.readouterr().err
        assert not (album.parent / "faces.jsonl").exists()
        first = (album.parent / "out" / "a.PNG").stat().st_mtime_ns
        with pytest.raises(InputError, match=r"other options: model .*, expected 'another'"):
            self.run("another", album)
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


@pytest.mark.parametrize("option", ["output", "crops", "mesh"])
def test_a_file_in_place_of_a_folder(fake_model: str, album: Path, tmp_path: Path, option: str) -> None:
    (tmp_path / "file").write_text("in the way")
    options: dict[str, Any] = {option: tmp_path / "file"}
    with pytest.raises(InputError, match=f"--{option} .*file: found a file, expected a folder"):
        align_inputs(AlignConfig((str(album),), model=fake_model, backend="saved_model", **options))


def test_records_over_inputs(fake_model: str, album: Path) -> None:
    for path, found in ((album / "b.jpg", "found an input of that name"), (album, "found a folder")):
        with pytest.raises(InputError, match=found):
            align_inputs(AlignConfig((str(album),), model=fake_model, backend="saved_model", json=path))
    same = album / "f.txt"
    with pytest.raises(InputError, match="--json and --csv: found"):
        align_inputs(AlignConfig((str(album),), model=fake_model, backend="saved_model", json=same, csv=same))


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


def test_meshes_without_their_package(album: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The options are valid, so that the error is a line and not the parser's; nothing is written."""
    monkeypatch.setitem(EXTRAS, "mesh", ("no_such_module",))
    config = AlignConfig((str(album),), mesh=tmp_path / "meshes")
    with pytest.raises(InputError, match=r"--mesh: .*no_such_module.*\.\[mesh\]"):
        align_inputs(config)
    assert not (tmp_path / "meshes").exists()


@pytest.mark.parametrize("address", ["foo", "127.0.0.1:0", "no.such.host.invalid:9000"])
def test_a_wrong_address_for_osc_ends_the_run_at_once(album: Path, tmp_path: Path, address: str) -> None:
    config = AlignConfig((str(album),), osc=address, json=tmp_path / "f.jsonl")
    with pytest.raises(InputError, match="--osc: found"):
        align_inputs(config)
    assert not list(tmp_path.glob("f.jsonl*"))


def test_osc_without_its_package(album: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pythonosc.udp_client", None)
    with pytest.raises(InputError, match=r"--osc: .*pythonosc.*\.\[osc\]"):
        align_inputs(AlignConfig((str(album),), osc="127.0.0.1:9000"))


@pytest.mark.parametrize("package", ["grpc", "tensorflow_serving"])
def test_a_server_without_its_packages(
    album: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, package: str
) -> None:
    """The message names the extra that installs them."""
    for name in [name for name in sys.modules if name.split(".")[0] == package]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, package, None)
    monkeypatch.delitem(sys.modules, "tf_dhm.runtime.server", raising=False)
    config = AlignConfig((str(album),), server="localhost:1", json=tmp_path / "f.jsonl")
    with pytest.raises(InputError, match=rf"--server: .*{package}.*\.\[serving\]"):
        align_inputs(config)
