"""`python tools/draw_figures.py` and `python tools/family_study.py`: their options and mistakes."""

from __future__ import annotations

import runpy
import sys
from pathlib import Path

import pytest

TOOLS = Path(__file__).resolve().parents[1] / "tools"


def run(monkeypatch: pytest.MonkeyPatch, tool: str, *arguments: str | Path) -> int:
    """The exit code of a tool, without the seconds of a new process."""
    monkeypatch.setattr(sys, "argv", [tool, *map(str, arguments)])
    monkeypatch.setattr(sys, "path", [*sys.path])
    with pytest.raises(SystemExit) as caught:
        runpy.run_path(str(TOOLS / tool), run_name="__main__")
    assert isinstance(caught.value.code, int)
    return caught.value.code


def test_a_figure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "tradeoff.png"
    assert run(monkeypatch, "draw_figures.py", "tradeoff", "--output", output) == 0
    assert capsys.readouterr().out == f"written: {output}\n"
    assert output.stat().st_size > 10_000


@pytest.mark.parametrize(
    ("tool", "arguments", "message"),
    [
        ("draw_figures.py", ["tradeoff", "--metrics", "x"], "error: metrics, benchmark: found one of them"),
        ("draw_figures.py", ["states", "--model", "none"], "error: model none: found nothing"),
        ("draw_figures.py", ["fig3"], "fig3"),
        ("family_study.py", ["--presets", "x"], "error: preset: found 'x', expected one of fast_dhm"),
        ("family_study.py", ["--steps", "nothing"], "nothing"),
        (
            "family_study.py",
            ["--steps", "table", "--document", "none.md"],
            "error: document: found no none.md",
        ),
    ],
)
def test_mistakes(
    tool: str,
    arguments: list[str],
    message: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run(monkeypatch, tool, *arguments) == 2
    printed = capsys.readouterr()
    assert message in printed.err + printed.out
