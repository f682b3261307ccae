"""Reading MATLAB files of any version, with errors that name the file and the field."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import scipy.io
from numpy.typing import ArrayLike, DTypeLike

from tf_dhm.core.errors import InputError
from tf_dhm.core.types import Floats

HDF5_MAGIC = b"\x89HDF\r\n\x1a\n"
HDF5_OFFSETS = (0, 512)
"""Offsets at which an HDF5 file may begin: MATLAB puts its own header before it."""
Shape = tuple[int | None, ...]
"""None: any size."""


def read_mat(
    path: Path,
    fields: Mapping[str, Shape],
    struct: str | None = None,
    dtype: DTypeLike | None = np.float64,
) -> dict[str, Floats]:
    """Read some fields of a `.mat` file.

    Args:
        path: the file. For one of version 7.3 (HDF5) the package h5py must be installed.
        fields: name -> shape. A shape of one number takes a row or a column of that length, and
            returns it flat.
        struct: name of the struct that has the fields; None: the file itself.
        dtype: of the arrays. None: that of the file, or float64 for whole numbers.

    Returns:
        name -> array of that shape, all finite.

    Raises:
        InputError: the file is missing or unreadable, or a field is missing, has another shape,
            or holds NaN; names the file and the field.

    >>> read_mat(Path("image00002.mat"), {"pt3d_68": (3, 68)})["pt3d_68"].shape  # doctest: +SKIP
    (3, 68)
    """
    if not path.is_file():
        raise InputError(f"{path}: found no such file, expected a .mat file")
    try:
        read = _read_hdf5 if _is_hdf5(path) else _read_old
        content, present = read(path, fields, struct)
    except InputError:
        raise
    except Exception as error:  # scipy raises a dozen kinds on a damaged file, TypeError among them
        found = str(error) or type(error).__name__
        raise InputError(f"{path}: found {found}, expected a readable .mat file") from error
    return {name: _field(path, content, present, name, shape, dtype) for name, shape in fields.items()}


def _is_hdf5(path: Path) -> bool:
    with path.open("rb") as file:
        head = file.read(max(HDF5_OFFSETS) + len(HDF5_MAGIC))
    return any(head[at:].startswith(HDF5_MAGIC) for at in HDF5_OFFSETS)


def _read_old(path: Path, fields: Iterable[str], struct: str | None) -> tuple[Mapping[str, Any], list[str]]:
    """The fields of a `.mat` file of version 4 to 7, and the names of all fields."""
    if struct is None:
        content = scipy.io.loadmat(path, variable_names=list(fields))
        return content, [name for name, *_ in scipy.io.whosmat(path)]
    value = scipy.io.loadmat(path, variable_names=[struct]).get(struct)
    if value is None or value.dtype.names is None:
        raise _no_struct(path, struct, [name for name, *_ in scipy.io.whosmat(path)])
    record = value.reshape(-1)[0]
    return {name: record[name] for name in value.dtype.names}, list(value.dtype.names)


def _read_hdf5(path: Path, fields: Iterable[str], struct: str | None) -> tuple[Mapping[str, Any], list[str]]:
    """The fields of a `.mat` file of version 7.3 that are arrays, and the names of all fields."""
    try:
        # Imported here: the runtime is installed without it.
        import h5py
    except ImportError as error:
        raise InputError(
            f"{path}: found a MATLAB 7.3 file, which the package h5py reads: pip install h5py"
        ) from error
    with h5py.File(path) as file:
        group = file if struct is None else file.get(struct)
        if not isinstance(group, h5py.Group):
            raise _no_struct(path, str(struct), list(file))
        arrays = {name: group[name] for name in fields if isinstance(group.get(name), h5py.Dataset)}
        # MATLAB's order of axes is the reverse of HDF5's.
        return {name: values[()].T for name, values in arrays.items()}, list(group)


def _no_struct(path: Path, struct: str, present: Iterable[str]) -> InputError:
    found = ", ".join(sorted(present)) or "none"
    return InputError(f"{path}: found fields {found}, expected a struct {struct}")


def _field(
    path: Path,
    content: Mapping[str, ArrayLike],
    present: Iterable[str],
    name: str,
    shape: Shape,
    dtype: DTypeLike | None,
) -> Floats:
    if name not in content:
        found = ", ".join(sorted(present)) or "none"
        raise InputError(f"{path}: found fields {found}, expected also {name}")
    array = np.asarray(content[name])
    is_vector = len(shape) == 1 and array.size == max(array.shape, default=0)
    flat = array.reshape(-1) if is_vector else array
    fits = len(flat.shape) == len(shape) and all(
        size is None or size == found for size, found in zip(shape, flat.shape, strict=True)
    )
    if array.dtype.kind not in "iuf" or not fits:
        sizes = ", ".join("any" if size is None else str(size) for size in shape)
        expected = f"({sizes},)" if len(shape) == 1 else f"({sizes})"
        raise InputError(
            f"{path}: {name}: found {array.dtype} of shape {array.shape}, expected numbers of {expected}"
        )
    if dtype is not None or flat.dtype.kind != "f":
        flat = flat.astype(np.float64 if dtype is None else dtype)
    if not np.isfinite(flat).all():
        raise InputError(f"{path}: {name}: found NaN or infinity, expected finite numbers")
    return flat
