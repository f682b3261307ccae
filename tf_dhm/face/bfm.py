"""The Basel Face Model: solved at the 68 landmarks from a dataset's files, or read from a user's.

The model is licensed and no part of it comes with the package. `MorphableModel.solve` and
`MorphableModel.read_bfm` are the way in.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.io import loadmat, whosmat
from scipy.linalg import lstsq
from tqdm import tqdm

from tf_dhm.core.errors import InputError
from tf_dhm.core.types import Array
from tf_dhm.face.geometry import NUM_LANDMARKS, rotation_matrix
from tf_dhm.face.morphable import NUM_EXPRESSION, NUM_IDENTITY, MorphableModel

IMAGE_HEIGHT = 450
"""Height in pixels of every image of AFLW2000-3D and 300W-LP."""

EXPRESSION_STD = np.array(
    [1.58, 1.59, 0.94, 0.73, 0.47, 0.46, 0.58, 0.60, 0.37, 0.49, 0.48, 0.39, 0.27, 0.32, 0.27]
    + [0.28, 0.28, 0.18, 0.18, 0.27, 0.17, 0.20, 0.18, 0.19, 0.23, 0.18, 0.12, 0.14, 0.16]
)
"""Standard deviations of `Exp_Para`, measured on 1,000 files of AFLW2000-3D. The field `sigma_exp`
of the expression files is not used: no document says its unit, and the code that uses it does not
agree on one."""

MAX_RESIDUAL = 0.05
"""Largest root mean square residual, in pixels, of a basis that was solved from good files."""

MAX_FILES = 4000
"""`MorphableModel.solve` reads at most so many files, spread evenly over the dataset."""


@dataclass(frozen=True)
class Fits:
    """Parameters and landmarks of the files of AFLW2000-3D or 300W-LP.

    Attributes:
        identity: (N, 199) `Shape_Para`.
        expression: (N, 29) `Exp_Para`.
        pose: (N, 7) `Pose_Para`.
        landmarks: (N, 68, 2 or 3) in the plane of F(p), y up and 1-based; z with tz.
    """

    identity: Array
    expression: Array
    pose: Array
    landmarks: Array


def user_cache() -> Path:
    """The folder for files that can be made again."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "tf_dhm"


def solve(folder: Path, cache: Path | None = None) -> MorphableModel:
    """See `MorphableModel.solve`."""
    files = fit_files(folder)
    digest = hashlib.sha256()
    for path in files:
        if not path.is_file():
            raise InputError(f"{path}: found no file, expected the parameters of its _pts.mat")
        digest.update(f"{path.name} {path.stat().st_size}\n".encode())
    cached = (cache or user_cache()) / f"bfm68-{digest.hexdigest()[:16]}.npz"
    if cached.exists():
        return MorphableModel.load(cached)
    model = solve_basis(read_fits(files))
    model.save(cached)
    return model


def fit_files(folder: Path) -> list[Path]:
    """The parameter files in a dataset's folder, at most MAX_FILES, spread evenly.

    AFLW2000-3D: `image*.mat`. 300W-LP: `<SET>/*.mat` that have a `landmarks/<SET>/*_pts.mat`;
    the mirrored `<SET>_Flip` are left out, as the model is not symmetric.

    Raises:
        InputError: neither is there.
    """
    files = sorted(folder.glob("image*.mat"))
    if not files:
        files = sorted(
            folder / points.parent.name / f"{points.stem.removesuffix('_pts')}.mat"
            for points in folder.glob("landmarks/*/*_pts.mat")
            if not points.parent.name.endswith("_Flip")
        )
    if not files:
        raise InputError(
            f"{folder}: found no parameter files, expected image*.mat with pt3d_68 (AFLW2000-3D) or "
            "AFW, HELEN, IBUG, LFPW/*.mat with landmarks/<SET>/*_pts.mat (300W-LP)"
        )
    return files[:: -(-len(files) // MAX_FILES)]


def read_fits(files: Iterable[Path]) -> Fits:
    """Read what `solve_basis` needs from the files that `fit_files` lists.

    Raises:
        InputError: a file cannot be read, or lacks a field.
    """
    rows: list[tuple[Array, Array, Array, Array]] = []
    for path in tqdm(list(files), desc="Reading parameters", unit="file"):
        data = _load_mat(path, "Shape_Para", "Exp_Para", "Pose_Para", "pt3d_68")
        parameters = [
            _array(path, data, key, (size,))
            for key, size in (("Shape_Para", NUM_IDENTITY), ("Exp_Para", NUM_EXPRESSION), ("Pose_Para", 7))
        ]
        if "pt3d_68" in data:
            points = _array(path, data, "pt3d_68", (3, NUM_LANDMARKS)).T.copy()
        else:
            # 300W-LP keeps the projection of the model's landmarks (x and y) apart.
            beside = path.parent.parent / "landmarks" / path.parent.name / f"{path.stem}_pts.mat"
            if not beside.is_file():
                raise InputError(f"{path}: found no pt3d_68 and no file {beside}, expected one of them")
            points = _array(beside, _load_mat(beside, "pts_3d"), "pts_3d", (NUM_LANDMARKS, 2)).copy()
        points[:, 1] = IMAGE_HEIGHT + 1 - points[:, 1]
        rows.append((parameters[0], parameters[1], parameters[2], points))
    if len({row[3].shape for row in rows}) > 1:
        raise InputError("files of AFLW2000-3D and 300W-LP found together, expected those of one dataset")
    identity, expression, pose, landmarks = (np.stack(column) for column in zip(*rows, strict=True))
    return Fits(identity, expression, pose, landmarks)


def solve_basis(fits: Fits) -> MorphableModel:
    """Solve mean and components at the 68 landmarks by least squares in pixels.

    A landmark (X, Y, Z) = f R (s_0 + E q) + t is linear in its 3 x 229 unknowns (s_0, E). Three
    equations a face where Z is known; without it two, and faces at different poses give depth.

    Args:
        fits: of at least 287 different faces (430 without z).

    Raises:
        InputError: too few files for all components, or files that no linear model explains.
    """
    q = np.concatenate([fits.identity, fits.expression], 1)
    std = np.sqrt((q**2).mean(0))
    if not (std > 0).all():
        raise InputError("Shape_Para, Exp_Para: found components that are zero in all files")
    q = np.concatenate([np.ones((len(q), 1)), q / std], 1)  # (N, 229)
    axes = fits.landmarks.shape[-1]
    pitch, yaw, roll, *translation, scale = fits.pose.T
    turned = scale[:, None, None] * rotation_matrix(pitch, yaw, roll)[:, :axes]  # (N, axes, 3)
    design = (turned[..., None] * q[:, None, None, :]).reshape(len(q) * axes, -1)
    target = fits.landmarks - np.stack(translation[:axes], -1)[:, None]
    target = np.swapaxes(target, 1, 2).reshape(len(q) * axes, NUM_LANDMARKS)
    unknowns = design.shape[1]
    # Columns of one size, so that the rank is judged by the faces and not by units of length.
    column = np.sqrt((design**2).mean(0))
    # With hardly more equations than unknowns the rounding of the labels would be blown up.
    least = int(np.ceil(1.25 * unknowns / axes))
    if len(q) < least:
        raise InputError(f"found {len(q)} files, expected at least {least}, better 1,000")
    solution, _, rank, _ = lstsq(design / column, target, cond=1e-10, lapack_driver="gelsy")
    if rank < unknowns:
        raise InputError(
            f"found {rank} independent equations in {len(q)} files for {unknowns} unknowns, "
            "expected more different faces"
        )
    residual = np.sqrt(((design / column @ solution - target) ** 2).mean())
    if not residual < MAX_RESIDUAL:
        raise InputError(
            f"landmarks and parameters disagree by {residual:.3g} px (root mean square), expected less "
            f"than {MAX_RESIDUAL}: other files than AFLW2000-3D or 300W-LP, or images not "
            f"{IMAGE_HEIGHT} pixels high"
        )
    basis = (solution / column[:, None]).reshape(3, -1, NUM_LANDMARKS).transpose(1, 2, 0)
    components = basis[1:] / std[:, None, None]
    return MorphableModel(
        name="Basel Face Model at 68 landmarks",
        mean=basis[0],
        identity=components[:NUM_IDENTITY],
        expression=components[NUM_IDENTITY:],
        identity_std=std[:NUM_IDENTITY],
        expression_std=std[NUM_IDENTITY:],
        landmarks=np.arange(NUM_LANDMARKS, dtype=np.int32),
        bfm_parameters=True,
    )


def _load_mat(path: Path, *keys: str) -> dict[str, Any]:
    """Those of the fields `keys` that a `.mat` file has; the textures of a BFM are not read."""
    try:
        return loadmat(path, variable_names=list(keys))
    except NotImplementedError as error:
        raise InputError(f"{path}: found a MATLAB 7.3 file, expected one saved with -v7") from error
    except Exception as error:  # scipy raises a dozen kinds on a damaged file
        found = str(error) or type(error).__name__
        raise InputError(f"{path}: found {found}, expected a readable .mat file") from error


def _array(path: Path, data: Any, key: str, shape: tuple[int | None, ...]) -> Array:
    """A numeric field of a `.mat` file, checked against `shape` (None: any size).

    A shape of one number takes a row or a column and returns it flat.
    """
    record = isinstance(data, np.void)
    if key not in (data.dtype.names if record else data):
        found = data.dtype.names if record else [name for name, *_ in whosmat(path)]
        raise InputError(f"{path}: found fields {', '.join(sorted(found))}, expected also {key}")
    array = np.asarray(data[key])
    if array.dtype.kind not in "iuf":
        raise InputError(f"{path}: found {key} of type {array.dtype}, expected numbers")
    if len(shape) == 1 and array.size == max(array.shape):
        array = array.reshape(-1)
    if len(array.shape) != len(shape) or any(
        size is not None and size != found for size, found in zip(shape, array.shape, strict=True)
    ):
        wanted = tuple("any" if size is None else size for size in shape)
        raise InputError(f"{path}: found {key} of shape {array.shape}, expected {wanted}")
    array = array if array.dtype.kind == "f" else array.astype(np.float64)
    if not np.isfinite(array).all():
        raise InputError(f"{path}: found NaN or infinity in {key}, expected finite numbers")
    return array


def _find(folder: Path, *names: str) -> Path | None:
    """The first of `names` (in any case) in a folder or up to two folders below."""
    files = [path for pattern in ("*", "*/*", "*/*/*") for path in sorted(folder.glob(pattern))]
    for name in names:
        for path in files:
            if path.name.lower() == name.lower() and path.is_file():
                return path
    return None


def _need(folder: Path, why: str, *names: str) -> Path:
    path = _find(folder, *names)
    if path is None:
        raise InputError(f"{folder}: found no {' or '.join(names)}, expected it {why}")
    return path


def _mean(path: Path, data: Any, key: str) -> Array:
    """A mean shape (3 V,) float64."""
    mean = _array(path, data, key, (None,)).astype(np.float64)
    if mean.size % 3:
        raise InputError(f"{path}: found {key} of {mean.size} numbers, expected 3 per vertex")
    return mean


def _components(columns: Array) -> NDArray[np.float32]:
    """(3 V, K) columns of x y z x y z … to (K, V, 3)."""
    return np.ascontiguousarray(columns.T.reshape(columns.shape[1], -1, 3), np.float32)


def _indices(path: Path, data: Any, key: str, size: int | None = None) -> NDArray[np.int32]:
    """1-based indices of MATLAB as a flat 0-based array."""
    return _array(path, data, key, (size,)).astype(np.int32) - 1


def _triangles(path: Path, data: Any) -> NDArray[np.int32]:
    """`tri` (3, T) or (T, 3), 1-based -> (T, 3), 0-based."""
    array = _array(path, data, "tri", (None, None))
    if array.shape[0] == 3:
        array = array.T
    if array.shape[1] != 3:
        raise InputError(f"{path}: found tri of shape {array.shape}, expected (3, T)")
    return np.ascontiguousarray(array, np.int32) - 1


def read_bfm(folder: Path) -> MorphableModel:
    """See `MorphableModel.read_bfm`."""
    if not folder.is_dir():
        raise InputError(f"{folder}: found no folder, expected that of a Basel Face Model")
    single = _find(folder, "BFM.mat")
    if single is not None:
        return _read_face3d(single)
    generated = _find(folder, "Model_Shape.mat")
    if generated is not None:
        data = _load_mat(generated, "mu_shape", "w", "sigma", "tri", "keypoints")
        mean = _mean(generated, data, "mu_shape")
        identity = _array(generated, data, "w", (mean.size, NUM_IDENTITY))
        std = _array(generated, data, "sigma", (NUM_IDENTITY,))
        info, info_data = generated, data
    else:
        original = _find(folder, "01_MorphableModel.mat")
        if original is None:
            raise InputError(
                f"{folder}: found no BFM.mat, Model_Shape.mat or 01_MorphableModel.mat, "
                "expected one of them (the Basel Face Model)"
            )
        data = _load_mat(original, "shapeMU", "shapePC", "shapeEV")
        mean = _mean(original, data, "shapeMU")
        identity = _array(original, data, "shapePC", (mean.size, NUM_IDENTITY))
        std = _array(original, data, "shapeEV", (NUM_IDENTITY,))
        # 300W-LP cuts the inside of the mouth off the original 53,490 vertices.
        info = _need(folder, "for trimIndex and keypoints (it comes with 300W-LP)", "model_info.mat")
        info_data = _load_mat(info, "trimIndex", "tri", "keypoints")
        kept = _indices(info, info_data, "trimIndex")
        if kept.size == 0 or not 0 <= kept.min() <= kept.max() < mean.size // 3:
            raise InputError(f"{info}: found trimIndex outside of {mean.size // 3} vertices, expected within")
        rows = (3 * kept[:, None] + np.arange(3)).reshape(-1)
        mean, identity = mean[rows], identity[rows]
    offset, expression, expression_std, bfm_parameters = _read_expressions(folder, mean.size)
    return MorphableModel(
        name=f"Basel Face Model in {folder}",
        mean=(mean + offset).reshape(-1, 3).astype(np.float32),
        identity=_components(identity),
        expression=expression,
        identity_std=std.astype(np.float64),
        expression_std=expression_std,
        landmarks=_indices(info, info_data, "keypoints", NUM_LANDMARKS),
        triangles=_triangles(info, info_data),
        bfm_parameters=bfm_parameters,
    )


def _read_face3d(path: Path) -> MorphableModel:
    """`BFM.mat` as face3d's `generate.m` writes it: a struct `model`."""
    data = _load_mat(path, "model")
    if "model" not in data or data["model"].dtype.names is None:
        found = ", ".join(name for name, *_ in whosmat(path))
        raise InputError(f"{path}: found fields {found}, expected a struct model (generate.m of face3d)")
    model = data["model"].reshape(-1)[0]
    mean = _mean(path, model, "shapeMU")
    offset = _array(path, model, "expMU", (mean.size,))
    return MorphableModel(
        name=f"Basel Face Model in {path}",
        mean=(mean + offset).reshape(-1, 3).astype(np.float32),
        identity=_components(_array(path, model, "shapePC", (mean.size, NUM_IDENTITY))),
        expression=_components(_array(path, model, "expPC", (mean.size, NUM_EXPRESSION))),
        identity_std=_array(path, model, "shapeEV", (NUM_IDENTITY,)).astype(np.float64),
        expression_std=EXPRESSION_STD,
        landmarks=_indices(path, model, "kpt_ind", NUM_LANDMARKS),
        triangles=_triangles(path, model),
        bfm_parameters=True,
    )


def _read_expressions(folder: Path, coordinates: int) -> tuple[Array, NDArray[np.float32], Array, bool]:
    """Mean (3 V,), components (29, V, 3), deviations (29,), and whether they are 300W-LP's."""
    matlab = _find(folder, "Model_Exp.mat", "Model_Expression.mat")
    if matlab is not None:
        data = _load_mat(matlab, "mu_exp", "w_exp")
        offset = _array(matlab, data, "mu_exp", (coordinates,))
        basis = _array(matlab, data, "w_exp", (coordinates, NUM_EXPRESSION))
        return offset.astype(np.float64), _components(basis), EXPRESSION_STD, True
    binary = _need(folder, "for the expressions", "Model_Exp.mat", "Model_Expression.mat", "Exp_Pca.bin")
    deviations = _need(folder, f"beside {binary.name}", "std_exp.txt")
    # int32 K, float32 mean (3 V), float32 components (K, 3 V), little-endian.
    count = int(np.fromfile(binary, "<i4", 1)[0]) if binary.stat().st_size >= 4 else 0
    size = 4 + 4 * coordinates * (count + 1)
    if count < NUM_EXPRESSION or binary.stat().st_size != size:
        raise InputError(
            f"{binary}: found {binary.stat().st_size} bytes and {count} components, expected at least "
            f"{NUM_EXPRESSION} components and {size} bytes for {coordinates // 3} vertices"
        )
    values = np.fromfile(binary, "<f4", coordinates * (NUM_EXPRESSION + 1), offset=4)
    values = values.reshape(NUM_EXPRESSION + 1, coordinates)
    try:
        std = np.loadtxt(deviations).reshape(-1)
    except ValueError as error:
        raise InputError(f"{deviations}: found {error}, expected {count} numbers") from error
    if std.size != count:
        raise InputError(f"{deviations}: found {std.size} numbers, expected {count}")
    basis = np.ascontiguousarray(values[1:].reshape(NUM_EXPRESSION, -1, 3), np.float32)
    return values[0].astype(np.float64), basis, std[:NUM_EXPRESSION], False
