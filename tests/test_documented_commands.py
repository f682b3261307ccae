"""The commands and examples in README.md and docs/ work as they stand.

Commands of `align.py` on a photo, folder or video are run, except with a server or a model of the reader's.
Of every other Python command the options are parsed by its own script, so that an unknown or malformed option
fails. `test_documented_runs.py` runs those of the how-to pages.
"""

from __future__ import annotations

import ast
import base64
import importlib
import json
import os
import re
import runpy
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tyro

from tests.documented import ALL, INSTALLED, PAGES, PYTHON, fenced, is_alignment, lay_out
from tests.scripts import ROOT, run_script_here

RESUMED = {"train.py", "tune.py"}
"""Scripts that read their options from the folder after --resume."""
OTHERS = {
    "docker",
    "curl",
    "git",
    "kill",
    "export",
    ".",
    "cd",
    "saved_model_cli",
    "mkdir",
    "printf",
    "node",
    "npm",
}
"""Other programs, whose commands are not checked."""
KEYWORDS = {"do", "done", "for", "wait", "taskset"}
PLACEHOLDERS = {"PRESET": "fast_dhm", "SHIFT": "0.1", "SCALE": "0.1"}
"""Words that stand for a value which a script checks while it parses."""


def written_pages() -> list[Path]:
    """All pages that people read: documents, cards, notices."""
    return sorted({*PAGES, *ROOT.glob("*.md"), *ROOT.glob("*/*.md"), *ROOT.glob("savedmodels/*/*.md")})


@pytest.mark.parametrize("page", written_pages(), ids=lambda page: str(page.relative_to(ROOT)))
def test_a_page_holds_no_mark_of_an_unfinished_merge(page: Path) -> None:
    marks = re.findall(r"^(?:<{7}|={7}$|>{7}).*", page.read_text(), re.M)
    assert marks == []


class Parsed(Exception):
    """The options of a script were understood."""


@pytest.fixture
def stop_after_parsing(monkeypatch: pytest.MonkeyPatch) -> Callable[[str, list[str]], None]:
    """Starts a script and raises `Parsed` when it has parsed its options."""
    parse = tyro.cli

    def parse_and_stop(*positional: Any, **options: Any) -> Any:
        parsed = parse(*positional, **options)
        if options.get("return_unknown_args"):  # the options on which the defaults of others depend
            return parsed
        raise Parsed

    def start(script: str, arguments: list[str]) -> None:
        monkeypatch.setattr(tyro, "cli", parse_and_stop)
        monkeypatch.setattr(sys, "argv", [script, *arguments])
        monkeypatch.chdir(ROOT)
        if script.startswith("-m "):
            runpy.run_module(script[3:], run_name="__main__", alter_sys=True)
        else:
            runpy.run_path(script, run_name="__main__")

    return start


def test_there_are_commands() -> None:
    scripts = {script for _, script, _ in PYTHON}
    assert {"align.py", "train.py", "evaluate.py", "tune.py", "export.py", "prepare.py"} <= scripts
    assert len(PYTHON) > 30


def test_every_program_is_known() -> None:
    known = OTHERS | KEYWORDS | {"python", "make", "pip"} | set(INSTALLED)
    assert {(page, words[0]) for page, words in ALL if words[0] not in known} == set()


def is_checked(script: str) -> bool:
    return not script.startswith(("-m pytest", "-m pip", "-m venv", "-m tests."))


@pytest.mark.parametrize(
    ("page", "script", "arguments"),
    [case for case in PYTHON if is_checked(case[1])],
    ids=lambda value: value if isinstance(value, str) else " ".join(value)[:60],
)
def test_options(
    page: str, script: str, arguments: list[str], stop_after_parsing: Callable[[str, list[str]], None]
) -> None:
    if script in RESUMED and "--resume" in arguments:
        at = arguments.index("--resume")
        arguments = arguments[:at] + arguments[at + 2 :]
        if script == "tune.py":
            arguments += ["--data-dir", "wild68"]
    # An ellipsis stands for more of the same.
    arguments = [PLACEHOLDERS.get(word, word) for word in arguments if word not in ("…", "...")]
    with pytest.raises((Parsed, SystemExit)) as ended:
        stop_after_parsing(script, arguments)
    if isinstance(ended.value, SystemExit):
        assert ended.value.code in (0, None), f"{page}: python {script} {shlex.join(arguments)}"
        listed = script == "-m tf_dhm.cli" and not arguments
        assert listed or {"--help", "--version", "--tyro-print-completion"}.intersection(arguments)


def test_an_unknown_option_fails(stop_after_parsing: Callable[[str, list[str]], None]) -> None:
    for script in ("align.py", "train.py", "tune.py", "-m tools.studies.serving_load"):
        with pytest.raises(SystemExit) as ended:
            stop_after_parsing(script, ["--no-such-option", "1"])
        assert ended.value.code == 2


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    lay_out(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    "arguments",
    [arguments for _, script, arguments in PYTHON if is_alignment(script, arguments)],
    ids=lambda value: " ".join(value)[:60],
)
def test_alignment(arguments: list[str], folder: Path) -> None:
    before = set(folder.rglob("*"))
    done = run_script_here("align.py", *arguments, cwd=folder)
    assert done.returncode == 0, done.stderr
    assert "files failed: 0" in done.stdout + done.stderr
    if "-" not in arguments:
        assert set(folder.rglob("*")) > before


def test_the_request_of_a_large_photo(folder: Path) -> None:
    """The documented request is not limited by the length of a command line."""
    (block,) = [block for page, block in fenced("sh") if page == "serving.md" and "b64" in block]
    photo = bytes(range(256)) * 8000
    (folder / "photo.jpg").write_bytes(photo)
    subprocess.run(["sh", "-c", block.partition("curl ")[0]], cwd=folder, check=True)
    request = json.loads((folder / "request.json").read_text())
    assert request["signature_name"] == "align_jpeg"
    assert base64.b64decode(request["inputs"]["photos"][0]["b64"]) == photo
    assert "-d @request.json" in block


def test_targets_of_make_exist() -> None:
    rules = re.findall(r"^([.\w -]+):", (ROOT / "Makefile").read_text(), re.M)
    targets = {target for rule in rules for target in rule.split()}
    for page, words in ALL:
        if words[0] == "make":
            named = [word for word in words[1:] if "=" not in word]
            assert set(named) <= targets, page


def test_extras_exist() -> None:
    extras = re.findall(r"^([\w-]+) = \[", (ROOT / "pyproject.toml").read_text(), re.M)
    found = [extra for page in PAGES for extra in re.findall(r"(?:tf_dhm|\.)\[([\w,-]+)\]", page.read_text())]
    assert found
    assert set(",".join(found).split(",")) <= set(extras)


@pytest.mark.parametrize(("page", "block"), list(fenced("python")))
def test_names_of_examples_exist(page: str, block: str) -> None:
    for node in ast.walk(ast.parse(block)):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "tf_dhm":
            module = importlib.import_module(node.module)
            missing = [alias.name for alias in node.names if not hasattr(module, alias.name)]
            assert missing == [], page


def test_the_example_of_the_readme(folder: Path) -> None:
    (first, *_) = [block for page, block in fenced("python") if page == "README.md"]
    done = subprocess.run(
        [sys.executable, "-c", first],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    assert "(68, 3)" in done.stdout


SCRIPTS = sorted(path.name for path in ROOT.glob("*.py"))


@pytest.mark.parametrize("script", SCRIPTS)
def test_version(script: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    import tf_dhm

    monkeypatch.setattr(sys, "argv", [script, "--version"])
    monkeypatch.chdir(ROOT)
    with pytest.raises(SystemExit) as ended:
        runpy.run_path(script, run_name="__main__")
    assert ended.value.code == 0
    assert capsys.readouterr().out == f"tf_dhm {tf_dhm.__version__}\n"


@pytest.mark.parametrize("script", ["export.py", "prepare.py", "tune.py"])
def test_scripts_that_need_options_show_an_example(
    script: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    stop_after_parsing: Callable[[str, list[str]], None],
) -> None:
    with pytest.raises(SystemExit) as ended:
        stop_after_parsing(script, [])
    assert ended.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    example = re.search(rf"python {script} (.*) \(--help", line)
    assert example is not None
    with pytest.raises(Parsed):
        stop_after_parsing(script, example[1].split())
