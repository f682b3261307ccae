"""What a user chooses when faces are found and followed; it loads quickly, for the help of commands."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from tf_dhm.core.configuration import AtLeastOne, Count, NotNegative, Positive, Share, check_fields
from tf_dhm.core.errors import InputError

Backend = Literal["tflite", "saved_model"]
"""What runs a model: the TFLite file in its version folder, which needs no TensorFlow, or the SavedModel."""
Choice = Literal["auto", "short", "full"]
"""Which detector searches photos. full: the network that sees small faces. short: a network of a fifth of
its time, for faces of at least 1/5 of the photo. auto: "short" first if only one face is wanted, and "full"
if that finds none beyond doubt; else "full", and in videos both in turn (`TrackingConfig.glances`)."""
Part = Literal["points", "contours", "axes", "ids", "mesh"]
"""What can be drawn of a face."""
MIN_CONFIDENCE = 0.5
"""Confidence from which a face is convincing: 99.7 % of the faces of AFLW2000-3D have it, and 0.1 % of places
without a face in the same photos (the ROC in docs/runtime.md)."""
MAX_PASSES = 3
"""Most passes of a model over a face: those after the second change little."""
Passes = Literal[1, 2, 3, "default"]
"""How often an evaluation runs a model over each face; "default": as `Aligner` does with those it detects."""


@dataclass(frozen=True)
class SmoothingConfig:
    """How much landmarks are smoothed over time. docs/tracking.md says how these values were chosen.

    Attributes:
        min_cutoff: cutoff of a still landmark in Hz; a smaller one is steadier and lags more.
        beta: rise of the cutoff in Hz for each face size per second; a larger one lags less in motion.
        speed_cutoff: cutoff in Hz of the filter of the speed itself (the paper's dcutoff).
    """

    min_cutoff: Positive = 0.5
    beta: NotNegative = 40.0
    speed_cutoff: Positive = 1.0

    def __post_init__(self) -> None:
        check_fields(self)


@dataclass(frozen=True)
class TrackingConfig:
    """How faces are followed through a video.

    Attributes:
        detect_every: frames between detections while every face is sure, and between searches of the frame
            upside down while there is no face.
        glances: while every face is sure and large, number of detections in a row that look only for large
            faces, which takes a fifth of the time; a new small face is found by the next full detection. Only
            with `detector="auto"`.
        recheck_every: frames between detections while a face is doubtful, was not seen by the last
            detection, or was lost a short while ago.
        max_misses: a face is lost when this many detections in a row did not see it.
        doubtful_misses: a doubtful face is lost when this many detections in a row did not see it.
        remember: frames for which a lost face keeps its id, in case it reappears near its place.
        min_agreement: below this overlap (IoU) of the searched box and the box of the landmarks
            found there, a face is doubtful.
        max_residual: above this distance from the mean face (`shape_residual`) a face is doubtful.
        min_confidence: below this confidence, if the model gives one, a face becomes doubtful.
        sure_confidence: a doubtful face is sure again above this confidence. Faces of upside-down frames are
            followed from this confidence on.
        min_inside: a face is lost when less than this share of its box is in the picture.
        min_side: a face is lost when the longer side of its box is less than this many pixels.
        slack: the box stays where it is until the face has moved or grown by more than this share
            of its size, so that the crop of a still face stays the same.
        smooth: whether landmarks are smoothed over time.
        smoothing: strength of the smoothing.
    """

    detect_every: AtLeastOne = 10
    glances: Count = 2
    recheck_every: AtLeastOne = 3
    max_misses: AtLeastOne = 3
    doubtful_misses: AtLeastOne = 2
    remember: Count = 60
    min_agreement: Share = 0.4
    max_residual: NotNegative = 0.25
    min_confidence: Share = 0.3
    sure_confidence: Share = 0.6
    min_inside: Share = 0.4
    min_side: NotNegative = 12.0
    slack: NotNegative = 0.02
    smooth: bool = True
    smoothing: SmoothingConfig = field(default_factory=SmoothingConfig)

    def __post_init__(self) -> None:
        check_fields(self)
        if not 0 <= self.min_confidence <= self.sure_confidence <= 1:
            raise InputError(
                f"tracking: min_confidence, sure_confidence: found {self.min_confidence}, "
                f"{self.sure_confidence}, expected the first in [0, 1] and the second from there to 1"
            )
