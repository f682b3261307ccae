"""Tests of tf_dhm.core.progress."""

from __future__ import annotations

import io
import sys
import time

import pytest

from tf_dhm.core import progress
from tf_dhm.core.progress import Progress, print_beside


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def stderr_to_a_file(monkeypatch: pytest.MonkeyPatch) -> io.StringIO:
    # No fixture: pytest replaces sys.stderr between the set-up of a test and its call.
    file = io.StringIO()
    monkeypatch.setattr(sys, "stderr", file)
    monkeypatch.setattr(progress, "LOG_SECONDS", 0.2)
    return file


def test_a_log_file_gets_whole_lines_now_and_then(monkeypatch: pytest.MonkeyPatch) -> None:
    log = stderr_to_a_file(monkeypatch)
    for number in Progress(range(10), unit="file"):
        time.sleep(0.05)
        print_beside(f"photo {number}", sys.stderr)
    lines = [line for line in log.getvalue().replace("\r", "").splitlines() if line]
    bars = [line for line in lines if not line.startswith("photo")]
    assert 2 <= len(bars) <= 4
    assert "10/10" in bars[-1]
    assert all("file/s" in line for line in bars)
    assert [line for line in lines if line.startswith("photo")] == [f"photo {n}" for n in range(10)]


@pytest.mark.parametrize(("options", "lines"), [({}, 1), ({"leave": False}, 0), ({"disable": True}, 0)])
def test_short_work_leaves_one_line(
    monkeypatch: pytest.MonkeyPatch, options: dict[str, bool], lines: int
) -> None:
    log = stderr_to_a_file(monkeypatch)
    bar = Progress(total=3, unit="face", **options)
    bar.update(3)
    bar.close()
    bar.close()
    found = [line for line in log.getvalue().replace("\r", "").splitlines() if line]
    assert len(found) == lines
    assert all("3/3" in line for line in found)


def test_a_terminal_gets_a_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    for _ in Progress(range(3), unit="file"):
        print_beside("beside", sys.stderr)
    assert "\r" in terminal.getvalue()
    assert "3/3" in terminal.getvalue()
    assert "beside\n" in terminal.getvalue()
