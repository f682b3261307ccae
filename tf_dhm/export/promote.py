"""Promotion: an exported model becomes the next version of a served one."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tf_dhm.core.files import atomic_write
from tf_dhm.export.card import accuracy_lines, model_card
from tf_dhm.export.description import CARD_FILE, read_description
from tf_dhm.export.saved_model import read_head, read_points, read_weights, write_model
from tf_dhm.runtime.store import find_savedmodel


def next_version(model_folder: Path) -> Path:
    """The first free version folder: <model folder>/<highest + 1>."""
    numbers = [int(p.name) for p in model_folder.glob("*") if p.name.isdecimal()]
    return model_folder / str(max(numbers, default=0) + 1)


def promote(
    source: Path,
    model_folder: Path,
    metrics: dict[str, Any],
    finish: Callable[[Path], object] = lambda folder: None,
    renew: bool = False,
) -> Path:
    """Copy an exported model as the next version of `model_folder` and write its card.

    Args:
        source: an exported model.
        model_folder: savedmodels/<name>; made if needed.
        metrics: measured test results, title -> metrics of `metrics.summarize`, for the card.
        finish: given the new version folder before it has its name, to put more files into it.
        renew: save the weights again, with the signatures of this version of the project, instead of copying.

    Returns:
        The new version folder.
    """
    version_dir = find_savedmodel(source)
    description = read_description(version_dir)
    target = next_version(model_folder)
    accuracy_lines(metrics)  # first, results that do not fit a card then leave no version behind
    with atomic_write(target) as folder:
        if renew:
            head, points = read_head(version_dir), read_points(version_dir)
            write_model(read_weights(version_dir), description.model, description, folder, head, points)
        else:
            shutil.copytree(version_dir, folder, ignore=shutil.ignore_patterns("*.tflite"))
        finish(folder)
        card = model_card(model_folder.name, folder, description, metrics, target.name)
    with atomic_write(model_folder / CARD_FILE) as path:
        path.write_text(card)
    return target
