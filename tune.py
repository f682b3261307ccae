"""Search for networks with the best accuracy for their time.

keras-tuner proposes multipliers, steps and sizes; each network is trained for a short time and timed. The
same command resumes a search that was stopped. So does --resume FOLDER, after which you may give the options
that can change: `python tune.py --resume runs/tune --export pareto`.
"""

from __future__ import annotations

import shlex
import sys
from pathlib import Path

from tf_dhm.core.cli import require_options, run_script

import tensorflow as tf
import tyro

from pipelines.search.tuning import TuneConfig, read_search, tune
from tf_dhm.core.errors import InputError


def parse(arguments: list[str]) -> TuneConfig:
    """Options from the command line, over those of the search that is resumed."""
    if not any(argument.partition("=")[0] == "--resume" for argument in arguments):
        return tyro.cli(TuneConfig, args=arguments, description=__doc__)
    option, _, value = arguments[0].partition("=")
    folders, others = ([value], arguments[1:]) if value else (arguments[1:2], arguments[2:])
    if option != "--resume" or not folders or folders[0].startswith("-"):
        raise InputError(
            f"options: found {shlex.join(arguments)}, expected --resume SEARCH_FOLDER before all others"
        )
    return tyro.cli(TuneConfig, args=others, default=read_search(Path(folders[0])), description=__doc__)


def main() -> None:
    require_options("--data-dir prepared/wild68 --output-dir runs/tune")
    config = parse(sys.argv[1:])
    if config.threads:  # before TensorFlow computes anything
        tf.config.threading.set_intra_op_parallelism_threads(config.threads)
    print(tune(config, shlex.join(["python", "tune.py", *sys.argv[1:]])))
    print(f"trials.csv, tradeoff.png and the trials are in {config.output_dir}")


if __name__ == "__main__":
    run_script(main)
