"""The datasets by name, with one reader for each format; all readers yield the same samples."""

__all__ = [
    "aflw2000_3d",
    "catalogue",
    "crop_sets",
    "csv_landmarks",
    "folders",
    "ls3dw",
    "pose_para",
    "pts",
    "readers",
    "samples",
    "w300lp",
]
