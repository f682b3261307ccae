"""Promote a trained model: copy it as the next version of a served model, and write its card.

python export.py --model runs/my_run/export/fast_dhm --promote fast_dhm \\
    --metrics runs/evaluation/metrics.json --metrics-title "AFLW2000-3D"
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tyro

# TensorFlow reads it when it is loaded: its notes on the CPU are no news here.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

from tf_dhm.errors import InputError, run_script
from tf_dhm.export import card_rows, promote
from tf_dhm.predictor import find_savedmodel, model_name


@dataclass(frozen=True)
class Config:
    """What to promote, and what its card says."""

    model: Path
    """Exported model (runs/<run>/export/<preset>, or one of its versions)."""
    promote: str
    """Name of the served model; its next version is written to <savedmodels-dir>/<name>."""
    metrics: tuple[Path, ...] = ()
    """Results for the card: files metrics.json that evaluate.py wrote for this model."""
    metrics_title: tuple[str, ...] = ()
    """What each of them was measured on, as "AFLW2000-3D"."""
    savedmodels_dir: Path = Path("savedmodels")
    """Folder of the served models."""


def main() -> None:
    config = tyro.cli(Config, description=__doc__)
    if not config.promote or Path(config.promote).name != config.promote:
        raise InputError(f"promote: found {config.promote!r}, expected a name, as fast_dhm")
    titles = config.metrics_title
    if len(config.metrics) != len(titles) or len(set(titles)) != len(titles):
        raise InputError(
            f"metrics-title: found {', '.join(titles) or 'none'}, expected different ones for the "
            f"{len(config.metrics)} files of --metrics"
        )
    rows: dict[str, Any] = {}
    for path, title in zip(config.metrics, titles, strict=True):
        rows |= card_rows(path, model_name(find_savedmodel(config.model)), title)
    print(f"promoted to {promote(config.model, config.savedmodels_dir / config.promote, rows)}")


if __name__ == "__main__":
    run_script(main)
