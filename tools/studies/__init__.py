"""Measurements for the tables and figures of the documentation, run as `python -m tools.studies.NAME`."""

__all__ = [
    "ablations",
    "accuracy_tables",
    "detector_measures",
    "error_curves",
    "fairness",
    "family_study",
    "family_tables",
    "first_pass",
    "lanes",
    "mesh",
    "paper_figures",
    "photo",
    "rate",
    "rendering_rate",
    "result_tables",
    "runtime_measures",
    "serving_load",
    "small_faces",
    "speed_tables",
    "tracking_measures",
]
