"""From photos and boxes to landmarks: what a model must offer, its predictions, and its passes."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tf_dhm.core.errors import InputError
from tf_dhm.core.types import Array, Image
from tf_dhm.face import geometry, metrics
from tf_dhm.runtime.crops import cut_crops, upright_boxes, upright_roll

LARGEST_BATCH = 32
"""Most crops that a model is given at once; bounds its memory."""
UNSETTLED = 0.04
"""Mean distance of the landmarks of two passes, in sizes of the face, above which a third one is worth its
time: 3 to 4 % of detected faces (docs/recipe.md, the first pass)."""


@dataclass(frozen=True, eq=False)
class Prediction:
    """What a model finds in B crops, or in the photo they were cut from.

    Example:
        >>> Prediction(np.zeros((2, 68, 3), np.float32)).confidence is None
        True

    Attributes:
        landmarks: (B, 68, 3) float32 pixels.
        visibility: (B, 68) float32 in [0, 1]: how likely each point is to be seen, neither turned
            away nor covered; None if the model does not predict it.
        confidence: (B,) float32 in [0, 1]: how likely the crop is to hold a face whose landmarks
            are right (`quality.GOOD_NME`); None if the model does not predict it.
        points: (B, P, 3) float32 pixels, the points of the annotation that a model was adapted to beside
            the landmarks; None of other models, and of no crop.
    """

    landmarks: NDArray[np.float32]
    visibility: NDArray[np.float32] | None = None
    confidence: NDArray[np.float32] | None = None
    points: NDArray[np.float32] | None = None

    @classmethod
    def of(cls, outputs: dict[str, Any], model: Path) -> Prediction:
        """The named outputs of the model in a file or folder.

        Raises:
            InputError: some of them are not finite.
        """
        found = {}
        for name in ("landmarks", "visibility", "confidence", "points"):
            if name in outputs:
                found[name] = np.asarray(outputs[name], np.float32)
                # NaN and infinity survive the sum of squares, which is quicker than a test of each value.
                if not math.isfinite(np.vdot(found[name], found[name])):
                    raise InputError(f"model {model}: found NaN or infinite {name}, expected finite ones")
        return cls(**found)


class LandmarkModel(Protocol):
    """What finds landmarks in crops: a SavedModel, a TFLite file or the client of a server."""

    @property
    def name(self) -> str:
        """For messages."""
        ...

    @property
    def input_size(self) -> int:
        """Side S of its crops in pixels."""
        ...

    @property
    def can_refine(self) -> bool:
        """Whether `predict` takes initial landmarks."""
        ...

    def predict(self, crops: Image, initial_landmarks: Array | None = None) -> Prediction:
        """(B, S, S, 3) uint8 RGB [and (B, 68, 3) crop pixels] -> what is in the crops, in their pixels."""
        ...


def check_crops(crops: Image, size: int) -> None:
    """InputError unless crops are uint8 (B, size, size, 3)."""
    if crops.dtype != np.uint8 or crops.shape[1:] != (size, size, 3):
        raise InputError(
            f"crops: found {crops.dtype} of shape {crops.shape}, expected uint8 (B, {size}, {size}, 3)"
        )


def check_initial_landmarks(initial_landmarks: Array, count: int) -> None:
    """InputError unless there are (count, 68, 3) initial landmarks."""
    expected = (count, geometry.NUM_LANDMARKS, 3)
    if initial_landmarks.shape != expected:
        raise InputError(f"initial_landmarks: found {initial_landmarks.shape}, expected {expected}")


def empty_prediction(outputs: Collection[str]) -> Prediction:
    """What a model with these outputs finds in no crop."""
    return Prediction(
        np.zeros((0, geometry.NUM_LANDMARKS, 3), np.float32),
        np.zeros((0, geometry.NUM_LANDMARKS), np.float32) if "visibility" in outputs else None,
        np.zeros(0, np.float32) if "confidence" in outputs else None,
    )


def predict_photos(
    predictor: LandmarkModel,
    images: Sequence[Image],
    boxes: Sequence[ArrayLike],
    passes: int = 1,
    settle: bool = False,
) -> list[Prediction]:
    """Find the faces in the boxes of photos, all at once.

    Every pass after the first starts from the landmarks found so far: the crop is cut again around
    them, turned upright, and they replace the mean shape in the heat map.

    Args:
        predictor: the model.
        images: photos (H, W, 3) uint8 RGB.
        boxes: of each photo (N, 4) landmark boxes in its pixels; N may be 0.
        passes: 1 or more.
        settle: whether faces whose last two passes differ by more than UNSETTLED get one pass more.

    Returns:
        for each photo its N faces in its pixels.

    Raises:
        InputError: bad image, box or number of passes.
    """
    if passes < 1:
        raise InputError(f"passes: found {passes}, expected 1 or more")
    if not images:
        return []
    cut = [cut_crops(image, box, predictor.input_size) for image, box in zip(images, boxes, strict=True)]
    found, landmarks = predict_crops(predictor, cut)
    before = landmarks
    for _ in range(passes - 1):
        before = landmarks
        found, landmarks = predict_again(predictor, images, landmarks)
    if settle:
        rows = [differ(one, other) for one, other in zip(before, landmarks, strict=True)]
        found, landmarks = predict_rows_again(predictor, images, found, landmarks, rows)
    rest_of = (
        [None] * len(images) if values is None else split_rows(values, landmarks)
        for values in (found.visibility, found.confidence, found.points)
    )
    parts = zip(landmarks, *rest_of, strict=True)
    return [Prediction(points.astype(np.float32), *rest) for points, *rest in parts]


def predict_again(
    predictor: LandmarkModel, images: Sequence[Image], landmarks: Sequence[Array]
) -> tuple[Prediction, list[Array]]:
    """A pass that starts from the landmarks (N, 68, 3) found in each photo; returns as `predict_crops`."""
    cut = []
    for image, points in zip(images, landmarks, strict=True):
        roll = upright_roll(points)
        cut.append(cut_crops(image, upright_boxes(points, roll), predictor.input_size, roll))
    return predict_crops(predictor, cut, landmarks)


def differ(before: Array, after: Array) -> NDArray[np.bool_]:
    """Whether the landmarks (N, 68, 3) of two passes differ by more than UNSETTLED: (N,)."""
    # No error: how far the two are apart, in percent of the size of the face.
    return np.asarray(metrics.nme(before, after) > 100 * UNSETTLED)


def predict_rows_again(
    predictor: LandmarkModel,
    images: Sequence[Image],
    found: Prediction,
    landmarks: Sequence[Array],
    rows: Sequence[NDArray[np.bool_]],
) -> tuple[Prediction, list[Array]]:
    """Another pass for some of the faces.

    Args:
        predictor: the model.
        images: photos.
        found, landmarks: of all faces, as `predict_crops` returns them.
        rows: of each photo (N,) which of its faces get the pass.

    Returns:
        as `predict_crops`, of all faces.
    """
    chosen = np.concatenate(rows)
    if not chosen.any():
        return found, list(landmarks)
    starts = [points[row] for points, row in zip(landmarks, rows, strict=True)]
    again, new = predict_again(predictor, images, starts)
    changed: dict[str, Any] = {}
    for name in (field.name for field in fields(Prediction)):
        old = getattr(found, name)
        changed[name] = None if old is None else with_rows(old, chosen, getattr(again, name))
    return Prediction(**changed), [with_rows(*part) for part in zip(landmarks, rows, new, strict=True)]


def with_rows(values: Array, rows: NDArray[np.bool_], new: Array) -> Array:
    """A copy of values (N, ...) with new ones in some rows (N,)."""
    changed = values.copy()
    changed[rows] = new
    return changed


def split_rows(values: Array, parts: Sequence[Array]) -> list[Array]:
    """Rows for all photos as those of each photo, as many as `parts` has."""
    if len(parts) == 1:
        return [values]
    return np.split(values, np.cumsum([len(part) for part in parts])[:-1])


def predict_crops(
    predictor: LandmarkModel, cut: Sequence[tuple[Image, Array]], initial: Sequence[Array] | None = None
) -> tuple[Prediction, list[Array]]:
    """Run a model on the crops of several photos.

    Args:
        predictor: the model.
        cut: of each photo, one or more, its N crops and their matrices, as `cut_crops` gives them.
        initial: of each photo the landmarks (N, 68, 3) to start from, in its pixels.

    Returns:
        the prediction for all crops, with any `points` in pixels of the photos, and for each photo the
        landmarks in its pixels.
    """
    crops = cut[0][0] if len(cut) == 1 else np.concatenate([part for part, _ in cut])
    start = None
    if initial is not None:
        start = np.concatenate(
            [
                geometry.transform_landmarks(geometry.invert_affine(matrices), points)
                for (_, matrices), points in zip(cut, initial, strict=True)
            ]
        )
    found = [
        predictor.predict(
            crops[at : at + LARGEST_BATCH],
            None if start is None else start[at : at + LARGEST_BATCH],
        )
        for at in range(0, max(len(crops), 1), LARGEST_BATCH)
    ]
    prediction = join_predictions(found)
    parts = split_rows(prediction.landmarks, [matrices for _, matrices in cut])
    landmarks = [
        geometry.transform_landmarks(matrices, points)
        for (_, matrices), points in zip(cut, parts, strict=True)
    ]
    if prediction.points is not None:
        matrices = np.concatenate([matrices for _, matrices in cut])
        points = geometry.transform_landmarks(matrices, prediction.points).astype(np.float32)
        prediction = replace(prediction, points=points)
    return prediction, landmarks


def join_predictions(parts: Sequence[Prediction]) -> Prediction:
    """The answers of one model to several batches as one."""
    if len(parts) == 1:
        return parts[0]
    columns = {field.name: [getattr(part, field.name) for part in parts] for field in fields(Prediction)}
    joined: dict[str, Any] = {
        name: None if values[0] is None else np.concatenate(values) for name, values in columns.items()
    }
    return Prediction(**joined)


def predict_boxes(
    predictor: LandmarkModel, image: Image, boxes: ArrayLike, passes: int = 1
) -> NDArray[np.float32]:
    """The landmarks of `predict_photos` in one photo: (N, 68, 3) float32 in its pixels."""
    return predict_photos(predictor, [image], [boxes], passes)[0].landmarks
