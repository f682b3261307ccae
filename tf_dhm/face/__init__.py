"""The mathematics of a face in NumPy: geometry, heat maps, metrics and morphable models."""

__all__ = [
    "bfm",
    "geometry",
    "heatmap",
    "mean_face",
    "metrics",
    "morphable",
    "parameters",
    "standardised",
]
