"""Reader of LS3D-W: 68 points in a Torch `.t7` file beside each image, in sub-sets.

The folders as distributed:

    300VW-3D/{Trainset,CatA,CatB,CatC}/<video>/0001.jpg + 0001.t7
    300W-Testset-3D/indoor_001.png + indoor_001.t7
    Menpo-3D/*.jpg + *.t7
    AFLW2000-3D-Reannotated/image00002.jpg + image00002.t7

The points are 0-based pixels, x right and y down. There is no depth: z is NaN.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torchfile
from numpy.typing import NDArray

from pipelines.datasets.folders import Pair, names_in, pair_files, require_folder, require_pair, split_groups
from pipelines.datasets.samples import FaceSample, Rejection, Split, check_landmarks
from tf_dhm.core.errors import InputError
from tf_dhm.face.geometry import NUM_LANDMARKS

VAL_SHARE = 0.05
"""Share of the videos (or photos) of "train" that are kept for validation."""
INNER_ROOTS = ("LS3D-W", "images")
"""Folders that the archive may have put between `data_dir` and the sub-sets."""


@dataclass(frozen=True)
class Subset:
    """The location and purpose of a sub-set.

    Attributes:
        folders: below the root of LS3D-W; those that are there are read, at least one must be.
        training: split into "train" and "val"; otherwise all is "test".
    """

    folders: tuple[str, ...]
    training: bool = False


# The re-annotated AFLW2000-3D, Menpo-3D and the test folders are not part of "train": models are
# measured on them.
SUBSETS = {
    "train": Subset(("300VW-3D/Trainset", "300W-Trainset-3D", "300W-3D/Trainset"), training=True),
    "menpo_3d": Subset(("Menpo-3D",)),
    "300w_3d": Subset(("300W-Testset-3D", "300W-3D/Testset")),
    "300vw_3d_a": Subset(("300VW-3D/CatA",)),
    "300vw_3d_b": Subset(("300VW-3D/CatB",)),
    "300vw_3d_c": Subset(("300VW-3D/CatC",)),
    "aflw2000_3d_reannotated": Subset(("AFLW2000-3D-Reannotated",)),
}


def read(data_dir: Path, subset: str = "train") -> Iterator[FaceSample | Rejection]:
    """Yield the faces of one sub-set, ordered by folder and name.

    Frames of one video share their group, and so their split.

    Args:
        data_dir: the folder that holds the sub-sets' folders, or its parent.
        subset: a key of `SUBSETS`.

    Raises:
        InputError: unknown sub-set, no folder of it, or neither image nor `.t7` in them.
    """
    if subset not in SUBSETS:
        raise InputError(f"subset: found {subset!r}, expected one of {', '.join(SUBSETS)}")
    wanted = SUBSETS[subset]
    data_dir = require_folder(Path(data_dir), "LS3D-W's sub-sets")
    root = find_root(data_dir, wanted.folders)
    listed = [
        (name, pair_files(root / name, ".t7", recursive=True))
        for name in wanted.folders
        if (root / name).is_dir()
    ]
    if not any(pairs for _, pairs in listed):
        where = ", ".join(str(root / name) for name, _ in listed)
        raise InputError(f"{where}: found neither images nor .t7 files, expected them side by side")
    splits = split_groups((group_of(name, pair) for name, pairs in listed for pair in pairs), VAL_SHARE)
    return (
        _sample(root / name, name, pair, splits if wanted.training else None)
        for name, pairs in listed
        for pair in pairs
    )


def find_root(data_dir: Path, folders: tuple[str, ...]) -> Path:
    """The folder, `data_dir` or one of its INNER_ROOTS, that holds at least one of `folders`."""
    for root in (data_dir, *(data_dir / name for name in INNER_ROOTS)):
        if any((root / name).is_dir() for name in folders):
            return root
    raise InputError(f"{data_dir}: found {names_in(data_dir)}, expected {' or '.join(folders)}")


def group_of(folder_name: str, pair: Pair) -> str:
    """The video of a frame, or the photo itself."""
    video = pair.name.rpartition("/")[0]
    # A second part of a video is named with a trailing underscore.
    return f"{folder_name}/{video.rstrip('_') if video else pair.name}"


def _sample(
    folder: Path, folder_name: str, pair: Pair, splits: Mapping[str, Split] | None
) -> FaceSample | Rejection:
    """One face; `splits` of the groups, None if all are "test"."""
    name, group = f"{folder_name}/{pair.name}", group_of(folder_name, pair)
    split: Split = "test" if splits is None else splits[group]
    try:
        image, label = require_pair(folder, pair, ".t7")
        landmarks = check_landmarks(read_t7(label), str(label))
    except InputError as error:
        return Rejection(name, str(error))
    return FaceSample(name=name, read_image=image.read_bytes, landmarks=landmarks, split=split, group=group)


def read_t7(path: Path) -> NDArray[np.float64]:
    """Read a Torch file that holds one tensor of 68 points.

    Returns:
        (68, 2 or 3) float64.

    Raises:
        InputError: the file is missing, damaged, or holds something else.
    """
    if not path.is_file():
        raise InputError(f"{path}: found no such file, expected a Torch .t7 file")
    try:
        with path.open("rb") as file:
            reader = torchfile.T7Reader(file)
            tensor = reader.read_obj()
    except Exception as error:  # on a damaged file torchfile raises whatever its parsing hits first
        found = str(error) or type(error).__name__
        raise InputError(f"{path}: found {found}, expected a Torch .t7 file") from error
    shape = tensor.shape if isinstance(tensor, np.ndarray) else None
    if not isinstance(tensor, np.ndarray) or shape not in ((NUM_LANDMARKS, 2), (NUM_LANDMARKS, 3)):
        found = type(tensor).__name__ if shape is None else f"a tensor of shape {shape}"
        raise InputError(f"{path}: found {found}, expected a tensor of shape (68, 2)")
    # torchfile lays the tensor over its storage unchecked: in a file cut short it would reach
    # into memory after the numbers that were read.
    storages = [obj for obj in reader.objects.values() if isinstance(obj, np.ndarray) and obj.ndim == 1]
    if not any(_inside(tensor, storage) for storage in storages):
        raise InputError(
            f"{path}: found fewer numbers than its tensor has, expected {tensor.size}; cut short?"
        )
    return tensor.astype(np.float64)


def _inside(tensor: NDArray, storage: NDArray) -> bool:
    """Whether every number of `tensor` lies in the memory of `storage`."""
    first = tensor.ctypes.data - storage.ctypes.data
    reach = sum((size - 1) * stride for size, stride in zip(tensor.shape, tensor.strides, strict=True))
    return min(tensor.strides) >= 0 and first >= 0 and first + reach + tensor.itemsize <= storage.nbytes
