"""Models of this project fitted to another annotation: its points, the features of its faces, and the fit."""

__all__ = ["adapt", "annotations", "crossfit", "kinds", "views"]
