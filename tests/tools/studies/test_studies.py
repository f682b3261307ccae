"""Studies run as `python -m tools.studies.NAME`: their options and mistakes."""

from __future__ import annotations

import runpy
import sys
from pathlib import Path

import pytest


def run(monkeypatch: pytest.MonkeyPatch, study: str, *arguments: str | Path) -> int:
    """The exit code of a study, without the seconds of a new process."""
    monkeypatch.setattr(sys, "argv", [study, *map(str, arguments)])
    with pytest.raises(SystemExit) as caught:
        runpy.run_module(f"tools.studies.{study}", run_name="__main__", alter_sys=True)
    assert isinstance(caught.value.code, int)
    return caught.value.code


def test_a_figure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "tradeoff.png"
    assert run(monkeypatch, "paper_figures", "tradeoff", "--output", output) == 0
    assert capsys.readouterr().out == f"written: {output}\n"
    assert output.stat().st_size > 10_000


@pytest.mark.parametrize(
    ("study", "arguments", "message"),
    [
        ("paper_figures", ["tradeoff", "--metrics", "x"], "error: metrics, benchmark: found one of them"),
        ("paper_figures", ["states", "--model", "none"], "error: model none: found nothing"),
        ("paper_figures", ["fig3"], "fig3"),
        ("family_study", ["--presets", "x"], "error: preset: found 'x', expected one of fast_dhm"),
        ("family_study", ["--steps", "nothing"], "nothing"),
        (
            "family_study",
            ["--steps", "table", "--document", "none.md"],
            "error: document: found no none.md",
        ),
    ],
)
def test_mistakes(
    study: str,
    arguments: list[str],
    message: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run(monkeypatch, study, *arguments) == 2
    printed = capsys.readouterr()
    assert message in printed.err + printed.out
