"""Find the landmarks of faces on photos, in videos and before a camera.

`python -m tf_dhm --help`, or `tf-dhm-align --help` where the package is installed, lists the options.
"""

from __future__ import annotations

import os
from collections.abc import Sequence

# TensorFlow reads it when it is loaded: its notes on the CPU are no news here.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
# OpenCV, too: what is wrong with a video or camera is said once, by us.
os.environ.setdefault("OPENCV_LOG_LEVEL", "OFF")
os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")

import tyro

from tf_dhm.commands.align_files import AlignConfig, align_inputs
from tf_dhm.core.errors import run_script


def main(arguments: Sequence[str] | None = None) -> None:
    """Run with these arguments, by default the command line's, and end the process with their code."""
    run_script(lambda: align_inputs(tyro.cli(AlignConfig, args=arguments)))


if __name__ == "__main__":
    main()
