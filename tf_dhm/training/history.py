"""The table of a run: one row of `history.csv` for each epoch."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tf_dhm.core.files import atomic_write

HISTORY_FILE = "history.csv"


def append_row(path: Path, row: Mapping[str, Any]) -> None:
    """Add the row of an epoch; a new file begins with the names of the columns."""
    is_new = not path.exists()
    with path.open("a", newline="") as file:
        table = csv.DictWriter(file, list(row), lineterminator="\n")
        if is_new:
            table.writeheader()
        table.writerow(row)


def read_column(path: Path, name: str) -> list[float]:
    """The numbers of a column, an epoch each; none if there is no table yet."""
    if not path.exists():
        return []
    with path.open(newline="") as file:
        return [float(row[name]) for row in csv.DictReader(file)]


def forget_later_epochs(path: Path, last_epoch: int) -> None:
    """Remove what a killed run wrote after its last checkpoint, the one after `last_epoch` epochs."""
    if not path.exists():
        return
    if last_epoch == 0:
        path.unlink()
        return
    # This removes a line that was cut short, too: a row is complete before its checkpoint is written.
    lines = path.read_text().splitlines()
    with atomic_write(path) as temporary:
        temporary.write_text("".join(f"{line}\n" for line in lines[: 1 + last_epoch]))
