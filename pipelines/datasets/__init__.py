"""One reader for each dataset format; all yield the same samples."""

__all__ = ["aflw2000_3d", "csv_landmarks", "folders", "ls3dw", "matfiles", "samples", "w300lp", "wild68"]
