"""Locations and names of exported models."""

from __future__ import annotations

from pathlib import Path

from tf_dhm.core.errors import InputError
from tf_dhm.core.renamed import current_name
from tf_dhm.core.words import hint_at

PACKAGED = Path(__file__).resolve().parents[1] / "savedmodels"
SAVEDMODELS = PACKAGED if PACKAGED.is_dir() else PACKAGED.parents[1] / "savedmodels"
"""Folder in which a model given by name is looked up: in an installed package, or in the repository."""
DEFAULT_MODEL = "fast_dhm_m"
"""The model that is used if none is named: the least error of those under one megabyte."""


def list_models() -> list[str]:
    """The names of the models that come with the package, sorted.

    >>> "fast_dhm_m" in list_models()
    True
    """
    return sorted(path.name for path in SAVEDMODELS.glob("*") if has_savedmodel(path))


def has_savedmodel(folder: Path) -> bool:
    return any(file.parent.name.isdecimal() for file in folder.glob("*/saved_model.pb"))


def find_savedmodel(path: str | Path) -> Path:
    """The version folder that `path` stands for.

    Args:
        path: a version folder (it holds saved_model.pb), a model folder (its sub-folders are
            version numbers; the newest is taken), or the name of a model of this project.

    Raises:
        InputError: there is no SavedModel; names what is there.
    """
    folder = Path(path)
    is_name = str(path) == folder.name and folder.name != ".."
    if is_name and (SAVEDMODELS / current_name(folder.name)).is_dir():
        folder = SAVEDMODELS / current_name(folder.name)
    if not folder.is_dir():
        found = "a file" if folder.exists() else "nothing"
        message = f"model {path}: found {found}, expected a folder with a SavedModel"
        if is_name:
            known = sorted(p.name for p in SAVEDMODELS.glob("*") if p.is_dir())
            message += f" or one of the models {', '.join(known) or '(none is installed)'}"
            message += hint_at(folder.name, known)
        raise InputError(message)
    if (folder / "saved_model.pb").is_file():
        return folder
    versions = [p for p in folder.iterdir() if p.name.isdecimal() and (p / "saved_model.pb").is_file()]
    if not versions:
        names = sorted(p.name for p in folder.iterdir())
        found = ", ".join(names[:5]) + (", ..." if len(names) > 5 else "") if names else "an empty folder"
        message = (
            f"model {folder}: found {found}, expected saved_model.pb or a version folder (1, 2) holding it"
        )
        if exported := sorted(folder.glob("export/*/*/saved_model.pb")):
            message += f"; the model of this run is {exported[-1].parents[1]}"
        raise InputError(message)
    return max(versions, key=lambda p: int(p.name))


def model_name(version_dir: Path) -> str:
    """The name of a SavedModel: that of its model folder, if it lies in a version folder."""
    resolved = version_dir.resolve()
    return resolved.parent.name if resolved.name.isdecimal() else resolved.name
