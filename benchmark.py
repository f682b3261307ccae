"""Time exported models and systems of others alternately in one run: a table, and a JSON file.

python benchmark.py --models fast_dhm fast_dhm_x2 --kinds float16 --threads 1
python benchmark.py --photo PHOTO --peers mediapipe dlib facemesh=MEDIAPIPE_ENV/bin/python my_adapter.json
python benchmark.py --reference mb05_120x120.tflite --output benchmark.json
"""

from __future__ import annotations

from dataclasses import dataclass

from tf_dhm.core.cli import run_script

import tyro

from tf_dhm.evaluation import benchmark
from tf_dhm.evaluation.benchmark import BenchmarkConfig


@dataclass(frozen=True)
class Config(BenchmarkConfig):
    models: tuple[str, ...] = ("fast_dhm", "fast_dhm_tuned_x1", "fast_dhm_tuned", "fast_dhm_x2")


def main() -> None:
    print(benchmark.run(tyro.cli(Config, description=__doc__)))


if __name__ == "__main__":
    run_script(main)
