"""Accuracy and speed of models, beside those of other systems."""

__all__ = [
    "benchmark",
    "boxes",
    "entries",
    "evaluate",
    "figures",
    "labelled_faces",
    "peers",
    "published",
    "report",
]
