"""Progress bars that are readable in a terminal and in a log file."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any, TextIO

from tqdm import tqdm

LOG_SECONDS = 30.0
"""Seconds between two lines of a progress bar that is not shown in a terminal."""


class Progress(tqdm):
    """A `tqdm` that writes lines instead of a moving bar if stderr is no terminal.

    It writes one every LOG_SECONDS, and one at the end unless `leave` is False. Use `print_beside` for lines
    beside the bar. The arguments are those of `tqdm`.

    >>> list(Progress(range(3), unit=" files"))
    [0, 1, 2]
    """

    def __init__(self, *arguments: Any, **options: Any) -> None:
        self._leaves_line = not sys.stderr.isatty() and options.get("leave", True)
        if not sys.stderr.isatty():
            # `maxinterval` wakes tqdm's monitor, which would shorten the interval.
            options |= {"mininterval": LOG_SECONDS, "maxinterval": LOG_SECONDS, "delay": LOG_SECONDS}
            options |= {"miniters": 1, "leave": False, "dynamic_ncols": False, "ncols": 100}
        super().__init__(*arguments, **options)

    def close(self) -> None:
        """End the bar; may be called again."""
        if self._leaves_line and not self.disable:
            print(self, file=self.fp, flush=True)
        super().close()

    @staticmethod
    def status_printer(file: Any) -> Callable[[str], None]:
        if file.isatty():
            return tqdm.status_printer(file)

        def print_line(text: str) -> None:
            if text.strip():
                print(text, file=file, flush=True)

        return print_line


def print_beside(text: str, file: TextIO) -> None:
    """Print a line to stdout or stderr without breaking a bar that is shown in the terminal."""
    if sys.stderr.isatty():
        tqdm.write(text, file=file)
    else:
        print(text, file=file, flush=True)
