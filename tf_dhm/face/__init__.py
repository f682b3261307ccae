"""The mathematics of a face in NumPy: geometry, heat maps, metrics and morphable models."""

__all__ = [
    "bfm",
    "camera",
    "expression",
    "fit",
    "geometry",
    "heatmap",
    "matfiles",
    "mean_face",
    "mediapipe",
    "metrics",
    "morphable",
    "parameters",
    "reduced_basis",
    "standardised",
]
