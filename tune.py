"""Search for the networks that are accurate for their time: keras-tuner over multipliers, steps and sizes.

python tune.py --data-dir wild68 --trials 40 --output-dir runs/tune
python tune.py --data-dir wild68 --trials 40 --output-dir runs/tune --export pareto
"""

from __future__ import annotations

import os
import shlex
import sys

import tyro

# TensorFlow reads it when it is loaded: its notes on the CPU are no news here.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import tensorflow as tf

from pipelines.tuning import TuneConfig, tune
from tf_dhm.errors import run_script


def main() -> None:
    config = tyro.cli(TuneConfig, description=__doc__)
    if config.threads:  # before TensorFlow computes anything
        tf.config.threading.set_intra_op_parallelism_threads(config.threads)
    print(tune(config, shlex.join(["python", "tune.py", *sys.argv[1:]])))
    print(f"trials.csv, tradeoff.png and the trials are in {config.output_dir}")


if __name__ == "__main__":
    run_script(main)
