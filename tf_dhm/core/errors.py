"""The one error type for input a user can mend, and how scripts report it."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable
from types import FrameType
from typing import NoReturn

BROKEN_PIPE = 141
"""Exit code of a program whose output nobody reads any more, as the shell gives it: 128 + SIGPIPE."""
INTERRUPTED = 130
"""Exit code of a run that was stopped by Ctrl-C: 128 + SIGINT."""


class InputError(ValueError):
    """Bad input: names the file or field, what was found and what was expected."""


def run_script(main: Callable[[], int | None]) -> None:
    """Run a script's `main`; report an `InputError` in one line and exit with code 2.

    Where the reader of the output has gone (`... | head`), end with code 141 and no word; on Ctrl-C
    with code 130.
    """
    interruptions: list[int] = []

    def interrupt(number: int, _: FrameType | None) -> None:
        interruptions.append(number)
        raise KeyboardInterrupt

    # Elsewhere than in the main thread, or where Ctrl-C is ignored, all stays as it is.
    listens = signal.getsignal(signal.SIGINT) is signal.default_int_handler
    listens = listens and threading.current_thread() is threading.main_thread()
    if listens:
        signal.signal(signal.SIGINT, interrupt)
    try:
        _run_script(main)
    except Exception:
        # Code in C may make an error of its own of a KeyboardInterrupt.
        if not interruptions:
            raise
        _end_interrupted()
    except KeyboardInterrupt:
        _end_interrupted()
    finally:
        if listens:
            signal.signal(signal.SIGINT, signal.default_int_handler)


def _end_interrupted() -> NoReturn:
    print("interrupted", file=sys.stderr)
    # All that was open is closed by now. Threads of TensorFlow at work would abort an orderly end.
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    os._exit(INTERRUPTED)


def _run_script(main: Callable[[], int | None]) -> None:
    try:
        code = main()
        sys.stdout.flush()
    except BrokenPipeError:
        # Python flushes once more at its end, and would complain.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(BROKEN_PIPE)
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    except OSError as error:
        # A full disk or a refused write is the user's to mend; the traceback helps nobody.
        print(f"error: {error.strerror or error}: {error.filename or 'unknown file'}", file=sys.stderr)
        sys.exit(2)
    sys.exit(code or 0)
