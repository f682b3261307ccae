"""Write the landmarks that every committed model predicts: `python tools/reference_landmarks.py`.

`tests/data/reference_landmarks.npz` receives crops of the test portrait and the landmarks of every SavedModel
and TFLite file on them, from the mean shape and as a second pass. Run it with the packages of Python 3.10 or
3.11 whenever a model is added. `tests/tf_dhm/export/test_same_results.py` compares with it, so that
every supported TensorFlow and LiteRT gives the same landmarks.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tf_dhm.core.cli import run_script

from tf_dhm.core.command_line import parse_options
from tf_dhm.core.types import Array, Image
from tf_dhm.face import geometry
from tf_dhm.runtime.crops import cut_crops
from tf_dhm.runtime.images import read_photo
from tf_dhm.runtime.predictor import LandmarkModel
from tf_dhm.runtime.saved_model import SavedModelPredictor
from tf_dhm.runtime.store import SAVEDMODELS
from tf_dhm.runtime.tflite import TFLitePredictor

ROOT = Path(__file__).resolve().parents[1]
PORTRAIT = ROOT / "tests" / "data" / "astronaut.jpg"
OUTPUT = ROOT / "tests" / "data" / "reference_landmarks.npz"
BOXES = ((180.0, 70.0, 270.0, 180.0), (190.0, 60.0, 275.0, 190.0))
"""Landmark boxes of the face: a good one and a poor one."""
ROLLS = (0.0, 0.4)
STORED_SIZE = 112
"""Side of the stored crops in pixels; a smaller network gets their middle."""


@dataclass(frozen=True)
class Config:
    """File to which the landmarks are written."""

    output: Path = OUTPUT
    """File, which is replaced."""


def model_files() -> dict[str, Path]:
    """Every SavedModel and TFLite file of the project, by its path below `savedmodels`."""
    folders = [file.parent for file in SAVEDMODELS.glob("*/*/saved_model.pb")]
    files = sorted([*folders, *SAVEDMODELS.glob("*/*/*.tflite")])
    return {file.relative_to(SAVEDMODELS).as_posix(): file for file in files}


def load(file: Path) -> LandmarkModel:
    return SavedModelPredictor(file) if file.is_dir() else TFLitePredictor(file)


def reference_crops() -> Image:
    """Crops (2, STORED_SIZE, STORED_SIZE, 3) of the test portrait."""
    crops, _ = cut_crops(read_photo(PORTRAIT).pixels, BOXES, STORED_SIZE, ROLLS)
    return crops


def predict(model: LandmarkModel, crops: Image) -> Array:
    """Landmarks (2, B, 68, 3) of a first and a second pass, in pixels of the middle of stored crops."""
    margin = (STORED_SIZE - model.input_size) // 2
    middle = np.ascontiguousarray(crops[:, margin:, margin:][:, : model.input_size, : model.input_size])
    # One by one: some files take a single crop.
    passes: list[list[Array]] = [[], []]
    for crop in middle:
        first = model.predict(crop[None]).landmarks
        passes[0].append(first[0])
        passes[1].append(model.predict(crop[None], first).landmarks[0])
    return np.stack([np.stack(part) for part in passes]).astype(np.float32)


def write(output: Path) -> None:
    """Write the crops and the landmarks of all models."""
    crops = reference_crops()
    landmarks = {name: predict(load(file), crops) for name, file in model_files().items()}
    assert all(found.shape == (2, len(crops), geometry.NUM_LANDMARKS, 3) for found in landmarks.values())
    np.savez_compressed(output, crops=crops, **landmarks)
    print(f"{output}: the landmarks of {len(landmarks)} files, {output.stat().st_size / 1000:.0f} kB")


def main() -> None:
    write(parse_options(Config, description=__doc__).output)


if __name__ == "__main__":
    run_script(main)
