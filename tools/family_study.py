"""Train the small twins of the DHM family alike, measure them alike, and write docs/family.md's tables.

python tools/family_study.py --data-dir wild68 --test-dir AFLW2000-3D
python tools/family_study.py --steps latency table
python tools/family_study.py --steps sizes
"""

from __future__ import annotations

import sys
from pathlib import Path

import tyro

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tf_dhm.core.cli import run_script

import tensorflow as tf

from tools.studies.family_study import StudyConfig, study


def main() -> None:
    config = tyro.cli(StudyConfig, description=__doc__)
    if config.threads:  # before TensorFlow computes anything
        tf.config.threading.set_intra_op_parallelism_threads(config.threads)
    study(config)


if __name__ == "__main__":
    run_script(main)
