"""The whole face of 68 landmarks: the most probable p of Eq. 2, in NumPy, for a batch of faces.

A face is described by its rotation, its place and some numbers of its shape: the leading directions
in which identity and expression move the 68 landmarks, each with the deviation that the components of
the model give it (`ReducedBasis`). With W the weights of the landmarks, Gauss-Newton minimises

    |W (landmarks - projection(R, t, c))|^2 + |c|^2

which is the negative logarithm of the posterior: landmarks are normal around the projected vertices,
c is standard normal. The other directions of the model's 228 keep their prior's mean, 0, as the
landmarks say next to nothing of them.

Frames. *Head*: centimetres, x right in a picture of the face, y up, z to the viewer, origin at the mean
of the landmarks of the mean face. *Camera*: centimetres, x right, y down, z forward. *Photo*: 0-based
pixels, x right, y down; z in pixels, larger is nearer.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tf_dhm.core.configuration import AtLeastOne, NotNegative, Positive, check_fields
from tf_dhm.core.errors import InputError
from tf_dhm.core.types import Array
from tf_dhm.face.camera import FLIP, Camera, likely_angles, linearise, look_at, rotation_of, seen_straight
from tf_dhm.face.geometry import NUM_LANDMARKS, euler_angles, rotation_matrix
from tf_dhm.face.mean_face import mean_shape
from tf_dhm.face.morphable import MorphableModel
from tf_dhm.face.parameters import ANGLES, NUM_PARAMETERS, SCALE, TRANSLATION
from tf_dhm.face.reduced_basis import ReducedBasis

TO_CAMERA = np.array([1.0, -1.0, -1.0])
"""From axes with y up and z to the viewer to the camera's."""
STYLE_ITERATIONS = 8
MIN_CONFIDENCE = 0.5
NOT_FINITE = "landmarks are not finite"
NOT_CONFIDENT = "confidence is low"


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
    noise=0.005, depth_noise=1.0, hidden_noise=1.0, iterations=4, size=204, style=False, rotation_noise=0.0
)
"""For landmarks without error, of rendered faces."""


@dataclass(frozen=True, eq=False)
class FaceFit:
    """The open face fitted to the landmarks of one face.

    Attributes:
        p: (234,) float64 of Eq. 2. Under a perspective camera f, R and t_2d are those of the weak
            perspective that is nearest at the face.
        vertices: (V, 3) float32 photo pixels.
        head: (V, 3) float32, the same vertices in the head's frame.
        landmarks: (68, 3) float64, the given landmarks turned back to the head's frame.
        triangles: (T, 3) int32.
        matrix: (4, 4) float64, rigid, from the head's frame to the camera's. Without a camera the
            projection is parallel: x and y are photo pixels over `scale`, z is 0 at the head's origin.
        scale: pixels per centimetre at the head.
        pose: (3,) float32 pitch, yaw, roll in degrees, in the axes and signs of 300W-LP's `Pose_Para`;
            those of `matrix`, but that near profile they keep to likely angles (`likely_angles`).
        residual: root mean square distance of the landmarks from the fit in the plane of the photo,
            percent of the square root of the area of their box.
        problem: why there is no fit, NOT_FINITE or NOT_CONFIDENT; then every number is NaN. None of a fit.
        state: (FitConfig.size,) float64 reduced shape, where the fit of the next frame may start.
    """

    p: Array
    vertices: NDArray[np.float32]
    head: NDArray[np.float32]
    landmarks: Array
    triangles: NDArray[np.int32]
    matrix: Array
    scale: float
    pose: NDArray[np.float32]
    residual: float
    problem: str | None = None
    state: Array = field(default_factory=lambda: np.zeros(0), repr=False)


@dataclass
class _State:
    """What Gauss-Newton moves, of N faces; lengths are centimetres.

    Attributes:
        rotation: (N, 3, 3) from the head to axes with y up and z to the viewer.
        shift: (N, 3); under a perspective camera the head's place, z negative.
        extra: (N,) logarithm of the scale; under a perspective camera what is added to z. In a result the
            latter, under both.
        shape: (N, K) reduced.
    """

    rotation: Array
    shift: Array
    extra: Array
    shape: Array


class FaceFitter:
    """Fits the open face to landmarks.

    >>> fitter = FaceFitter(config=TRUE_LANDMARKS)
    >>> landmarks = fitter.model.landmark_mean * [10.0, -10.0, 10.0] + [200.0, 100.0, 0.0]
    >>> [fit] = fitter.fit(landmarks[None])
    >>> fit.vertices.shape, round(fit.scale, 3), fit.problem
    ((4946, 3), 10.0, None)

    Args:
        model: what is fitted; the open face if None. Its lengths are centimetres.
        config: how closely.

    Attributes:
        basis: how the model moves in the K directions of the reduced shape.
        first: (204, K) from landmarks in the head's frame, less the mean face, to the first reduced shape.
        style: (3, 68) centimetres from the vertices to the landmarks of real faces.
        to_pose: (3, 3) from the axes of `Pose_Para` to those of the head.
    """

    def __init__(self, model: MorphableModel | None = None, config: FitConfig | None = None) -> None:
        self.model = MorphableModel.open_face() if model is None else model
        self.config = config or FitConfig()
        self.basis = ReducedBasis.of(self.model, self.config.size)
        self._dense_mean = self.model.mean.astype(np.float32).ravel()
        moves = self.basis.landmarks - self.basis.landmarks.mean(1, keepdims=True)
        moves = moves.reshape(-1, self.config.size)  # (204, K)
        normal = moves.T @ moves + np.eye(self.config.size) * self.config.noise**2
        self.first = np.linalg.solve(normal, moves.T).T
        # The landmarks of real faces are not quite the vertices chosen by anatomy. What no shape of the
        # open face explains of the real mean face is this difference of style.
        real = np.ascontiguousarray((mean_shape() * FLIP).T)[None]  # (1, 3, 68)
        real = real - real.mean(-1, keepdims=True)
        weight = np.full_like(real, self.config.noise**-2)
        none = np.zeros_like(self.basis.mean)
        state, scale = self._solve(
            real, weight, self._start(real, [None], none), None, none, STYLE_ITERATIONS
        )
        turned = np.einsum("ji,jk->ik", state.rotation[0], real[0] / scale[0] - state.shift[0, :, None])
        fitted = self.basis.mean + self.basis.landmarks @ state.shape[0]
        self.style = turned - fitted  # (3, 68)
        # The real mean face looks straight ahead in the axes of Pose_Para; the open face need not.
        pitch, _, _ = euler_angles(state.rotation[0])
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
            landmarks: (N, 68, 3) photo pixels; z larger nearer, along the line of sight to the face.
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
            found = self._fit(points[rows], seen[rows], camera, image_height, [starts[row] for row in rows])
            fits = dict(zip(rows.tolist(), found, strict=True))
        for row in np.flatnonzero(~usable).tolist():
            fits[row] = self._no_fit(NOT_CONFIDENT if finite[row] else NOT_FINITE)
        return [fits[row] for row in range(count)]

    def _no_fit(self, problem: str) -> FaceFit:
        vertices = np.full(self.model.mean.shape, np.nan, np.float32)
        return FaceFit(
            np.full(NUM_PARAMETERS, np.nan), vertices, vertices, np.full((NUM_LANDMARKS, 3), np.nan),
            self.model.triangles,
            np.full((4, 4), np.nan), np.nan, np.full(3, np.nan, np.float32), np.nan, problem,
        )  # fmt: skip

    def _fit(
        self, points: Array, seen: Array, camera: Camera | None, height: float,
        starts: list[FaceFit | None],
    ) -> list[FaceFit]:  # fmt: skip
        if camera is None:
            view = np.broadcast_to(np.eye(3), (len(points), 3, 3))
            flat = np.swapaxes(points * FLIP, 1, 2)  # (N, 3, 68), y up
            middle = flat.mean(-1)
        else:
            view = look_at(camera, points)
            flat = seen_straight(camera, view, points)
            middle = flat.mean(-1) * [0, 0, 1]
        flat = flat - middle[..., None]
        config = self.config
        noise = config.noise * (1 + (config.hidden_noise - 1) * (1 - seen))
        weight = np.repeat(noise[:, None] ** -2.0, 3, 1)
        weight[:, 2] /= config.depth_noise**2
        offset = self.style if config.style else np.zeros_like(self.style)
        start = self._start(flat, starts, offset)
        focal = None if camera is None else camera.focal
        state, scale = self._solve(flat, weight, start, focal, offset, config.iterations)
        return self._result(points, flat, state, scale, middle, offset, camera, view, height)

    def _start(self, flat: Array, starts: Sequence[FaceFit | None], style: Array) -> _State:
        """The mean face, or that of the last frame, turned by the polar factor of the best affine map; the
        mean face then moved towards the landmarks, as if all counted alike."""
        shape = np.zeros((len(flat), len(self.basis.components)))
        known = np.array([fit is not None and fit.problem is None for fit in starts])
        for row in np.flatnonzero(known):
            fit = starts[row]
            assert fit is not None
            shape[row] = fit.state
        face = self.basis.mean + style
        if known.any():
            face = face + self.basis.moves(shape)
        face = face - face.mean(-1, keepdims=True)
        centred = flat - flat.mean(-1, keepdims=True)
        u, values, vt = np.linalg.svd(centred @ np.swapaxes(face, -1, -2))
        sign = np.sign(np.linalg.det(u @ vt))
        u[..., 2] *= sign[:, None]
        rotation = u @ vt
        if not known.all():
            values[:, 2] *= sign
            scale = values.sum(-1) / (face**2).sum((-1, -2))
            residual = np.swapaxes(rotation, 1, 2) @ centred / scale[:, None, None] - face
            shape[~known] = (residual.reshape(len(flat), -1) @ self.first)[~known]
        return _State(rotation, np.zeros((len(flat), 3)), np.zeros(len(flat)), shape)

    def _solve(
        self, flat: Array, weight: Array, state: _State, focal: float | None, style: Array, iterations: int
    ) -> tuple[_State, Array]:
        """Gauss-Newton.

        Args:
            flat: (N, 3, 68) pixels, y up, centred.
            weight: (N, 3, 68) per square centimetre.
            state: where it starts.
            focal: in pixels, of a perspective camera that looks at the face.
            style: (3, 68) centimetres, from the vertices to the landmarks.

        Returns:
            the state, its scale folded into the second part: (N,) pixels per centimetre.
        """
        basis, mean = self.basis.landmarks, self.basis.mean
        size = basis.shape[-1]
        flat_basis = basis.reshape(3, -1)
        root = np.sqrt(weight)
        rotation, shift, extra, shape = state.rotation, state.shift, state.extra, state.shape
        spread = np.sqrt(((mean - mean.mean(-1, keepdims=True)) ** 2).sum())
        unit = np.sqrt(((flat - flat.mean(-1, keepdims=True)) ** 2).sum((1, 2))) / spread  # pixels per cm
        target = flat / unit[:, None, None]
        distance = None if focal is None else focal / unit
        if distance is not None:
            shift = shift.copy()
            shift[:, :2] = target[:, :2].mean(-1)
            shift[:, 2] -= distance
        jacobian = np.zeros((*flat.shape, 7 + size))
        prior = np.concatenate([np.zeros(7), np.ones(size)])
        for _ in range(iterations):
            face = rotation @ (mean + style + self.basis.moves(shape))
            moved = (rotation @ flat_basis).reshape(*flat.shape, size)
            predicted = linearise(jacobian, face, moved, shift, extra, distance)
            weighted = (jacobian * root[..., None]).reshape(len(flat), -1, 7 + size)
            residual = ((target - predicted) * root).reshape(len(flat), -1, 1)
            transposed = np.swapaxes(weighted, 1, 2)
            right = (transposed @ residual)[..., 0]
            right[:, 7:] -= shape
            step = np.linalg.solve(transposed @ weighted + np.diag(prior), right[..., None])[..., 0]
            rotation = rotation_of(step[:, :3]) @ rotation
            shift, extra, shape = shift + step[:, 3:6], extra + step[:, 6], shape + step[:, 7:]
        if focal is not None:
            scale = focal / -shift[:, 2]
            return _State(rotation, shift, extra * unit / scale, shape), scale
        shift = shift / np.exp(extra)[:, None]
        return _State(rotation, shift, shift[:, 2], shape), unit * np.exp(extra)

    def _result(
        self, points: Array, flat: Array, state: _State, scale: Array, middle: Array, offset: Array,
        camera: Camera | None, view: Array, height: float,
    ) -> list[FaceFit]:  # fmt: skip
        """The fits of N faces; `flat` (N, 3, 68) are their pixels, y up, less `middle` (N, 3)."""
        count = len(points)
        head = (self._dense_mean + state.shape.astype(np.float32) @ self.basis.dense).reshape(count, -1, 3)
        face = self.basis.mean + self.basis.moves(state.shape)  # (N, 3, 68)
        centre = _apply(state.rotation, face.mean(-1))  # (N, 3)
        stretch = np.abs(view[:, 2, 2]) ** -1.5  # of the photo at the face, off the axis of the camera
        rotation = view @ state.rotation
        shift = state.shift + middle / scale[:, None] if camera is None else _apply(view, state.shift)
        # Depth is measured along the line of sight, from the middle of the landmarks.
        depth = (scale * stretch)[:, None] * state.rotation[:, 2]  # (N, 3)
        deep = -(scale * stretch) * centre[:, 2]
        if camera is None:
            shift[:, 2] = 0

        def draw(local: Array) -> Array:
            """(N, P, 3) of the head's frame to photo pixels."""
            rows, end = (scale[:, None] * FLIP)[..., None] * rotation, scale[:, None] * FLIP * shift
            if camera is not None:
                rows, end = camera.focal * FLIP[:, None] * rotation, camera.focal * FLIP * shift
                near = -(local @ rotation[:, 2, :, None] + shift[:, None, 2:]).astype(local.dtype)
            rows[:, 2], end[:, 2] = depth, deep
            pixels = local @ np.swapaxes(rows, 1, 2).astype(local.dtype) + end[:, None].astype(local.dtype)
            if camera is not None:
                pixels[..., :2] = pixels[..., :2] / near + np.array(camera.centre, local.dtype)
            return pixels

        vertices = draw(head)
        both = draw(np.swapaxes(np.concatenate([face + offset, face], 2), 1, 2))[..., :2]
        square = ((both[:, :NUM_LANDMARKS] - points[..., :2]) ** 2).sum(-1).mean(-1)
        residual = 100 * np.sqrt(square / np.ptp(points[..., :2], axis=1).prod(-1))

        angles = euler_angles(np.concatenate([state.rotation, rotation @ self.to_pose.T]))
        pose = np.degrees(likely_angles(angles[count:], self.config.rotation_noise)).astype(np.float32)
        p = np.zeros((count, NUM_PARAMETERS))
        p[:, SCALE] = scale * stretch
        p[:, ANGLES] = angles[:count]
        drawn = both[:, NUM_LANDMARKS:].mean(1)
        plane = np.stack([drawn[:, 0] + 1, height - drawn[:, 1]], -1)  # 1-based, y up
        p[:, TRANSLATION] = plane - p[:, SCALE, None] * centre[:, :2]
        p[:, 6:] = state.shape @ self.basis.components

        straight = flat / scale[:, None, None]
        if camera is not None:  # what is nearer looks larger
            straight[:, :2] *= 1 + (state.rotation @ face)[:, 2:] / state.shift[:, 2:, None]
        straight -= np.concatenate([state.shift[:, :2], state.extra[:, None]], 1)[..., None]
        given = np.swapaxes(np.swapaxes(state.rotation, 1, 2) @ straight - offset, 1, 2)

        matrix = np.zeros((count, 4, 4))
        matrix[:, :3, :3] = TO_CAMERA[:, None] * rotation
        matrix[:, :3, 3] = TO_CAMERA * shift
        matrix[:, 3, 3] = 1
        return [
            FaceFit(
                p[row], vertices[row], head[row], given[row], self.model.triangles, matrix[row],
                float(p[row, SCALE]), pose[row], float(residual[row]), None, state.shape[row],
            )
            for row in range(count)
        ]  # fmt: skip


def _apply(matrices: Array, vectors: Array) -> Array:
    """(N, 3, 3) times (N, 3)."""
    return (matrices @ vectors[..., None])[..., 0]


@lru_cache(maxsize=1)
def open_face_fitter() -> FaceFitter:
    """The fitter of the open face with its default settings, made once: reading the face takes a second."""
    return FaceFitter()
