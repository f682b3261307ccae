"""align.py from end to end, as a user runs it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.fakes import draw_cartoon_face, mean_shape_in_box, write_fake_model
from tests.scripts import ROOT, run_script_here
from tf_dhm.runtime.video_writer import VideoWriter


def run_align(*arguments: str | Path, cwd: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(ROOT / "align.py"), *map(str, arguments)]
    environment = {**os.environ, **variables}
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, env=environment, timeout=120)


def test_photos_and_a_video(tmp_path: Path) -> None:
    model = write_fake_model(tmp_path / "models" / "fake")
    album = tmp_path / "album"
    album.mkdir()
    Image.fromarray(draw_cartoon_face()).save(album / "one.png")
    (album / "broken.jpg").write_bytes(b"\xff\xd8\xff\xe0 not a photo")
    with VideoWriter(album / "zoo.mp4", 25) as writer:
        writer.write(draw_cartoon_face())
    done = run_script_here(
        "align.py",
        *(
            "album",
            "--model",
            model,
            "--backend",
            "saved_model",
            "--passes",
            "2",
            "--output",
            "out",
            "--json",
            "faces.jsonl",
        ),
        *("--draw", "points", "axes"),
        cwd=tmp_path,
    )
    assert done.returncode == 1, done.stderr
    assert "files: 3, faces: 2, files without a face: 0, files failed: 1" in done.stdout
    assert "error: photo album/broken.jpg: found a broken picture" in done.stderr
    assert "Traceback" not in done.stderr
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["one.png", "zoo.mp4"]
    broken, one, frame = map(json.loads, (tmp_path / "faces.jsonl").read_text().splitlines())
    assert broken["file"] == "album/broken.jpg"
    assert (frame["file"], frame["frame"]) == ("album/zoo.mp4", 0)
    (face,) = one["faces"]
    np.testing.assert_allclose(face["landmarks"], mean_shape_in_box(np.array(face["box"])), atol=0.01)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["photo.png", "--json", "f.jsonl", "--model", "."], "error: model .: found "),
        (["*.jpg", "--json", "f.jsonl"], "error: files: found no file that matches *.jpg"),
        ([], "error: files: found none, expected photos"),
        (["photo.png", "--csv", "/"], "error: /: found a folder, expected a file"),
        (["photo.png", "--json", "-", "--csv", "-"], "error: --json and --csv: found - for both"),
        (["photo.png", "--json", "-", "--resume"], "error: --resume: found records on standard output"),
        (["--camera", "97", "--json", "f.jsonl"], "error: camera 97: cannot be opened"),
    ],
)
def test_errors(tmp_path: Path, arguments: list[str], message: str) -> None:
    Image.new("RGB", (9, 9)).save(tmp_path / "photo.png")
    done = run_script_here("align.py", *arguments, cwd=tmp_path)
    assert done.returncode == 2
    assert message in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["photo.png"]


def test_a_pipe_is_no_file(tmp_path: Path) -> None:
    Image.new("RGB", (9, 9)).save(tmp_path / "photo.png")
    done = run_align("photo.png", "--json", "/dev/stdout", cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr.startswith("error: /dev/stdout: found a device or pipe, expected a file")
    assert [path.name for path in tmp_path.iterdir()] == ["photo.png"]


def test_a_photo_takes_no_tensorflow_and_little_to_say(tmp_path: Path) -> None:
    Image.fromarray(draw_cartoon_face()).save(tmp_path / "photo.png")
    (tmp_path / "tensorflow.py").write_text("raise SystemExit('TensorFlow was loaded')")
    done = run_align("photo.png", "--json", "faces.jsonl", cwd=tmp_path, PYTHONPATH=str(tmp_path))
    assert done.returncode == 0, done.stderr
    assert "files: 1, faces: 1" in done.stdout
    said = [line for line in done.stderr.replace("\r", "\n").splitlines() if line.strip()]
    assert [line for line in said if not line.startswith(("files:", "INFO: Created"))] == []


def test_a_photo_alone_is_drawn_into_a_folder(tmp_path: Path) -> None:
    Image.fromarray(draw_cartoon_face()).save(tmp_path / "photo.png")
    done = run_align("photo.png", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        "photo.png: 1 face, drawn in aligned/photo.png",
        "files: 1, faces: 1, files without a face: 0, files failed: 0",
    ]
    assert Image.open(tmp_path / "aligned" / "photo.png").size == (256, 256)


def test_a_photo_from_a_pipe(tmp_path: Path) -> None:
    Image.fromarray(draw_cartoon_face()).save(tmp_path / "photo.png")
    photo = tmp_path / "photo.png"
    for source in ("-", "/dev/stdin"):
        script = [sys.executable, str(ROOT / "align.py"), source, "--json", "-", "--quiet"]
        with subprocess.Popen(["cat", str(photo)], stdout=subprocess.PIPE) as cat:
            done = subprocess.run(script, stdin=cat.stdout, capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stderr
        (record,) = map(json.loads, done.stdout.splitlines())
        assert (record["file"], len(record["faces"])) == (source, 1)


def test_records_on_standard_output(tmp_path: Path) -> None:
    Image.fromarray(draw_cartoon_face()).save(tmp_path / "photo.png")
    done = run_align("photo.png", "--json", "-", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    (line,) = done.stdout.splitlines()
    assert len(json.loads(line)["faces"]) == 1
    assert "files: 1, faces: 1" in done.stderr
    done = run_align("photo.png", "--csv", "-", cwd=tmp_path)
    header, row = done.stdout.splitlines()
    assert header.startswith("file,frame")
    assert row.startswith("photo.png,")
    assert [path.name for path in tmp_path.iterdir()] == ["photo.png"]


def test_unknown_option(tmp_path: Path) -> None:
    done = run_script_here("align.py", "photo.png", "--jsn", "f.jsonl", cwd=tmp_path)
    assert done.returncode == 2
    assert "--jsn" in done.stdout + done.stderr
