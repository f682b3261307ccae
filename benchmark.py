"""Time exported models and other systems.

`python benchmark.py --help` lists the options.
"""

from __future__ import annotations

from tf_dhm.core.cli import run_script

from tf_dhm.evaluation.benchmark import main

if __name__ == "__main__":
    run_script(main)
