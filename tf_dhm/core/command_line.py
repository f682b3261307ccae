"""The command line of a script as a dataclass, with a help in groups: one screen, or all of it.

`tyro` parses. Its own help shows nested configurations without a title and long types of optional options, so
that the texts are taken from its parser and laid out here.
"""

from __future__ import annotations

import contextlib
import dataclasses
import inspect
import io
import re
import shutil
import sys
import textwrap
import typing
from argparse import SUPPRESS, Action
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import tyro
from tyro.extras import get_parser

from tf_dhm.core.configuration import parts_of
from tf_dhm.core.errors import InputError

T = TypeVar("T")

HELP, HELP_ALL = ("-h", "--help"), "--help-all"
WIDEST = 110
"""Characters of a line of the help, if the terminal is wider."""
TEXT_COLUMN = 28
RARE = object()
"""Marks an option, as `Annotated[int, RARE]`, that the short help only names."""


@dataclass(frozen=True)
class Group:
    """Marks a nested configuration, as `Annotated[ModelConfig, Group("network")]`, for the help.

    Attributes:
        title: of its options.
        brief: whether the short help only names the first of its options.
    """

    title: str
    brief: bool = True


def parse_options(
    kind: type[T],
    arguments: Sequence[str] | None = None,
    default: T | None = None,
    description: str | None = None,
    details: str = "",
) -> T:
    """Parse a command line, or print the help and end the process.

    Args:
        kind: a dataclass; its fields are the options, and those of nested dataclasses.
        arguments: None: those of the process.
        default: values of options that are not given; None: those of the fields.
        description: of the script, at the top of the help; None: the docstring of `kind`.
        details: further text of the whole help, --help-all.

    Raises:
        InputError: `kind` rejects the values.

    Example:
        @dataclass(frozen=True)
        class Config:
            \"\"\"Count the faces of a photo.\"\"\"

            photo: tyro.conf.Positional[Path]
            \"\"\"Photo to search.\"\"\"

        config = parse_options(Config)
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    options = words[: words.index("--")] if "--" in words else words
    text = description or inspect.getdoc(kind) or ""
    if HELP_ALL in options:
        print(help_text(kind, default, f"{text.strip()}\n\n{details}", whole=True))
        sys.exit(0)
    if set(HELP) & set(options):
        print(help_text(kind, default, text))
        sys.exit(0)
    messages = io.StringIO()
    try:
        with contextlib.redirect_stderr(messages):
            return tyro.cli(kind, args=words, default=default, description=text)
    except SystemExit as end:
        # Some versions of tyro print the error of a configuration's own check in a box and exit.
        if isinstance(end.__context__, InputError):
            messages = io.StringIO()
            raise end.__context__ from None
        raise
    finally:
        sys.stderr.write(messages.getvalue())


def without_help(arguments: Sequence[str]) -> list[str]:
    """The arguments without those that ask for help, for a first look at some of them."""
    return [argument for argument in arguments if argument not in (*HELP, HELP_ALL)]


def help_text(kind: type[Any], default: Any = None, description: str = "", whole: bool = False) -> str:
    """The help of a script.

    Args:
        kind, default: as those of `parse_options`.
        description: at the top.
        whole: all texts of all options; otherwise the first statement of each, and only the names of those
            that are `RARE` or of a brief group.
    """
    parser = get_parser(kind) if default is None else get_parser(kind, default=default)
    width = min(shutil.get_terminal_size().columns, WIDEST)
    actions = [action for action in parser._actions if action.dest != "help" and action.help is not SUPPRESS]
    positional = " ".join(_metavar(kind, action) for action in actions if not action.option_strings)
    usage = f"usage: {_program()} {positional} [OPTIONS]".replace("  ", " ")
    blocks = [usage, *(_paragraph(text, width) for text in description.strip().split("\n\n"))]
    members: dict[tuple[str, ...], list[Action]] = {}
    for action in actions:
        members.setdefault(tuple(_names(action)[:-1]), []).append(action)
    more: list[str] = []
    for path, group in members.items():
        mark, nested = _group(kind, path)
        about = _sentences(inspect.getdoc(nested) or "")[0] if path else ""
        title = f"{mark.title} options" if path else "options"
        heading = f"{title}: {about}" if about else f"{title}:"
        brief = mark.brief and bool(path)
        rare = [action for action in group if not whole and (brief or _is_rare(kind, action))]
        flags = " ".join(action.option_strings[0] for action in rare)
        if brief and rare:
            first = textwrap.shorten(flags, width - TEXT_COLUMN, placeholder=" …", break_on_hyphens=False)
            more.append(_row(mark.title, first, width))
        else:
            lines = [_entry(kind, action, width, whole) for action in group if action not in rare]
            if rare:
                more.insert(0, _wrap(flags, width, "  ").replace("\n    ", "\n  "))
            if not path:
                lines += [
                    _row("-h, --help", "Print this help.", width),
                    _row(HELP_ALL, "Print the whole help, with all options.", width),
                    _row("--version", "Print the version.", width),
                ]
            blocks.append("\n".join([_wrap(heading, width), *lines]))
    if more:
        blocks.append("\n".join([f"more options, which {HELP_ALL} explains:", *more]))
    return "\n\n".join(block for block in blocks if block)


def _program() -> str:
    """The script as it was started: `train.py`, or `python -m PACKAGE.MODULE`."""
    spec = getattr(sys.modules["__main__"], "__spec__", None)
    if spec is not None and spec.origin == sys.argv[0]:
        return f"python -m {spec.name.removesuffix('.__main__')}"
    return Path(sys.argv[0]).name


def _names(action: Action) -> list[str]:
    """The names of the fields that lead to an option: `model.input-size` is `input_size` of `model`."""
    return action.dest.replace("-", "_").split(".")


def _group(kind: type[Any], path: tuple[str, ...]) -> tuple[Group, type[Any]]:
    """The mark of a nested configuration, and its class."""
    mark = Group(".".join(path))
    for name in path:
        hint = typing.get_type_hints(kind, include_extras=True)[name]
        marks = [item for item in getattr(hint, "__metadata__", ()) if isinstance(item, Group)]
        mark = marks[0] if marks else mark
        kind = next(
            part for part in parts_of(hint) if isinstance(part, type) and dataclasses.is_dataclass(part)
        )
    return mark, kind


def _is_rare(kind: type[Any], action: Action) -> bool:
    return any(mark is RARE for mark in getattr(_hint(kind, action), "__metadata__", ()))


def _hint(kind: type[Any], action: Action) -> Any:
    """The type of an option as its configuration states it."""
    *path, name = _names(action)
    return typing.get_type_hints(_group(kind, tuple(path))[1], include_extras=True)[name]


def _entry(kind: type[Any], action: Action, width: int, whole: bool) -> str:
    """An option with its type, its text and its default."""
    text = " ".join((action.help or "").replace("%%", "%").split())
    match = re.search(r"\(default: ([^()]*(?:\([^()]*\)[^()]*)*)\)$", text)
    value = match[1] if match else ""
    text = text[: match.start()].strip() if match else text
    text = text[:1].upper() + text[1:]
    sentences = _sentences(text)
    if not whole:
        statement, rest, explanation = sentences[0].partition("; ")
        # What follows is left out, unless it says what the default means: "0 for one per core".
        text = f"{statement}." if rest and not explanation.startswith(f"{value} ") else sentences[0]
    if value not in ("", "None"):
        value = {"True": "yes", "False": "no"}.get(value, value) if action.nargs == 0 else value
        text = f"{text} [{value}]".strip()
    left = ", ".join(action.option_strings) if action.option_strings else ""
    return _row(f"{left} {_metavar(kind, action)}".strip(), text, width)


def _metavar(kind: type[Any], action: Action) -> str:
    """The type of an option, as INT, INT ... or {a,b}."""
    if action.nargs == 0:
        return ""
    text = str(action.metavar or "").replace("{None}|", "").replace("{None,", "{")
    if "ANNOTATED" in text:
        hint = _hint(kind, action)
        items = [item for part in parts_of(hint) for item in (typing.get_args(part) or (part,))]
        types = [part.__name__ for item in items for part in parts_of(item) if isinstance(part, type)]
        text = text.replace("ANNOTATED", next(n for n in types if n != "NoneType").upper())
    text = re.sub(r"^\[(.+) \[\1 \.\.\.\]\]$", r"\1 ...", text)  # [INT [INT ...]]
    return re.sub(r"^\{\[(.+) \[\.\.\.\]\]\}$", r"\1 ...", text)  # {[{a,b} [...]]}


def _row(left: str, text: str, width: int) -> str:
    """An option on the left, its text in a column on the right, below it if it is long."""
    lines = textwrap.wrap(text, max(width - TEXT_COLUMN, 30), break_on_hyphens=False)
    if len(left) > TEXT_COLUMN - 4:
        lines = ["", *lines]
    rest = [f"{'':{TEXT_COLUMN}}{line}" for line in lines[1:]]
    return "\n".join([f"  {left:{TEXT_COLUMN - 2}}{lines[0] if lines else ''}".rstrip(), *rest])


def _wrap(text: str, width: int, indent: str = "") -> str:
    """A line, or several with a deeper indent after the first."""
    indent = indent or text[: len(text) - len(text.lstrip())]
    return textwrap.fill(
        text.strip(), width, initial_indent=indent, subsequent_indent=f"{indent}  ", break_on_hyphens=False
    )


def _paragraph(text: str, width: int) -> str:
    """A paragraph of a docstring; lists, by their indent, stay lists, and commands as they are.

    Commands are indented by 4 spaces, or begin with "python " if they end a docstring, which then has lost
    their indent.
    """
    lines = text.strip("\n").splitlines()
    if lines and lines[0].startswith("python "):
        return "\n".join(f"    {line}" for line in lines)
    if any(line.startswith(" ") for line in lines):
        return "\n".join(line if line.startswith("    ") else _wrap(line, width) for line in lines)
    return textwrap.fill(" ".join(lines), width, break_on_hyphens=False)


def _sentences(text: str) -> list[str]:
    """The sentences of the first paragraph; one empty text if there are none."""
    paragraph = " ".join(text.partition("\n\n")[0].split())
    return re.split(r"(?<=[.])\s+(?=[A-Z\"`])", paragraph)
