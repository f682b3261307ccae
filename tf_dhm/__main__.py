"""Find the landmarks of faces in photos, videos and the frames of a camera.

`python -m tf_dhm --help`, or `tf-dhm-align --help` if the package is installed, lists the options.
"""

from __future__ import annotations

from collections.abc import Sequence

from tf_dhm.core.cli import run_script

from tf_dhm.commands.options import AlignConfig
from tf_dhm.core.command_line import parse_options


def main(arguments: Sequence[str] | None = None) -> None:
    """Run with `arguments` (None: those of the command line) and end the process with the exit code."""

    def align() -> int:
        config = parse_options(AlignConfig, arguments)
        from tf_dhm.commands.align import align_inputs  # after the options, so that --help is quick

        return align_inputs(config)

    run_script(align)


if __name__ == "__main__":
    main()
