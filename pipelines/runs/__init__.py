"""A training run from its options to an exported model."""

__all__ = ["description", "faces", "failures", "options", "quality_crops", "run", "teacher"]
