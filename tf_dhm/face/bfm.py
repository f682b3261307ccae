"""Reading a user's Basel Face Model; the model is licensed, and no part of it comes with the package."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.io import loadmat, whosmat

from tf_dhm.core.errors import InputError
from tf_dhm.core.types import Array
from tf_dhm.face.geometry import NUM_LANDMARKS
from tf_dhm.face.morphable import MorphableModel
from tf_dhm.face.parameters import NUM_EXPRESSION, NUM_IDENTITY

EXPRESSION_STD = np.array(
    [1.58, 1.59, 0.94, 0.73, 0.47, 0.46, 0.58, 0.60, 0.37, 0.49, 0.48, 0.39, 0.27, 0.32, 0.27]
    + [0.28, 0.28, 0.18, 0.18, 0.27, 0.17, 0.20, 0.18, 0.19, 0.23, 0.18, 0.12, 0.14, 0.16]
)
"""Standard deviations of `Exp_Para`, measured on 1,000 files of AFLW2000-3D. The field `sigma_exp` of the
expression files is not used: no document states its unit, and programs that use it disagree on one."""


def read_bfm(folder: Path) -> MorphableModel:
    """Read a Basel Face Model, in one of the layouts in which it is distributed.

    Shape, the first of these that is found in `folder` or up to two folders below:

    - `BFM.mat` of face3d: a struct `model` with `shapeMU`, `shapePC`, `shapeEV`, `expMU`, `expPC`, `tri`,
      `kpt_ind`; it has the expressions too;
    - `Model_Shape.mat` of 300W-LP (its `ModelGenerate.m` makes it): `mu_shape`, `w`, `sigma`, `tri`,
      `keypoints`;
    - `01_MorphableModel.mat` of the University of Basel (`shapeMU`, `shapePC`, `shapeEV`) and
      `model_info.mat` of 300W-LP (`trimIndex`, `tri`, `keypoints`).

    Expressions, the first of these:

    - `Model_Exp.mat` or `Model_Expression.mat` of 300W-LP and 3DDFA: `mu_exp`, `w_exp`;
    - `Exp_Pca.bin` of 3DFace and `std_exp.txt`: the first 29 of its 79 components. It is another basis:
      p_exp is then not `Exp_Para` of 300W-LP.

    Lengths are micrometres.

    Raises:
        InputError: a file or field is missing, or the sizes do not fit together.

    Example:
        >>> read_bfm(Path("BaselFaceModel")).project(p)  # doctest: +SKIP
    """
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
    offset, expression, expression_std = _read_expressions(folder, mean.size)
    return MorphableModel(
        name=f"Basel Face Model in {folder}",
        mean=(mean + offset).reshape(-1, 3).astype(np.float32),
        identity=_components(identity),
        expression=expression,
        identity_std=std.astype(np.float64),
        expression_std=expression_std,
        landmarks=_indices(info, info_data, "keypoints", NUM_LANDMARKS),
        triangles=_triangles(info, info_data),
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
    )


def _read_expressions(folder: Path, coordinates: int) -> tuple[Array, NDArray[np.float32], Array]:
    """Mean (3 V,), components (29, V, 3) and deviations (29,)."""
    matlab = _find(folder, "Model_Exp.mat", "Model_Expression.mat")
    if matlab is not None:
        data = _load_mat(matlab, "mu_exp", "w_exp")
        offset = _array(matlab, data, "mu_exp", (coordinates,))
        basis = _array(matlab, data, "w_exp", (coordinates, NUM_EXPRESSION))
        return offset.astype(np.float64), _components(basis), EXPRESSION_STD
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
    return values[0].astype(np.float64), basis, std[:NUM_EXPRESSION]
