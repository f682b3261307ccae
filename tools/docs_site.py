"""Hook of mkdocs: pages of the site that are written elsewhere, and the links that lead out of `docs/`.

README.md becomes the first page; the model cards, CONTRIBUTING.md, CHANGELOG.md and THIRD_PARTY.md become
pages of their own; the help of every command becomes the page `cli.md`. Links between them work on GitHub as
they stand, and are rewritten for the site.
"""

from __future__ import annotations

import os
import posixpath
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from mkdocs.plugins import get_plugin_logger
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from tf_dhm.cli import COMMANDS, PROGRAM  # noqa: E402

PAGES = {
    "README.md": "index.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
    "THIRD_PARTY.md": "third_party.md",
    "web/README.md": "models/web_package.md",
    "tf_dhm/assets/OPEN_FACE.md": "models/open_face_asset.md",
    **{
        str(card.relative_to(ROOT)): f"models/{card.parent.name}.md"
        for card in sorted((ROOT / "savedmodels").glob("*/README.md"))
    },
}
"""File of the repository -> page of the site."""
REPOSITORY_FILES = ("LICENSE",)
"""Files that links of those pages name, and that are no pages: the link becomes plain text."""
HELP_WIDTH = 110

log = get_plugin_logger(__name__)


def site_path(path: str) -> str:
    """The page of a file of the repository; files of `docs/` keep their place."""
    return PAGES.get(path) or (path.removeprefix("docs/") if path.startswith("docs/") else "")


def rewrite_links(text: str, source: str) -> str:
    """Make the links of a file of the repository lead to pages of the site.

    >>> rewrite_links("[a](docs/web.md#speed) [b](savedmodels/fast_dhm/README.md)", "README.md")
    '[a](web.md#speed) [b](models/fast_dhm.md)'
    >>> rewrite_links("[elsewhere](https://example.org)", "README.md")
    '[elsewhere](https://example.org)'
    >>> rewrite_links("[up](../README.md) [licence](../LICENSE)", "docs/web.md")
    '[up](index.md) licence'
    """
    here = posixpath.dirname(site_path(source))

    def rewrite(match: re.Match[str]) -> str:
        label, link = match.groups()
        path, hash_mark, anchor = link.partition("#")
        if not path or ":" in path:
            return match[0]
        target = posixpath.normpath(posixpath.join(posixpath.dirname(source), path))
        if target in REPOSITORY_FILES:
            return label
        if not site_path(target):
            return match[0]  # a broken link, which mkdocs reports
        return f"[{label}]({posixpath.relpath(site_path(target), here or '.')}{hash_mark}{anchor})"

    return re.sub(r"\[([^\]]*)\]\(([^)\s]+)\)", rewrite, text)


def command_help(name: str) -> str:
    """The help of a command as text."""
    variables = {**os.environ, "COLUMNS": str(HELP_WIDTH), "NO_COLOR": "1", "TERM": "dumb"}
    done = subprocess.run(
        [sys.executable, "-m", "tf_dhm.cli", name, "--help-all"],
        cwd=ROOT,
        env=variables,
        capture_output=True,
        text=True,
        check=True,
    )
    return "\n".join(line.rstrip() for line in done.stdout.strip().splitlines())


def cli_page() -> str:
    """The help of all commands, each with its script."""
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        helps = dict(zip(COMMANDS, pool.map(command_help, COMMANDS), strict=True))
    parts = [
        "# Commands",
        f"`{PROGRAM} COMMAND` and the scripts in the root of the repository are the same. In a clone that is "
        "not installed, the first is `python -m tf_dhm.cli COMMAND`.",
    ]
    for name, command in COMMANDS.items():
        extra = f" It needs the extra `{command.extra}`." if command.extra else ""
        place = "" if command.main else " It needs a clone of the repository."
        parts += [f"## {PROGRAM} {name}", f"{command.summary}{extra}{place}", f"```text\n{helps[name]}\n```"]
    return "\n\n".join(parts) + "\n"


def models_page() -> str:
    """A list of the model cards, from the table of the README."""
    readme = (ROOT / "README.md").read_text()
    table = readme.split("\n## Models\n")[1].split("\n## ")[0].strip()
    return f"# Models and their cards\n\n{rewrite_links(table, 'README.md')}\n"


def on_files(files: Files, config: Any) -> Files:
    """Add the pages that are written elsewhere."""
    for source, page in PAGES.items():
        content = rewrite_links((ROOT / source).read_text(), source)
        files.append(File.generated(config, page, content=content))
    files.append(File.generated(config, "cli.md", content=cli_page()))
    files.append(File.generated(config, "models.md", content=models_page()))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Rewrite the links of a page of `docs/` that lead out of it."""
    if page.file.generated_by is not None:
        return markdown
    return rewrite_links(markdown, f"docs/{page.file.src_uri}")


def on_page_content(html: str, page: Any, config: Any, files: Files) -> str:
    """Rewrite and check the links of a notebook to pages, as mkdocs does for Markdown alone."""
    if not page.file.src_uri.endswith(".ipynb"):
        return html

    def rewrite(match: re.Match[str]) -> str:
        path, anchor = match[1], match[2] or ""
        target = posixpath.normpath(posixpath.join(posixpath.dirname(page.file.src_uri), path))
        found = files.get_file_from_path(target)
        if found is None:
            log.warning("%s: the link %s leads to no page", page.file.src_uri, path)
            return match[0]
        return f'href="{found.url_relative_to(page.file)}{anchor}"'

    return re.sub(r'href="([^":#]+\.md)(#[^"]*)?"', rewrite, html)
