"""From a photo and boxes to landmarks: exported models, crops, and the second pass."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

from tf_dhm.core.errors import InputError
from tf_dhm.core.types import Array, Image
from tf_dhm.face import geometry
from tf_dhm.face.mean_face import mean_shape

PACKAGED = Path(__file__).resolve().parents[1] / "savedmodels"
SAVEDMODELS = PACKAGED if PACKAGED.is_dir() else PACKAGED.parents[1] / "savedmodels"
"""Where a model given by its name alone is looked up: in an installed package, or in the repository."""
DEFAULT_MODEL = "fast_dhm_tuned"
"""What aligns faces where no model is named: the least error of the models under one megabyte."""
MAX_PASSES = 3
"""Passes of a model over a face: those after the second change little."""
MAX_SHRINK = 1.5
"""Photo pixels per crop pixel up to which bilinear sampling alone does not alias."""
MAX_SUPERSAMPLING = 16
"""Bounds the memory of one crop; a face this much larger than the crop keeps aliasing harmlessly."""
LARGEST_BATCH = 32
"""Bounds the memory of a model: so many crops are answered at once."""


@dataclass(frozen=True)
class Prediction:
    """What a model finds in B crops, or in the photo they were cut from.

    Attributes:
        landmarks: (B, 68, 3) float32 pixels.
        visibility: (B, 68) float32 in [0, 1]: how likely each point is to be seen, neither turned
            away nor covered; None of a model that does not say.
        confidence: (B,) float32 in [0, 1]: how likely the crop is to hold a face whose landmarks
            are right (`quality.GOOD_NME`); None of a model that does not say.
    """

    landmarks: NDArray[np.float32]
    visibility: NDArray[np.float32] | None = None
    confidence: NDArray[np.float32] | None = None

    @classmethod
    def of(cls, outputs: dict[str, Any], model: Path) -> Prediction:
        """The named outputs of the model in a file or folder.

        Raises:
            InputError: some of them are not finite.
        """
        found = {}
        for name in ("landmarks", "visibility", "confidence"):
            if name in outputs:
                found[name] = np.asarray(outputs[name], np.float32)
                if not np.isfinite(found[name]).all():
                    raise InputError(f"model {model}: found NaN or infinite {name}, expected finite ones")
        return cls(**found)


class LandmarkModel(Protocol):
    """What `predict_boxes` asks of a model; `Predictor` is one."""

    @property
    def name(self) -> str:
        """For messages."""
        ...

    @property
    def input_size(self) -> int:
        """Side of its crops in pixels."""
        ...

    @property
    def can_refine(self) -> bool:
        """Whether `predict` takes initial landmarks."""
        ...

    def predict(self, crops: Image, initial_landmarks: Array | None = None) -> NDArray[np.float32]:
        """(B, S, S, 3) uint8 RGB [and (B, 68, 3) crop pixels] -> (B, 68, 3) crop pixels."""
        ...


@runtime_checkable
class QualityModel(Protocol):
    """A landmark model that may know visibility and confidence, too; `Predictor` is one."""

    def answer(self, crops: Image, initial_landmarks: Array | None = None) -> Prediction:
        """As `LandmarkModel.predict`, with all that the model says."""
        ...


def answer(model: LandmarkModel, crops: Image, initial_landmarks: Array | None = None) -> Prediction:
    """All that a model says of crops; of one that only predicts landmarks, these."""
    if isinstance(model, QualityModel):
        return model.answer(crops, initial_landmarks)
    return Prediction(model.predict(crops, initial_landmarks))


def find_savedmodel(path: str | Path) -> Path:
    """The version folder that `path` stands for.

    Args:
        path: a version folder (it holds saved_model.pb), a model folder (its sub-folders are
            version numbers; the newest is taken), or the name of a model of this project.

    Raises:
        InputError: there is no SavedModel; names what is there.
    """
    folder = Path(path)
    is_name = str(path) == folder.name and folder.name != ".."
    if is_name and (SAVEDMODELS / folder.name).is_dir():
        folder = SAVEDMODELS / folder.name
    if not folder.is_dir():
        found = "a file" if folder.exists() else "nothing"
        message = f"model {path}: found {found}, expected a folder with a SavedModel"
        if is_name:
            known = sorted(p.name for p in SAVEDMODELS.glob("*") if p.is_dir())
            message += f" or one of the models {', '.join(known) or '(none is installed)'}"
        raise InputError(message)
    if (folder / "saved_model.pb").is_file():
        return folder
    versions = [p for p in folder.iterdir() if p.name.isdecimal() and (p / "saved_model.pb").is_file()]
    if not versions:
        names = sorted(p.name for p in folder.iterdir())
        found = ", ".join(names[:5]) + (", ..." if len(names) > 5 else "") if names else "an empty folder"
        raise InputError(
            f"model {folder}: found {found}, expected saved_model.pb or a version folder (1, 2) holding it"
        )
    return max(versions, key=lambda p: int(p.name))


def model_name(version_dir: Path) -> str:
    """The name of a SavedModel: that of its model folder, where it lies in a version of one."""
    resolved = version_dir.resolve()
    return resolved.parent.name if resolved.name.isdecimal() else resolved.name


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


class Predictor:
    """A SavedModel with the signatures `serving_default` and, for a second pass, `refine`.

    Attributes:
        name: of the model folder.
        version_dir: the folder that was loaded.
        input_size: side S of its crops in pixels.
        can_refine: whether `predict` takes initial landmarks.
    """

    def __init__(self, path: str | Path) -> None:
        self.version_dir = find_savedmodel(path)
        # Imported here, so that crops and boxes do not cost the seconds TensorFlow needs to load.
        try:
            import tensorflow as tf
        except ModuleNotFoundError as error:
            if error.name != "tensorflow":
                raise
            raise InputError(
                f"model {self.version_dir}: found no package tensorflow, which a SavedModel needs; install "
                'it (pip install ".[tensorflow]"), or take the backend "tflite", which does without'
            ) from error

        self.name = model_name(self.version_dir)
        try:
            # Held by the instance: its variables die with it.
            self._model: Any = tf.saved_model.load(str(self.version_dir))
        except (OSError, ValueError, tf.errors.OpError) as error:
            raise InputError(f"model {self.version_dir}: found no readable SavedModel: {error}") from error
        if "serving_default" not in self._model.signatures:
            raise InputError(
                f"model {self.version_dir}: found the signatures {sorted(self._model.signatures)}, "
                "expected serving_default"
            )
        inputs = self._model.signatures["serving_default"].structured_input_signature[1]
        spec = inputs.get("crops", tf.TensorSpec([]))
        if len(inputs) != 1 or spec.dtype != tf.uint8 or spec.shape.rank != 4 or spec.shape[1] is None:
            raise InputError(
                f"model {self.version_dir}: found the inputs {inputs}, expected crops, uint8 (B, S, S, 3)"
            )
        self.input_size = int(spec.shape[1])
        self.can_refine = "refine" in self._model.signatures

    def predict(self, crops: Image, initial_landmarks: Array | None = None) -> NDArray[np.float32]:
        """The landmarks of `answer` alone: (B, 68, 3) float32 crop pixels."""
        return self.answer(crops, initial_landmarks).landmarks

    def answer(self, crops: Image, initial_landmarks: Array | None = None) -> Prediction:
        """Find the landmarks of a batch of crops, and what else the model knows of them.

        Args:
            crops: (B, S, S, 3) uint8 RGB; B may be 0.
            initial_landmarks: (B, 68, 3) crop pixels to start from in place of the mean shape.

        Raises:
            InputError: wrong shape or dtype, or the model cannot start from landmarks.
        """
        check_crops(crops, self.input_size)
        signature, inputs = "serving_default", {"crops": crops}
        if initial_landmarks is not None:
            check_initial_landmarks(initial_landmarks, len(crops))
            signature = "refine"
            inputs["initial_landmarks"] = np.asarray(initial_landmarks, np.float32)
        if signature not in self._model.signatures:
            raise InputError(
                f"model {self.version_dir}: has no signature {signature}, so it cannot run a second pass"
            )
        function = self._model.signatures[signature]
        if len(crops) == 0:
            return empty_prediction(function.structured_outputs)
        outputs = function(**{name: function_input(value) for name, value in inputs.items()})
        return Prediction.of(outputs, self.version_dir)


def empty_prediction(outputs: Collection[str]) -> Prediction:
    """What a model with these outputs finds in no crop."""
    return Prediction(
        np.zeros((0, geometry.NUM_LANDMARKS, 3), np.float32),
        np.zeros((0, geometry.NUM_LANDMARKS), np.float32) if "visibility" in outputs else None,
        np.zeros(0, np.float32) if "confidence" in outputs else None,
    )


def function_input(value: np.ndarray) -> Any:
    """A SavedModel's signature takes tensors only."""
    import tensorflow as tf

    return tf.constant(value)


def cut_crops(image: Image, boxes: ArrayLike, size: int, roll: ArrayLike = 0.0) -> tuple[Image, Array]:
    """Cut the crops of boxes out of a photo.

    Where the photo has more than MAX_SHRINK pixels per crop pixel, a whole multiple of the crop
    is sampled and averaged down, so that fine texture does not alias.

    Args:
        image: (H, W, 3) uint8 RGB.
        boxes: (N, 4) landmark boxes in photo pixels; may lie outside the photo (black there).
        size: side of the crops in pixels.
        roll: (N,) or scalar, radians; each box and its crop are turned clockwise on the screen by
            it about the centre of the box, so that a face rolled by it stands upright in its crop.

    Returns:
        crops (N, size, size, 3) uint8 and matrices (N, 2, 3) float64, crop pixels to photo pixels.

    Raises:
        InputError: the image is no uint8 RGB array, or a box is not finite or has no area.
    """
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or image.size == 0:
        raise InputError(f"image: found {image.dtype} of shape {image.shape}, expected uint8 (H, W, 3) RGB")
    checked = geometry.check_box(np.asarray(boxes, np.float64).reshape(-1, 4))
    squares = geometry.crop_square(checked)  # (N, 3)
    rolls = np.broadcast_to(np.asarray(roll, np.float64), squares.shape[:1])
    matrices = geometry.crop_to_image(squares, size, rolls)
    crops = np.zeros((len(squares), size, size, 3), np.uint8)
    for crop, square, angle in zip(crops, squares, rolls, strict=True):
        shrink = square[2] / size
        factor = 1 if shrink <= MAX_SHRINK else min(int(np.ceil(shrink)), MAX_SUPERSAMPLING)
        matrix = geometry.crop_to_image(square, size * factor, angle)
        sampled = cv2.warpAffine(
            image,
            matrix,
            (size * factor, size * factor),
            flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
            borderMode=cv2.BORDER_CONSTANT,
            borderValue=(0, 0, 0),
        )
        if factor > 1:
            sampled = cv2.resize(sampled, (size, size), interpolation=cv2.INTER_AREA)
        crop[...] = sampled
    return crops, matrices


def upright_roll(landmarks: ArrayLike) -> Array:
    """The angle by which faces are turned clockwise in the image plane.

    It is the angle of the head's projected up axis, R[:, 1] of the pose. For a face without yaw
    that is the pose's roll; a profile's roll and pitch cannot be told apart, its up axis can.

    Args:
        landmarks: (..., 68, 3) pixels.

    Returns:
        (...) radians.
    """
    pitch, yaw, roll = np.moveaxis(geometry.pose_from_landmarks(landmarks, mean_shape()), -1, 0)
    up = geometry.rotation_matrix(pitch, yaw, roll)[..., :, 1]
    return np.arctan2(up[..., 0], up[..., 1])


def upright_boxes(landmarks: ArrayLike, roll: ArrayLike) -> Array:
    """The landmark boxes of faces as measured after turning them upright.

    Args:
        landmarks: (N, 68, 2 or 3) pixels.
        roll: (N,) radians by which each face is turned clockwise.

    Returns:
        (N, 4) boxes for `cut_crops(..., roll=roll)`: turned by roll about its centre, each bounds
        its landmarks tightly.
    """
    square = np.broadcast_to([0.0, 0.0, 1.0], (*np.shape(roll), 3))
    to_image = geometry.crop_to_image(square, 1, roll)  # a rotation about the origin
    turned = geometry.transform_landmarks(geometry.invert_affine(to_image), np.asarray(landmarks)[..., :2])
    box = geometry.landmark_box(turned)
    centre = geometry.transform_landmarks(to_image, (box[..., None, :2] + box[..., None, 2:]) / 2)[..., 0, :]
    half = (box[..., 2:] - box[..., :2]) / 2
    return np.concatenate([centre - half, centre + half], -1)


def find_faces(
    predictor: LandmarkModel, images: Sequence[Image], boxes: Sequence[ArrayLike], passes: int = 1
) -> list[Prediction]:
    """Find the faces in the boxes of photos, all at once.

    Every pass after the first starts from the landmarks found so far: the crop is cut anew around
    them, turned upright, and they replace the mean shape in the heat map.

    Args:
        predictor: the model.
        images: photos (H, W, 3) uint8 RGB.
        boxes: of each photo (N, 4) landmark boxes in its pixels; N may be 0.
        passes: 1 or more.

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
    found, landmarks = find_in_crops(predictor, cut)
    for _ in range(passes - 1):
        cut = []
        for image, points in zip(images, landmarks, strict=True):
            roll = upright_roll(points)
            cut.append(cut_crops(image, upright_boxes(points, roll), predictor.input_size, roll))
        found, landmarks = find_in_crops(predictor, cut, landmarks)
    ends = np.cumsum([len(points) for points in landmarks])[:-1]

    def split(values: Array | None) -> list[Any]:
        return [None] * len(images) if values is None else np.split(values, ends)

    parts = zip(landmarks, split(found.visibility), split(found.confidence), strict=True)
    return [Prediction(points.astype(np.float32), *rest) for points, *rest in parts]


def find_in_crops(
    predictor: LandmarkModel, cut: Sequence[tuple[Image, Array]], initial: Sequence[Array] | None = None
) -> tuple[Prediction, list[Array]]:
    """Run a model on the crops of several photos.

    Args:
        predictor: the model.
        cut: of each photo, one or more, its N crops and their matrices, as `cut_crops` gives them.
        initial: of each photo the landmarks (N, 68, 3) to start from, in its pixels.

    Returns:
        what the model says of all crops, and of each photo the landmarks in its pixels.
    """
    crops = np.concatenate([part for part, _ in cut])
    start = None
    if initial is not None:
        start = np.concatenate(
            [
                geometry.transform_landmarks(geometry.invert_affine(matrices), points)
                for (_, matrices), points in zip(cut, initial, strict=True)
            ]
        )
    found = [
        answer(
            predictor,
            crops[at : at + LARGEST_BATCH],
            None if start is None else start[at : at + LARGEST_BATCH],
        )
        for at in range(0, max(len(crops), 1), LARGEST_BATCH)
    ]
    prediction = join_predictions(found)
    ends = np.cumsum([len(matrices) for _, matrices in cut])[:-1]
    parts = np.split(prediction.landmarks, ends)
    landmarks = [
        geometry.transform_landmarks(matrices, points)
        for (_, matrices), points in zip(cut, parts, strict=True)
    ]
    return prediction, landmarks


def join_predictions(parts: Sequence[Prediction]) -> Prediction:
    """The answers of one model to several batches as one."""
    columns = {field.name: [getattr(part, field.name) for part in parts] for field in fields(Prediction)}
    joined: dict[str, Any] = {
        name: None if values[0] is None else np.concatenate(values) for name, values in columns.items()
    }
    return Prediction(**joined)


def predict_boxes(
    predictor: LandmarkModel, image: Image, boxes: ArrayLike, passes: int = 1
) -> NDArray[np.float32]:
    """The landmarks of `find_faces` in one photo: (N, 68, 3) float32 in its pixels."""
    return find_faces(predictor, [image], [boxes], passes)[0].landmarks
