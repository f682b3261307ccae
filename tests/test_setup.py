"""Set-up: the Makefile's choice of a Python and of a lane, and the pins."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SHELL_TOOLS = ("sh", "touch", "mkdir", "sed", "date")

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
@pytest.mark.parametrize(
    ("arguments", "version", "expected"),
    [
        ([], "3.14.0", "Python 3.10 to 3.13"),
        (["LANE=pinned"], "3.12.1", "Python 3.10 to 3.11"),
        (["LANE=current"], "3.10.13", "Python 3.11 to 3.13"),
    ],
)
def test_make_names_the_python_it_found_and_those_it_needs(
    tmp_path: Path, arguments: list[str], version: str, expected: str
) -> None:
    fake_python(tmp_path / "bin" / "python3", version, False, tmp_path / "log")
    result = run_make("test", tmp_path, *arguments)
    assert result.returncode != 0
    assert f"error: Python: found python3 {version}, expected {expected}" in result.stderr
    assert list(tmp_path.glob(".venv*")) == []


@needs_make
def test_make_without_any_python_fails_with_a_sentence(tmp_path: Path) -> None:
    result = run_make("train", tmp_path)
    assert result.returncode != 0
    assert "error: Python: found none, expected Python 3.10 to 3.13" in result.stderr


@needs_make
def test_an_unknown_lane_is_an_error(tmp_path: Path) -> None:
    result = run_make("train", tmp_path, "LANE=newest")
    assert "LANE: found newest, expected pinned or current" in result.stderr


@needs_make
def test_uv_brings_a_python_if_none_is_supported(tmp_path: Path) -> None:
    log = tmp_path / "log"
    fake_python(tmp_path / "bin" / "python3", "3.14.0", False, log)
    fake_python(tmp_path / "python", "3.12.1", True, log)
    write_program(
        tmp_path / "bin" / "uv",
        f'echo "uv $*" >>{log}; for folder in "$@"; do :; done\n'
        f'mkdir -p "$folder/bin" && cp {tmp_path / "python"} "$folder/bin/python"',
    )
    result = run_make(".venv", tmp_path)
    assert result.returncode == 0, result.stderr
    assert "Found python3 3.14.0; making .venv with Python 3.12 from uv" in result.stdout
    assert "uv venv --quiet --clear --seed --python 3.12 .venv" in log.read_text()
    write_program(tmp_path / "bin" / "uv", "exit 1")
    shutil.rmtree(tmp_path / ".venv")
    result = run_make(".venv", tmp_path)
    assert result.returncode != 0
    assert "error: uv could not provide Python 3.12" in result.stderr


@needs_make
def test_the_current_lane_takes_the_other_lines_without_their_markers(tmp_path: Path) -> None:
    log = tmp_path / "log"
    fake_python(tmp_path / "bin" / "python3.12", "3.12.1", False, log)
    fake_python(tmp_path / "bin" / "python3.11", "3.11.7", True, log)
    (tmp_path / "requirements.txt").write_text(
        'a==1 ; python_version < "3.12"\na==2 ; python_version >= "3.12"\nb==1 ; python_version >= "3.11"\n'
    )
    result = run_make(".venv-current", tmp_path, "LANE=current")
    assert result.returncode == 0, result.stderr
    installed = (tmp_path / ".venv-current" / "requirements-current.txt").read_text()
    assert installed == 'a==2\nb==1 ; python_version >= "3.11"\n'
    assert f"-r {Path('.venv-current') / 'requirements-current.txt'}" in log.read_text()


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
        assert bool(re.search(r"^Set-up took \d+ s$", result.stdout, re.M)) == (install in log.read_text())
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
    exact = re.compile(r'[A-Za-z0-9_.-]+==[0-9]+(\.[0-9a-z]+)*( ; python_version (>=|<) "3\.1[12]")?')
    assert lines
    assert [line for line in lines if not exact.fullmatch(line)] == []


def test_only_one_module_asks_for_the_version_of_keras() -> None:
    asks = re.compile(r"keras\.__version__|KERAS_3|keras\.src|TF_USE_LEGACY_KERAS")
    files = [path for folder in ("tf_dhm", "pipelines", "tools") for path in (ROOT / folder).rglob("*.py")]
    found = {path.relative_to(ROOT).as_posix() for path in files if asks.search(path.read_text("utf-8"))}
    assert found == {"tf_dhm/networks/keras_compat.py"}
