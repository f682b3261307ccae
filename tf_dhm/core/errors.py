"""The one error type for input that a user can fix, and the check of an argument's type."""

from __future__ import annotations

from numbers import Number


class InputError(ValueError):
    """Bad input: names the file or field, what was found and what was expected.

    Example:
        >>> raise InputError("threads: found -1, expected 0 or more")
        Traceback (most recent call last):
        tf_dhm.core.errors.InputError: threads: found -1, expected 0 or more
    """


def check_type(name: str, value: object, expected: str, *kinds: type) -> None:
    """Check that an argument is of one of some types; a bool is no number.

    Args:
        name: of the argument.
        value: of it.
        expected: what it should be, for the message.
        kinds: its types, `Integral` or `Real` for numbers, also those of NumPy.

    Raises:
        InputError: it is of another type.

    >>> check_type("tiles", "off", "True, False or None", bool, type(None))
    Traceback (most recent call last):
    tf_dhm.core.errors.InputError: tiles: found 'off', expected True, False or None
    """
    right = bool in kinds if isinstance(value, bool) else isinstance(value, kinds)
    if not right:
        found = repr(value) if isinstance(value, str | Number) else type_name(value)
        raise InputError(f"{name}: found {found}, expected {expected}")


def type_name(value: object) -> str:
    """The full name of a value's type, without that of the built-ins."""
    kind = value if isinstance(value, type) else type(value)
    name = kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
    return f"the class {name}" if isinstance(value, type) else name
