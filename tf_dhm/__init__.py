"""Fast DHM: 68 three-dimensional facial landmarks at any head pose, in real time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tf_dhm.core.version import __version__ as __version__

if TYPE_CHECKING:
    from tf_dhm.core.errors import InputError
    from tf_dhm.runtime.aligner import Aligner
    from tf_dhm.runtime.faces import Alignment, Face

__all__ = ["Aligner", "Alignment", "Face", "InputError"]

HOMES = {
    "Aligner": "tf_dhm.runtime.aligner",
    "Alignment": "tf_dhm.runtime.faces",
    "Face": "tf_dhm.runtime.faces",
    "InputError": "tf_dhm.core.errors",
}


def __getattr__(name: str) -> Any:
    """Load what is asked for, and nothing that is not."""
    if name not in HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(HOMES[name]), name)
