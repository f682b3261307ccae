"""The one error type for input a user can mend, and how scripts report it."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable

BROKEN_PIPE = 141
"""Exit code of a program whose output nobody reads any more, as the shell gives it: 128 + SIGPIPE."""
INTERRUPTED = 130
"""Exit code of a run that was stopped by Ctrl-C: 128 + SIGINT."""


class InputError(ValueError):
    """Bad input: names the file or field, what was found and what was expected."""


def run_script(main: Callable[[], int | None]) -> None:
    """Run a script's `main`; report an `InputError` in one line and exit with code 2.

    Where the reader of the output has gone (`... | head`), end with code 141 and no word.
    """
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
