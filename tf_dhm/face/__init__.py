"""The mathematics of a face in NumPy: geometry, heat maps, metrics and morphable models."""

__all__ = [
    "bfm",
    "camera",
    "expression",
    "fit",
    "geometry",
    "heatmap",
    "landmark_solver",
    "matfiles",
    "mean_face",
    "mediapipe",
    "metrics",
    "morphable",
    "parameters",
    "placement",
    "reduced_basis",
    "standardised",
]
