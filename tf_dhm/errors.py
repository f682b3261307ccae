"""The one error type for input a user can mend, and how scripts report it."""

from __future__ import annotations

import sys
from collections.abc import Callable


class InputError(ValueError):
    """Bad input: names the file or field, what was found and what was expected."""


def run_script(main: Callable[[], int | None]) -> None:
    """Run a script's `main`; report an `InputError` in one line and exit with code 2."""
    try:
        code = main()
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    except OSError as error:
        # A full disk or a refused write is the user's to mend; the traceback helps nobody.
        print(f"error: {error.strerror or error}: {error.filename or 'unknown file'}", file=sys.stderr)
        sys.exit(2)
    sys.exit(code or 0)
