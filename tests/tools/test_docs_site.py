"""The documentation site: links that lead out of docs/, and the whole site."""

from __future__ import annotations

import doctest
import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
needs_mkdocs = pytest.mark.skipif(
    importlib.util.find_spec("mkdocs") is None, reason="mkdocs is not installed (requirements-docs.txt)"
)


@needs_mkdocs
def test_links() -> None:
    from tools import docs_site

    assert doctest.testmod(docs_site).failed == 0
    assert docs_site.rewrite_links("[card](../savedmodels/fast_dhm/README.md#a)", "docs/web.md") == (
        "[card](models/fast_dhm.md#a)"
    )
    assert docs_site.rewrite_links("[a](../../docs/adapt.md)", "savedmodels/fast_dhm/README.md") == (
        "[a](../adapt.md)"
    )
    assert docs_site.rewrite_links("[a](none.txt)", "README.md") == "[a](none.txt)"


@needs_mkdocs
def test_every_page_is_in_the_navigation() -> None:
    named = set(
        re.findall(r": ([\w/]+\.(?:md|ipynb))$|- (index\.md)$", (ROOT / "mkdocs.yml").read_text(), re.M)
    )
    pages = {first or second for first, second in named}
    docs = {str(path.relative_to(ROOT / "docs")) for path in (ROOT / "docs").rglob("*.md")}
    assert docs <= pages


@pytest.mark.slow
@needs_mkdocs
def test_the_site(tmp_path: Path) -> None:
    """In strict mode a broken link, anchor or reference is an error."""
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path / "site")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    commands = (tmp_path / "site" / "cli" / "index.html").read_text()
    assert "--field-of-view" in commands
    assert "--second-pass" in commands
    api = (tmp_path / "site" / "api" / "index.html").read_text()
    assert 'id="tf_dhm.Aligner.align"' in api
    # It loads nothing from other hosts.
    for page in (tmp_path / "site").rglob("*.html"):
        loaded = re.findall(r'<(?:script|link|img)[^>]+(?:src|href)="(https?://[^"]+)"', page.read_text())
        assert [url for url in loaded if "canonical" not in url] == [], page
