"""Time exported models beside MediaPipe's face_landmark.tflite: a table, and a JSON file.

python benchmark.py --models savedmodels/fast_dhm savedmodels/fast_dhm_x2 --output benchmark.json
python benchmark.py --models fast_dhm --kinds float32 --peers mediapipe dlib my_adapter.json other.tflite
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tf_dhm.core.cli import run_script

import tyro

from tf_dhm.evaluation import benchmark
from tf_dhm.evaluation.benchmark import BenchmarkConfig

PHOTO = Path(__file__).resolve().parent / "tests" / "data" / "astronaut.jpg"


@dataclass(frozen=True)
class Config(BenchmarkConfig):
    models: tuple[str, ...] = ("fast_dhm", "fast_dhm_tuned_x1", "fast_dhm_tuned", "fast_dhm_x2")
    photo: Path = PHOTO


def main() -> None:
    print(benchmark.run(tyro.cli(Config, description=__doc__)))


if __name__ == "__main__":
    run_script(main)
