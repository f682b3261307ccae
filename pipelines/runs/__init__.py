"""A training run from its options to an exported model."""

__all__ = [
    "budget",
    "checks",
    "description",
    "faces",
    "failures",
    "options",
    "quality_crops",
    "results",
    "run",
    "teacher",
]
