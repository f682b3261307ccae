"""One command for everything: `tf-dhm COMMAND`, or `python -m tf_dhm.cli COMMAND` in the repository."""

from __future__ import annotations

import contextlib
import io
import re
import sys
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any, NoReturn, Union

from tf_dhm.core.cli import run_script

from tf_dhm.core.errors import InputError
from tf_dhm.core.extras import MissingPackageError, packages_of, packages_of_script
from tf_dhm.core.words import hint_at

PROGRAM = "tf-dhm"
ROOT = Path(__file__).resolve().parents[1]
"""The clone of the repository that the package is run or installed (pip install -e) from, if it is one."""
COMPLETION = "--tyro-print-completion"
SHELLS = ("bash", "zsh")
"""Shells for which every version of tyro writes completions without further packages."""


@dataclass(frozen=True)
class Command:
    """A sub-command. Its module is loaded only when it is called.

    Attributes:
        summary: a sentence for the list of commands.
        main: MODULE:FUNCTION, which takes the arguments; None for a script in the root of the repository.
        options: the class of its options: MODULE:CLASS, or the name of a class in the script.
        extra: the extra of the package that it needs.
    """

    summary: str
    main: str | None = None
    options: str = "Config"
    extra: str | None = None


COMMANDS = {
    "align": Command(
        "Find landmarks in photos, videos and the frames of a camera.",
        "tf_dhm.__main__:main",
        "tf_dhm.commands.options:AlignConfig",
    ),
    "archive": Command(
        "Align millions of photos on every core or machine, and write Parquet.",
        "tf_dhm.commands.archive:main",
        "tf_dhm.commands.archive:ArchiveConfig",
        extra="archive",
    ),
    "demo": Command(
        "Serve the browser page on this computer, and open it. Needs the page that `make web` builds.",
        "tf_dhm.demo:main",
        "tf_dhm.commands.demo:DemoConfig",
    ),
    "benchmark": Command(
        "Time models and other systems in one run.",
        "tf_dhm.evaluation.benchmark:main",
        "tf_dhm.evaluation.benchmark:BenchmarkConfig",
        extra="evaluate",
    ),
    "evaluate": Command("Measure the accuracy of models on a labelled dataset."),
    "adapt": Command("Fit a model to your own points, or to another annotation."),
    "train": Command("Train a network and export it.", options="Arguments"),
    "export": Command("Promote a trained model, or write its TFLite files."),
    "tune": Command("Search for networks that are both accurate and fast.", options="Arguments"),
    "prepare": Command("Check a dataset and write it as shards for training."),
}


def is_repository() -> bool:
    """Whether this package is part of a clone, whose scripts can be run."""
    return (ROOT / "pipelines" / "__init__.py").is_file() and (ROOT / "train.py").is_file()


def usage() -> str:
    """The list of commands that can be run here."""
    here = {name: command for name, command in COMMANDS.items() if command.main or is_repository()}
    lines = [f"usage: {PROGRAM} COMMAND [OPTION ...]", ""]
    for name, command in here.items():
        extra = f" Needs the extra {command.extra}." if command.extra else ""
        lines.append(f"  {name:<10} {command.summary}{extra}")
    elsewhere = ", ".join(name for name in COMMANDS if name not in here)
    if elsewhere:
        lines += ["", "In a clone of the repository, after `pip install -e .`, also:", f"{elsewhere}."]
    return "\n".join(
        [
            *lines,
            "",
            f"{PROGRAM} COMMAND --help explains the main options of a command, --help-all all of them.",
            f"{PROGRAM} {COMPLETION} bash (or zsh) prints a script that completes them.",
        ]
    )


def load(reference: str) -> Any:
    """The object that MODULE:NAME stands for."""
    module, _, name = reference.partition(":")
    return getattr(import_module(module), name)


def script(name: str) -> Path:
    """The script of a sub-command; InputError if the package is not that of a clone."""
    if not is_repository():
        raise InputError(
            f"{name}: the installed package does not contain this script. In a clone of the repository, run "
            f"`python {name}.py`, or let {PROGRAM} find it there by `pip install -e .`"
        )
    # The scripts import the packages beside them.
    if str(ROOT) not in sys.path:
        sys.path.insert(0, str(ROOT))
    return ROOT / f"{name}.py"


def completion(shell: str) -> str:
    """The script that completes all commands that can be run here.

    Raises:
        InputError: the shell is not one of SHELLS.
    """
    if shell not in SHELLS:
        raise InputError(f"{COMPLETION}: found {shell or 'no shell'}, expected one of {', '.join(SHELLS)}")
    import tyro

    kinds = []
    for name, command in COMMANDS.items():
        # A command whose packages are missing is left out.
        with contextlib.suppress(MissingPackageError), packages_for(name):
            if command.main:
                kind = load(command.options)
            elif is_repository():
                kind = load(f"{script(name).stem}:{command.options}")
            else:
                continue
            described = tyro.conf.subcommand(name, prefix_name=False, description=command.summary)
            kinds.append(Annotated[kind, described])
    script_text = io.StringIO()
    with contextlib.redirect_stdout(script_text), contextlib.suppress(SystemExit):
        tyro.cli(Union[tuple(kinds)], prog=PROGRAM, args=[COMPLETION, shell])  # type: ignore[call-overload] # noqa: UP007
    return in_single_lines(script_text.getvalue())


def in_single_lines(script_text: str) -> str:
    """A script of tyro with the text of each option in one line: the others would be offered as completions.

    >>> in_single_lines(r"COMPLETION_SPEC = {'--all': 'Take\nall.'}")
    "COMPLETION_SPEC = {'--all': 'Take all.'}"
    """
    return re.sub(
        r"^COMPLETION_SPEC = .*$", lambda match: match[0].replace(r"\n", " "), script_text, flags=re.M
    )


def packages_for(name: str) -> AbstractContextManager[None]:
    """Names the extra of a command if a package of it is missing."""
    command = COMMANDS[name]
    if command.main is None:
        return packages_of_script(f"{PROGRAM} {name}")
    return packages_of(command.extra, f"{PROGRAM} {name}") if command.extra else contextlib.nullcontext()


def dispatch(arguments: Sequence[str]) -> None:
    """Run the command that the arguments name.

    Raises:
        InputError: there is no such command, or it cannot run here.
    """
    name, *others = arguments or ["--help"]
    if name in ("-h", "--help"):
        print(usage())
    elif name == COMPLETION:
        print(completion("".join(others[:1])), end="")
    elif name not in COMMANDS:
        known = ", ".join(COMMANDS)
        raise InputError(f"command: found {name}, expected one of {known}{hint_at(name, COMMANDS)}")
    else:
        # The programs read their name and options from here.
        sys.argv = [f"{PROGRAM} {name}", *others]
        command = COMMANDS[name]
        with packages_for(name):  # which it may load after its options
            if command.main is None:
                load(f"{script(name).stem}:main")()
            else:
                load(command.main)(others)


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run with `arguments` (None: those of the command line) and end the process with the exit code."""
    run_script(lambda: dispatch(sys.argv[1:] if arguments is None else arguments))


if __name__ == "__main__":
    main()
