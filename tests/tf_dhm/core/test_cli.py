"""Exit codes and messages of scripts, and the variables they set."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

from tf_dhm.core.cli import SETTINGS, run_script

import pytest

from tf_dhm.core.errors import InputError
from tf_dhm.core.extras import EXTRAS

ROOT = Path(__file__).parents[3]
LITE = {"align.py", "align_archive.py"}
"""Scripts that need no extra, or ask for it themselves."""


def exit_code(result: int | Exception | None) -> int | str | None:
    def main() -> int | None:
        if isinstance(result, Exception):
            raise result
        return result

    with pytest.raises(SystemExit) as caught:
        run_script(main)
    return caught.value.code


@pytest.mark.parametrize(("result", "code"), [(None, 0), (0, 0), (1, 1)])
def test_the_code_of_a_script_is_passed_on(result: int | None, code: int) -> None:
    assert exit_code(result) == code


def test_an_input_error_is_one_line_and_code_2(capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_code(InputError("data/a.mat: found no pt3d_68, expected (3, 68)")) == 2
    captured = capsys.readouterr()
    assert captured.err == "error: data/a.mat: found no pt3d_68, expected (3, 68)\n"
    assert captured.out == ""


def test_a_full_disk_is_named_with_its_file(capsys: pytest.CaptureFixture[str]) -> None:
    full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "runs/a/history.csv")
    assert exit_code(full) == 2
    assert capsys.readouterr().err == "error: No space left on device: runs/a/history.csv\n"


def test_an_os_error_without_a_file_keeps_its_message(capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_code(OSError("cannot identify image file")) == 2
    assert capsys.readouterr().err.startswith("error: cannot identify image file")


def test_an_error_of_the_program_itself_is_not_hidden() -> None:
    with pytest.raises(ZeroDivisionError):
        run_script(lambda: 1 // 0)


def test_output_that_nobody_reads_ends_the_script_without_a_word() -> None:
    code = (
        "from tf_dhm.core.cli import run_script\nrun_script(lambda: [print('x' * 1000) for _ in range(1000)])"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.read(1)
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 141


def test_an_interruption_is_a_word_and_code_130() -> None:
    caught = "try: os.kill(os.getpid(), signal.SIGINT); time.sleep(9)\n    except KeyboardInterrupt: 1 // 0"
    for body in ("raise KeyboardInterrupt", caught):  # as it is, and as an error that it was made into
        code = "import os, signal, time\nfrom tf_dhm.core.cli import run_script\n"
        code += "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        code += f"def main():\n    {body}\nrun_script(main)"
        found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
        assert (found.returncode, found.stdout, found.stderr) == (130, "", "interrupted\n")


@pytest.mark.parametrize("name", SETTINGS)
def test_the_notes_of_libraries_are_off_unless_the_user_turns_them_on(name: str) -> None:
    code = f"import os, tf_dhm.core.cli\nprint(os.environ[{name!r}])"
    others = {key: value for key, value in os.environ.items() if key not in SETTINGS}
    for variables, value in ((others, SETTINGS[name]), ({**others, name: "0"}, "0")):
        found = subprocess.run([sys.executable, "-c", code], env=variables, capture_output=True, text=True)
        assert found.stdout == f"{value}\n", found.stderr


def test_an_input_error_is_a_value_error() -> None:
    assert issubclass(InputError, ValueError)


ARGUMENTS = {
    "adapt.py": ["--dataset", "synthetic", "--name", "x"],
    "export.py": ["--model", "fast_dhm"],
    "prepare.py": ["--dataset", "synthetic", "--output-dir", "x"],
    "tune.py": ["--data-dir", "x"],
}
"""What the scripts that need options are started with."""


@pytest.mark.parametrize("script", sorted({path.name for path in ROOT.glob("*.py")} - LITE))
def test_a_script_names_the_extra_of_a_package_that_is_missing(script: str) -> None:
    """As in an environment with the packages of requirements-lite.txt only."""
    optional = {package for packages in EXTRAS.values() for package in packages} - {"cv2"}
    code = f"""
import runpy, sys
sys.modules.update(dict.fromkeys({sorted(optional)}))
sys.argv = {[script, *ARGUMENTS.get(script, [])]}
runpy.run_path({script!r}, run_name="__main__")
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    extra = "evaluate" if script == "benchmark.py" else "train"
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.startswith("error: ")
    assert f".[{extra}]" in done.stderr
    assert done.stderr.count("\n") == 1
