"""Markdown tables, and documents that hold them between marks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from tf_dhm.core.errors import InputError
from tf_dhm.core.files import atomic_write

DASH = "–"
"""An empty cell."""


def markdown_table(rows: Sequence[Mapping[str, object]]) -> str:
    """Format rows as a Markdown table whose columns are also aligned as plain text.

    Args:
        rows: column -> cell. Strings are kept, floats get three significant digits or are rounded to
            whole numbers, integers get commas, None and missing columns become DASH.

    Returns:
        the table, ending in a newline; columns are in the order of their first occurrence.

    >>> print(markdown_table([{"model": "a", "bytes": 1234, "NME": 3.5678}, {"model": "b"}]), end="")
    | model   | bytes   | NME   |
    |---------|---------|-------|
    | a       | 1,234   | 3.57  |
    | b       | –       | –     |
    """
    # Imported here: the runtime, which writes no tables, is installed without it.
    from tabulate import tabulate

    cells = [{column: format_cell(value) for column, value in row.items()} for row in rows]
    table = tabulate(cells, headers="keys", tablefmt="github", disable_numparse=True, missingval=DASH)
    return table + "\n"


def format_cell(value: object) -> str:
    """One cell of `markdown_table`."""
    if value is None:
        return DASH
    if isinstance(value, bool) or not isinstance(value, int | float):
        return str(value)
    return f"{value:,.0f}" if isinstance(value, int) or abs(value) >= 100 else f"{value:.3g}"


def fill_in(document: Path, name: str, text: str) -> None:
    """Replace the text between the marks <!-- NAME --> and <!-- end of NAME --> of a document.

    Raises:
        InputError: the marks are not there, once and in this order.
    """
    begin, end = f"<!-- {name} -->", f"<!-- end of {name} -->"
    content = document.read_text()
    if content.count(begin) != 1 or content.count(end) != 1 or content.index(begin) > content.index(end):
        raise InputError(f"{document}: found no place for a table, expected the lines {begin} and {end} once")
    before, after = content.split(begin)[0], content.split(end)[1]
    with atomic_write(document) as path:
        path.write_text(f"{before}{begin}\n{text}\n{end}{after}")
