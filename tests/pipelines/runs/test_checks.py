"""What is checked before a run starts."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from pathlib import Path

import pytest

from pipelines.runs.checks import TEACHER_FILE, check_start, exported_version, was_begun
from pipelines.runs.options import OPTIONS_FILE, Options
from tests.scripts import ROOT
from tests.small_runs import small_run
from tf_dhm.core import configuration
from tf_dhm.core.errors import InputError
from tf_dhm.export.description import CARD_FILE


@pytest.fixture
def options(tmp_path: Path) -> Options:
    return small_run(tmp_path, "first", epochs=2)


@pytest.fixture
def begun(options: Options) -> Options:
    """Options of a run of which only the options are in its folder."""
    options.run_dir.mkdir(parents=True)
    (options.run_dir / OPTIONS_FILE).write_text(configuration.to_json(options))
    return options


def test_a_new_run_starts_and_one_that_was_begun_is_resumed(options: Options) -> None:
    assert not check_start(options, False)
    options.run_dir.mkdir(parents=True)
    (options.run_dir / TEACHER_FILE).touch()  # stopped before its first step
    assert not check_start(options, False)
    (options.run_dir / OPTIONS_FILE).write_text(configuration.to_json(options))
    assert check_start(options, True)
    with pytest.raises(InputError, match="first: found an earlier run"):
        check_start(options, False)
    assert check_start(dataclasses.replace(options, distribute="multi_worker"), True)


def test_a_folder_that_is_no_run_is_not_to_be_resumed(options: Options) -> None:
    (options.run_dir / "1").mkdir(parents=True)  # as adapt.py writes
    with pytest.raises(InputError, match=r"first: found files .* another --name$"):
        check_start(options, False)


def test_a_finished_run_is_not_resumed(begun: Options) -> None:
    card = exported_version(begun).parent / CARD_FILE
    card.parent.mkdir(parents=True)
    card.touch()
    with pytest.raises(InputError, match="the run is finished"):
        check_start(begun, True)


def test_workers_resume_a_run_of_the_same_options(begun: Options) -> None:
    assert not was_begun(dataclasses.replace(begun, name="another"))
    moved = dataclasses.replace(begun.data, cache_dir=Path("elsewhere"))
    assert was_begun(dataclasses.replace(begun, data=moved, data_service=("grpc://a:1",)))
    other = dataclasses.replace(begun, train=dataclasses.replace(begun.train, epochs=9))
    with pytest.raises(InputError, match=r"options.json: found an earlier run with epochs 2, expected 9"):
        was_begun(other)


@pytest.mark.parametrize("option", ["init", "teacher", "data_dir"])
def test_what_a_run_needs_exists(options: Options, option: str) -> None:
    changed = {
        "init": dataclasses.replace(options, init="/no/such"),
        "teacher": dataclasses.replace(options, teacher=("/no/such",)),
        "data_dir": dataclasses.replace(
            options, data=dataclasses.replace(options.data, data_dir=(Path("/no/such"),))
        ),
    }[option]
    with pytest.raises(InputError, match=r"found no /no/such|/no/such: found nothing"):
        check_start(changed, False)


def test_it_does_not_load_tensorflow() -> None:
    code = "import sys, pipelines.runs.checks; print('tensorflow' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
