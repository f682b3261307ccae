"""Measurements behind the tables and figures of the documentation."""

__all__ = [
    "family_study",
    "mesh",
    "paper_figures",
    "rate",
    "runtime_measures",
    "serving_load",
    "tracking_measures",
]
