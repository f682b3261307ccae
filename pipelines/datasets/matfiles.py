"""Reading the MATLAB label files of 300W-LP and AFLW2000-3D with clear errors."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

import h5py
import numpy as np
import scipy.io
from numpy.typing import ArrayLike, NDArray

from tf_dhm.core.errors import InputError

POSE = {"Pose_Para": (7,)}
"""Pitch, yaw, roll in radians, t_x, t_y, t_z, f."""


def read_mat(path: Path, fields: Mapping[str, tuple[int, ...]]) -> dict[str, NDArray[np.float64]]:
    """Read some fields of a `.mat` file of any version, that of 7.3 (HDF5) included.

    Args:
        path: the file.
        fields: name -> shape. A shape of one number takes a row or a column of that length, and
            returns it flat.

    Returns:
        name -> float64 array of that shape, all finite.

    Raises:
        InputError: the file is missing or unreadable, or a field is missing, has another shape,
            or holds NaN; names the file and the field.
    """
    if not path.is_file():
        raise InputError(f"{path}: found no such file, expected a .mat file")
    try:
        if h5py.is_hdf5(path):
            content, present = _read_hdf5(path, fields)
        else:
            content = scipy.io.loadmat(path, variable_names=list(fields))
            present = [name for name, *_ in scipy.io.whosmat(path)]
    except Exception as error:  # scipy raises a dozen kinds on a damaged file, TypeError among them
        found = str(error) or type(error).__name__
        raise InputError(f"{path}: found {found}, expected a readable .mat file") from error
    return {name: _field(path, content, present, name, shape) for name, shape in fields.items()}


def _read_hdf5(path: Path, fields: Iterable[str]) -> tuple[dict[str, NDArray], list[str]]:
    """The fields of a `.mat` file of version 7.3 that are arrays, and the names of all fields."""
    with h5py.File(path) as file:
        arrays = {name: file[name] for name in fields if isinstance(file.get(name), h5py.Dataset)}
        # MATLAB's order of axes is the reverse of HDF5's.
        return {name: values[()].T for name, values in arrays.items()}, list(file)


def _field(
    path: Path, content: Mapping[str, ArrayLike], present: Iterable[str], name: str, shape: tuple[int, ...]
) -> NDArray[np.float64]:
    if name not in content:
        found = ", ".join(sorted(present)) or "none"
        raise InputError(f"{path}: found fields {found}, expected also {name}")
    array = np.asarray(content[name])
    fits = max(array.shape, default=0) == array.size == shape[0] if len(shape) == 1 else array.shape == shape
    if array.dtype.kind not in "iuf" or not fits:
        raise InputError(
            f"{path}: {name}: found {array.dtype} of shape {array.shape}, expected numbers of {shape}"
        )
    values = array.astype(np.float64).reshape(shape)
    if not np.isfinite(values).all():
        raise InputError(f"{path}: {name}: found NaN or infinity, expected finite numbers")
    return values


def pose_degrees(pose_para: ArrayLike, *, wrap: bool = True) -> NDArray[np.float32]:
    """Pitch, yaw, roll in degrees from `Pose_Para`, whose angles are radians and may go round.

    Args:
        pose_para: (7,) or more angles first.
        wrap: bring each angle to (-180, 180]; otherwise it is left as labelled.

    Returns:
        (3,) float32.

    >>> pose_degrees([0.0, np.radians(-350.0), np.pi]).tolist()
    [0.0, 10.0, 180.0]
    """
    degrees = np.degrees(np.asarray(pose_para, np.float64)[:3])
    return (180.0 - (180.0 - degrees) % 360.0 if wrap else degrees).astype(np.float32)
