"""Numbers and hints in messages."""

from __future__ import annotations

import pytest

from tf_dhm.core.words import counted, hint_at


@pytest.mark.parametrize(
    ("number", "text"), [(0, "0 faces"), (1, "1 face"), (2, "2 faces"), (19451, "19,451 faces")]
)
def test_a_noun_is_in_the_plural_unless_there_is_one(number: int, text: str) -> None:
    assert counted(number, "face") == text


@pytest.mark.parametrize(
    ("name", "hint"), [("algin", "; did you mean align?"), ("align", "; did you mean align?"), ("x", "")]
)
def test_a_hint_at_the_name_that_an_unknown_one_resembles(name: str, hint: str) -> None:
    assert hint_at(name, ("align", "train")) == hint
