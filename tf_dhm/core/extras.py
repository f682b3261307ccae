"""Optional packages: which extra of the package installs them."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from contextlib import contextmanager

from tf_dhm.core.errors import InputError

EXTRAS: dict[str, tuple[str, ...]] = {
    "archive": ("ray", "pyarrow", "pandas", "fsspec"),
    "evaluate": ("pandas", "matplotlib", "adjustText", "tabulate"),
    "gui": ("cv2",),
    "mesh": ("trimesh",),
    "osc": ("pythonosc",),
    "serving": ("grpc", "requests", "tenacity", "tensorflow", "tensorflow_serving"),
    "tensorflow": ("tensorflow",),
    "train": ("tensorflow", "keras", "tensorflow_serving"),
}
"""Extra in pyproject.toml -> the modules that this package imports from it."""
SCRIPTS_EXTRA = "train"
"""The extra with the packages of all scripts of the repository."""
OWN_PACKAGES = ("pipelines", "tf_dhm", "tools")


class MissingPackageError(InputError, ModuleNotFoundError):
    """A package of an extra is not installed; the message names the extra."""


def missing_package(user: str, package: str, extra: str) -> MissingPackageError:
    """The error of `user` (an option, command or module) that needs a package of an extra.

    >>> print(missing_package("osc", "x", "osc"))
    osc: found no package x, expected those of the extra osc; in a clone: pip install '.[osc]'
    """
    error = MissingPackageError(
        f"{user}: found no package {package}, expected those of the extra {extra}; "
        f"in a clone: pip install '.[{extra}]'"
    )
    error.name = package
    return error


def require_extra(extra: str, user: str) -> None:
    """Raise a MissingPackageError if a package of an extra is not installed. Nothing is loaded.

    >>> require_extra("mesh", "--mesh")
    """
    for package in EXTRAS[extra]:
        if importlib.util.find_spec(package) is None:
            raise missing_package(user, package, extra)


@contextmanager
def packages_of(extra: str, user: str) -> Iterator[None]:
    """Turn a failed import of a package of an extra into a MissingPackageError that names `user`.

    Example:
        >>> with packages_of("mesh", "--mesh"):
        ...     import trimesh
    """
    try:
        yield
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if package not in EXTRAS[extra]:
            raise
        raise missing_package(user, package, extra) from error


@contextmanager
def packages_of_script(user: str) -> Iterator[None]:
    """Turn a failed import of a script of the repository into a MissingPackageError that names `user`.

    Example:
        >>> with packages_of_script("train.py"):
        ...     import tensorflow
    """
    try:
        yield
    except MissingPackageError:
        raise
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if package in ("", *OWN_PACKAGES):
            raise
        raise missing_package(user, package, SCRIPTS_EXTRA) from error
