"""`Aligner`: the faces of photos, with landmarks, box, pose, visibility and confidence."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, get_args, overload

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tf_dhm.core.errors import InputError
from tf_dhm.core.types import Array
from tf_dhm.face import geometry
from tf_dhm.face.camera import Camera
from tf_dhm.face.expression import expressions
from tf_dhm.face.fit import FaceFit, open_face_fitter
from tf_dhm.face.mean_face import mean_shape
from tf_dhm.runtime.detector import FaceDetector
from tf_dhm.runtime.images import Photo, Source, read_photo, type_name
from tf_dhm.runtime.predictor import MAX_PASSES, LandmarkModel, Prediction, predict_photos
from tf_dhm.runtime.saved_model import SavedModelPredictor
from tf_dhm.runtime.store import DEFAULT_MODEL
from tf_dhm.runtime.tflite import TFLitePredictor

Backend = Literal["tflite", "saved_model"]
"""What runs a model: the TFLite file in its version folder, which needs no TensorFlow, or the SavedModel."""


@dataclass(frozen=True, eq=False)
class Face:
    """A face of a photo or of a frame.

    Attributes:
        landmarks: (68, 3) float32, x and y in 0-based pixels of the photo, turned as its EXIF
            orientation says; z in pixels, larger is nearer to the camera.
        box: (4,) float64 landmark box x0, y0, x1, y1 in photo pixels, given or detected.
        score: of the detection, 0.5 to 1; None where the box was given or followed.
        pose: (3,) float32 pitch, yaw, roll in degrees, in the signs of 300W-LP's `Pose_Para`:
            roll is positive where the head is turned clockwise in the picture.
        id: in a video, of the face over its frames; None in a photo.
        visibility: (68,) float32 in [0, 1]: how likely each point is to be seen, neither turned away
            nor covered; None of a model that does not say.
        confidence: in [0, 1]: how likely the landmarks are right; it falls where the box holds no
            face. None of a model that does not say.
        mesh: the whole face, fitted to the landmarks; None if it was not asked for.
    """

    landmarks: NDArray[np.float32]
    box: Array
    score: float | None
    pose: NDArray[np.float32]
    id: int | None = None
    visibility: NDArray[np.float32] | None = None
    confidence: float | None = None
    mesh: FaceFit | None = None

    def fit(self, camera: Camera | None = None, image_height: float = 0.0) -> FaceFit:
        """The whole face of these landmarks; see `tf_dhm.face.fit`.

        Args:
            camera: of the photo, for a pose that is right off the centre of the picture; None: weak
                perspective.
            image_height: of the photo in pixels, on which t_2d of p depends.

        >>> fit = Aligner().align("photo.jpg")[0].fit()  # doctest: +SKIP
        >>> fit.vertices.shape, fit.matrix.shape  # doctest: +SKIP
        ((4946, 3), (4, 4))
        """
        return fit_faces([self], camera, image_height)[0]

    def as_dict(self) -> dict[str, Any]:
        """The face as JSON types; pixels to 1/1000, angles to 1/100.

        `id`, `visibility` and `confidence` only where there are such; what `mesh_fields` returns only with
        a mesh.
        """
        pose = zip(("pitch", "yaw", "roll"), self.pose.tolist(), strict=True)
        seen = [] if self.visibility is None else [round(value, 3) for value in self.visibility.tolist()]
        return {
            **({} if self.id is None else {"id": self.id}),
            "box": [round(value, 3) for value in self.box.tolist()],
            "score": None if self.score is None else round(self.score, 4),
            "pose": {name: round(angle, 2) for name, angle in pose},
            **({} if self.confidence is None else {"confidence": round(self.confidence, 4)}),
            "landmarks": [[round(value, 3) for value in point] for point in self.landmarks.tolist()],
            **({} if self.visibility is None else {"visibility": seen}),
            **({} if self.mesh is None else mesh_fields(self.mesh)),
        }


@dataclass(frozen=True, eq=False)
class Alignment(Sequence[Face]):
    """The faces of a photo together with its pixels, on which they can be drawn or cut out.

    It is a sequence of its faces: `len(alignment)`, `alignment[0]` and `for face in alignment` work as
    with a list.

    Attributes:
        faces: in pixels of the original photo, in the order of the given boxes or by falling score.
        photo: the decoded photo; `photo.reduction` is 1 unless it was too large to decode whole.
    """

    faces: tuple[Face, ...]
    photo: Photo

    def __len__(self) -> int:
        return len(self.faces)

    @overload
    def __getitem__(self, index: int) -> Face: ...

    @overload
    def __getitem__(self, index: slice) -> tuple[Face, ...]: ...

    def __getitem__(self, index: int | slice) -> Face | tuple[Face, ...]:
        return self.faces[index]

    def __iter__(self) -> Iterator[Face]:
        return iter(self.faces)

    @property
    def faces_in_pixels(self) -> tuple[Face, ...]:
        """The faces in the decoded pixels, `photo.pixels`: other than `faces` only if `photo.reduction`
        is more than 1."""
        if self.photo.reduction == 1:
            return self.faces
        return tuple(
            replace(
                face,
                landmarks=self.photo.to_pixels(face.landmarks).astype(np.float32),
                box=self.photo.to_pixels(face.box.reshape(2, 2)).reshape(4),
                mesh=None if face.mesh is None else _mesh_in_pixels(face.mesh, self.photo),
            )
            for face in self.faces
        )


class Aligner:
    """Finds faces and their landmarks.

    >>> faces = Aligner().align("photo.jpg")  # doctest: +SKIP
    >>> faces[0].landmarks.shape  # doctest: +SKIP
    (68, 3)

    Args:
        model: a model's name, its folder or version folder, a `.tflite` file, or a loaded model.
        passes: 2 runs the model once more on a crop normalised by the first landmarks. None: 2 for
            faces that are detected here, whose boxes are inexact, and 1 where boxes are given; always
            1 if the model cannot run more.
        backend: what runs it; not for a loaded model.
        threads: of TFLite; TensorFlow takes its own.
        mesh: whether the whole face is fitted, too: `Face.mesh`. The pose is then that of the fit.
        field_of_view: degrees from the left to the right edge of the photos and frames, for the fit; None:
            weak perspective.

    Raises:
        InputError: no such model or file of it, or one that cannot run `passes` passes.
    """

    def __init__(
        self,
        model: str | Path | LandmarkModel = DEFAULT_MODEL,
        passes: int | None = None,
        backend: Backend = "tflite",
        threads: int = 1,
        mesh: bool = False,
        field_of_view: float | None = None,
    ) -> None:
        if field_of_view is not None:
            Camera.of_view(field_of_view, 1, 1)  # checks it
        self.mesh, self.field_of_view = mesh, field_of_view
        self.predictor = load_model(model, backend, threads) if isinstance(model, str | Path) else model
        if passes is not None and not 1 <= passes <= MAX_PASSES:
            raise InputError(f"passes: found {passes}, expected 1 to {MAX_PASSES}")
        if (passes or 1) > 1 and not self.predictor.can_refine:
            raise InputError(f"model {self.predictor.name}: has no signature refine, so passes must be 1")
        self.threads = threads
        detected = 2 if self.predictor.can_refine else 1
        self.passes_given, self.passes_detected = (1, detected) if passes is None else (passes, passes)

    @cached_property
    def detector(self) -> FaceDetector:
        return FaceDetector(self.threads)

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
        photos = [read_photo(image) for image in images]
        if boxes is not None and (isinstance(boxes, str | dict) or not isinstance(boxes, Iterable)):
            raise InputError(f"boxes: found {type_name(boxes)}, expected a sequence with those of each photo")
        given = [None] * len(photos) if boxes is None else list(boxes)
        if len(given) != len(photos):
            raise InputError(f"boxes: found those of {len(given)} photos, expected of {len(photos)}")
        alignments = [Alignment((), photo) for photo in photos]
        for passes, is_detected in ((self.passes_given, False), (self.passes_detected, True)):
            rows = [row for row, box in enumerate(given) if (box is None) == is_detected]
            scored = [self._boxes(photos[row], given[row]) for row in rows]
            pixels, boxes_of = [photos[row].pixels for row in rows], [array for array, _ in scored]
            predictions = predict_photos(self.predictor, pixels, boxes_of, passes)
            for row, (array, scores), prediction in zip(rows, scored, predictions, strict=True):
                faces = make_faces(photos[row], array, scores, prediction)
                if self.mesh:
                    faces = with_meshes(faces, photos[row].width, photos[row].height, self.field_of_view)
                alignments[row] = Alignment(tuple(faces), photos[row])
        return alignments

    def _boxes(self, photo: Photo, boxes: ArrayLike | None) -> tuple[Array, list[float | None]]:
        """Boxes (N, 4) in the pixels that were decoded, and the scores of their detection."""
        if boxes is not None:
            given = check_boxes(boxes, photo)
            return photo.boxes_to_pixels(given), [None] * len(given)
        detections = self.detector.detect(photo.pixels)
        boxes = np.array([detection.box for detection in detections]).reshape(-1, 4)
        return boxes, [detection.score for detection in detections]


def load_model(model: str | Path, backend: Backend, threads: int = 1) -> LandmarkModel:
    """Load a model by the name of its backend; a `.tflite` file is run by TFLite in any case.

    Raises:
        InputError: no such backend, model or file of it.
    """
    if backend not in get_args(Backend):
        raise InputError(f"backend: found {backend!r}, expected one of {', '.join(get_args(Backend))}")
    if backend == "tflite" or Path(model).suffix == ".tflite":
        return TFLitePredictor(model, threads=threads)
    return SavedModelPredictor(model)


def make_faces(photo: Photo, boxes: Array, scores: Sequence[float | None], found: Prediction) -> list[Face]:
    """The faces of a photo from boxes and a prediction in its decoded pixels."""
    landmarks = photo.to_original(found.landmarks).astype(np.float32)
    # A box is two points.
    boxes = photo.to_original(boxes.reshape(-1, 2, 2)).reshape(-1, 4)
    poses = np.degrees(geometry.pose_from_landmarks(landmarks, mean_shape())).astype(np.float32)
    return [
        Face(
            points,
            boxes[number],
            scores[number],
            poses[number],
            visibility=None if found.visibility is None else found.visibility[number],
            confidence=None if found.confidence is None else float(found.confidence[number]),
        )
        for number, points in enumerate(landmarks)
    ]


def fit_faces(
    faces: Sequence[Face],
    camera: Camera | None = None,
    image_height: float = 0.0,
    start: Sequence[FaceFit | None] | None = None,
) -> list[FaceFit]:
    """The whole face of each of some faces; see `FaceFitter.fit`."""
    if not faces:
        return []
    everywhere = np.ones(geometry.NUM_LANDMARKS, np.float32)
    return open_face_fitter().fit(
        np.stack([face.landmarks for face in faces]),
        np.stack([everywhere if face.visibility is None else face.visibility for face in faces]),
        [1.0 if face.confidence is None else face.confidence for face in faces],
        camera=camera,
        image_height=image_height,
        start=start,
    )


def with_meshes(
    faces: Sequence[Face],
    width: int,
    height: int,
    field_of_view: float | None = None,
    start: Sequence[FaceFit | None] | None = None,
) -> list[Face]:
    """The faces of a photo with their meshes, and the poses of these; a face without a fit keeps its pose.

    Args:
        faces: of a photo or frame.
        width, height: of it in pixels.
        field_of_view: as of `Aligner`.
        start: of each face its fit in the last frame, or None.
    """
    camera = None if field_of_view is None else Camera.of_view(field_of_view, width, height)
    return [
        replace(face, mesh=fit, pose=face.pose if fit.problem else fit.pose)
        for face, fit in zip(faces, fit_faces(faces, camera, height, start), strict=True)
    ]


def mesh_fields(fit: FaceFit) -> dict[str, Any]:
    """The fit as JSON types: `p`, `matrix`, `residual` and `expression`; `fit_problem` in their place if
    there is none."""
    (expression,) = expressions([fit])
    if expression is None:
        return {"fit_problem": fit.problem}
    return {
        "p": [float(f"{value:.6g}") for value in fit.p.tolist()],
        "matrix": [[round(value, 6) for value in row] for row in fit.matrix.tolist()],
        "residual": round(fit.residual, 3),
        "expression": {name: round(weight, 3) for name, weight in expression.items()},
    }


def _mesh_in_pixels(fit: FaceFit, photo: Photo) -> FaceFit:
    """The vertices of a fit in the decoded pixels; p and matrix stay those of the original photo."""
    return replace(fit, vertices=photo.to_pixels(fit.vertices).astype(np.float32))


def check_boxes(boxes: ArrayLike, photo: Photo) -> Array:
    """Boxes as (N, 4) float64, each with a part inside the photo, or InputError."""
    array = box_array(boxes)
    if array.size == 0:
        return np.zeros((0, 4))
    if array.ndim != 2 or array.shape[1] != 4:
        hint = ", also for a single one: [[x0, y0, x1, y1]]" if array.shape == (4,) else ""
        raise InputError(f"boxes: found shape {array.shape}, expected (N, 4){hint}")
    checked = geometry.check_box(array)
    x0, y0, x1, y1 = checked.T
    outside = (x0 >= photo.width) | (y0 >= photo.height) | (x1 <= 0) | (y1 <= 0)
    if outside.any():
        first = checked[np.flatnonzero(outside)[0]]
        raise InputError(
            f"box: found {first.tolist()}, expected a part of it inside the photo of "
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
