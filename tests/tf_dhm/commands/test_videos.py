"""Tests of tf_dhm.commands.videos: video files and a camera."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import av
import numpy as np
import pandas as pd
import pytest

from tests.fakes import draw_cartoon_face, read_lines
from tf_dhm.commands import align
from tf_dhm.commands.align import align_inputs
from tf_dhm.commands.options import AlignConfig
from tf_dhm.runtime.video import Frame, VideoReader
from tf_dhm.runtime.video_writer import VideoWriter


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

    def test_a_video_that_is_cut_off_keeps_what_there_was(self, fake_model: str, tmp_path: Path) -> None:
        clip = cut_off(write_clip(tmp_path / "whole.mp4"), tmp_path / "clip.mp4")
        lines = tmp_path / "faces.jsonl"
        config = AlignConfig(
            (str(clip),), model=fake_model, backend="saved_model", json=lines, output=tmp_path / "out"
        )
        assert align_inputs(config) == 1
        records = read_lines(lines)
        assert 3 < len(records) < 12
        assert [record["frame"] for record in records[:-1]] == list(range(len(records) - 1))
        assert "cut off" in records[-1]["error"]
        assert (tmp_path / "out" / "clip.mp4").exists()

    def test_a_url_that_cannot_be_read_is_the_error_of_its_file(
        self, fake_model: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        lines = tmp_path / "faces.jsonl"
        urls = ("gopher://me:secret@host/clip", "rtsp://me:secret@127.0.0.1:1/door")
        config = AlignConfig(urls, model=fake_model, backend="saved_model", json=lines)
        assert align_inputs(config) == 1
        records = read_lines(lines)
        assert [record["file"] for record in records] == ["gopher://host/clip", "rtsp://127.0.0.1:1/door"]
        assert "gopher" in records[0]["error"]
        assert "secret" not in lines.read_text() + capsys.readouterr().err

    def test_a_disk_that_is_full_is_the_error_of_its_video(
        self, fake_model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def fail(self: VideoWriter, image: np.ndarray, time: float | None = None) -> None:
            raise OSError(28, "No space left on device", str(self.path))

        clips = [write_clip(tmp_path / name, 3) for name in ("a.mp4", "b.mp4")]
        monkeypatch.setattr(VideoWriter, "write", fail)
        out, lines = tmp_path / "out", tmp_path / "faces.jsonl"
        config = AlignConfig(
            tuple(map(str, clips)), model=fake_model, backend="saved_model", json=lines, output=out
        )
        assert align_inputs(config) == 1
        errors = [record["error"] for record in read_lines(lines) if "error" in record]
        assert len(errors) == 2
        assert "No space left" in errors[0]
        assert list(out.iterdir()) == []

    def test_frames(self, fake_model: str, tmp_path: Path) -> None:
        clip, lines = write_clip(tmp_path / "clip.mp4"), tmp_path / "faces.jsonl"
        assert (
            align_inputs(
                AlignConfig((str(clip),), model=fake_model, backend="saved_model", json=lines, frames=4)
            )
            == 0
        )
        assert len(read_lines(lines)) == 4


def cut_off(whole: Path, path: Path) -> Path:
    """Copy a video with its index in front and leave out the end of its frames."""
    with av.open(str(whole)) as given, av.open(str(path), "w", options={"movflags": "faststart"}) as copied:
        stream = copied.add_stream_from_template(given.streams.video[0])
        packets = [packet for packet in given.demux() if packet.dts is not None]
        for packet in packets:
            packet.stream = stream
            copied.mux(packet)
        left_out = sum(packet.size for packet in packets[len(packets) // 2 :])
    path.write_bytes(path.read_bytes()[:-left_out])
    return path


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
        monkeypatch.setattr(align, "CameraReader", StoppedReader)
        lines = tmp_path / "faces.jsonl"
        config = AlignConfig(
            camera=2, model=fake_model, backend="saved_model", json=lines, output=tmp_path / "out"
        )
        assert align_inputs(config) == 0
        assert "frames: 5" in capsys.readouterr().out
        assert {record["file"] for record in read_lines(lines)} == {"camera 2"}
        with VideoReader(tmp_path / "out" / "camera_2.mp4") as video:
            assert len(list(video)) == 5
