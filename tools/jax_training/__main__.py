"""Train several small networks at once in JAX: `python -m tools.jax_training pack`, `train` and `export`.

TensorFlow is loaded by `pack` and `export` alone, JAX by `train` alone.
"""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable
from importlib.util import find_spec

from tf_dhm.core.cli import run_script

from tf_dhm.core.command_line import parse_options
from tf_dhm.core.errors import InputError
from tools.jax_training.options import ExportOptions, PackOptions, TrainOptions

PROGRAM = "python -m tools.jax_training"


def pack(arguments: list[str]) -> None:
    options = parse_options(PackOptions, arguments)
    from tools.jax_training import packing  # after the options, so that --help is quick

    packing.pack(options, command_line())


def train(arguments: list[str]) -> None:
    options = parse_options(TrainOptions, arguments)
    if find_spec("jax") is None:
        raise InputError("train: found no package jax, expected one for the GPU: pip install 'jax[cuda13]'")
    from tools.jax_training import recipe

    recipe.train(options, command_line())


def export(arguments: list[str]) -> None:
    options = parse_options(ExportOptions, arguments)
    from tools.jax_training import export as exporting

    exporting.export(options)


COMMANDS: dict[str, tuple[Callable[[list[str]], None], str]] = {
    "pack": (pack, "Pack faces, and weights to begin with, into a folder (needs TensorFlow)."),
    "train": (train, "Train several networks at once in that folder (needs JAX)."),
    "export": (export, "Write the trained networks as SavedModels (needs TensorFlow)."),
}


def command_line() -> str:
    """The command of this process, for the description of a model."""
    return f"{PROGRAM} {shlex.join(sys.argv[1:])}"


def usage() -> str:
    """The list of commands."""
    rows = [f"  {name:<8} {summary}" for name, (_, summary) in COMMANDS.items()]
    return "\n".join([f"usage: {PROGRAM} COMMAND [OPTION ...]", "", *rows])


def main() -> None:
    name, *arguments = sys.argv[1:] or ["--help"]
    if name in ("-h", "--help"):
        print(usage())
        return
    if name not in COMMANDS:
        raise InputError(f"command: found {name}, expected one of {', '.join(COMMANDS)}")
    run, _ = COMMANDS[name]
    sys.argv[0] = f"{PROGRAM} {name}"  # what the help calls the program
    run(arguments)


if __name__ == "__main__":
    run_script(main)
