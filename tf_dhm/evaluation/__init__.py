"""Accuracy and speed of models, beside those of other systems."""

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
