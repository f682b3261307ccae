"""The 3-D morphable face model of Eq. 1 and its projection of Eq. 2, in NumPy.

    S = S_mean + E_id p_id + E_exp p_exp        (Eq. 1)
    F(p) = f M R S + t_2d                       (Eq. 2)

`tf_dhm.face.parameters` names the numbers of p. The model's axes are x right, y up, z to the viewer. The
plane of F(p) is that of 300W-LP: y up, 1-based; with an image height the same points are 0-based pixels
with y down. Depth is f (R S)_z, larger nearer to the camera.

The open face comes with the package; `tf_dhm.face.bfm` reads a Basel Face Model that a user has.
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
from tf_dhm.face.geometry import NUM_LANDMARKS, bfm_to_pixels, rotation_matrix, weak_perspective
from tf_dhm.face.parameters import NUM_EXPRESSION, NUM_IDENTITY, decompose

OPEN_FACE = Path(__file__).parents[1] / "assets" / "open_face.npz"


@dataclass(frozen=True, eq=False)
class MorphableModel:
    """A linear 3-D model of the face: mean, identity and expression components, landmarks.

    Attributes:
        name: source of the model, for messages.
        mean: (V, 3), x right, y up, z to the viewer, in the model's own unit of length.
        identity: (199, V, 3) per unit of p_id.
        expression: (29, V, 3) per unit of p_exp.
        identity_std: (199,) standard deviations of p_id.
        expression_std: (29,) standard deviations of p_exp.
        landmarks: (68,) int32 vertices.
        triangles: (T, 3) int32 vertices; empty if only the landmarks are known.
        region: (V,) uint8, an index into `region_names`; empty if the model has none.
        region_names: names of the regions.
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

    @classmethod
    def open_face(cls) -> MorphableModel:
        """The open face that comes with the package (CC0); nothing to download."""
        return cls.load(OPEN_FACE)

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
            )

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


def _project(p: ArrayLike, shape: Array, image_height: ArrayLike | None) -> Array:
    fields = decompose(np.asarray(p, np.float64))
    pitch, yaw, roll = np.moveaxis(fields.angles, -1, 0)
    points = weak_perspective(shape, fields.scale, rotation_matrix(pitch, yaw, roll), fields.translation)
    return points if image_height is None else bfm_to_pixels(points, image_height)
