"""The whole face of 68 landmarks: the most probable p of Eq. 2, in NumPy, for a batch of faces.

A face is described by its rotation, its place and some numbers of its shape: the leading directions
in which identity and expression move the 68 landmarks, each with the deviation that the components of
the model give it (`ReducedBasis`). `LandmarkSolver` finds the most probable ones. The other directions
of the model's 228 keep their prior's mean, 0, as the landmarks say next to nothing of them.

Frames. *Head*: centimetres, x right in a picture of the face, y up, z to the viewer, origin at the mean
of the landmarks of the mean face. *Camera*: centimetres, x right, y down, z forward. *Photo*: 0-based
pixels, x right, y down; z in pixels, larger is nearer.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, lru_cache

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tf_dhm.core.configuration import AtLeastOne, NotNegative, Positive, check_fields
from tf_dhm.core.errors import InputError
from tf_dhm.core.types import Array
from tf_dhm.face.camera import FLIP, Camera, likely_angles, look_at, seen_straight
from tf_dhm.face.geometry import NUM_LANDMARKS, euler_angles, rotation_matrix
from tf_dhm.face.landmark_solver import LandmarkSolver, View
from tf_dhm.face.mean_face import mean_shape
from tf_dhm.face.morphable import MorphableModel
from tf_dhm.face.parameters import ANGLES, NUM_PARAMETERS, SCALE, TRANSLATION
from tf_dhm.face.placement import Placement
from tf_dhm.face.reduced_basis import ReducedBasis

STYLE_ITERATIONS = 8
MIN_CONFIDENCE = 0.5
NOT_FINITE = "landmarks are not finite"
NOT_CONFIDENT = "confidence is low"
NOT_A_FACE = "landmarks are not those of a face"


@dataclass(frozen=True)
class FitConfig:
    """How closely a face follows its landmarks; docs/mesh.md says how the numbers were chosen.

    Attributes:
        noise: standard deviation of a seen landmark's x and y, centimetres.
        depth_noise: of its z, as a multiple of `noise`.
        hidden_noise: of a landmark that is not seen, as a multiple of `noise`.
        iterations: of Gauss-Newton.
        size: directions of the reduced shape, at most 204.
        style: whether the landmarks are those of real faces, which do not lie quite on the vertices; False:
            they are vertices of the model.
        rotation_noise: deviation of the error of a fitted rotation over the deviation of pitch and roll
            among faces; see `likely_angles`.
    """

    noise: Positive = 0.5
    depth_noise: Positive = 3.0
    hidden_noise: Positive = 2.0
    iterations: AtLeastOne = 1
    size: AtLeastOne = 40
    style: bool = True
    rotation_noise: NotNegative = 1 / 16

    def __post_init__(self) -> None:
        check_fields(self)


TRUE_LANDMARKS = FitConfig(
    noise=0.02, depth_noise=1.0, hidden_noise=1.0, iterations=4, size=204, style=False, rotation_noise=0.0
)
"""For landmarks without error of heads that are not quite faces of the model."""
MODEL_LANDMARKS = replace(TRUE_LANDMARKS, noise=1e-4)
"""For landmarks without error of faces of the model: no other pose explains them as well."""


class Head:
    """The vertices of a head in its own frame, computed when they are asked for: most users of a fit want
    its pose, and reading the directions of all vertices takes as long as the rest of the fit's result.

    Args:
        shape: (K,) reduced shape.
        dense: (K, V * 3) float32, how it moves the vertices.
        mean: (V * 3,) float32, those of the mean face.
    """

    def __init__(self, shape: Array, dense: NDArray[np.float32], mean: NDArray[np.float32]) -> None:
        self._shape, self._dense, self._mean = shape, dense, mean

    @cached_property
    def vertices(self) -> NDArray[np.float32]:
        """(V, 3) centimetres."""
        vertices: NDArray[np.float32] = self._shape.astype(np.float32) @ self._dense
        vertices += self._mean
        return vertices.reshape(-1, 3)

    def __getstate__(self) -> dict[str, NDArray[np.float32]]:
        return {"vertices": self.vertices}  # a copy or pickle does without the model


@dataclass(frozen=True, eq=False)
class FaceFit:
    """The open face fitted to the landmarks of one face.

    Attributes:
        p: (234,) float64 of Eq. 2. Under a perspective camera f, R and t_2d are those of the weak
            perspective that is nearest at the face.
        landmarks: (68, 3) float64, the given landmarks turned back to the head's frame.
        triangles: (T, 3) int32.
        matrix: (4, 4) float64, rigid, from the head's frame to the camera's. Without a camera the
            projection is parallel: x and y are photo pixels over `scale`, z is 0 at the head's origin.
        scale: pixels per centimetre at the head.
        pose: (3,) float32 pitch, yaw, roll in degrees, in the axes and signs of 300W-LP's `Pose_Para`;
            those of `matrix`, but that near profile they keep to likely angles (`likely_angles`).
        residual: root mean square distance of the landmarks from the fit in the plane of the photo,
            percent of the square root of the area of their box.
        problem: why there is no fit, NOT_FINITE, NOT_CONFIDENT or NOT_A_FACE; then every number is NaN. None
            of a fit.
        state: (FitConfig.size,) float64 reduced shape, where the fit of the next frame may start.
        shown: the vertices in the head's frame.
        place: of the head in the photo, of one head.
        centre: (1, 3) of the fitted landmarks in the head's frame, where z is 0 in the photo.
    """

    p: Array
    landmarks: Array
    triangles: NDArray[np.int32]
    matrix: Array
    scale: float
    pose: NDArray[np.float32]
    residual: float
    problem: str | None
    state: Array = field(repr=False)
    shown: Head = field(repr=False)
    place: Placement = field(repr=False)
    centre: Array = field(repr=False)

    @property
    def head(self) -> NDArray[np.float32]:
        """(V, 3) float32 vertices in the head's frame."""
        return self.shown.vertices

    @cached_property
    def vertices(self) -> NDArray[np.float32]:
        """(V, 3) float32 vertices in photo pixels."""
        return self.place.draw(self.head[None], self.centre)[0]


class FaceFitter:
    """Fits the open face to landmarks.

    >>> fitter = FaceFitter(config=MODEL_LANDMARKS)
    >>> landmarks = fitter.model.landmark_mean * [10.0, -10.0, 10.0] + [200.0, 100.0, 0.0]
    >>> [fit] = fitter.fit(landmarks[None])
    >>> fit.vertices.shape, round(fit.scale, 3), fit.problem
    ((4946, 3), 10.0, None)

    Args:
        model: what is fitted; the open face if None. Its lengths are centimetres.
        config: how closely.

    Attributes:
        basis: how the model moves in the K directions of the reduced shape.
        solver: finds rotations, places and reduced shapes.
        style: (3, 68) centimetres from the vertices to the landmarks of real faces.
        to_pose: (3, 3) from the axes of `Pose_Para` to those of the head.
    """

    def __init__(self, model: MorphableModel | None = None, config: FitConfig | None = None) -> None:
        self.model = MorphableModel.open_face() if model is None else model
        self.config = config or FitConfig()
        self.basis = ReducedBasis.of(self.model, self.config.size)
        self._dense_mean = self.model.mean.astype(np.float32).ravel()
        # The landmarks of real faces are not quite the vertices chosen by anatomy. What no shape of the
        # open face explains of the real mean face is this difference of style.
        real = np.ascontiguousarray((mean_shape() * FLIP).T)[None]  # (1, 3, 68)
        root = np.full_like(real, 1 / self.config.noise)
        solver = LandmarkSolver(self.basis, np.zeros_like(self.basis.mean), self.config.noise)
        solved = solver.solve(real, root, STYLE_ITERATIONS)
        in_head = Placement.parallel(solved).in_head(mean_shape()[None])[0]
        self.style = in_head - self.basis.mean - self.basis.moves(solved.shape)[0]  # (3, 68)
        self._offset = self.style if self.config.style else np.zeros_like(self.style)
        self.solver = LandmarkSolver(self.basis, self._offset, self.config.noise)
        # The real mean face looks straight ahead in the axes of Pose_Para; the open face need not.
        pitch, _, _ = euler_angles(solved.rotation[0])
        self.to_pose = rotation_matrix(pitch, 0.0, 0.0)

    def fit(
        self,
        landmarks: ArrayLike,
        visibility: ArrayLike | None = None,
        confidence: ArrayLike | None = None,
        *,
        camera: Camera | None = None,
        image_height: float = 0.0,
        start: Sequence[FaceFit | None] | None = None,
    ) -> list[FaceFit]:
        """Fit faces, all at once.

        Args:
            landmarks: (N, 68, 3) photo pixels; z larger nearer, along the line of sight to the head's origin
                and in pixels at that point, from any zero.
            visibility: (N, 68) in [0, 1]: how far each landmark counts. None: all in full.
            confidence: (N,) in [0, 1]; below MIN_CONFIDENCE there is no fit. None: all are right.
            camera: of the photo; None: weak perspective.
            image_height: of the photo in pixels, on which t_2d of p depends: `model.project(p,
                image_height)` gives photo pixels.
            start: of each face its fit in the last frame, or None.

        Raises:
            InputError: wrong shapes.
        """
        points = np.asarray(landmarks, np.float64)
        if points.ndim != 3 or points.shape[1:] != (NUM_LANDMARKS, 3):
            raise InputError(f"landmarks: found shape {points.shape}, expected (N, {NUM_LANDMARKS}, 3)")
        count = len(points)
        seen = np.ones(points.shape[:2]) if visibility is None else np.asarray(visibility, np.float64)
        sure = np.ones(count) if confidence is None else np.asarray(confidence, np.float64)
        starts = [None] * count if start is None else list(start)
        if seen.shape != points.shape[:2] or sure.shape != (count,) or len(starts) != count:
            raise InputError(
                f"faces: found visibility {seen.shape}, confidence {sure.shape} and {len(starts)} starts, "
                f"expected those of {count} faces"
            )
        finite = np.isfinite(points).all((1, 2))
        usable = finite & (sure >= MIN_CONFIDENCE)
        rows = np.flatnonzero(usable)
        fits: dict[int, FaceFit] = {}
        if len(rows):
            with np.errstate(invalid="ignore", divide="ignore"):  # NaN becomes NOT_A_FACE
                found = self._fit(
                    points[rows], seen[rows], camera, image_height, [starts[row] for row in rows]
                )
            fits = dict(zip(rows.tolist(), found, strict=True))
        for row in np.flatnonzero(~usable).tolist():
            fits[row] = self._no_fit(NOT_CONFIDENT if finite[row] else NOT_FINITE)
        return [fits[row] for row in range(count)]

    def _no_fit(self, problem: str) -> FaceFit:
        unknown = np.full((1, 3), np.nan)
        turn, state = np.full((1, 3, 3), np.nan), np.full(self.config.size, np.nan)
        return FaceFit(
            np.full(NUM_PARAMETERS, np.nan), np.full((NUM_LANDMARKS, 3), np.nan), self.model.triangles,
            np.full((4, 4), np.nan), np.nan, np.full(3, np.nan, np.float32), np.nan, problem, state,
            Head(state, self.basis.dense, self._dense_mean),
            Placement(None, turn, turn, unknown, unknown[0, :1], unknown[0, :1]), unknown,
        )  # fmt: skip

    def _fit(
        self, points: Array, seen: Array, camera: Camera | None, height: float,
        starts: list[FaceFit | None],
    ) -> list[FaceFit]:  # fmt: skip
        config, count = self.config, len(points)
        root = np.empty((count, 3, NUM_LANDMARKS))
        hidden = config.noise * config.hidden_noise
        root[:] = (1 / (hidden - (hidden - config.noise) * seen))[:, None]
        root[:, 2] /= config.depth_noise
        known = shapes = None
        if any(fit is not None and fit.problem is None for fit in starts):
            states = [None if fit is None or fit.problem else fit.state for fit in starts]
            known = np.array([state is not None for state in states])
            shapes = np.array([np.zeros(config.size) if state is None else state for state in states])
        if camera is None:
            flat = np.swapaxes(points * FLIP, 1, 2)  # (N, 3, 68), y up
            solved = self.solver.solve(flat, root, config.iterations, None, known, shapes)
            return self._result(points, Placement.parallel(solved), solved.shape, height)
        turn = look_at(camera.rays(points.mean(1)))
        flat, view = seen_straight(camera, turn, points), View(camera.focal, turn[:, 2])
        solved = self.solver.solve(flat, root, config.iterations, view, known, shapes)
        return self._result(points, Placement.perspective(solved, camera, turn), solved.shape, height)

    def _result(self, points: Array, place: Placement, shape: Array, height: float) -> list[FaceFit]:
        count = len(points)
        face = self.basis.mean + self.basis.moves(shape)  # (N, 3, 68)
        centre = face.sum(-1) / NUM_LANDMARKS
        both = np.swapaxes(np.concatenate([face + self._offset, face], 2), 1, 2)  # (N, 136, 3)
        drawn = np.swapaxes(place.draw(both, centre)[..., :2], 1, 2)
        plane = np.swapaxes(points[..., :2], 1, 2)
        gap = drawn[..., :NUM_LANDMARKS] - plane
        area = (plane.max(-1) - plane.min(-1)).prod(-1)
        residual = 100 * np.sqrt((gap * gap).sum((1, 2)) / (NUM_LANDMARKS * area))

        angles = euler_angles(np.concatenate([place.straight, place.rotation @ self.to_pose.T]))
        pose = np.degrees(likely_angles(angles[count:], self.config.rotation_noise)).astype(np.float32)
        p = np.empty((count, NUM_PARAMETERS))
        p[:, SCALE] = place.scale
        p[:, ANGLES] = angles[:count]
        middle = drawn[..., NUM_LANDMARKS:].sum(-1) / NUM_LANDMARKS
        turned = (place.straight[:, :2] @ centre[..., None])[..., 0]
        p[:, TRANSLATION] = FLIP[:2] * middle - place.scale[:, None] * turned
        p[:, TRANSLATION.start] += 1  # 1-based
        p[:, TRANSLATION.start + 1] += height  # y up
        p[:, 6:] = shape @ self.basis.components

        given = np.swapaxes(place.in_head(points) - self._offset, 1, 2)
        matrix = place.matrices()
        fitted = np.isfinite(matrix).all((1, 2)) & np.isfinite(residual)
        return [
            FaceFit(
                p[row], given[row], self.model.triangles, matrix[row], float(place.scale[row]), pose[row],
                float(residual[row]), None, shape[row], Head(shape[row], self.basis.dense, self._dense_mean),
                place.of(row), centre[row : row + 1],
            )
            if fitted[row]
            else self._no_fit(NOT_A_FACE)
            for row in range(count)
        ]  # fmt: skip


@lru_cache(maxsize=1)
def open_face_fitter() -> FaceFitter:
    """The fitter of the open face with its default settings, made once: reading the face takes a second."""
    return FaceFitter()
