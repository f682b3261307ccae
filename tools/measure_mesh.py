"""Measure the fit of the whole face: `python tools/measure_mesh.py --help`."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tf_dhm.core.cli import run_script

from tf_dhm.core.command_line import parse_options
from tools.studies.mesh import MeshStudy, measure

if __name__ == "__main__":
    run_script(lambda: measure(parse_options(MeshStudy)))
