"""The help of every script: each option with a text, in lines that fit, before any library is loaded."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.scripts import ROOT, run_script_here
from tf_dhm.cli import COMMANDS, COMPLETION
from tf_dhm.core.extras import EXTRAS

SCRIPTS = sorted(path.name for path in ROOT.glob("*.py"))
WIDTH = 100
SCREEN = 40
"""Lines of a terminal that the short help may fill."""
PROGRAMS = [
    *([script] for script in SCRIPTS),
    *(["tf_dhm.cli", command] for command in COMMANDS),
    *(["tools.jax_training", command] for command in ("pack", "train", "export")),
    ["pipelines.input.data_service"],
]
LIBRARIES = {package for packages in EXTRAS.values() for package in packages} - {"cv2"}
LIBRARIES |= {"keras_tuner", "tensorflow_addons", "jax"}
NEEDED = {"benchmark.py": "evaluate", "benchmark": "evaluate", COMPLETION: "evaluate"}
"""Programs whose options are part of a package that needs an extra."""


@pytest.mark.parametrize("script", SCRIPTS)
@pytest.mark.parametrize("option", ["--help", "--help-all"])
def test_help(script: str, option: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", str(WIDTH))
    done = run_script_here(script, option)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"usage: {script}")
    lines = done.stdout.splitlines()
    commands = re.compile(r" {4,8}\S")  # they are copied from there, and stay whole
    assert [line for line in lines if len(line) > WIDTH and not commands.match(line)] == []
    assert not re.search(r"ANNOTATED|None|default:", done.stdout)
    options = done.stdout[done.stdout.index("\noptions:") :]
    rows = re.findall(r"^  -.*(?:\n {10,}.*)*", options, re.M)
    assert len(rows) >= 3
    if option == "--help":
        assert len(lines) <= SCREEN
        # No text is cut within brackets.
        assert [row for row in rows if row.count("(") != row.count(")")] == []
    else:
        # Every option has a text that ends as one.
        for row in rows:
            assert re.search(r"(?<=\s)[A-Z\"].* .*([.\]]|\(required\))$", " ".join(row.split())), row


def run_without_libraries(*words: str, extra: str | None = None) -> subprocess.CompletedProcess[str]:
    """Run a script or a module with arguments in a process in which an import of a large library fails.

    Args:
        words: the script or module, and its arguments.
        extra: its packages may be imported, as those that the program needs.
    """
    extras = [NEEDED[word] for word in words if word in NEEDED] + ([extra] if extra else [])
    needed = [package for name in extras for package in EXTRAS[name]]
    code = f"""
import runpy, sys
sys.modules.update(dict.fromkeys({sorted(LIBRARIES.difference(needed))}))
sys.argv = sys.argv[1:]
if sys.argv[0].endswith(".py"):
    runpy.run_path(sys.argv[0], run_name="__main__")
else:
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
"""
    command = [sys.executable, "-c", code, *words]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("program", PROGRAMS, ids=" ".join)
def test_options_are_parsed_before_libraries_are_loaded(program: list[str]) -> None:
    done = run_without_libraries(*program, "--help")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("usage:")
    done = run_without_libraries(*program, "--no-such-option", "1")
    assert done.returncode == 2
    assert re.search("--no-such-option|Missing argument", done.stderr + done.stdout)
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    "command",
    [
        "train.py --faces 0",
        "train.py --preset x",
        "train.py --dataset x",
        "train.py --dataset csv --dataset-weights 1 2",
        "train.py --data-service x",
        "train.py --resume none",
        "tune.py --data-dir none --trials 0",
        "tune.py --data-dir none --preset x",
        "tune.py --data-dir none --dataset x",
        "tune.py --data-dir none --input-size 33",
        "evaluate.py --faces 0",
        "evaluate.py --faces 5 --data-dir .",
        "evaluate.py --dataset x",
        "evaluate.py --models-dir none",
        "evaluate.py --models none",
        "evaluate.py --data-dir none",
        "evaluate.py --data-dir . --labels none.npz",
        "evaluate.py --boxes true --passes default",
        "adapt.py --name x --dataset csv",
        "adapt.py --name x --dataset synthetic --model none",
        "export.py --model none",
        "export.py --model fast_dhm --tflite int8",
        "prepare.py --output-dir none --dataset x",
        "tools.jax_training pack --folder none --faces 0",
        "tools.jax_training pack --folder none --dataset x",
        "tools.jax_training train --folder none --steps 1",
    ],
)
def test_values_are_checked_before_libraries_are_loaded(command: str) -> None:
    done = run_without_libraries(*command.split())
    assert done.returncode == 2
    assert "found" in done.stderr
    assert not re.search("Traceback|package", done.stderr)


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("image,x0,y0,x1\n", "found no column y1"),
        ("image;x0;y0\na.png;1;2\n", "found no column image, x0, y0"),
        ("image,x0,y0\na.png,1,b\n", "y0: found text"),
        ("image,x0,y0\na.png,1,2\n", "found 1 usable faces"),
    ],
)
def test_adapt_checks_labels_before_tensorflow_is_loaded(tmp_path: Path, text: str, error: str) -> None:
    (tmp_path / "a.png").write_bytes(b"pixels")
    (tmp_path / "faces.csv").write_text(text)
    done = run_without_libraries("adapt.py", "--name", "x", "--data-dir", str(tmp_path), extra="evaluate")
    assert done.returncode == 2
    assert error in done.stderr


def test_completion_loads_no_libraries() -> None:
    done = run_without_libraries("tf_dhm.cli", COMPLETION, "bash")
    assert (done.returncode, done.stderr) == (0, "")
    for option in ("--learning-rate", "--latency-weight", "--adapt-folds", "--promote", "--mirror-map"):
        assert option in done.stdout
