"""The description of a SavedModel: `description.json`, written when it is exported."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tf_dhm.core.configuration import read_json
from tf_dhm.core.errors import InputError
from tf_dhm.networks.config import ModelConfig
from tf_dhm.runtime.store import find_savedmodel

CARD_FILE = "README.md"
"""The model card, beside the version folders."""
DESCRIPTION_FILE = Path("assets.extra") / "description.json"
"""Inside a version folder; TF Serving leaves assets.extra alone."""


@dataclass(frozen=True)
class Description:
    """How a SavedModel was made, and how it scored on `val`.

    Attributes:
        preset: name of the preset it was built from.
        model: the network.
        options: all options of the training run.
        command: the command line that trained it.
        datasets: name -> what its labels and boxes are, and its licence limits.
        faces_seen: training faces, repeated ones counted again.
        hours: time spent in training.
        machine: CPU or GPU and threads of the training.
        val: metrics on the `val` split.
        initialized_from: description of the model that training began with.
        quality: measures of visibility and confidence on held-out faces; None if it gives neither.
        adapted: the faces that its output layer was fitted to in closed form, in words; "" for a model
            that was trained. `val` is then measured on faces of theirs that were held out.
        software: versions of Python, TensorFlow, Keras and NumPy that exported it; empty for models that
            were exported before it was recorded.
    """

    preset: str
    model: ModelConfig
    options: dict[str, Any]
    command: str
    datasets: dict[str, str]
    faces_seen: int
    hours: float
    machine: str
    val: dict[str, Any]
    initialized_from: dict[str, Any] | None = None
    quality: dict[str, Any] | None = None
    adapted: str = ""
    software: dict[str, str] = field(default_factory=dict)


def read_description(model_dir: Path) -> Description:
    """The description in a SavedModel (a model folder or a version of it)."""
    path = find_savedmodel(model_dir) / DESCRIPTION_FILE
    if not path.is_file():
        raise InputError(f"{path}: found no such file, expected a model exported by this project")
    return read_json(Description, path)
