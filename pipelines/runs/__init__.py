"""A training run from its options to an exported model."""

__all__ = ["quality_crops", "run"]
