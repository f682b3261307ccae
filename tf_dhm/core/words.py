"""Numbers in messages."""

from __future__ import annotations


def counted(number: int, noun: str) -> str:
    """A number with its noun, whose plural ends in s.

    >>> counted(1, "face"), counted(2000, "face")
    ('1 face', '2,000 faces')
    """
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"
