"""The documentation site: links that lead out of docs/, and the whole site."""

from __future__ import annotations

import doctest
import importlib.util
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

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
def test_links_of_a_notebook(caplog: pytest.LogCaptureFixture) -> None:
    from mkdocs.structure.files import File, Files

    from tools import docs_site

    notebook, target = (
        File(path, "docs", "site", use_directory_urls=True) for path in ("notebooks/tour.ipynb", "web.md")
    )
    notebook.url = "notebooks/tour/"
    page = SimpleNamespace(file=notebook)
    files = Files([notebook, target])

    def rewritten(html: str) -> str:
        return docs_site.on_page_content(html, page, {}, files)

    assert rewritten('<a href="../web.md">') == '<a href="../../web/">'
    assert rewritten('<a href="../web.md#speed">') == '<a href="../../web/#speed">'
    assert rewritten('<a href="https://example.org/web.md">') == '<a href="https://example.org/web.md">'
    assert caplog.records == []
    assert rewritten('<a href="../none.md">') == '<a href="../none.md">'
    assert "../none.md" in caplog.text  # an error in strict mode


@needs_mkdocs
def test_every_page_is_in_the_navigation() -> None:
    """All but the model cards, to which models.md leads."""
    from tools import docs_site

    cards = [page for source, page in docs_site.PAGES.items() if source.startswith("savedmodels/")]
    named = set(
        re.findall(r": ([\w/]+\.(?:md|ipynb))$|- (index\.md)$", (ROOT / "mkdocs.yml").read_text(), re.M)
    )
    pages = {first or second for first, second in named}
    docs = {str(path.relative_to(ROOT / "docs")) for path in (ROOT / "docs").rglob("*.md")}
    assert docs <= pages
    assert {page for page in docs_site.PAGES.values() if page not in cards} <= pages


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
    # Links of the notebook, which mkdocs does not check, lead to pages.
    tour = tmp_path / "site" / "notebooks" / "tour"
    links = re.findall(r'<a href="(\.\./[^"#]*)"', (tour / "index.html").read_text())
    assert "../../heat_maps/" in links
    assert [link for link in links if not (tour / link / "index.html").is_file()] == []
    # It loads nothing from other hosts.
    for page in (tmp_path / "site").rglob("*.html"):
        loaded = re.findall(r'<(?:script|link|img)[^>]+(?:src|href)="(https?://[^"]+)"', page.read_text())
        assert [url for url in loaded if "canonical" not in url] == [], page
