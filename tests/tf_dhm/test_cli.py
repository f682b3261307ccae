"""`tf-dhm`: its commands are the scripts, it starts quickly, and its completion works."""

from __future__ import annotations

import resource
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tf_dhm import cli
from tf_dhm.cli import COMMANDS, dispatch, in_single_lines, usage
from tf_dhm.core.errors import InputError
from tf_dhm.core.extras import EXTRAS, MissingPackageError

ROOT = Path(__file__).parents[2]
SCRIPTS = {"align": "align.py", "archive": "align_archive.py"}
"""Scripts that are named otherwise than their command."""


def run(*arguments: str, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "tf_dhm.cli", *arguments]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)


def test_every_script_of_the_root_is_a_command() -> None:
    scripts = {SCRIPTS.get(name, f"{name}.py") for name in COMMANDS} - {"demo.py"}
    assert scripts == {path.name for path in ROOT.glob("*.py")}


def test_the_list_of_commands(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    dispatch([])
    dispatch(["--help"])
    assert capsys.readouterr().out == 2 * f"{usage()}\n"
    listed = [line.split()[0] for line in usage().splitlines() if line.startswith("  ")]
    assert listed == list(COMMANDS)
    monkeypatch.setattr(cli, "ROOT", Path("/"))  # an installed package
    listed = [line.split()[0] for line in usage().splitlines() if line.startswith("  ")]
    assert listed == ["align", "archive", "demo", "benchmark"]
    assert "`pip install -e .`, also:\nevaluate, adapt, train, export, tune, prepare." in usage()


@pytest.mark.parametrize("name", COMMANDS)
def test_extras_are_named(name: str) -> None:
    extra = COMMANDS[name].extra
    assert extra is None or (extra in EXTRAS and f"extra {extra}" in usage())


def test_an_unknown_command() -> None:
    with pytest.raises(InputError, match=r"command: found trian, .*did you mean train"):
        dispatch(["trian"])


@pytest.mark.parametrize("name", [name for name in COMMANDS if COMMANDS[name].main is None])
def test_a_script_needs_the_repository(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cli, "ROOT", Path("/"))
    with pytest.raises(InputError, match=f"`python {name}.py`.*`pip install -e .`"):
        dispatch([name])


def test_a_missing_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.startswith("tf_dhm.evaluation")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(MissingPackageError, match=r"tf-dhm benchmark: .*pandas.*\.\[evaluate\]"):
        dispatch(["benchmark"])


def test_a_missing_package_of_a_script_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delitem(sys.modules, "prepare", raising=False)
    monkeypatch.setitem(sys.modules, "torchfile", None)
    for name in [name for name in sys.modules if name.startswith("pipelines")]:
        monkeypatch.delitem(sys.modules, name)
    with pytest.raises(MissingPackageError, match=r"tf-dhm prepare: .*torchfile.*\.\[train\]"):
        dispatch(["prepare", "--dataset", "csv", "--data-dir", str(tmp_path), "--output-dir", "y"])


def test_a_command_runs_its_script(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", [])  # which it sets
    with pytest.raises(InputError, match="tf-dhm export --model"):
        dispatch(["export"])
    with pytest.raises(SystemExit) as ended:
        dispatch(["prepare", "--no-such-option"])
    assert ended.value.code == 2


def test_a_photo_and_the_version(tmp_path: Path) -> None:
    photo = ROOT / "tests" / "data" / "astronaut.jpg"
    done = run("align", str(photo), "--json", str(tmp_path / "faces.jsonl"))
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "faces.jsonl").read_text().count("\n") == 1
    assert run("--version").stdout == run("align", "--version").stdout != ""


def test_the_help_of_align_is_quick() -> None:
    """In processor time, as other processes may run on this machine."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = run("align", "--help")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert "--field-of-view" in done.stdout
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 1.0


def test_help_and_options_load_no_libraries() -> None:
    code = (
        "import sys, tf_dhm.cli, tf_dhm.__main__, tf_dhm.demo\n"
        "print([n for n in ('numpy', 'cv2', 'scipy', 'av', 'PIL', 'tensorflow') if n in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_texts_are_no_completions() -> None:
    """tyro prints a completion in each line, so that the second line of a text would be one."""
    assert in_single_lines("x = 'a\\nb'\nCOMPLETION_SPEC = {'a': 'b\\nc'}\n") == (
        "x = 'a\\nb'\nCOMPLETION_SPEC = {'a': 'b c'}\n"
    )


@pytest.mark.parametrize("shells", [[], ["fish"], ["tcsh"]])
def test_completion_for_other_shells(shells: list[str]) -> None:
    with pytest.raises(InputError, match=r"found (no shell|fish|tcsh), expected one of bash, zsh"):
        dispatch(["--tyro-print-completion", *shells])


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("bash") is None, reason="no bash")
def test_completion_in_bash(tmp_path: Path) -> None:
    done = run("--tyro-print-completion", "bash")
    assert done.returncode == 0, done.stderr
    (tmp_path / "completion").write_text(done.stdout)
    program = """
    source completion
    function=$(complete -p tf-dhm | sed 's/.*-F \\([^ ]*\\).*/\\1/')
    complete_words() { COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); COMPREPLY=(); $function
        echo "${COMPREPLY[@]}"; }
    complete_words tf-dhm t
    complete_words tf-dhm align --field
    complete_words tf-dhm train --learning
    complete_words tf-dhm align --detector s
    """
    shell = subprocess.run(["bash", "-c", program], cwd=tmp_path, capture_output=True, text=True, check=True)
    commands, align, train, choice = shell.stdout.splitlines()
    assert commands.split() == ["train", "tune"]
    assert align.split() == ["--field-of-view"]
    assert "learning-rate" in train
    assert choice.split() == ["short"]
