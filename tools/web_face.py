"""Write the open face for the browser package: `python tools/web_face.py`.

`web/face/open_face.safetensors` holds what the fit of the whole face needs: the face in the reduced
directions that `FaceFitter` fits, and the linear maps of the fit and of the face units. It is committed, so
that `web/` builds without Python. The format is that of https://github.com/huggingface/safetensors: the
length of a JSON header, the header with the type, shape and place of every array, and the arrays.
"""

from __future__ import annotations

import json
import struct
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tf_dhm.core.cli import run_script

from tf_dhm.core.command_line import parse_options
from tf_dhm.core.files import atomic_write
from tf_dhm.face.expression import face_units
from tf_dhm.face.fit import open_face_fitter
from tf_dhm.runtime.mesh import face_vertices

ROOT = Path(__file__).resolve().parents[1]
FACE = ROOT / "web" / "face" / "open_face.safetensors"
TYPES = {"<f8": "F64", "<f4": "F32", "<i2": "I16", "<u2": "U16", "|u1": "U8"}
STEPS = 2047
"""Steps to either side in which the directions are stored. The standard deviation of the error is at most
0.0005 cm at any vertex, 1 % of a pixel at 20 pixels per centimetre. More steps compress less."""


@dataclass(frozen=True)
class Config:
    """File to which the face is written."""

    output: Path = FACE
    """A `.safetensors` file."""


def arrays() -> dict[str, NDArray[Any]]:
    """V vertices, T triangles, K directions and M face units; lengths in centimetres."""
    fitter, units = open_face_fitter(), face_units()
    model, basis = fitter.model, fitter.basis
    step = np.abs(basis.dense).max(1) / STEPS
    return {
        "to_pose": fitter.to_pose,  # (3, 3)
        "unit_normal": units.root @ units.root.T,  # (M, M)
        "mean": model.mean.astype(np.float32),  # (V, 3)
        "direction_step": step.astype(np.float32),  # (K,)
        "landmark_mean": basis.mean.astype(np.float32),  # (3, 68)
        "landmark_directions": basis.landmarks.astype(np.float32),  # (3, 68, K)
        "first": fitter.solver.first.astype(np.float32),  # (204, K)
        "style": fitter.style.astype(np.float32),  # (3, 68)
        "components": basis.components.astype(np.float32),  # (K, 228)
        "unit_weighted": units.weighted.astype(np.float32),  # (204, M)
        "directions": np.rint(basis.dense / step[:, None]).astype(np.int16),  # (K, V * 3)
        "triangles": model.triangles.astype(np.uint16),  # (T, 3)
        "face": face_vertices().astype(np.uint8),  # (V,) 1 for the face, 0 for skull, neck and mouth
    }


def pack(values: Mapping[str, NDArray[Any]]) -> bytes:
    """The bytes of a safetensors file."""
    header, body = {}, b""
    for name, array in values.items():
        little = np.ascontiguousarray(array, array.dtype.newbyteorder("<"))
        content = little.tobytes()
        header[name] = {
            "dtype": TYPES[little.dtype.str],
            "shape": list(array.shape),
            "data_offsets": [len(body), len(body) + len(content)],
        }
        body += content
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)  # so that the arrays are aligned
    return struct.pack("<Q", len(text)) + text + body


def unpack(content: bytes) -> dict[str, NDArray[Any]]:
    """The arrays of a safetensors file.

    >>> unpack(pack({"a": np.arange(3, dtype=np.uint16)}))["a"].tolist()
    [0, 1, 2]
    """
    (length,) = struct.unpack("<Q", content[:8])
    dtypes = {name: dtype for dtype, name in TYPES.items()}
    values = {}
    for name, entry in json.loads(content[8 : 8 + length]).items():
        start, end = (8 + length + offset for offset in entry["data_offsets"])
        values[name] = np.frombuffer(content[start:end], dtypes[entry["dtype"]]).reshape(entry["shape"])
    return values


def main() -> None:
    config = parse_options(Config, description=__doc__)
    config.output.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(config.output) as path:
        path.write_bytes(pack(arrays()))
    print(f"written: {config.output}")


if __name__ == "__main__":
    run_script(main)
