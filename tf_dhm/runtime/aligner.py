"""`Aligner`: the faces of photos, with landmarks, box, pose, visibility and confidence."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from numbers import Integral, Real
from pathlib import Path
from typing import Any, get_args

import numpy as np
from numpy.typing import ArrayLike

from tf_dhm.core.errors import InputError, check_type, type_name
from tf_dhm.core.types import Array, Image
from tf_dhm.face import geometry
from tf_dhm.face.camera import Camera
from tf_dhm.runtime.detector import TILE_FACE, TILE_SHARE, TILES_ABOVE
from tf_dhm.runtime.faces import Alignment, Face, make_faces, with_meshes
from tf_dhm.runtime.finding import SURE, FaceFinder, merge
from tf_dhm.runtime.images import Photo, Source, read_photo
from tf_dhm.runtime.mirror import MirrorAveraged
from tf_dhm.runtime.predictor import LandmarkModel, Prediction, predict_photos
from tf_dhm.runtime.saved_model import SavedModelPredictor
from tf_dhm.runtime.settings import MAX_PASSES, MIN_CONFIDENCE, Backend, Choice
from tf_dhm.runtime.store import DEFAULT_MODEL
from tf_dhm.runtime.tflite import TFLitePredictor
from tf_dhm.runtime.turning import boxes_back, prediction_back, turn_round


class Aligner:
    """Finds faces and their landmarks.

    Example:
        >>> aligner = Aligner()
        >>> photo = np.zeros((120, 160, 3), np.uint8)  # or a path, bytes, a Pillow image, ...
        >>> alignment = aligner.align(photo, boxes=[[40, 20, 120, 110]])  # without boxes: detected
        >>> alignment[0].landmarks.shape, alignment[0].pose.shape, alignment.convincing
        ((68, 3), (3,), ())

    Args:
        model: a model's name, its folder or version folder, a `.tflite` file, or a loaded model.
        passes: runs of the model on each face, 1 to 3: from the second on, on a crop normalised by the
            landmarks so far. None: 2 for faces that are detected here, whose boxes are inexact, and a third
            one if these two differ by more than 4 % of the size of the face; 1 where boxes are given; always
            1 if the model cannot run more.
        backend: what runs it; not for a loaded model.
        threads: of TFLite; TensorFlow takes its own.
        mesh: whether the whole face is fitted, too: `Face.mesh`. The pose is then that of the fit.
        field_of_view: degrees from the left to the right edge of the photos and frames, for the fit of the
            mesh; None: weak perspective.
        min_confidence: in [0, 1]; small faces, and those of a photo that was searched upside down because
            no face was beyond doubt, are kept only if they have it. Faces below it are not left out
            otherwise: see `Alignment.convincing`.
        tiles: whether photos are also searched in overlapping tiles, which finds faces down to 1/50 of the
            longer side in place of 1/20 and takes several times as long to detect. None: photos above 2,000
            pixels. In the frames of videos only if it is True.
        mirror: whether the model looks at each crop and at its mirror image and the mean is taken: a little
            more accurate, in twice the time.
        max_faces: most faces that are detected in a photo, the surest ones; None: all.
        detector: "full" finds faces down to 1/20 of the longer side of the photo. "short" takes a fifth of
            the time and finds faces down to 1/5 of it. "auto" is "full", or with `max_faces=1` "short"
            followed by "full" if no face beyond doubt was found.

    Threads may share an aligner. It can be copied and pickled; the copy loads the model again.

    Raises:
        InputError: an argument of another type, no such model or file of it, one that cannot run `passes`
            passes, no such detector, `max_faces` below 1, or `field_of_view` without `mesh`.
    """

    def __init__(
        self,
        model: str | Path | LandmarkModel = DEFAULT_MODEL,
        passes: int | None = None,
        backend: Backend = "tflite",
        threads: int = 1,
        mesh: bool = False,
        field_of_view: float | None = None,
        min_confidence: float = MIN_CONFIDENCE,
        tiles: bool | None = None,
        mirror: bool = False,
        max_faces: int | None = None,
        detector: Choice = "auto",
    ) -> None:
        none = type(None)
        check_type("passes", passes, "a whole number or None", Integral, none)
        check_type("threads", threads, "a whole number", Integral)
        check_type("mesh", mesh, "True or False", bool)
        check_type("field_of_view", field_of_view, "degrees or None", Real, none)
        check_type("min_confidence", min_confidence, "a number", Real)
        check_type("tiles", tiles, "True, False or None", bool, none)
        check_type("mirror", mirror, "True or False", bool)
        check_type("max_faces", max_faces, "a whole number or None", Integral, none)
        if field_of_view is not None:
            if not mesh:
                raise InputError(f"field_of_view: found {field_of_view:g} without a mesh, expected mesh=True")
            Camera.of_view(field_of_view, 1, 1)  # checks it
        self.mesh, self.field_of_view = mesh, field_of_view
        if not 0 <= min_confidence <= 1:
            raise InputError(f"min_confidence: found {min_confidence}, expected 0 to 1")
        self.min_confidence, self.tiles = min_confidence, tiles
        self.predictor = load_model(model, backend, threads) if isinstance(model, str | Path) else model
        if not hasattr(self.predictor, "predict"):
            raise InputError(f"model: found {type_name(model)}, expected a name, a path or a loaded model")
        if mirror:
            self.predictor = MirrorAveraged(self.predictor)
        if passes is not None and not 1 <= passes <= MAX_PASSES:
            raise InputError(f"passes: found {passes}, expected 1 to {MAX_PASSES}")
        if (passes or 1) > 1 and not self.predictor.can_refine:
            raise InputError(f"model {self.predictor.name}: has no signature refine, so passes must be 1")
        if max_faces is not None and max_faces < 1:
            raise InputError(f"max_faces: found {max_faces}, expected 1 or more")
        if detector not in get_args(Choice):
            raise InputError(f"detector: found {detector!r}, expected one of {', '.join(get_args(Choice))}")
        self.detector = FaceFinder(detector, max_faces, threads)
        detected = 2 if self.predictor.can_refine else 1
        self.passes_given, self.passes_detected = (1, detected) if passes is None else (passes, passes)
        self.settles = passes is None and detected > 1

    def align(self, image: Source | Photo, boxes: ArrayLike | None = None) -> Alignment:
        """Find the landmarks of the faces of a photo.

        Args:
            image: whatever `read_photo` takes: a path, encoded bytes, an open file, a Pillow image, a uint8
                array or tensor (H, W, 3) RGB; or a `Photo`.
            boxes: (N, 4) landmark boxes x0, y0, x1, y1 in pixels of the photo; None: detected.

        Returns:
            the faces in the order of `boxes`, or by falling score, and the decoded photo; it is empty
            if no face is found.

        Raises:
            InputError: an unreadable photo, or a box that is not finite, has no area or lies
                outside the photo.
        """
        return self.align_all([image], [boxes])[0]

    def align_all(
        self, images: Sequence[Source | Photo], boxes: Sequence[ArrayLike | None] | None = None
    ) -> list[Alignment]:
        """Find the landmarks of the faces of several photos, all those with given boxes at once, and all
        those without.

        Args:
            images: as that of `align`; all of them are held in memory.
            boxes: of each photo, as those of `align`; None: detected in all of them.

        Returns:
            the alignment of each photo.

        Raises:
            InputError: as `align`, or other numbers of photos and boxes.
        """
        if isinstance(images, str | bytes | os.PathLike | Photo) or not isinstance(images, Iterable):
            raise InputError(f"images: found {type_name(images)}, expected a sequence of photos")
        if isinstance(images, np.ndarray) and images.ndim < 4:
            raise InputError(
                f"images: found one array of shape {images.shape}, expected a sequence of photos; "
                "use align for one photo"
            )
        photos = [read_photo(image) for image in images]
        if boxes is not None and (isinstance(boxes, str | dict) or not isinstance(boxes, Iterable)):
            raise InputError(f"boxes: found {type_name(boxes)}, expected a sequence with those of each photo")
        given = [None] * len(photos) if boxes is None else list(boxes)
        if len(given) != len(photos):
            raise InputError(f"boxes: found those of {len(given)} photos, expected of {len(photos)}")
        rows = [row for row, box in enumerate(given) if box is not None]
        faces = dict(zip(rows, self._align_boxes([(photos[row], given[row]) for row in rows]), strict=True))
        rows = [row for row, box in enumerate(given) if box is None]
        faces |= zip(rows, self._align_detected([photos[row] for row in rows]), strict=True)
        return [self._alignment(photo, faces[row]) for row, photo in enumerate(photos)]

    def _alignment(self, photo: Photo, faces: list[Face]) -> Alignment:
        if self.mesh:
            faces = with_meshes(faces, photo.width, photo.height, self.field_of_view)
        return Alignment(tuple(faces), photo, self.min_confidence)

    def _align_boxes(self, photos: Sequence[tuple[Photo, Any]]) -> list[list[Face]]:
        """The faces in given boxes of photos."""
        if not photos:
            return []
        boxes = [photo.boxes_to_pixels(check_boxes(given, photo)) for photo, given in photos]
        pixels = [photo.pixels for photo, _ in photos]
        predictions = predict_photos(self.predictor, pixels, boxes, self.passes_given)
        return [
            make_faces(photo, array, [None] * len(array), found)
            for (photo, _), array, found in zip(photos, boxes, predictions, strict=True)
        ]

    def _align_detected(self, photos: Sequence[Photo]) -> list[list[Face]]:
        """The faces that are detected in photos, searched upside down if none is beyond doubt."""
        found = self._search(photos)
        sure = max(SURE, self.min_confidence)
        doubtful = [row for row, faces in enumerate(found) if highest_confidence(faces) < sure]
        for row, faces in zip(
            doubtful, self._search([photos[row] for row in doubtful], turned=True), strict=True
        ):
            # A convincing face gives way only to one beyond doubt.
            needed = sure if any(map(self._is_convincing, found[row])) else self.min_confidence
            if highest_confidence(faces) >= max(needed, highest_confidence(found[row])):
                found[row] = [face for face in faces if self._is_convincing(face)]
        return found

    def _search(self, photos: Sequence[Photo], turned: bool = False) -> list[list[Face]]:
        """Detect and align the faces of photos as they are, or of all of them upside down."""
        if not photos:
            return []
        pixels = [turn_round(photo.pixels) if turned else photo.pixels for photo in photos]
        searched = self.detector.find(pixels, self._predict_detected)
        rows = [row for row, image in enumerate(pixels) if self._uses_tiles(image)]
        small = self.detector.find_in_tiles([pixels[row] for row in rows], self._predict_detected)
        for row, faces_in_tiles in zip(rows, small, strict=True):
            searched[row] = merge([searched[row], faces_in_tiles])
        found = []
        for photo, candidates in zip(photos, searched, strict=True):
            boxes, prediction = candidates.boxes, candidates.prediction
            if turned:
                height, width = photo.pixels.shape[:2]
                boxes = boxes_back(boxes, width, height)
                prediction = prediction_back(prediction, width, height)
            faces = make_faces(photo, boxes, candidates.scores.tolist(), prediction)
            found.append(self._without_small_errors(photo, faces)[: self.detector.max_faces])
        return found

    def _predict_detected(self, images: Sequence[Image], boxes: Sequence[Array]) -> list[Prediction]:
        return predict_photos(self.predictor, images, boxes, self.passes_detected, self.settles)

    def _uses_tiles(self, pixels: Image) -> bool:
        return max(pixels.shape[:2]) > TILES_ABOVE if self.tiles is None else self.tiles

    def _without_small_errors(self, photo: Photo, faces: list[Face]) -> list[Face]:
        """Leave out what only the tiles add: small faces that are not convincing."""
        if not self._uses_tiles(photo.pixels):
            return faces
        side = TILE_FACE * TILE_SHARE * max(photo.width, photo.height)
        return [face for face in faces if self._is_convincing(face) or longer_side(face.box) > side]

    def _is_convincing(self, face: Face) -> bool:
        return face.is_convincing(self.min_confidence)


def highest_confidence(faces: Sequence[Face]) -> float:
    """Of a model without confidences, 1 if there is a face; 0 if there is none."""
    return max((1.0 if face.confidence is None else face.confidence for face in faces), default=0.0)


def longer_side(box: Array) -> float:
    """Of a box (4,)."""
    return float((box[2:] - box[:2]).max())


def load_model(
    model: str | Path = DEFAULT_MODEL, backend: Backend = "tflite", threads: int = 1
) -> LandmarkModel:
    """Load a model, to run it on crops or to hand it to several aligners.

    Args:
        model: a model's name, its folder or version folder, or a `.tflite` file, which is run by TFLite in
            any case.
        backend: what runs it.
        threads: of TFLite, 1 or more; TensorFlow takes its own.

    Returns:
        a model with `predict`, which threads may share.

    Raises:
        InputError: no such backend, model or file of it.

    Example:
        >>> model = load_model("fast_dhm_m")
        >>> crops = np.zeros((2, model.input_size, model.input_size, 3), np.uint8)
        >>> model.predict(crops).landmarks.shape
        (2, 68, 3)
    """
    if backend not in get_args(Backend):
        raise InputError(f"backend: found {backend!r}, expected one of {', '.join(get_args(Backend))}")
    if backend == "tflite" or Path(model).suffix == ".tflite":
        return TFLitePredictor(model, threads=threads)
    return SavedModelPredictor(model)


def check_boxes(boxes: ArrayLike, photo: Photo) -> Array:
    """Boxes as (N, 4) float64, each with a part inside the photo, or InputError."""
    array = box_array(boxes)
    if array.size == 0:
        return np.zeros((0, 4))
    if array.ndim != 2 or array.shape[1] != 4:
        hint = ", also for a single one: [[x0, y0, x1, y1]]" if array.shape == (4,) else ""
        raise InputError(f"boxes: found shape {array.shape}, expected (N, 4){hint}")
    checked = geometry.check_box(array)
    for x0, y0, x1, y1 in checked.tolist():
        if x0 >= photo.width or y0 >= photo.height or x1 <= 0 or y1 <= 0:
            raise InputError(
                f"box: found {[x0, y0, x1, y1]}, expected a part of it inside the photo of "
                f"{photo.width} x {photo.height} pixels"
            )
    return checked


def box_array(boxes: ArrayLike) -> Array:
    """Boxes as float64 of any shape, or InputError for what holds no numbers."""
    try:
        array = np.asarray(boxes)
        if array.dtype.kind in "uif" or array.dtype.kind == "O":
            return array.astype(np.float64)
        found = f"{array.dtype} ({type_name(boxes)})"
    except (ValueError, TypeError) as error:  # rows of different lengths, or objects that are no numbers
        found = f"{type_name(boxes)}: {error}"
    raise InputError(f"boxes: found {found}, expected numbers of shape (N, 4)")
