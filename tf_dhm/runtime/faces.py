"""What an aligner returns: `Face` and `Alignment`, with the fitted mesh of a face."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, overload

import numpy as np
from numpy.typing import NDArray

from tf_dhm.core.errors import InputError, check_type, type_name
from tf_dhm.core.types import Array
from tf_dhm.face import geometry
from tf_dhm.face.mean_face import pose_from_mean_face
from tf_dhm.runtime.images import Photo
from tf_dhm.runtime.predictor import Prediction
from tf_dhm.runtime.settings import MIN_CONFIDENCE

if TYPE_CHECKING:
    # Imported by the functions that fit: SciPy's optimisers take a second and 35 MB.
    from tf_dhm.face.camera import Camera
    from tf_dhm.face.fit import FaceFit


@dataclass(frozen=True, eq=False)
class Face:
    """A face of a photo or of a frame.

    Example:
        >>> from tf_dhm.face.mean_face import mean_shape
        >>> points = (20 * mean_shape() + [50, 50, 0]).astype(np.float32)
        >>> face = Face(points, np.array([30.0, 30, 70, 70]), score=None, pose=np.zeros(3, np.float32))
        >>> sorted(face.as_dict())
        ['box', 'landmarks', 'pose', 'score']
        >>> face
        Face(box=[30.0, 30.0, 70.0, 70.0], score=None, confidence=None, pose=[0.0, 0.0, 0.0])

    Attributes:
        landmarks: (68, 3) float32, x and y in 0-based pixels of the photo, turned as its EXIF
            orientation says; z in pixels, larger is nearer to the camera.
        box: (4,) float64 landmark box x0, y0, x1, y1 in photo pixels, given or detected.
        score: of the detection, 0.5 to 1; None if the box was given or followed.
        pose: (3,) float32 pitch, yaw, roll in degrees, in the signs of 300W-LP's `Pose_Para`:
            roll is positive if the head is turned clockwise in the picture.
        id: in a video, of the face over its frames; None in a photo.
        visibility: (68,) float32 in [0, 1]: how likely each point is to be seen, neither turned away
            nor covered; None if the model does not predict it.
        confidence: in [0, 1]: how likely the landmarks are right; it falls if the box holds no
            face. None if the model does not predict it.
        mesh: the whole face, fitted to the landmarks; None if it was not asked for.
        points: (P, 3) float32 in photo pixels, the points of the annotation that the model was adapted
            to beside the landmarks; None of other models.
    """

    landmarks: NDArray[np.float32]
    box: Array
    score: float | None
    pose: NDArray[np.float32]
    id: int | None = None
    visibility: NDArray[np.float32] | None = None
    confidence: float | None = None
    mesh: FaceFit | None = None
    points: NDArray[np.float32] | None = None

    def __repr__(self) -> str:
        """The face without its many points."""
        box, pose = ([round(value, 1) for value in values.tolist()] for values in (self.box, self.pose))
        number = "" if self.id is None else f"id={self.id}, "
        return f"Face({number}box={box}, score={self.score}, confidence={self.confidence}, pose={pose})"

    def fit(self, camera: Camera | None = None, image_height: float = 0.0) -> FaceFit:
        """The whole face of these landmarks; see `tf_dhm.face.fit`.

        Args:
            camera: of the photo, for a pose that is right off the centre of the picture; None: weak
                perspective.
            image_height: of the photo in pixels, on which t_2d of p depends.

        Raises:
            InputError: the camera is not a `Camera`.

        >>> fit = Aligner().align("photo.jpg")[0].fit()  # doctest: +SKIP
        >>> fit.vertices.shape, fit.matrix.shape  # doctest: +SKIP
        ((4946, 3), (4, 4))
        """
        from tf_dhm.face.camera import Camera

        check_type("camera", camera, "a Camera or None", Camera, type(None))
        return fit_faces([self], camera, image_height)[0]

    def is_convincing(self, min_confidence: float = MIN_CONFIDENCE) -> bool:
        """Whether the confidence is high enough; a face of a model that gives none is convincing."""
        return self.confidence is None or self.confidence >= min_confidence

    def as_dict(self) -> dict[str, Any]:
        """The face as JSON types; pixels to 1/1000, angles to 1/100.

        `id`, `visibility` and `confidence` only if they are not None; what `mesh_fields` returns only with
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
            **({} if self.points is None else {"points": np.round(self.points.astype(float), 3).tolist()}),
            **({} if self.mesh is None else mesh_fields(self.mesh)),
        }


@dataclass(frozen=True, eq=False)
class Alignment(Sequence[Face]):
    """The faces of a photo together with its pixels, which `tf_dhm.runtime.drawing.draw_faces` and
    `tf_dhm.commands.sinks.upright_crops` take to draw them or cut them out.

    It is a sequence of its faces: `len(alignment)`, `alignment[0]` and `for face in alignment` work as
    with a list.

    Attributes:
        faces: in pixels of the original photo, in the order of the given boxes or by falling score.
        photo: the decoded photo; `photo.reduction` is 1 unless it was too large to decode whole.
        min_confidence: from which a face is convincing.

    Example:
        >>> from tf_dhm import Aligner, read_photo
        >>> alignment = Aligner().align(np.zeros((64, 64, 3), np.uint8), boxes=[[10, 10, 50, 50]])
        >>> len(alignment), alignment[0].landmarks.shape, alignment.convincing
        (1, (68, 3), ())
    """

    faces: tuple[Face, ...]
    photo: Photo
    min_confidence: float = MIN_CONFIDENCE

    def __repr__(self) -> str:
        """The faces and the size of the photo, without its pixels."""
        return f"Alignment({list(self.faces)}, {self.photo.width} x {self.photo.height})"

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
    def convincing(self) -> tuple[Face, ...]:
        """The faces whose confidence is `min_confidence` or more, or unknown."""
        return tuple(face for face in self.faces if face.is_convincing(self.min_confidence))

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
                points=None if face.points is None else self.photo.to_pixels(face.points).astype(np.float32),
            )
            for face in self.faces
        )


def make_faces(
    photo: Photo, boxes: Array, scores: Sequence[float | None], found: Prediction, pose: bool = True
) -> list[Face]:
    """The faces of a photo from boxes and a prediction in its decoded pixels; without `pose` it is NaN."""
    landmarks, other = found.landmarks, found.points
    if photo.reduction > 1:
        landmarks = photo.to_original(landmarks).astype(np.float32)
        # A box is two points.
        boxes = photo.to_original(boxes.reshape(-1, 2, 2)).reshape(-1, 4)
        other = None if other is None else photo.to_original(other).astype(np.float32)
    if pose:
        poses = np.degrees(pose_from_mean_face(landmarks)).astype(np.float32)
    else:
        poses = np.full((len(landmarks), 3), np.nan, np.float32)
    return [
        Face(
            points,
            boxes[number],
            scores[number],
            poses[number],
            visibility=None if found.visibility is None else found.visibility[number],
            confidence=None if found.confidence is None else float(found.confidence[number]),
            points=None if other is None else other[number],
        )
        for number, points in enumerate(landmarks)
    ]


def check_faces(faces: object) -> list[Face]:
    """The faces as a list; InputError for anything but several faces."""
    if not isinstance(faces, Iterable):
        raise InputError(f"faces: found {type_name(faces)}, expected several, as [face] or an Alignment")
    found = list(faces)
    for face in found:
        check_type("faces", face, "items of the class Face", Face)
    return found


def fit_faces(
    faces: Sequence[Face],
    camera: Camera | None = None,
    image_height: float = 0.0,
    start: Sequence[FaceFit | None] | None = None,
) -> list[FaceFit]:
    """The whole face of each of some faces; see `FaceFitter.fit`."""
    from tf_dhm.face.fit import open_face_fitter

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
    from tf_dhm.face.camera import Camera

    camera = None if field_of_view is None else Camera.of_view(field_of_view, width, height)
    return [
        replace(face, mesh=fit, pose=face.pose if fit.problem else fit.pose)
        for face, fit in zip(faces, fit_faces(faces, camera, height, start), strict=True)
    ]


def mesh_fields(fit: FaceFit) -> dict[str, Any]:
    """The fit as JSON types: `p`, `matrix`, `residual` and `expression`; `fit_problem` in their place if
    there is none."""
    from tf_dhm.face.expression import expressions

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
    return replace(fit, place=fit.place.reduced(photo.reduction))
