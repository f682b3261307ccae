"""From a photo and boxes to landmarks: exported models, crops, and the second pass."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

from tf_dhm import geometry
from tf_dhm.errors import InputError
from tf_dhm.mean_face import mean_shape

SAVEDMODELS = Path(__file__).resolve().parents[1] / "savedmodels"
"""Where a model given by its name alone is looked up."""
MAX_SHRINK = 1.5
"""Photo pixels per crop pixel up to which bilinear sampling alone does not alias."""
MAX_SUPERSAMPLING = 16
"""Bounds the memory of one crop; a face this much larger than the crop keeps aliasing harmlessly."""

Array = NDArray[np.floating]
Image = NDArray[np.uint8]


class LandmarkModel(Protocol):
    """What `predict_boxes` asks of a model; `Predictor` is one."""

    name: str
    input_size: int
    can_refine: bool

    def predict(self, crops: Image, initial_landmarks: Array | None = None) -> NDArray[np.float32]:
        """(B, S, S, 3) uint8 RGB [and (B, 68, 3) crop pixels] -> (B, 68, 3) crop pixels."""
        ...


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
        import tensorflow as tf

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
        """Find the landmarks of a batch of crops.

        Args:
            crops: (B, S, S, 3) uint8 RGB; B may be 0.
            initial_landmarks: (B, 68, 3) crop pixels to start from in place of the mean shape.

        Returns:
            (B, 68, 3) float32 crop pixels.

        Raises:
            InputError: wrong shape or dtype, or the model cannot start from landmarks.
        """
        check_crops(crops, self.input_size)
        if len(crops) == 0:
            return np.zeros((0, geometry.NUM_LANDMARKS, 3), np.float32)
        signature, inputs = "serving_default", {"crops": function_input(crops)}
        if initial_landmarks is not None:
            check_initial_landmarks(initial_landmarks, len(crops))
            signature = "refine"
            inputs["initial_landmarks"] = function_input(np.asarray(initial_landmarks, np.float32))
        if signature not in self._model.signatures:
            raise InputError(
                f"model {self.version_dir}: has no signature {signature}, so it cannot run a second pass"
            )
        landmarks = np.asarray(self._model.signatures[signature](**inputs)["landmarks"], np.float32)
        if not np.isfinite(landmarks).all():
            raise InputError(
                f"model {self.version_dir}: found NaN or infinite landmarks, expected finite ones"
            )
        return landmarks


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


def predict_boxes(
    predictor: LandmarkModel, image: Image, boxes: ArrayLike, passes: int = 1
) -> NDArray[np.float32]:
    """Find the landmarks of the faces in boxes.

    Every pass after the first starts from the landmarks found so far: the crop is cut anew around
    them, turned upright, and they replace the mean shape in the heat map.

    Args:
        predictor: the model.
        image: (H, W, 3) uint8 RGB.
        boxes: (N, 4) landmark boxes in photo pixels; N may be 0.
        passes: 1 or more.

    Returns:
        (N, 68, 3) float32 landmarks in photo pixels.

    Raises:
        InputError: bad image, box or number of passes.
    """
    if passes < 1:
        raise InputError(f"passes: found {passes}, expected 1 or more")
    crops, matrices = cut_crops(image, boxes, predictor.input_size)
    landmarks = geometry.transform_landmarks(matrices, predictor.predict(crops))
    for _ in range(passes - 1):
        landmarks = refine_landmarks(predictor, image, landmarks)
    return landmarks.astype(np.float32)


def refine_landmarks(predictor: LandmarkModel, image: Image, landmarks: ArrayLike) -> Array:
    """One pass that starts from landmarks (N, 68, 3) in photo pixels, and returns the same."""
    roll = upright_roll(landmarks)
    crops, matrices = cut_crops(image, upright_boxes(landmarks, roll), predictor.input_size, roll)
    initial = geometry.transform_landmarks(geometry.invert_affine(matrices), landmarks)
    return geometry.transform_landmarks(matrices, predictor.predict(crops, initial))
