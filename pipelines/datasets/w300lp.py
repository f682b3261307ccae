"""Reader of 300W-LP: photos of 300W turned to large poses, with 3-D consistent landmarks.

The folders as distributed:

    AFW, HELEN, IBUG, LFPW            <SET>_<photo>_<variant>.jpg + .mat (parameters)
    AFW_Flip, ...                     the same mirrored
    landmarks/{AFW,HELEN,IBUG,LFPW}   <SET>_<photo>_<variant>_pts.mat (`pts_2d`, `pts_3d`)

Landmarks come from the `_pts.mat` files: `pt2d` beside the images is that of the photo before it
was turned, the same for every variant. All are 1-based; the points become 0-based pixels here,
once. `pts_3d` holds x and y only, so z is NaN.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from pipelines.datasets.folders import (
    Pair,
    image_size,
    names_in,
    pair_files,
    require_folder,
    require_pair,
    split_groups,
)
from pipelines.datasets.pose_para import POSE, pose_degrees
from pipelines.datasets.samples import FaceSample, Rejection, Split, check_landmarks
from tf_dhm.core.errors import InputError
from tf_dhm.face.geometry import NUM_LANDMARKS, mirror_landmarks
from tf_dhm.face.matfiles import read_mat

SETS = ("AFW", "HELEN", "IBUG", "LFPW")
FLIP = "_Flip"
VAL_SHARE = 3061 / 61225
"""Share of the photos kept for validation, the paper's."""


def read(
    data_dir: Path,
    *,
    landmarks: Literal["pts_3d", "pts_2d"] = "pts_3d",
    flipped: bool = False,
) -> Iterator[FaceSample | Rejection]:
    """Yield the faces of 300W-LP ordered by set and name.

    All variants and mirror images of a photo share their group, and so their split.

    Args:
        data_dir: the folder that holds AFW, HELEN, IBUG, LFPW and `landmarks`; sets that are not
            there are left out.
        landmarks: field of the `_pts.mat` files: "pts_3d", points of the 3-D face whether seen or
            not, or "pts_2d", whose contour follows the visible outline. z is NaN.
        flipped: read the `_Flip` folders too. Where `landmarks` has no folder for them, as
            distributed, the landmarks of the unmirrored image are mirrored.

    Raises:
        InputError: no folder, none of the sets, or neither image nor `.mat` in them.
    """
    if landmarks not in ("pts_3d", "pts_2d"):
        raise InputError(f"landmarks: found {landmarks!r}, expected pts_3d or pts_2d")
    data_dir = require_folder(Path(data_dir), f"300W-LP's sets {', '.join(SETS)}")
    wanted = [name + end for end in (("", FLIP) if flipped else ("",)) for name in SETS]
    present = [name for name in wanted if (data_dir / name).is_dir()]
    if not present:
        raise InputError(f"{data_dir}: found {names_in(data_dir)}, expected folders {', '.join(wanted)}")
    require_folder(data_dir / "landmarks", "300W-LP's _pts.mat files")
    listed = [(name, pair_files(data_dir / name, ".mat")) for name in present]
    if not any(pairs for _, pairs in listed):
        where = ", ".join(str(data_dir / name) for name in present)
        raise InputError(f"{where}: found neither images nor .mat files, expected them side by side")
    splits = split_groups((base_photo(pair.name) for _, pairs in listed for pair in pairs), VAL_SHARE)
    return (_sample(data_dir, name, pair, landmarks, splits) for name, pairs in listed for pair in pairs)


def base_photo(name: str) -> str:
    """The photo that an image of 300W-LP was made from; faces of one photo share it.

    A name ends with the number of the variant; in AFW, HELEN and IBUG the number of the face in
    the photo stands before it.

    >>> base_photo("AFW_134212_1_16"), base_photo("LFPW_image_train_0047_4")
    ('AFW_134212', 'LFPW_image_train_0047')
    """
    without_variant = re.sub(r"_\d+$", "", name)
    return re.sub(r"_\d{1,2}$", "", without_variant)


def _sample(
    root: Path,
    folder: str,
    pair: Pair,
    field: str,
    splits: Mapping[str, Split],
) -> FaceSample | Rejection:
    name = f"{folder}/{pair.name}"
    group = base_photo(pair.name)
    try:
        image, mat = require_pair(root / folder, pair, ".mat")
        points = _read_points(root, folder, pair.name, field, image)
        parameters = read_mat(mat, POSE)
        return FaceSample(
            name=name,
            read_image=image.read_bytes,
            landmarks=check_landmarks(points, str(mat)),
            split=splits[group],
            group=group,
            pose=pose_degrees(parameters["Pose_Para"]),
        )
    except InputError as error:
        return Rejection(name, str(error))


def _read_points(root: Path, folder: str, stem: str, field: str, image: Path) -> NDArray[np.float64]:
    """(68, 2) 0-based pixels of an image from its `_pts.mat` or from that of its mirror image."""
    source = root / "landmarks" / folder
    mirrored = folder.endswith(FLIP) and not source.is_dir()
    if mirrored:
        source = source.with_name(folder.removesuffix(FLIP))
    points = read_mat(source / f"{stem}_pts.mat", {field: (NUM_LANDMARKS, 2)})[field] - 1.0
    return mirror_landmarks(points, image_size(image)[0]) if mirrored else points
