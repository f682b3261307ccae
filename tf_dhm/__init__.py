"""Fast DHM: 68 three-dimensional facial landmarks at any head pose, in real time.

The public names are loaded when they are first used, so that `import tf_dhm` stays fast:

| name | what it is |
|---|---|
| `Aligner` | finds the faces of photos and their landmarks |
| `Alignment`, `Face` | what it returns |
| `Tracker` | follows the faces of a video |
| `FaceDetector` | finds faces without landmarks |
| `load_model`, `list_models` | a model alone, and the names of those that are installed |
| `Prediction` | what a model returns for crops |
| `read_photo` | decodes whatever a photo comes in |
| `InputError` | every error of bad input |

Example:
    >>> import numpy as np
    >>> import tf_dhm
    >>> photo = np.zeros((120, 160, 3), np.uint8)
    >>> faces = tf_dhm.Aligner().align(photo, boxes=[[40, 20, 120, 110]])
    >>> faces[0].landmarks.shape
    (68, 3)
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tf_dhm.core.version import __version__ as __version__

if TYPE_CHECKING:
    from tf_dhm.core.errors import InputError
    from tf_dhm.runtime.aligner import Aligner, load_model
    from tf_dhm.runtime.detector import FaceDetector
    from tf_dhm.runtime.faces import Alignment, Face
    from tf_dhm.runtime.images import read_photo
    from tf_dhm.runtime.predictor import Prediction
    from tf_dhm.runtime.store import list_models
    from tf_dhm.runtime.tracking import Tracker

__all__ = [
    "Aligner",
    "Alignment",
    "Face",
    "FaceDetector",
    "InputError",
    "Prediction",
    "Tracker",
    "list_models",
    "load_model",
    "read_photo",
]

HOMES = {
    "Aligner": "tf_dhm.runtime.aligner",
    "Alignment": "tf_dhm.runtime.faces",
    "Face": "tf_dhm.runtime.faces",
    "FaceDetector": "tf_dhm.runtime.detector",
    "InputError": "tf_dhm.core.errors",
    "Prediction": "tf_dhm.runtime.predictor",
    "Tracker": "tf_dhm.runtime.tracking",
    "list_models": "tf_dhm.runtime.store",
    "load_model": "tf_dhm.runtime.aligner",
    "read_photo": "tf_dhm.runtime.images",
}


def __getattr__(name: str) -> Any:
    """Load a public name, and nothing else."""
    if name not in HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
