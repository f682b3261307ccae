"""Markdown tables."""

from __future__ import annotations

import doctest

import numpy as np
import pytest

from tf_dhm.core import markdown
from tf_dhm.core.markdown import format_cell, markdown_table


def test_doctest() -> None:
    assert doctest.testmod(markdown).failed == 0


def test_strings_and_the_order_of_columns() -> None:
    rows = [{"a": "1.50", "b": "0012"}, {"b": "x", "c": "1,234"}]
    table = [[cell.strip() for cell in line.split("|")[1:-1]] for line in markdown_table(rows).splitlines()]
    assert [table[0], *table[2:]] == [["a", "b", "c"], ["1.50", "0012", "–"], ["–", "x", "1,234"]]


@pytest.mark.parametrize(
    ("value", "cell"),
    [
        (1234, "1,234"),
        (0.012345, "0.0123"),
        (12.5, "12.5"),
        (123.4, "123"),
        (-1234.5, "-1,234"),
        (np.float64(3.5678), "3.57"),
        (None, "–"),
        (False, "False"),
        ("007", "007"),
    ],
)
def test_cells(value: object, cell: str) -> None:
    assert format_cell(value) == cell
