"""A model that looks at each crop and at its mirror image, and takes the mean of what it finds."""

from __future__ import annotations

import numpy as np

from tf_dhm.core.types import Array, Image
from tf_dhm.face import geometry
from tf_dhm.runtime.predictor import LandmarkModel, Prediction


class MirrorAveraged:
    """A landmark model twice: on crops and on their mirror images. It takes twice the time.

    Landmarks, visibility and confidence are means; `points` of an adapted model are those of the crops
    alone, because only the mirror map of the landmarks is known.

    Attributes:
        model: which is run.
        name: of the model.
        input_size: side S of its crops in pixels.
        can_refine: whether `predict` takes initial landmarks.

    >>> aligner = Aligner(MirrorAveraged(load_model("fast_dhm", "tflite")))  # doctest: +SKIP
    """

    def __init__(self, model: LandmarkModel) -> None:
        self.model = model
        self.name = model.name
        self.input_size = model.input_size
        self.can_refine = model.can_refine

    def predict(self, crops: Image, initial_landmarks: Array | None = None) -> Prediction:
        """(B, S, S, 3) uint8 RGB [and (B, 68, 3) crop pixels] -> the mean prediction, in crop pixels.

        Raises:
            InputError: as the model.
        """
        size = self.input_size
        flipped = None
        if initial_landmarks is not None:
            flipped = geometry.mirror_landmarks(initial_landmarks, size)
        one = self.model.predict(crops, initial_landmarks)
        other = self.model.predict(np.ascontiguousarray(crops[:, :, ::-1]), flipped)
        landmarks = (one.landmarks + geometry.mirror_landmarks(other.landmarks, size)) / 2.0
        visibility, confidence = one.visibility, one.confidence
        if visibility is not None and other.visibility is not None:
            visibility = (visibility + other.visibility[:, geometry.MIRROR_68]) / 2.0
        if confidence is not None and other.confidence is not None:
            confidence = (confidence + other.confidence) / 2.0
        return Prediction(landmarks.astype(np.float32), visibility, confidence, one.points)
