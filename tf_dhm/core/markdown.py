"""Markdown tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

DASH = "–"
"""An empty cell."""


def markdown_table(rows: Sequence[Mapping[str, object]]) -> str:
    """Format rows as a Markdown table whose columns are also aligned as plain text.

    Args:
        rows: column -> cell. A string stands as it is, a float with three significant digits or as a
            whole number, an integer with commas, None and a missing column as DASH.

    Returns:
        the table, ending in a newline; columns stand in the order in which they first occur.

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
