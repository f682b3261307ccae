"""Command lines, and the help in its two lengths."""

from __future__ import annotations

import doctest
import inspect
import sys
from dataclasses import dataclass, field
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Annotated, Literal

import pytest
import tyro

from tf_dhm.core import command_line
from tf_dhm.core.command_line import RARE, Group, help_text, parse_options, without_help
from tf_dhm.core.configuration import AtLeastOne, Count
from tf_dhm.core.errors import InputError


@dataclass(frozen=True)
class Net:
    """Layers of a network. Their widths follow.

    Attributes:
        widths: channels of the stages. None of them may be odd.
        fast: leave out what is slow.
    """

    widths: tuple[AtLeastOne, ...] = (8, 16)
    fast: bool = True


@dataclass(frozen=True)
class Data:
    """Where faces come from."""

    limit: AtLeastOne | None = None
    """Largest number of faces, e.g. 100%. By default all."""


@dataclass(frozen=True)
class Config:
    """Count faces."""

    photo: tyro.conf.Positional[Path]
    """Photo to search."""
    kind: Literal["a", "b"] = "a"
    """How to search. The second sentence is for those who want all."""
    parts: tuple[Literal["x", "y"], ...] = ()
    """Parts to count; several are added up."""
    again: Count | None = None
    """Number of repetitions."""
    threads: Count = 0
    """Number of threads; 0 for all."""
    seed: Annotated[Count, RARE] = 0
    """Seed of the random numbers."""
    net: Annotated[Net, tyro.conf.arg(name=""), Group("network")] = field(default_factory=Net)
    data: Annotated[Data, tyro.conf.arg(name=""), Group("data", brief=False)] = field(default_factory=Data)


@pytest.fixture(autouse=True)
def terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setattr(sys, "argv", ["folder/count.py", "p.jpg", "--kind", "b"])


def rows(text: str) -> dict[str, str]:
    """The first word of each line and the rest."""
    return {line.split()[0]: " ".join(line.split()[1:]) for line in text.splitlines() if line.strip()}


def test_doctests() -> None:
    assert doctest.testmod(command_line).failed == 0


def test_options_are_parsed() -> None:
    assert parse_options(Config) == Config(Path("p.jpg"), kind="b")
    given = parse_options(
        Config, ["q.jpg", "--limit", "3", "--widths", "4", "--no-fast", "--parts", "x", "y"]
    )
    assert given == Config(Path("q.jpg"), parts=("x", "y"), net=Net((4,), fast=False), data=Data(3))
    assert parse_options(Config, ["q.jpg"], Config(Path("x"), again=2)).again == 2


def test_the_short_help() -> None:
    text = help_text(Config, description="About it.")
    assert text.startswith("usage: count.py PATH [OPTIONS]\n\nAbout it.\n\noptions:\n")
    found = rows(text)
    assert found["PATH"] == "Photo to search. (required)"
    assert found["--kind"] == "{a,b} How to search. [a]"
    assert found["--parts"] == "{x,y} ... Parts to count."
    assert found["--again"] == "INT Number of repetitions."
    assert found["--threads"] == "INT Number of threads; 0 for all. [0]"
    assert found["--limit"] == "INT Largest number of faces, e.g. 100%."
    assert found["more"] == "options, which --help-all explains:"
    assert found["--seed"] == ""
    assert found["network"] == "--widths --fast"
    assert found["data"] == "options: Where faces come from."
    assert {"-h,", "--help-all", "--version"} <= set(found)
    assert max(map(len, text.splitlines())) <= 80


@pytest.mark.parametrize("module", ["package.count", "package.count.__main__"])
def test_the_usage_of_a_module(module: str, monkeypatch: pytest.MonkeyPatch) -> None:
    started = ModuleType("__main__")
    started.__spec__ = ModuleSpec(module, None, origin=sys.argv[0])
    monkeypatch.setitem(sys.modules, "__main__", started)
    assert help_text(Config).startswith("usage: python -m package.count PATH [OPTIONS]\n")
    monkeypatch.setattr(sys, "argv", ["tf-dhm count"])  # as an entry point of the package names it
    assert help_text(Config).startswith("usage: tf-dhm count PATH [OPTIONS]\n")


def test_the_whole_help() -> None:
    text = help_text(Config, whole=True)
    found = rows(text)
    assert "who want all. [a]" in " ".join(text.split())
    assert found["--widths"].startswith("INT ... Channels of the stages. None of them may be")
    assert found["--seed"] == "INT Seed of the random numbers. [0]"
    assert found["--fast,"] == "--no-fast Leave out what is slow. [yes]"
    assert "By default all." in text


def test_defaults_that_are_given_are_those_of_the_help() -> None:
    changed = Config(Path("p"), kind="b", net=Net((1, 2, 3)))
    text = help_text(Config, changed, whole=True)
    assert "[b]" in text
    assert "[1 2 3]" in " ".join(text.split())


@pytest.mark.parametrize(
    ("arguments", "present", "absent"),
    [
        (["--help"], "About.", "Details."),
        (["x", "-h"], "About.", "Details."),
        (["--help-all"], "Details.", "?"),
    ],
)
def test_help_ends_the_process(
    arguments: list[str], present: str, absent: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as end:
        parse_options(Config, arguments, description="About.", details="Details.")
    text = capsys.readouterr().out
    assert end.value.code == 0
    assert present in text
    assert absent not in text


def test_a_file_named_help() -> None:
    assert parse_options(Config, ["--", "--help"]).photo == Path("--help")


def test_wrong_options_end_with_code_2(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        parse_options(Config, ["p.jpg", "--knd", "a"])
    assert end.value.code == 2
    assert "--kind" in capsys.readouterr().err


@dataclass(frozen=True)
class Pair:
    """Two numbers."""

    least: int = 0
    most: int = 9

    def __post_init__(self) -> None:
        if self.least > self.most:
            raise InputError(f"least: found {self.least}, expected at most {self.most}")


def test_values_that_the_configuration_rejects(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """They raise the configuration's own error, with every version of tyro, and print nothing else."""
    with pytest.raises(InputError, match=r"^least: found 10, expected at most 9$"):
        parse_options(Pair, ["--least", "10"])
    assert capsys.readouterr() == ("", "")

    def print_and_exit(kind: type[Pair], **_: object) -> Pair:
        try:
            return kind(least=10)
        except InputError as error:
            print("a box around", error, file=sys.stderr)
            sys.exit(2)

    monkeypatch.setattr(tyro, "cli", print_and_exit)
    with pytest.raises(InputError, match=r"^least: found 10"):
        parse_options(Pair, [])
    assert capsys.readouterr() == ("", "")


def test_paragraphs_are_filled_and_commands_kept() -> None:
    command = f"    python count.py {'x' * 80}"
    listed = f"  name: {'word ' * 20}"
    text = help_text(Config, description=f"One line\nand another.\n\n{command}\n\nKinds:\n{listed}")
    assert "\n\nOne line and another.\n\n" in text
    assert command in text
    first, second = (line for line in text.splitlines() if "word" in line)
    assert first.startswith("  name: word")
    assert second.startswith("    word")


def test_commands_that_end_a_docstring_are_kept() -> None:
    """Python takes the common indent away, which is that of the commands if no sentence follows them."""

    class Counted:
        """Count faces.

        python count.py a.jpg
        python count.py --kind b  # by another method
        """

    text = help_text(Config, description=inspect.getdoc(Counted) or "")
    assert "\n\n    python count.py a.jpg\n    python count.py --kind b  # by another method\n\n" in text


def test_without_help() -> None:
    assert without_help(["-h", "--help", "--help-all", "--limit", "3"]) == ["--limit", "3"]
