"""A process that renders faces for `pipelines.synthetic.series`: tasks from its input, samples to its output.

Started as `python -m pipelines.synthetic.worker`. It is no process of `multiprocessing`, since those
import the script that started them again, and TensorFlow with it. It ends with its input, and so
with the process that started it, however that ends.
"""

from __future__ import annotations

import os
import pickle
import signal
import sys

import cv2

from pipelines.synthetic.series import render_sample


def main() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # meant for the process that started it
    cv2.setNumThreads(1)
    with os.fdopen(os.dup(sys.stdout.fileno()), "wb") as output:
        # Text printed by a library must not mix with the samples.
        os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
        while True:
            try:
                task = pickle.load(sys.stdin.buffer)
            except EOFError:
                return
            pickle.dump(render_sample(*task), output)
            output.flush()


if __name__ == "__main__":
    main()
