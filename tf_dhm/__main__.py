"""Find the landmarks of faces on photos, in videos and before a camera.

`python -m tf_dhm --help`, or `tf-dhm-align --help` where the package is installed, lists the options.
"""

from __future__ import annotations

from collections.abc import Sequence

from tf_dhm.core.cli import run_script

import tyro

from tf_dhm.commands.align import align_inputs
from tf_dhm.commands.options import AlignConfig


def main(arguments: Sequence[str] | None = None) -> None:
    """Run with these arguments, by default the command line's, and end the process with their code."""
    run_script(lambda: align_inputs(tyro.cli(AlignConfig, args=arguments)))


if __name__ == "__main__":
    main()
