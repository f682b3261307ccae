"""The commands and examples of README.md and docs/, and files of the names that they take."""

from __future__ import annotations

import re
import shlex
import shutil
from collections.abc import Iterator
from pathlib import Path

from tests.fakes import draw_cartoon_face
from tests.scripts import ROOT
from tf_dhm.runtime.video_writer import VideoWriter

PHOTO = ROOT / "tests" / "data" / "astronaut.jpg"
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
INPUTS = {"photo.jpg", "photos", "clip.mp4"}
"""Inputs that `lay_out` writes."""
INSTALLED = {
    "tf-dhm-align": "align.py",
    "tf-dhm-align-archive": "align_archive.py",
    "tf-dhm-demo": "-m tf_dhm.demo",
    "tf-dhm": "-m tf_dhm.cli",
}


def fenced(language: str) -> Iterator[tuple[str, str]]:
    """Name of the page and text of every fenced block of a language."""
    for page in PAGES:
        for block in re.findall(rf"^ *```{language}\n(.*?)^ *```", page.read_text(), re.M | re.S):
            yield page.name, block


def commands() -> Iterator[tuple[str, list[str]]]:
    """Name of the page and words of every command: of `sh` blocks, and inline code that begins as one."""
    for name, block in fenced("sh"):
        yield from ((name, words) for words in split_commands(block))
    for page in PAGES:
        text = re.sub(r"```.*?```", "", page.read_text(), flags=re.S)
        for code in re.findall(r"`((?:python|pip|make|tf-dhm)[ -][^`]*)`", text):
            for words in split_commands(code.replace("\n", " ")):
                # A script without options is named, not started.
                if len(words) > 2 or words[0] == "make":
                    yield page.name, words


def split_commands(text: str) -> Iterator[list[str]]:
    """The words of each command of a shell, with its variables, and without comments and redirections."""
    joined = re.sub(r"\s#.*", "", "\n" + text.replace("\\\n", " ")) + "\n"
    lexer = shlex.shlex(joined, posix=True, punctuation_chars="|&;<>\n")
    lexer.whitespace, lexer.whitespace_split, lexer.commenters = " \t", True, ""
    words: list[str] = []
    variables: dict[str, str] = {}
    for word in lexer:
        if set(word) <= set("|&;\n"):
            while words and re.fullmatch(r"[A-Z_0-9]+=.*|do|taskset|-c|\d+", words[0], re.S):
                name, _, value = words.pop(0).partition("=")
                variables[f"${name}"] = value
            if words:
                yield words
            words = []
        elif set(word) <= set("<>"):
            words.append(word)
        elif words and set(words[-1]) <= set("<>"):
            words.pop()
        else:
            words += variables[word].split() if word in variables else [word]


def script_of(words: list[str]) -> tuple[str, list[str]] | None:
    """The script of ours (or module, after -m) that a command starts, and its arguments."""
    if words[:2] == ["tf-dhm", "align"]:
        return "align.py", words[2:]
    if words[0] in INSTALLED:
        return INSTALLED[words[0]], words[1:]
    if words[0] != "python":
        return None
    if words[1] == "-m":
        return f"-m {words[2]}", words[3:]
    return words[1], words[2:]


ALL = list(commands())
PYTHON = [(page, *found) for page, words in ALL if (found := script_of(words))]


def is_alignment(script: str, arguments: list[str]) -> bool:
    """Whether a command aligns what `lay_out` writes, with a committed model."""
    is_align = script in ("align.py", "-m tf_dhm")
    is_shipped = "--server" not in arguments and not any(word.startswith("runs/") for word in arguments)
    return is_align and is_shipped and bool(INPUTS.intersection(arguments))


def lay_out(folder: Path) -> None:
    """Write what the documented commands take: photo.jpg, photos/ and clip.mp4."""
    (folder / "photos").mkdir()
    shutil.copy(PHOTO, folder / "photo.jpg")
    shutil.copy(PHOTO, folder / "photos" / "one.jpg")
    with VideoWriter(folder / "clip.mp4", 25) as writer:
        for _ in range(3):
            writer.write(draw_cartoon_face())
