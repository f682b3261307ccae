"""Find faces in photos, videos and camera pictures, in the browser.

`python -m tf_dhm.demo`, or `tf-dhm demo` if the package is installed, serves the page on this computer.
"""

from __future__ import annotations

from collections.abc import Sequence

from tf_dhm.core.cli import run_script

from tf_dhm.commands.demo import DemoConfig, serve_demo
from tf_dhm.core.command_line import parse_options


def main(arguments: Sequence[str] | None = None) -> None:
    """Run with these arguments, by default the command line's, and end the process with their code."""
    run_script(lambda: serve_demo(parse_options(DemoConfig, arguments, description=__doc__)))


if __name__ == "__main__":
    main()
