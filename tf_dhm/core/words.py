"""Numbers and hints in messages."""

from __future__ import annotations

from collections.abc import Iterable


def counted(number: int, noun: str) -> str:
    """A number with its noun, whose plural ends in s.

    >>> counted(1, "face"), counted(2000, "face")
    ('1 face', '2,000 faces')
    """
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def hint_at(name: str, known: Iterable[str]) -> str:
    """The end of a message on an unknown name: the known one that it resembles, if any.

    >>> hint_at("algin", ["align", "train"])
    '; did you mean align?'
    >>> hint_at("x", ["align", "train"])
    ''
    """
    import difflib  # here, because only an error needs it

    close = difflib.get_close_matches(name, list(known), 1)
    return f"; did you mean {close[0]}?" if close else ""
