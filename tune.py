"""Search for networks that are both accurate and fast.

keras-tuner proposes multipliers, steps and sizes; each network is trained for a short while and
timed. The same command continues a search that was stopped, and so does --resume:

    python tune.py --data-dir wild68 --output-dir runs/tune
    python tune.py --resume runs/tune --export pareto
"""

from __future__ import annotations

import dataclasses
import shlex
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tf_dhm.core.cli import require_options, run_script

import tyro

from pipelines.search.options import TuneConfig, read_search
from tf_dhm.core.command_line import parse_options, without_help


@dataclass(frozen=True)
class Arguments(TuneConfig):
    """What to search, on which data, and for how long."""

    resume: Path | None = None
    """Folder of a search to continue, for example runs/tune. It keeps its options, except for those that
    change no trial."""


@dataclass(frozen=True)
class Start:
    """The argument on which the defaults of all others depend."""

    resume: Path | None = None


def parse(arguments: list[str]) -> TuneConfig:
    """Options from the command line, over those of the search that is resumed."""
    start, _ = tyro.cli(Start, args=without_help(arguments), return_unknown_args=True)
    default = None if start.resume is None else Arguments(**_fields(read_search(start.resume)))
    parsed = parse_options(Arguments, arguments, default, __doc__)
    values = _fields(parsed)
    values.pop("resume")
    return TuneConfig(**values)


def _fields(config: TuneConfig) -> dict[str, Any]:
    return {field.name: getattr(config, field.name) for field in dataclasses.fields(config)}


def main() -> None:
    require_options("--data-dir prepared/wild68 --output-dir runs/tune")
    config = parse(sys.argv[1:])
    # After the options, so that --help and errors about options do not wait for TensorFlow.
    import tensorflow as tf

    from pipelines.search.tuning import tune

    if config.threads:  # before TensorFlow computes anything
        tf.config.threading.set_intra_op_parallelism_threads(config.threads)
    print(tune(config, shlex.join(["python", "tune.py", *sys.argv[1:]])))
    print(f"trials.csv, tradeoff.png and the trials are in {config.output_dir}")


if __name__ == "__main__":
    run_script(main)
