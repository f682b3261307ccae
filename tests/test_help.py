"""The help of every script: each option with a text, in lines that fit."""

from __future__ import annotations

import re

import pytest

from tests.scripts import ROOT, run_script_here

SCRIPTS = sorted(path.name for path in ROOT.glob("*.py"))
WIDTH = 100
SCREEN = 40
"""Lines of a terminal that the short help may fill."""


@pytest.mark.parametrize("script", SCRIPTS)
@pytest.mark.parametrize("option", ["--help", "--help-all"])
def test_help(script: str, option: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", str(WIDTH))
    done = run_script_here(script, option)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"usage: {script}")
    lines = done.stdout.splitlines()
    commands = re.compile(r" {4,8}\S")  # they are copied from there, and stay whole
    assert [line for line in lines if len(line) > WIDTH and not commands.match(line)] == []
    assert not re.search(r"ANNOTATED|None|default:", done.stdout)
    options = done.stdout[done.stdout.index("\noptions:") :]
    rows = re.findall(r"^  -.*(?:\n {10,}.*)*", options, re.M)
    assert len(rows) >= 3
    if option == "--help":
        assert len(lines) <= SCREEN
        # No text is cut within brackets.
        assert [row for row in rows if row.count("(") != row.count(")")] == []
    else:
        # Every option has a text that ends as one.
        for row in rows:
            assert re.search(r"(?<=\s)[A-Z\"].* .*([.\]]|\(required\))$", " ".join(row.split())), row
