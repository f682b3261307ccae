"""Measure throughput and latency of a server: `python tools/load_server.py --help`."""

from __future__ import annotations

import sys
from pathlib import Path

import tyro

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tf_dhm.core.cli import run_script

from tools.studies.serving_load import LoadConfig, measure_load

if __name__ == "__main__":
    run_script(lambda: measure_load(tyro.cli(LoadConfig)))
