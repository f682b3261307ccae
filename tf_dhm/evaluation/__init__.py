"""Accuracy and speed of models, beside those of other systems.

It needs the extra `evaluate`: `pip install '.[evaluate]'`.
"""

from tf_dhm.core.extras import require_extra

require_extra("evaluate", __name__)

__all__ = [
    "benchmark",
    "boxes",
    "cases",
    "entries",
    "evaluate",
    "figures",
    "labelled_faces",
    "network_cases",
    "operations",
    "peers",
    "published",
    "report",
    "timing",
]
