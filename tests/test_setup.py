"""Set-up: the Makefile's choice of a Python, the pins, and the one direction of imports."""

from __future__ import annotations

import ast
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SHELL_TOOLS = ("sh", "touch", "mkdir")

needs_make = pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")


def write_program(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)


def fake_python(path: Path, version: str, supported: bool, log: Path) -> None:
    """A stand-in that answers the Makefile's questions, logs its calls and makes environments."""
    write_program(
        path,
        f"""case "$*" in
    *sys.exit*) exit {0 if supported else 1} ;;
    *print*) echo {version}; exit 0 ;;
esac
echo "$*" >> {log}
if [ "$2" = venv ]; then mkdir -p "$4/bin" && cp "$0" "$4/bin/python"; fi""",
    )


def run_make(target: str, folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a copy of the Makefile in `folder`, with nothing on the PATH but `folder`/bin."""
    shutil.copy(ROOT / "Makefile", folder)
    if not (folder / "requirements.txt").exists():
        (folder / "requirements.txt").touch()
    tools = folder / "bin"
    tools.mkdir(exist_ok=True)
    for name in (*SHELL_TOOLS, "cp"):
        program = shutil.which(name)
        assert program is not None
        if not (tools / name).exists():
            (tools / name).symlink_to(program)
    make = shutil.which("make")
    assert make is not None
    # MAKEFLAGS and VENV of a make that runs these tests must not reach this one.
    return subprocess.run(
        [make, target, *arguments],
        cwd=folder,
        env={"PATH": str(tools), "HOME": os.environ.get("HOME", "/")},
        capture_output=True,
        text=True,
        timeout=60,
    )


@needs_make
def test_make_names_the_python_it_found_and_the_one_it_needs(tmp_path: Path) -> None:
    fake_python(tmp_path / "bin" / "python3", "3.12.1", False, tmp_path / "log")
    result = run_make("test", tmp_path)
    assert result.returncode != 0
    assert "error: Python: found python3 3.12.1, expected Python 3.11 or 3.10" in result.stderr
    assert not (tmp_path / ".venv").exists()


@needs_make
def test_make_without_any_python_says_so(tmp_path: Path) -> None:
    result = run_make("train", tmp_path)
    assert result.returncode != 0
    assert "error: Python: found none, expected Python 3.11 or 3.10" in result.stderr


@needs_make
def test_make_passes_over_a_stand_in_that_does_not_run(tmp_path: Path) -> None:
    write_program(tmp_path / "bin" / "python3.11", "echo 'command not found' >&2; exit 127")
    fake_python(tmp_path / "bin" / "python3.10", "3.10.13", True, tmp_path / "log")
    result = run_make(".venv", tmp_path)
    assert result.returncode == 0, result.stderr
    assert "Making .venv with python3.10" in result.stdout


@needs_make
def test_make_with_a_named_python_tries_no_other(tmp_path: Path) -> None:
    fake_python(tmp_path / "bin" / "python3.11", "3.11.7", True, tmp_path / "log")
    fake_python(tmp_path / "mine", "3.9.2", False, tmp_path / "log")
    result = run_make(".venv", tmp_path, f"PYTHON={tmp_path / 'mine'}")
    assert result.returncode != 0
    assert f"found {tmp_path / 'mine'} 3.9.2" in result.stderr


@needs_make
def test_make_installs_requirements_once_and_again_when_they_change(tmp_path: Path) -> None:
    log = tmp_path / "log"
    fake_python(tmp_path / "bin" / "python3.11", "3.11.7", True, log)

    def calls(target: str) -> list[str]:
        log.write_text("")
        result = run_make(target, tmp_path)
        assert result.returncode == 0, result.stderr
        return log.read_text().splitlines()

    fast_tests = "-m pytest -n auto --maxprocesses 4 --dist loadfile -m not slow"
    install = "-m pip install --quiet --disable-pip-version-check -r requirements.txt"
    run_make("nothing", tmp_path)  # lays out the folder
    assert calls("test") == ["-m venv --clear .venv", install, fast_tests]
    stamp = (tmp_path / ".venv" / ".requirements-installed").stat()
    os.utime(tmp_path / "requirements.txt", (stamp.st_atime, stamp.st_mtime - 10))
    assert calls("test-long") == ["-m pytest -m slow"]
    assert calls("train") == ["train.py"]
    os.utime(tmp_path / "requirements.txt", (stamp.st_atime, stamp.st_mtime + 10))
    assert calls("test") == ["-m pip --version", install, fast_tests]


def test_every_requirement_is_pinned_exactly() -> None:
    lines = [line for line in (ROOT / "requirements.txt").read_text().splitlines() if line[:1] != "#"]
    exact = re.compile(r'[A-Za-z0-9_.-]+==[0-9]+(\.[0-9a-z]+)*( ; python_version (>=|<) "3\.11")?')
    assert lines
    assert [line for line in lines if not exact.fullmatch(line)] == []


def imported_modules(path: Path) -> set[str]:
    """Top-level names of all modules that a file imports, anywhere in it."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names.update(alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            names.add((node.module or "").split(".")[0] if node.level == 0 else "tf_dhm")
    return names


SCRIPTS = {path.stem for path in ROOT.glob("*.py")}


@pytest.mark.parametrize(
    ("package", "forbidden"), [("tf_dhm", {"pipelines", *SCRIPTS}), ("pipelines", SCRIPTS)]
)
def test_packages_import_nothing_above_them(package: str, forbidden: set[str]) -> None:
    found = {
        f"{path.relative_to(ROOT)}: {name}"
        for path in (ROOT / package).rglob("*.py")
        for name in imported_modules(path) & forbidden
    }
    assert found == set()
