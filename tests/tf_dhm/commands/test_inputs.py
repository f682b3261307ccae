"""Tests of tf_dhm.commands.inputs: files, folders, links, patterns."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from PIL import Image

from tf_dhm.commands.inputs import InputFile, find_inputs
from tf_dhm.core.errors import InputError
from tf_dhm.runtime import images


def names(*arguments: str | Path, outputs: tuple[Path, ...] = ()) -> list[str]:
    return [str(file.name) for file in find_inputs([str(argument) for argument in arguments], outputs)]


def problems(*arguments: str | Path) -> dict[str, str | None]:
    return {str(file.name): file.problem for file in find_inputs([str(path) for path in arguments])}


def test_a_pattern_without_a_file(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").touch()
    with pytest.raises(InputError, match=r"found no file that matches .*\*.jpeg, expected photos or videos"):
        find_inputs([str(tmp_path / "*.jpeg")])
    with pytest.raises(InputError, match=r"found none in .*\*.txt, expected files with one of the suffixes"):
        find_inputs([str(tmp_path / "*.txt")])


def test_an_empty_name_is_not_the_present_folder(album: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(album)
    with pytest.raises(InputError, match="files: found an empty name"):
        find_inputs([""])
    with pytest.raises(InputError, match="photo: found an empty path"):
        images.read_photo("")


@pytest.mark.skipif(not Path("/dev/zero").exists(), reason="needs /dev/zero")
def test_an_endless_pipe_is_not_read_to_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(images, "MAX_BYTES", 100_000)
    (file,) = find_inputs(["/dev/zero"])
    with pytest.raises(InputError, match="/dev/zero: found more than 100,000 bytes"):
        file.read_pipe()
    with open("/dev/zero", "rb") as endless, pytest.raises(InputError, match="more than 100,000 bytes"):
        images.read_photo(endless)


@pytest.mark.parametrize("container", ["mp4", "matroska", "avi", "flv", "mpegts", "mpeg"])
def test_a_video_without_a_known_suffix_is_known_by_its_content(tmp_path: Path, container: str) -> None:
    codec = {"flv": "flv", "mpeg": "mpeg2video"}.get(container, "mpeg4")
    path = tmp_path / f"clip.{container[:2]}"
    with av.open(str(path), "w", format=container) as file:
        stream: Any = file.add_stream(codec, rate=25)
        stream.width = stream.height = 64
        stream.pix_fmt = "yuv420p"
        for _ in range(3):
            frame = av.VideoFrame.from_ndarray(np.zeros((64, 64, 3), np.uint8))
            file.mux(stream.encode(frame))
        file.mux(stream.encode())
    (found,) = find_inputs([str(path)])
    assert found.is_video
    with pytest.raises(InputError, match="found a video"):
        images.read_photo(path)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "GIF", "AVIF", "TIFF"])
def test_a_photo_without_a_known_suffix_is_no_video(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "photo"
    Image.new("RGB", (64, 64)).save(path, kind)
    (file,) = find_inputs([str(path)])
    assert not file.is_video
    assert images.read_photo(path).width == 64
    assert not find_inputs([str(tmp_path / "none")])[0].is_video


class TestFindInputs:
    def test_folder(self, album: Path) -> None:
        assert names(album) == ["a.PNG", "b.jpg", "deep/c.jpg"]

    def test_a_search_keeps_out_of_output_folders(self, album: Path) -> None:
        assert names(album, outputs=(album / "deep",)) == ["a.PNG", "b.jpg"]
        for folder in (album, album / "deep", album / "*.jpg"):
            with pytest.raises(InputError, match="inside a folder for output"):
                names(folder, outputs=(album,))

    def test_an_output_folder_is_known_by_another_name(self, album: Path) -> None:
        (album / "zoo").symlink_to(album / "deep")
        assert names(album, outputs=(album / "deep",)) == ["a.PNG", "b.jpg"]

    def test_pattern(self, album: Path) -> None:
        assert names(album / "*.jpg") == ["b.jpg"]
        assert names(album / "**" / "*.jpg") == ["b.jpg", "deep/c.jpg"]
        assert names(album / "**") == ["a.PNG", "b.jpg", "deep/c.jpg"]
        assert names(album / "d*" / "*") == ["deep/c.jpg"]
        assert names(album / "d*" / "c.jpg") == ["deep/c.jpg"]
        assert names(album / "*" / "**" / "?.jpg") == ["deep/c.jpg"]

    def test_a_pattern_leaves_hidden_names_to_patterns_that_ask_for_them(self, album: Path) -> None:
        (album / ".trash").mkdir()
        for name in (".b.jpg", ".trash/d.jpg"):
            (album / name).write_bytes(b"photo")
        assert names(album / "**" / "*.jpg") == ["b.jpg", "deep/c.jpg"]
        assert names(album / ".*.jpg") == [".b.jpg"]
        assert names(album) == [".b.jpg", ".trash/d.jpg", "a.PNG", "b.jpg", "deep/c.jpg"]

    def test_single_photos(self, album: Path) -> None:
        assert names(album / "deep/c.jpg", album / "b.jpg") == ["c.jpg", "b.jpg"]

    def test_single_photos_of_one_name(self, album: Path) -> None:
        (album / "b.jpg").rename(album / "c.jpg")
        assert names(album / "deep/c.jpg", album / "c.jpg") == ["deep/c.jpg", "c.jpg"]

    def test_each_name_once(self, album: Path) -> None:
        again = f"{album}/deep/../b.jpg"
        assert names(album / "b.jpg", album, album / "*.jpg", again) == ["b.jpg", "a.PNG", "deep/c.jpg"]

    def test_brackets_in_a_name(self, album: Path) -> None:
        (album / "b.jpg").rename(album / "b[1].jpg")
        assert names(album / "b[1].jpg") == ["b[1].jpg"]

    def test_missing_files_are_left_to_the_reader(self, tmp_path: Path) -> None:
        assert problems(tmp_path / "none.jpg") == {"none.jpg": None}

    def test_none(self, tmp_path: Path) -> None:
        for arguments in ([], [str(tmp_path)], [str(tmp_path / "*.jpg")], [str(tmp_path / "no" / "*.jpg")]):
            with pytest.raises(InputError, match=r"files: found (none|no file that matches)"):
                find_inputs(arguments)

    def test_standard_input(self, album: Path) -> None:
        first, second = find_inputs(["-", str(album / "b.jpg")])
        assert (first, second.name) == (InputFile("-", Path("stdin")), Path("b.jpg"))
        assert first.is_pipe
        assert not second.is_pipe

    def test_streams(self) -> None:
        camera, clip = find_inputs(["rtsp://admin:secret@10.0.0.7:554/door?x=*", "http://host/clip.mp4"])
        assert camera.source == "rtsp://admin:secret@10.0.0.7:554/door?x=*"
        assert camera.label == "rtsp://10.0.0.7:554/door?x=*"
        assert camera.name == Path("rtsp_10.0.0.7_554_door_x_")
        assert clip.name == Path("http_host_clip.mp4")
        assert camera.is_video
        assert not camera.is_pipe

    def test_a_named_pipe_is_read_as_a_whole(self, tmp_path: Path) -> None:
        os.mkfifo(tmp_path / "pipe")
        (file,) = find_inputs([str(tmp_path / "pipe")])
        assert file.is_pipe


class TestLinks:
    def test_linked_folders_are_searched(self, album: Path, tmp_path: Path) -> None:
        (tmp_path / "real" / "sub").mkdir(parents=True)
        (tmp_path / "real" / "sub" / "z.jpg").write_bytes(b"photo")
        (album / "link").symlink_to(tmp_path / "real")
        assert names(album) == ["a.PNG", "b.jpg", "deep/c.jpg", "link/sub/z.jpg"]
        assert names(album / "**" / "z.jpg") == ["link/sub/z.jpg"]

    def test_each_link_to_one_photo_is_a_file(self, album: Path) -> None:
        for number in range(30):
            (album / "deep" / f"link{number:02d}.jpg").symlink_to(album / "b.jpg")
        found = find_inputs([str(album)])
        assert len(found) == 33
        assert all(file.problem is None for file in found)

    def test_a_dangling_link_is_a_problem(self, album: Path) -> None:
        (album / "gone.jpg").symlink_to("nowhere.jpg")
        (album / "gone.txt").symlink_to("nowhere.txt")
        found = problems(album)
        assert list(found) == ["a.PNG", "b.jpg", "deep/c.jpg", "gone.jpg"]
        assert [name for name, problem in found.items() if problem] == ["gone.jpg"]
        assert "nowhere.jpg" in str(found["gone.jpg"])

    def test_loops_end(self, album: Path) -> None:
        (album / "deep" / "up").symlink_to(album)
        (album / "deep" / "self").symlink_to(".")
        (album / "self.jpg").symlink_to("self.jpg")
        found = problems(album)
        assert list(found) == ["a.PNG", "b.jpg", "deep/c.jpg", "self.jpg"]
        assert "cannot be read" in str(found["self.jpg"])
        assert names(album / "**" / "c.jpg") == ["deep/c.jpg"]

    def test_folders_that_link_to_one_another(self, tmp_path: Path) -> None:
        for name, other in (("a", "b"), ("b", "a")):
            (tmp_path / name).mkdir()
            (tmp_path / name / "photo.jpg").write_bytes(b"photo")
            (tmp_path / name / "other").symlink_to(tmp_path / other)
        assert names(tmp_path) == [
            "a/other/photo.jpg",
            "a/photo.jpg",
            "b/other/photo.jpg",
            "b/photo.jpg",
        ]

    def test_a_pipe_in_a_folder_is_a_problem(self, album: Path) -> None:
        os.mkfifo(album / "pipe.jpg")
        assert "pipe" in str(problems(album)["pipe.jpg"])

    @pytest.mark.parametrize("what", ["", "**"])
    def test_a_folder_that_cannot_be_searched_is_a_problem(
        self, album: Path, monkeypatch: pytest.MonkeyPatch, what: str
    ) -> None:
        listdir = os.listdir

        def list_or_fail(path: Path) -> list[str]:
            if Path(path).name == "deep":
                raise PermissionError(errno.EACCES, "Permission denied", str(path))
            return listdir(path)

        monkeypatch.setattr(os, "listdir", list_or_fail)
        found = problems(album / what)
        assert list(found) == ["a.PNG", "b.jpg", "deep"]
        assert "Permission denied" in str(found["deep"])
