"""The notebook runs from its first cell to its last, and was committed with what it prints."""

from __future__ import annotations

import re
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

NOTEBOOK = Path(__file__).parents[2] / "docs" / "notebooks" / "tour.ipynb"
MAX_BYTES = 1_000_000


def test_it_is_committed_with_its_pictures() -> None:
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))
    pictures = [output for cell in code for output in cell.outputs if "image/jpeg" in output.get("data", {})]
    assert len(pictures) >= 5
    assert NOTEBOOK.stat().st_size < MAX_BYTES


@pytest.mark.slow
def test_it_runs() -> None:
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    NotebookClient(notebook, timeout=600, resources={"metadata": {"path": str(NOTEBOOK.parent)}}).execute()
    printed = "".join(
        output.get("text", "")
        for cell in notebook.cells
        if cell.cell_type == "code"
        for output in cell.outputs
    )
    assert "landmarks (68, 3)" in printed
    assert printed.count("landmarks visible") == 5
    states = [float(pixels) for pixels in re.findall(r"^state \d: ([\d.]+) pixels", printed, re.M)]
    assert len(states) == 5
    assert states == sorted(states, reverse=True)
    assert "largest difference" in printed
