"""Reading a user's Basel Face Model; the model is licensed, and no part of it comes with the package."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tf_dhm.core.errors import InputError
from tf_dhm.core.types import Array, Floats
from tf_dhm.face.geometry import NUM_LANDMARKS
from tf_dhm.face.matfiles import Shape, read_mat
from tf_dhm.face.morphable import MorphableModel
from tf_dhm.face.parameters import NUM_EXPRESSION, NUM_IDENTITY

EXPRESSION_STD = np.array(
    [1.58, 1.59, 0.94, 0.73, 0.47, 0.46, 0.58, 0.60, 0.37, 0.49, 0.48, 0.39, 0.27, 0.32, 0.27]
    + [0.28, 0.28, 0.18, 0.18, 0.27, 0.17, 0.20, 0.18, 0.19, 0.23, 0.18, 0.12, 0.14, 0.16]
)
"""Standard deviations of `Exp_Para`, measured on 1,000 files of AFLW2000-3D. The field `sigma_exp` of the
expression files is not used: no document states its unit, and programs that use it disagree on one."""


INFO_FIELDS: dict[str, Shape] = {"tri": (None, None), "keypoints": (NUM_LANDMARKS,)}


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
        names = ("mu_shape", "w", "sigma")
        data = read_mat(generated, {**_shape_fields(*names), **INFO_FIELDS}, dtype=None)
        mean, identity, std = _shape(generated, data, *names)
        info, info_data = generated, data
    else:
        original = _find(folder, "01_MorphableModel.mat")
        if original is None:
            raise InputError(
                f"{folder}: found no BFM.mat, Model_Shape.mat or 01_MorphableModel.mat, "
                "expected one of them (the Basel Face Model)"
            )
        names = ("shapeMU", "shapePC", "shapeEV")
        mean, identity, std = _shape(original, read_mat(original, _shape_fields(*names), dtype=None), *names)
        # 300W-LP cuts the inside of the mouth off the original 53,490 vertices.
        info = _need(folder, "for trimIndex and keypoints (it comes with 300W-LP)", "model_info.mat")
        info_data = read_mat(info, {"trimIndex": (None,), **INFO_FIELDS})
        kept = _indices(info_data["trimIndex"])
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
        landmarks=_indices(info_data["keypoints"]),
        triangles=_triangles(info, info_data["tri"]),
    )


def _shape_fields(mean: str, identity: str, std: str) -> dict[str, Shape]:
    """What `_shape` reads."""
    return {mean: (None,), identity: (None, NUM_IDENTITY), std: (NUM_IDENTITY,)}


def _shape(
    path: Path, data: Mapping[str, Floats], mean: str, identity: str, std: str
) -> tuple[Floats, Floats, Floats]:
    """Mean (3 V,), components (3 V, 199) and deviations (199,)."""
    if data[mean].size % 3:
        raise InputError(f"{path}: {mean}: found {data[mean].size} numbers, expected 3 per vertex")
    return data[mean].astype(np.float64), _with_rows(path, data, identity, data[mean].size), data[std]


def _with_rows(path: Path, data: Mapping[str, Floats], name: str, count: int) -> Floats:
    """A field, checked to have a row for each coordinate of the mean shape."""
    if len(data[name]) != count:
        raise InputError(
            f"{path}: {name}: found {len(data[name])} rows, expected {count} as of the mean shape"
        )
    return data[name]


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


def _components(columns: Array) -> NDArray[np.float32]:
    """(3 V, K) columns of x y z x y z … to (K, V, 3)."""
    return np.ascontiguousarray(columns.T.reshape(columns.shape[1], -1, 3), np.float32)


def _indices(values: Floats) -> NDArray[np.int32]:
    """1-based indices of MATLAB, 0-based."""
    return values.astype(np.int32) - 1


def _triangles(path: Path, tri: Floats) -> NDArray[np.int32]:
    """`tri` (3, T) or (T, 3), 1-based -> (T, 3), 0-based."""
    array = tri.T if tri.shape[0] == 3 else tri
    if array.shape[1] != 3:
        raise InputError(f"{path}: tri: found shape {tri.shape}, expected (3, T)")
    return np.ascontiguousarray(_indices(array))


def _read_face3d(path: Path) -> MorphableModel:
    """`BFM.mat` as face3d's `generate.m` writes it: a struct `model`."""
    names = ("shapeMU", "shapePC", "shapeEV")
    fields = {**_shape_fields(*names), "expMU": (None,), "expPC": (None, NUM_EXPRESSION)}
    fields |= {"tri": (None, None), "kpt_ind": (NUM_LANDMARKS,)}
    data = read_mat(path, fields, "model", dtype=None)
    mean, identity, std = _shape(path, data, *names)
    return MorphableModel(
        name=f"Basel Face Model in {path}",
        mean=(mean + _with_rows(path, data, "expMU", mean.size)).reshape(-1, 3).astype(np.float32),
        identity=_components(identity),
        expression=_components(_with_rows(path, data, "expPC", mean.size)),
        identity_std=std.astype(np.float64),
        expression_std=EXPRESSION_STD,
        landmarks=_indices(data["kpt_ind"]),
        triangles=_triangles(path, data["tri"]),
    )


def _read_expressions(folder: Path, coordinates: int) -> tuple[Array, NDArray[np.float32], Array]:
    """Mean (3 V,), components (29, V, 3) and deviations (29,)."""
    matlab = _find(folder, "Model_Exp.mat", "Model_Expression.mat")
    if matlab is not None:
        data = read_mat(matlab, {"mu_exp": (None,), "w_exp": (None, NUM_EXPRESSION)}, dtype=None)
        offset = _with_rows(matlab, data, "mu_exp", coordinates)
        basis = _with_rows(matlab, data, "w_exp", coordinates)
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
