"""The 3-D morphable face model of Eq. 1 and its projection of Eq. 2, in NumPy.

    S = S_mean + E_id p_id + E_exp p_exp        (Eq. 1)
    F(p) = f M R S + t_2d                       (Eq. 2)

The parameter vector p has 234 numbers, in this order:

| slice | what |
|---|---|
| `p[0]` | f, pixels per unit of the model |
| `p[1:4]` | pitch, yaw, roll, radians, signs and order of `Pose_Para` |
| `p[4:6]` | t_2d, pixels of the plane of F(p) |
| `p[6:205]` | 199 identity parameters |
| `p[205:234]` | 29 expression parameters |

The model's axes are x right, y up, z to the viewer. The plane of F(p) is that of 300W-LP: y up,
1-based; with an image height the same points come as 0-based pixels with y down. Depth is
f (R S)_z, larger nearer to the camera.

One class, `MorphableModel`, serves every source: the open face that comes with the package, the
68-point Basel Face Model solved from the parameter files of AFLW2000-3D or 300W-LP, and the Basel
Face Model itself where a user has it. `StandardisedModel` is the same model at the 68 landmarks
in well-conditioned parameters, made for networks. `tf_dhm.networks.projection` holds the
differentiable twins in TensorFlow.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tf_dhm.core.errors import InputError
from tf_dhm.core.files import atomic_write
from tf_dhm.core.types import Array
from tf_dhm.face.geometry import (
    NUM_LANDMARKS,
    bfm_to_pixels,
    euler_angles,
    rotation_matrix,
    unit_to_pixels,
    weak_perspective,
)

NUM_IDENTITY = 199
NUM_EXPRESSION = 29
NUM_PARAMETERS = 6 + NUM_IDENTITY + NUM_EXPRESSION

SCALE = 0
ANGLES = slice(1, 4)
TRANSLATION = slice(4, 6)
IDENTITY = slice(6, 6 + NUM_IDENTITY)
EXPRESSION = slice(6 + NUM_IDENTITY, NUM_PARAMETERS)

ASSETS = Path(__file__).parents[1] / "assets"
OPEN_FACE = ASSETS / "open_face.npz"

SCALE_STD = 0.1
ANGLE_STD = np.array([0.4, 0.7, 0.4])
TRANSLATION_STD = np.array([0.2, 0.1])
"""Units of the standardised parameters: of f relative to the mean face's, radians of pitch, yaw
and roll, and of the network's unit (half a crop). Rounded from faces at all poses, with room for
crops that sit less well than those of the labels."""


@dataclass(frozen=True)
class Parameters:
    """The fields of p; leading dimensions (...) are those of p.

    Attributes:
        scale: (...) f.
        angles: (..., 3) pitch, yaw, roll in radians.
        translation: (..., 2) t_2d.
        identity: (..., 199) p_id.
        expression: (..., 29) p_exp.
    """

    scale: Any
    angles: Any
    translation: Any
    identity: Any
    expression: Any


def decompose(p: Any) -> Parameters:
    """The fields of p (..., 234), a NumPy array or a TensorFlow tensor."""
    if p.shape[-1] != NUM_PARAMETERS:
        raise InputError(f"p: found shape {tuple(p.shape)}, expected (..., {NUM_PARAMETERS})")
    return Parameters(
        p[..., SCALE], p[..., ANGLES], p[..., TRANSLATION], p[..., IDENTITY], p[..., EXPRESSION]
    )


def compose(fields: Parameters) -> Array:
    """p (..., 234) float64 of its fields: the inverse of `decompose`."""
    scale = np.asarray(fields.scale, np.float64)[..., None]
    rest = (fields.angles, fields.translation, fields.identity, fields.expression)
    p = np.concatenate([scale, *(np.asarray(part, np.float64) for part in rest)], -1)
    if p.shape[-1] != NUM_PARAMETERS:
        raise InputError(f"fields of p: found {p.shape[-1]} numbers, expected {NUM_PARAMETERS}")
    return p


@dataclass(frozen=True, eq=False)
class MorphableModel:
    """A linear 3-D model of the face: mean, identity and expression components, landmarks.

    Attributes:
        name: where it comes from.
        mean: (V, 3), x right, y up, z to the viewer, in the model's own unit of length.
        identity: (199, V, 3) per unit of p_id.
        expression: (29, V, 3) per unit of p_exp.
        identity_std: (199,) standard deviations of p_id.
        expression_std: (29,) standard deviations of p_exp.
        landmarks: (68,) int32 vertices.
        triangles: (T, 3) int32 vertices; none where only the landmarks are known.
        region: (V,) uint8, an index into `region_names`; empty where there are none.
        region_names: names of the regions.
        bfm_parameters: whether p_id and p_exp are `Shape_Para` and `Exp_Para` of 300W-LP.
    """

    name: str
    mean: Array
    identity: Array
    expression: Array
    identity_std: Array
    expression_std: Array
    landmarks: NDArray[np.int32]
    triangles: NDArray[np.int32] = field(default_factory=lambda: np.zeros((0, 3), np.int32))
    region: NDArray[np.uint8] = field(default_factory=lambda: np.zeros(0, np.uint8))
    region_names: tuple[str, ...] = ()
    bfm_parameters: bool = False

    def __post_init__(self) -> None:
        vertices = self.mean.shape[0]
        expected: dict[str, tuple[int, ...]] = {
            "mean": (vertices, 3),
            "identity": (NUM_IDENTITY, vertices, 3),
            "expression": (NUM_EXPRESSION, vertices, 3),
            "identity_std": (NUM_IDENTITY,),
            "expression_std": (NUM_EXPRESSION,),
            "landmarks": (NUM_LANDMARKS,),
            "triangles": (len(self.triangles), 3),
            "region": (vertices,) if len(self.region) else (0,),
        }
        for key, shape in expected.items():
            found = getattr(self, key).shape
            if found != shape:
                raise InputError(f"{self.name}: found {key} of shape {found}, expected {shape}")
        for key in ("landmarks", "triangles"):
            indices = getattr(self, key)
            if indices.size and not 0 <= indices.min() <= indices.max() < vertices:
                raise InputError(
                    f"{self.name}: found {key} from {indices.min()} to {indices.max()}, "
                    f"expected vertices from 0 to {vertices - 1}"
                )
        for key in ("identity_std", "expression_std"):
            if not (getattr(self, key) > 0).all():
                raise InputError(f"{self.name}: found values of {key} that are not positive")

    # Where a model comes from

    @classmethod
    def open_face(cls) -> MorphableModel:
        """The open face that comes with the package (CC0); nothing to download."""
        return cls.load(OPEN_FACE)

    @classmethod
    def solve(cls, mat_files_dir: Path, cache: Path | None = None) -> MorphableModel:
        """The Basel Face Model at the 68 landmarks, solved from the files of a dataset.

        The landmarks of the files are linear in the basis once the pose is undone; least squares
        gives the mean and all 228 components. It has no other vertices and no triangles.

        Args:
            mat_files_dir: AFLW2000-3D (`image*.mat` with `pt3d_68`) or 300W-LP (folders `AFW`,
                `HELEN`, `IBUG`, `LFPW` and `landmarks`), see `tf_dhm.face.bfm.fit_files`.
            cache: folder where the solution is kept, `$XDG_CACHE_HOME/tf_dhm` or
                `~/.cache/tf_dhm` if none. Other files in `mat_files_dir` make another solution.

        Raises:
            InputError: files are missing or foreign, too few, or disagree with one another.
        """
        from tf_dhm.face import bfm  # it imports this module

        return bfm.solve(Path(mat_files_dir), cache)

    @classmethod
    def read_bfm(cls, folder: Path) -> MorphableModel:
        """A user's Basel Face Model, in one of the layouts in which it goes round.

        Shape, the first of these that is found in `folder` or up to two folders below:

        - `BFM.mat` of face3d: a struct `model` with `shapeMU`, `shapePC`, `shapeEV`, `expMU`,
          `expPC`, `tri`, `kpt_ind`; it has the expressions too;
        - `Model_Shape.mat` of 300W-LP (its `ModelGenerate.m` makes it): `mu_shape`, `w`, `sigma`,
          `tri`, `keypoints`;
        - `01_MorphableModel.mat` of the University of Basel (`shapeMU`, `shapePC`, `shapeEV`) and
          `model_info.mat` of 300W-LP (`trimIndex`, `tri`, `keypoints`).

        Expressions, the first of these:

        - `Model_Exp.mat` or `Model_Expression.mat` of 300W-LP and 3DDFA: `mu_exp`, `w_exp`;
        - `Exp_Pca.bin` of 3DFace and `std_exp.txt`: the first 29 of its 79 components. It is
          another basis: p_exp is then not `Exp_Para` of 300W-LP.

        Lengths are micrometres.

        Raises:
            InputError: a file or field is missing, or the sizes do not fit together.
        """
        from tf_dhm.face import bfm  # it imports this module

        return bfm.read_bfm(Path(folder))

    @classmethod
    def load(cls, path: Path) -> MorphableModel:
        """Read a model from an `.npz` file, as `save` writes it.

        The components may be stored as integers beside `identity_scale` and `expression_scale`,
        the length of one step (a number, or one per component).
        """
        if not path.is_file():
            raise InputError(f"{path}: found no file, expected a morphable model (.npz)")
        try:
            with np.load(path) as archive:
                data = {key: archive[key] for key in archive.files}
        except (BadZipFile, ValueError, EOFError) as error:
            raise InputError(f"{path}: found no .npz archive, expected a morphable model") from error
        required = ("mean", "identity", "expression", "identity_std", "expression_std", "landmarks")
        missing = [key for key in required if key not in data]
        if missing:
            raise InputError(f"{path}: found {sorted(data)}, expected also {missing}")

        def components(key: str) -> Array:
            array = data[key]
            if f"{key}_scale" in data:
                step = np.asarray(data[f"{key}_scale"], np.float32).reshape(-1, 1, 1)
                array = array * step
            return array if array.dtype == np.float64 else array.astype(np.float32)

        optional: dict[str, Any] = {}
        if "triangles" in data:
            optional["triangles"] = data["triangles"].astype(np.int32)
        if "region" in data:
            optional["region"] = data["region"].astype(np.uint8)
            optional["region_names"] = tuple(str(name) for name in data["region_names"])
        if "bfm_parameters" in data:
            optional["bfm_parameters"] = bool(data["bfm_parameters"])
        return cls(
            name=str(path),
            mean=data["mean"],
            identity=components("identity"),
            expression=components("expression"),
            identity_std=data["identity_std"].astype(np.float64),
            expression_std=data["expression_std"].astype(np.float64),
            landmarks=data["landmarks"].astype(np.int32),
            **optional,
        )

    def save(self, path: Path) -> None:
        """Write the model to an `.npz` file that `load` reads."""
        with atomic_write(path) as temporary:
            np.savez_compressed(
                temporary,
                mean=self.mean,
                identity=self.identity,
                expression=self.expression,
                identity_std=self.identity_std,
                expression_std=self.expression_std,
                landmarks=self.landmarks,
                triangles=self.triangles,
                region=self.region,
                region_names=np.array(self.region_names, np.str_),
                bfm_parameters=self.bfm_parameters,
            )

    # What it does

    @property
    def num_vertices(self) -> int:
        return self.mean.shape[0]

    @cached_property
    def landmark_mean(self) -> Array:
        """(68, 3) float64, the mean at the landmarks."""
        return self.mean[self.landmarks].astype(np.float64)

    @cached_property
    def landmark_basis(self) -> Array:
        """(228, 68, 3) float64, identity and expression components at the landmarks."""
        parts = (self.identity[:, self.landmarks], self.expression[:, self.landmarks])
        return np.concatenate(parts).astype(np.float64)

    @cached_property
    def std(self) -> Array:
        """(228,) float64, standard deviations of p_id and p_exp."""
        return np.concatenate([self.identity_std, self.expression_std]).astype(np.float64)

    def shape(self, p: ArrayLike) -> Array:
        """S of Eq. 1 before the pose: (..., 234) -> (..., V, 3) in the unit of the model."""
        fields = decompose(np.asarray(p, np.float64))
        # In the dtype of the components: a dense model in float64 would double hundreds of MB.
        offset = np.tensordot(fields.identity.astype(self.identity.dtype), self.identity, 1)
        offset += np.tensordot(fields.expression.astype(self.expression.dtype), self.expression, 1)
        return self.mean + offset

    def vertices(self, p: ArrayLike, image_height: ArrayLike | None = None) -> Array:
        """All vertices, projected by Eq. 2: (..., 234) -> (..., V, 3); see `project`."""
        return _project(p, self.shape(p), image_height)

    def project(self, p: ArrayLike, image_height: ArrayLike | None = None) -> Array:
        """The 68 landmarks, projected by Eq. 2.

        Args:
            p: (..., 234).
            image_height: (...) height of the image in pixels. Without it the points are in the
                plane of F(p), y up and 1-based; with it they are 0-based pixels, y down.

        Returns:
            (..., 68, 3) float64; z is f (R S)_z, in pixels and larger nearer to the camera.
        """
        array = np.asarray(p, np.float64)
        decompose(array)
        shape = self.landmark_mean + np.tensordot(array[..., 6:], self.landmark_basis, 1)
        return _project(array, shape, image_height)

    def landmarks_from_mat(self, shape: ArrayLike, exp: ArrayLike, pose: ArrayLike, height: float) -> Array:
        """The landmarks of a file of 300W-LP or AFLW2000-3D, `pt3d_68` made 0-based.

        Args:
            shape: (199,) `Shape_Para`.
            exp: (29,) `Exp_Para`.
            pose: (7,) `Pose_Para`: pitch, yaw, roll, tx, ty, tz, f.
            height: of the image in pixels.

        Returns:
            (68, 3) float64, 0-based pixels, y down; z with tz.
        """
        if not self.bfm_parameters:
            raise InputError(
                f"{self.name}: found a model with parameters of its own, expected the Basel Face "
                "Model with the expressions of 300W-LP, to which Shape_Para and Exp_Para belong"
            )
        landmarks = self.project(parameters_from_mat(shape, exp, pose), height)
        landmarks[..., 2] += np.asarray(pose, np.float64).reshape(-1)[5]
        return landmarks

    def fit(
        self,
        landmarks: ArrayLike,
        image_height: ArrayLike | None = None,
        noise: float = 0.01,
        iterations: int = 100,
    ) -> Array:
        """The most probable p of given landmarks: regularised least squares of Eq. 2.

        Alternates the similarity that turns the shape into the landmarks (closed form) with the
        shape under a normal prior (closed form). Unknown z is taken from the face itself at each
        turn, after a start from the mean shape's affine fit.

        Args:
            landmarks: (..., 68, 2 or 3); z may be NaN (for all points of a face) where unknown.
            image_height: as in `project`: None for the plane of F(p), else pixels with y down.
            noise: standard deviation of the landmarks as a share of the face's radius. Smaller
                follows the landmarks more closely, larger keeps nearer to the mean face.
            iterations: turns.

        Returns:
            (..., 234) float64.

        Raises:
            InputError: wrong shape, or NaN in x or y.
        """
        points = np.array(landmarks, np.float64)
        if points.shape[-2:] not in ((NUM_LANDMARKS, 2), (NUM_LANDMARKS, 3)):
            raise InputError(f"landmarks: found shape {points.shape}, expected (..., 68, 2 or 3)")
        if not np.isfinite(points[..., :2]).all():
            raise InputError("landmarks: found NaN or infinite x or y, expected finite numbers")
        if points.shape[-1] == 2:
            points = np.concatenate([points, np.full_like(points[..., :1], np.nan)], -1)
        if image_height is not None:
            height = np.asarray(image_height, np.float64)[..., None]
            points[..., 0] += 1.0
            points[..., 1] = height - points[..., 1]
        flat = points.reshape(-1, NUM_LANDMARKS, 3)
        p = _fit(self, flat, noise, iterations)
        return p.reshape(*points.shape[:-2], NUM_PARAMETERS)

    def standardised(self) -> StandardisedModel:
        """This model at the 68 landmarks, in the parameters that networks use."""
        reference = np.load(ASSETS / "mean_shape.npy").astype(np.float64) * (1.0, -1.0, 1.0)
        origin = reference.mean(0)
        centre = self.landmark_mean.mean(0)
        unit = _radius(reference) / _radius(self.landmark_mean)
        return StandardisedModel(
            mean=((self.landmark_mean - centre) * unit).astype(np.float32),
            basis=(self.landmark_basis * (self.std * unit)[:, None, None]).astype(np.float32),
            std=self.std,
            centre=centre,
            unit=float(unit),
            origin=origin[:2],
        )


@dataclass(frozen=True, eq=False)
class StandardisedModel:
    """The 68 landmarks of a model in standardised parameters of a crop.

    A state u (..., 234) has the order of p. Each of its numbers is about normal with mean 0 and
    deviation 1 over faces in crops, at any size of the crop, so that a network can add to it as it
    adds to any other feature:

        f / f_0 = 1 + SCALE_STD u[0]            f_0 draws the mean face in its crop
        pitch, yaw, roll = ANGLE_STD u[1:4]
        place of the face's centre = origin + TRANSLATION_STD u[4:6]
        p_id, p_exp = std u[6:]

    Unlike t_2d, the place is that of the landmarks' centre and not of the model's origin (which,
    in the Basel Face Model, lies in the head, so that turning the face moves it by half its width).

    Attributes:
        mean: (68, 3) float32 about its centre, in units of half a crop at f_0, y up.
        basis: (228, 68, 3) float32 per standard deviation, in the same units.
        std: (228,) of the model.
        centre: (3,) the centre of the mean landmarks in the model's unit of length.
        unit: of the model's unit of length in halves of a crop at f_0.
        origin: (2,) of the mean face's centre in its crop, network units with y up.
    """

    mean: NDArray[np.float32]
    basis: NDArray[np.float32]
    std: Array
    centre: Array
    unit: float
    origin: Array

    def project(self, state: ArrayLike, size: int) -> Array:
        """Landmarks (..., 68, 3) in 0-based pixels of a `size` x `size` crop, y down."""
        u = np.asarray(state, np.float64)
        decompose(u)
        shape = self.mean + np.tensordot(u[..., 6:], self.basis.astype(np.float64), 1)
        angles = u[..., ANGLES] * ANGLE_STD
        rotation = rotation_matrix(angles[..., 0], angles[..., 1], angles[..., 2])
        place = self.origin + TRANSLATION_STD * u[..., TRANSLATION]
        points = weak_perspective(shape, 1.0 + SCALE_STD * u[..., SCALE], rotation, place)
        points[..., 1] *= -1.0
        return unit_to_pixels(points, size)

    def to_parameters(self, state: ArrayLike, size: int) -> Array:
        """p (..., 234) of a state, such that F(p) is in the plane of a `size` x `size` crop."""
        u = np.asarray(state, np.float64)
        fields = decompose(u)
        scale = (1.0 + SCALE_STD * fields.scale) * self.unit * size / 2.0
        angles = ANGLE_STD * fields.angles
        place = self.origin + TRANSLATION_STD * fields.translation
        place = (place + 1.0) * size / 2.0 + 0.5
        q = u[..., 6:] * self.std
        translation = place - self._centre_in_plane(scale, angles)
        return compose(Parameters(scale, angles, translation, q[..., :NUM_IDENTITY], q[..., NUM_IDENTITY:]))

    def to_state(self, p: ArrayLike, size: int) -> Array:
        """The inverse of `to_parameters`."""
        array = np.asarray(p, np.float64)
        fields = decompose(array)
        place = fields.translation + self._centre_in_plane(fields.scale, fields.angles)
        place = (place - 0.5) * 2.0 / size - 1.0
        q = array[..., 6:] / self.std
        return compose(
            Parameters(
                (fields.scale / (self.unit * size / 2.0) - 1.0) / SCALE_STD,
                fields.angles / ANGLE_STD,
                (place - self.origin) / TRANSLATION_STD,
                q[..., :NUM_IDENTITY],
                q[..., NUM_IDENTITY:],
            )
        )

    def _centre_in_plane(self, scale: Array, angles: Array) -> Array:
        rotation = rotation_matrix(angles[..., 0], angles[..., 1], angles[..., 2])
        return scale[..., None] * (rotation @ self.centre)[..., :2]


def parameters_from_mat(shape: ArrayLike, exp: ArrayLike, pose: ArrayLike) -> Array:
    """p of `Shape_Para`, `Exp_Para` and `Pose_Para`; its depth tz has no place in p.

    Args:
        shape: 199 numbers in any shape, exp: 29, pose: 7 (pitch, yaw, roll, tx, ty, tz, f).

    Returns:
        (234,) float64.
    """
    values = {"Shape_Para": (shape, NUM_IDENTITY), "Exp_Para": (exp, NUM_EXPRESSION), "Pose_Para": (pose, 7)}
    flat = {}
    for key, (value, size) in values.items():
        flat[key] = np.asarray(value, np.float64).reshape(-1)
        if flat[key].size != size:
            raise InputError(f"{key}: found {flat[key].size} numbers, expected {size}")
    turned = flat["Pose_Para"]
    return compose(Parameters(turned[6], turned[:3], turned[3:5], flat["Shape_Para"], flat["Exp_Para"]))


def _project(p: ArrayLike, shape: Array, image_height: ArrayLike | None) -> Array:
    fields = decompose(np.asarray(p, np.float64))
    pitch, yaw, roll = np.moveaxis(fields.angles, -1, 0)
    points = weak_perspective(shape, fields.scale, rotation_matrix(pitch, yaw, roll), fields.translation)
    return points if image_height is None else bfm_to_pixels(points, image_height)


def _radius(points: Array) -> float:
    """Root mean square distance of (N, 3) points from their centre."""
    return float(np.sqrt(((points - points.mean(0)) ** 2).sum(-1).mean()))


def _similarity(source: Array, target: Array) -> tuple[Array, Array]:
    """Scale (N,) and rotation (N, 3, 3) of the best similarity between centred (N, P, 3) points."""
    u, values, vt = np.linalg.svd(np.swapaxes(target, -1, -2) @ source)
    sign = np.ones_like(values)
    sign[:, 2] = np.sign(np.linalg.det(u @ vt))
    scale = (values * sign).sum(-1) / (source**2).sum((-1, -2))
    return scale, (u * sign[:, None, :]) @ vt


def _fit(model: MorphableModel, target: Array, noise: float, iterations: int) -> Array:
    """`MorphableModel.fit` for (N, 68, 3) points in the plane of F(p)."""
    unknown = ~np.isfinite(target[..., 2]).all(-1)  # (N,)
    mean = model.landmark_mean - model.landmark_mean.mean(0)
    basis = model.landmark_basis * model.std[:, None, None]
    basis = (basis - basis.mean(1, keepdims=True)).reshape(len(basis), -1)  # (228, 204)
    # argmin |r - q B|^2 / sigma^2 + |q|^2 is linear in r: q = r B^T (B B^T + sigma^2)^-1.
    u, values, vt = np.linalg.svd(basis, full_matrices=False)
    sigma = noise * _radius(mean)
    solver = (vt.T * (values / (values**2 + sigma**2))) @ u.T  # (204, 228)

    middle = target[..., :2].mean(1)
    points = target.copy()
    points[..., :2] -= middle[:, None]
    points[unknown, :, 2] = _affine_depth(mean, points[unknown, :, :2])
    points[..., 2] -= points[..., 2].mean(1, keepdims=True)
    shape = np.broadcast_to(mean, points.shape)
    for _ in range(iterations):
        scale, rotation = _similarity(shape, points)
        # The landmarks turned back into the model's frame.
        residual = points @ rotation / scale[:, None, None] - mean
        q = residual.reshape(len(points), -1) @ solver
        shape = mean + (q @ basis).reshape(points.shape)
        drawn = shape @ np.swapaxes(rotation, -1, -2) * scale[:, None, None]
        points[unknown, :, 2] = drawn[unknown, :, 2]
    scale, rotation = _similarity(shape, points)
    q = q * model.std
    centre = (model.landmark_mean + np.tensordot(q, model.landmark_basis, 1)).mean(1)
    translation = middle - scale[:, None] * np.einsum("nij,nj->ni", rotation, centre)[:, :2]
    angles = euler_angles(rotation)
    return compose(Parameters(scale, angles, translation, q[:, :NUM_IDENTITY], q[:, NUM_IDENTITY:]))


def _affine_depth(mean: Array, points: Array) -> Array:
    """Depth (N, 68) of the mean face, scaled and turned by the best affine map to (N, 68, 2)."""
    affine = np.swapaxes(np.linalg.pinv(mean) @ points, -1, -2)  # (N, 2, 3)
    u, values, vt = np.linalg.svd(affine, full_matrices=False)
    rows = u @ vt  # the nearest two rows of a rotation
    depth = np.cross(rows[:, 0], rows[:, 1])
    return values.mean(-1)[:, None] * (depth @ mean.T)
