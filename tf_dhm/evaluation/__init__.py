"""Accuracy and speed of models, beside those of other systems."""

__all__ = ["benchmark", "evaluate", "figures", "peers"]
