"""The one error type for input that a user can fix."""

from __future__ import annotations


class InputError(ValueError):
    """Bad input: names the file or field, what was found and what was expected.

    Example:
        >>> raise InputError("threads: found -1, expected 0 or more")
        Traceback (most recent call last):
        tf_dhm.core.errors.InputError: threads: found -1, expected 0 or more
    """
