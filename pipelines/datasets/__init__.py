"""One reader for each dataset format; all yield the same samples."""

__all__ = [
    "aflw2000_3d",
    "crop_sets",
    "csv_landmarks",
    "folders",
    "ls3dw",
    "pose_para",
    "pts",
    "samples",
    "w300lp",
]
