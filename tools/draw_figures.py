"""Draw the figures of the paper with models and datasets on disk.

python tools/draw_figures.py states --model runs/family/dhm_small_seed1/export/dhm_small
python tools/draw_figures.py ablations
python tools/draw_figures.py ced --models fast_dhm --data aflw2000_3d=AFLW2000-3D menpo_3d=LS3D-W
python tools/draw_figures.py faces --models fast_dhm --peers mediapipe
python tools/draw_figures.py tradeoff --metrics runs/evaluation/metrics.json --benchmark benchmark.json
"""

from __future__ import annotations

import sys
from pathlib import Path

import tyro

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tf_dhm.core.cli import run_script

from tools.studies.paper_figures import Figure


def main() -> None:
    figure: Figure = tyro.cli(Figure, description=__doc__)  # type: ignore[call-overload]
    figure.draw()
    print(f"written: {figure.output}")


if __name__ == "__main__":
    run_script(main)
