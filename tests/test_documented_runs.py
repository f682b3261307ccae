"""The commands and examples of README.md and the how-to pages are run, and write what the page promises.

A command is taken from its page. Only names that stand for something of the reader's are replaced, and
options that make the work small are added. What cannot be run here is in `NOT_RUN` with the reason, so that a
new command has to be run or listed.
"""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
import threading
import urllib.request
import webbrowser
from collections.abc import Callable, Iterator
from http.server import ThreadingHTTPServer
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd
import pytest

from pipelines.datasets import csv_landmarks
from pipelines.prepared import prepare
from pipelines.synthetic.renderer import FaceRenderer
from tests.builders import face, pose_para, write_300w_lp, write_aflw2000
from tests.documented import ALL, PHOTO, fenced, is_alignment, lay_out, script_of
from tests.faces import write_faces
from tests.scripts import ROOT, run_script_here
from tests.serving_double import ServingDouble
from tf_dhm.commands import demo
from tf_dhm.commands.archive import ArchiveConfig, open_job
from tf_dhm.commands.archive_parts import Folder, align_part
from tf_dhm.runtime.aligner import Aligner
from tf_dhm.runtime.store import DEFAULT_MODEL, SAVEDMODELS


def how_to_pages() -> set[str]:
    """File names of README.md and of the pages below "How to" in mkdocs.yml."""
    (section,) = re.findall(r"  - How to:\n((?:      - .*\n)+)", (ROOT / "mkdocs.yml").read_text())
    return {"README.md", *re.findall(r": (\S+\.md)$", section, re.M)}


PAGES = how_to_pages()
COMMANDS = [(page, words) for page, words in ALL if page in PAGES]
NOT_RUN_PROGRAMS = {
    "pip": "installs packages; tests/test_package.py installs this one",
    "make": "sets up an environment; CI runs its targets",
    "docker": "needs a container",
    "export": "sets a variable for the command after it",
    "mkdir": "a folder in the reader's home",
    "cd": "needs a build of the page; `make test-web` of CI makes and tests it",
    "npm": "needs packages of npm; `make test-web` of CI installs and uses them",
    "node": "needs Firefox",
}
"""Programs whose commands are not run, and why."""
NOT_RUN = {
    ("README.md", "--camera 0 --show"): "needs a camera and a window",
    ("README.md", "align_archive.py"): "starts Ray; tests/test_align_archive.py runs it",
    ("README.md", "tune.py"): "hours; tests/test_tune.py runs a small search",
    ("README.md", "tf_dhm.demo"): "that of web.md is run",
    ("adapt.md", "--dataset synthetic"): "renders 200 faces; that for a CSV file is run",
    ("adapt.md", "--dataset lfpw"): "needs a dataset that is not public",
    ("adapt.md", "--adapt-folds"): "tests/pipelines/adaptation/test_crossfit.py runs it",
    ("archive.md", "align_archive.py"): "starts Ray; tests/test_align_archive.py runs it",
    ("distributed.md", "train.py"): "needs several machines; test_train_distributed.py runs two processes",
    ("distributed.md", "data_service"): "tests/pipelines/input/test_services.py starts services",
    ("gpu.md", "tools.jax_training"): "tests/tools/jax_training/test_commands.py runs the three in order",
    ("mesh.md", "--camera 0 --osc"): "needs a camera",
    ("mesh.md", "measure_mesh.py"): "tests/tools/studies/test_mesh.py runs it on a few faces",
    ("mesh.md", "result_tables"): "writes docs/; its test compares them",
    ("mesh.md", "draw_mesh.py"): "draws the committed figure again",
    ("mesh.md", "build_mediapipe_table.py"): "needs a file of MediaPipe",
    ("peers.md", "--peers mediapipe dlib"): "needs packages and files of others",
    ("peers.md", "accuracy_tables"): "writes docs/",
    ("serving.md", "tests.serving_double"): "loads all models; `server` is the same with one of them",
    ("serving.md", "--renew"): "tests/tf_dhm/export/test_serving_models.py renews a model",
    ("serving.md", "--model runs/NAME/export/PRESET"): "the same command of training.md is run",
    ("serving.md", "--promote mine"): "the same command of training.md is run",
    ("serving.md", "serving_load"): "tests/tools/studies/test_serving_load.py runs it",
    ("serving.md", "result_tables"): "writes docs/; its test compares them",
    ("photos.md", "--tyro-print-completion"): "tests/tf_dhm/test_cli.py runs it and uses the completions",
    ("synthetic.md", "draw_gallery"): "tests/tools/test_draw_gallery.py runs it",
    ("synthetic.md", "rendering_rate"): "a measurement",
    ("synthetic.md", "train.py"): "10 minutes and more; tests/test_train.py trains on a few rendered faces",
    ("synthetic.md", "evaluate.py"): "all models; tests/test_evaluate.py runs it with two small ones",
    ("tracking.md", "--camera 0 --show"): "needs a camera and a window",
    ("tracking.md", "tracking_measures"): "a measurement of minutes",
    ("tracking.md", "result_tables"): "writes docs/; its test compares them",
    ("training.md", "train.py$"): "10 minutes; tests/test_train.py trains on a few rendered faces",
    ("training.md", "train.py --preset fast_dhm_paper"): "days; that of fast_dhm_m is run, smaller",
    ("training.md", "evaluate.py --models runs/NAME"): "tests/test_evaluate.py runs it with two small models",
    ("training.md", "tf-dhm train"): "train.py is run with the same options",
    ("training.md", "studies.rate"): "a measurement; tests/tools/studies/test_rate.py runs it",
    ("tuning.md", "tune.py (--data-dir|--resume)"): "hours; tests/test_tune.py runs a small search",
    ("tuning.md", "train.py"): "an hour; training.md's commands are run",
    ("tuning.md", "export.py --model runs/tune"): "needs a search; the same command of training.md is run",
    ("tuning.md", "result_tables"): "writes docs/; its test compares them",
    ("web.md", "measure_web.py"): "needs a browser; a measurement",
    ("web.md", "web_test_data.py"): "`make test-web` of CI runs it",
}
"""Commands of a page, by a regular expression, that are not run, and why."""
RUN: list[tuple[str, list[str]]] = []
"""The commands that tests of this module run: `documented` enters them."""

SMALL = shlex.split(
    "--input-size 32 --stem-channels 8 --stage-channels 8 16 --stage-blocks 0 1 --recurrent-channels 16 "
    "--recurrent-steps 1 --hidden-units 16 --batch-size 16 --epochs 1 --quality-crops 0"
)
"""Options of train.py for a network that is trained in seconds."""


def matching(page: str, part: str) -> list[list[str]]:
    """The commands of a page in which a regular expression is found."""
    return [words for name, words in COMMANDS if name == page and re.search(part, shlex.join(words))]


def documented(page: str, *parts: str) -> pytest.MarkDecorator:
    """Give a test the commands of a page, as `commands`: the one that each regular expression finds."""
    commands = []
    for part in parts:
        found = matching(page, part)
        assert found, f"{page} has no command with {part!r}"
        assert all(words == found[0] for words in found), f"{page} has several commands with {part!r}"
        commands.append(found[0])
        RUN.extend((page, words) for words in found)
    return pytest.mark.parametrize("commands", [commands], ids=[page])


def run(words: list[str], folder: Path, *options: str, **names: str) -> str:
    """Run a command in a folder, with further options and values for the names in it; what it printed."""
    script, arguments = script_of(words) or pytest.fail(f"no Python command: {words}")
    for name, value in names.items():
        arguments = [word.replace(name, value) for word in arguments]
    if script.startswith("-m "):
        script = script[3:].replace(".", "/") + ".py"
    done = run_script_here(script, *arguments, *options, cwd=folder)
    assert done.returncode == 0, f"{shlex.join(words)}\n{done.stdout}{done.stderr}"
    return done.stdout + done.stderr


def test_every_command_is_run_or_listed() -> None:
    aligned = [
        (page, words)
        for page, words in COMMANDS
        if (started := script_of(words)) and is_alignment(started[0], started[1])
    ]
    listed = [(page, words) for page, part in NOT_RUN for words in matching(page, part)]
    missing = [
        f"{page}: {shlex.join(words)}"
        for page, words in COMMANDS
        if words[0] not in NOT_RUN_PROGRAMS and (page, words) not in [*RUN, *aligned, *listed]
    ]
    assert missing == []
    assert [words for words in listed if words in [*RUN, *aligned]] == []


@pytest.mark.parametrize(("page", "part"), NOT_RUN)
def test_the_list_has_no_command_that_is_gone(page: str, part: str) -> None:
    assert matching(page, part)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with a photo, a folder of photos, a video, and the committed models."""
    lay_out(tmp_path)
    (tmp_path / "savedmodels").symlink_to(SAVEDMODELS)
    return tmp_path


def run_block(block: str, names: dict[str, Any]) -> None:
    """Execute an example; every expression with a comment such as `# (68, 3)` has arrays of these shapes."""
    exec(block, names)
    for line in block.splitlines():
        code, mark, comment = line.strip().partition("  # ")
        shapes = re.findall(r"\((\d+,[\d, ]*)\)", comment)
        if mark and shapes and "=" not in code and not code.startswith("print("):
            value = eval(code, names)
            values = value if isinstance(value, tuple) else (value,)
            expected = [tuple(map(int, re.findall(r"\d+", shape))) for shape in shapes]
            assert [np.shape(found) for found in values] == expected, line


def image() -> np.ndarray:
    return cv2.cvtColor(cv2.imread(str(PHOTO)), cv2.COLOR_BGR2RGB)


EXAMPLES: dict[str, Callable[[], dict[str, Any]]] = {
    "mesh.md": lambda: {"points": np.zeros((478, 3))},
    "photos.md": lambda: {"image": image(), "other": image(), "x0": 180, "y0": 70, "x1": 270, "y1": 180},
    "synthetic.md": dict,
    "tracking.md": dict,
}
"""Pages whose examples are run one after another, and the names of the reader's that they take."""
EXAMPLES_ELSEWHERE = {"README.md", "archive.md", "serving.md", "tflite.md"}
"""Pages with examples that other tests run: that of README.md test_documented_commands.py, that of tflite.md
test_tflite_page.py."""


def test_every_example_is_run() -> None:
    assert {page for page, _ in fenced("python")} & PAGES == EXAMPLES.keys() | EXAMPLES_ELSEWHERE


@pytest.mark.slow
@pytest.mark.parametrize("page", EXAMPLES)
def test_examples(
    page: str, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write_aflw2000(folder / "AFLW2000-3D", "image00002")
    monkeypatch.chdir(folder)
    names = EXAMPLES[page]()
    for block in (block for name, block in fenced("python") if name == page):
        run_block(block.replace("read(1000, ", "read(2, "), names)
    if page == "tracking.md":
        *frames, residuals = capsys.readouterr().out.splitlines()
        assert [line.split()[0] for line in frames] == ["0", "1", "2"]
        assert all("(68, 3)" in line for line in frames)
        assert residuals.startswith("1 [")


# Pages


@pytest.mark.slow
def test_the_table_of_an_archive(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The example of archive.md on the part that a worker writes, without starting Ray."""
    (folder / "broken.jpg").write_bytes(b"no photo")
    manifest = pd.DataFrame({"path": ["photo.jpg", "photos/one.jpg", "broken.jpg"]})
    manifest.to_parquet(folder / "photos.parquet")
    output = Folder(folder / "faces")
    align_part(Aligner(), output, open_job(ArchiveConfig(folder / "photos.parquet", output.root), output), 0)
    monkeypatch.chdir(folder)
    (example,) = [block for page, block in fenced("python") if page == "archive.md"]
    names: dict[str, Any] = {}
    run_block(example, names)
    assert [points.shape for points in names["points"]] == [(68, 3)] * 2
    assert pd.read_csv("again.csv").path.tolist() == ["broken.jpg"]


def test_reading_records_with_pandas(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The example of formats.md on a photo with a face, one without, and a broken one."""
    cv2.imwrite(str(folder / "photos" / "black.png"), np.zeros((90, 120, 3), np.uint8))
    (folder / "photos" / "broken.jpg").write_bytes(b"no photo")
    done = run_script_here("align.py", "photos", "--json", "faces.jsonl", "--csv", "faces.csv", cwd=folder)
    assert "files failed: 1" in done.stdout + done.stderr
    monkeypatch.chdir(folder)
    (example,) = [block for page, block in fenced("python") if page == "formats.md"]
    names: dict[str, Any] = {}
    exec(example, names)
    (face,) = names["faces"].to_dict("records")
    assert face["file"] == "photos/one.jpg"
    assert len(names["table"]) == 1
    assert [names["left"].iloc[0], names["right"].iloc[0]] == pytest.approx(face["box"][::2])
    assert [names["jaw_x"].iloc[0], names["jaw_y"].iloc[0]] == pytest.approx(face["landmarks"][0][:2])
    assert "pose.yaw" in face


@pytest.fixture
def server(folder: Path) -> Iterator[ServingDouble]:
    double = ServingDouble({DEFAULT_MODEL: folder / "savedmodels" / DEFAULT_MODEL}).start()
    yield double
    double.stop()


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("curl") is None, reason="the page uses curl")
@documented("serving.md", "--server localhost:8500", "printf", "curl .*:predict", "curl .*/fast_dhm_m$")
def test_serving(
    commands: list[list[str]],
    folder: Path,
    server: ServingDouble,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    ports = {"localhost:8500": f"localhost:{server.port}", "localhost:8501": f"localhost:{server.rest_port}"}

    def moved(text: str) -> str:
        for port, free in ports.items():
            text = text.replace(port, free)
        return text

    run([moved(word) for word in commands[0]], folder)
    (record,) = map(json.loads, (folder / "faces.jsonl").read_text().splitlines())
    assert np.shape(record["faces"][0]["landmarks"]) == (68, 3)

    status, predict = [block for page, block in fenced("sh") if page == "serving.md" and "curl" in block]
    said, found = (
        subprocess.run(["sh", "-ec", moved(block)], cwd=folder, capture_output=True, text=True, check=True)
        for block in (status, predict)
    )
    assert json.loads(said.stdout)["model_version_status"][0]["state"] == "AVAILABLE"
    answer = json.loads(found.stdout)["outputs"]
    assert np.shape(answer["landmarks"]) == (1, 68, 3)

    monkeypatch.chdir(folder)
    for example in [block for page, block in fenced("python") if page == "serving.md"]:
        names: dict[str, Any] = {}
        run_block(moved(example), names)
    assert capsys.readouterr().out.startswith("(1, 68, 3) [")
    np.testing.assert_allclose(names["found"]["landmarks"], answer["landmarks"], atol=1e-2)


@documented("web.md", "tf_dhm.demo")
def test_demo(commands: list[list[str]], folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The page opens in the browser: here its source in place of what `make web` builds, on a free port."""
    servers: list[ThreadingHTTPServer] = []
    pages: list[bytes] = []
    make_server = demo.make_server

    def make_on_free_port(page: Path, port: int) -> ThreadingHTTPServer:
        assert page == demo.PAGE
        assert re.search(rf"127\.0\.0\.1:{port}/", (ROOT / "docs" / "web.md").read_text())
        servers.append(make_server(ROOT / "web" / "page"))
        return servers[0]

    def fetch(url: str) -> None:
        with urllib.request.urlopen(url, timeout=30) as answer:
            pages.append(answer.read())
        servers[0].shutdown()

    def start_browser(url: str) -> bool:
        threading.Thread(target=fetch, args=(url,)).start()
        return True

    monkeypatch.setattr(demo, "make_server", make_on_free_port)
    monkeypatch.setattr(webbrowser, "open", start_browser)
    assert "Serving http://127.0.0.1:" in run(commands[0], folder)
    assert pages == [(ROOT / "web" / "page" / "index.html").read_bytes()]


def write_rendered_faces(folder: Path, count: int) -> None:
    """faces.csv with all landmarks of rendered faces, and their photos."""
    rows = []
    for index in range(count):
        rendered = FaceRenderer().render(5, index)
        cv2.imwrite(str(folder / f"face{index}.png"), rendered.image[..., ::-1])
        points = {
            f"{axis}{i}": v[a] for i, v in enumerate(rendered.landmarks) for a, axis in enumerate("xyz")
        }
        rows.append({"image": f"face{index}.png", **points})
    pd.DataFrame(rows).to_csv(folder / "faces.csv", index=False)


@pytest.mark.slow
@documented("adapt.md", "--dataset csv", "--model runs/my_labels")
def test_adapting(commands: list[list[str]], folder: Path) -> None:
    adapt, align = commands
    write_rendered_faces(folder, 24)
    assert "24 faces of 68 points; mean NME on held-out faces" in run(adapt, folder)
    model = folder / "runs" / "my_labels"
    assert (model / "1" / "saved_model.pb").is_file()
    assert (model / "1" / "my_labels_float16.tflite").is_file()
    assert (model / "README.md").is_file()
    assert "files failed: 0" in run(align, folder)
    assert (folder / "aligned" / "photo.jpg").is_file()


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with runs/my_run, the run of a small network by the first command of training.md."""
    folder = tmp_path_factory.mktemp("trained")
    lay_out(folder)
    prepare.prepare("wild68", csv_landmarks.read(write_faces(folder / "faces", 32, 9)), folder / "wild68")
    (words, *_) = matching("training.md", "--name my_run")
    run(words, folder, *SMALL, PATH="wild68")
    return folder


@pytest.mark.slow
@documented(
    "training.md",
    "--name my_run",
    "--resume",
    "runs/NAME.* --tflite float16",
    "photo.jpg --model runs/NAME",
    "--promote NAME",
)
def test_training(commands: list[list[str]], trained: Path) -> None:
    _, resume, export, align, promote = commands
    names = {"NAME": "my_run", "PRESET": "fast_dhm_m"}
    exported = trained / "runs" / "my_run" / "export" / "fast_dhm_m"
    shutil.rmtree(exported)  # as if the run had been stopped before it was exported
    assert "exported to runs/my_run/export/fast_dhm_m/1" in run(resume, trained)
    assert (exported / "README.md").is_file()
    run(export, trained, **names)
    assert (exported / "1" / "fast_dhm_m_float16.tflite").is_file()
    assert "files failed: 0" in run(align, trained, **names)
    assert run(promote, trained, **names).startswith("promoted to savedmodels/my_run/1\n")
    assert (trained / "savedmodels" / "my_run" / "1" / "my_run_float16.tflite").is_file()


@pytest.mark.slow
@documented(
    "training.md",
    "photos --csv",
    "--name mine",
    "--split val",
    "runs/mine.* --tflite float16",
    "photo.jpg --model runs/mine",
)
def test_your_own_faces(commands: list[list[str]], folder: Path) -> None:
    """A table of pseudo-labels is trained on, and what was held out is measured."""
    table, train, evaluate, export, align = commands
    portrait = cv2.imread(str(PHOTO))
    for number in range(7):
        shifted = np.roll(portrait, (4 * number, 3 * number), (0, 1))
        cv2.imwrite(str(folder / "photos" / f"{number}.jpg"), shifted)
    run(table, folder)
    assert len(pd.read_csv(folder / "photos" / "faces.csv")) == 8  # and photos/one.jpg
    run(train, folder, "--batch-size", "4", "--quality-crops", "16")
    run(evaluate, folder)
    results = json.loads((folder / "runs" / "evaluation" / "metrics.json").read_text())
    assert 0.0 < results["fast_dhm_s"]["original"]["nme_mean"] < 10.0
    run(export, folder)
    assert "files failed: 0" in run(align, folder)


@pytest.mark.slow
@documented("web.md", "--tflite web")
def test_a_web_file(commands: list[list[str]], trained: Path) -> None:
    run(commands[0], trained, fast_dhm="fast_dhm_m")
    assert (trained / "runs/my_run/export/fast_dhm_m/1/fast_dhm_m_web.tflite").is_file()


@pytest.mark.slow
@documented("training.md", "prepare.py --dataset 300w_lp", "runs/paper/export")
def test_datasets_of_the_paper(commands: list[list[str]], folder: Path, trained: Path) -> None:
    """They are prepared, and measured with the small network in place of the paper's."""
    prepare_faces, evaluate = commands
    for number in range(4):
        write_300w_lp(folder / "300W-LP", "AFW", f"AFW_{number}_1_0", face(number))
    for number, yaw in enumerate((0.1, 0.8, 1.3)):
        stem = f"image{number:05d}"
        write_aflw2000(folder / "AFLW2000-3D", stem, face(number, depth=True), Pose_Para=pose_para(yaw=yaw))
    run(prepare_faces, folder)
    assert len(pd.read_parquet(folder / "prepared" / "300w_lp" / "index.parquet")) == 4
    shutil.copytree(trained / "runs/my_run/export/fast_dhm_m", folder / "runs/paper/export/fast_dhm_paper")
    run(evaluate, folder)
    results = json.loads((folder / "runs" / "evaluation" / "metrics.json").read_text())
    assert results["fast_dhm_paper"]["original"]["images"] == 3


@pytest.mark.slow
@documented("training.md", "prepare.py --dataset NAME")
def test_preparing(commands: list[list[str]], folder: Path) -> None:
    write_faces(folder / "faces", 4, 3)
    run(commands[0], folder, NAME="csv", DIR="faces", OUT="prepared")
    assert len(pd.read_parquet(folder / "prepared" / "index.parquet")) == 7


@pytest.mark.slow
@documented("tuning.md", "prepare.py --dataset synthetic", "tune.py --dataset synthetic")
def test_a_search_without_a_dataset(commands: list[list[str]], folder: Path) -> None:
    prepare_faces, tune = commands
    few = {"1000": "170"}  # a batch is 128
    assert "synthetic: 170 faces" in run(prepare_faces, folder, **few)
    assert "2 trained, 0 not" in run(tune, folder, **few)
    assert len(pd.read_csv(folder / "runs" / "small" / "trials.csv")) == 2


@documented("synthetic.md", "prepare.py --dataset synthetic --help")
def test_help_of_prepare(commands: list[list[str]], folder: Path) -> None:
    assert run(commands[0], folder).startswith("usage: prepare.py")


@documented("training.md", "train.py --help")
def test_help_of_train(commands: list[list[str]], folder: Path) -> None:
    assert run(commands[0], folder).startswith("usage: train.py")


@documented("photos.md", "python -m tf_dhm.cli$")
def test_the_list_of_commands(commands: list[list[str]], folder: Path) -> None:
    assert "align " in run(commands[0], folder)
