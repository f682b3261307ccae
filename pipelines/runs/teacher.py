"""The landmarks that other models find in the training faces, for a network to learn from."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipelines.prepared.arrays import FaceArrays
from tf_dhm.core.errors import InputError
from tf_dhm.core.files import atomic_write
from tf_dhm.core.progress import Progress
from tf_dhm.evaluation.entries import predict_faces
from tf_dhm.export.card import runs_of
from tf_dhm.export.description import DESCRIPTION_FILE, read_description
from tf_dhm.face.geometry import landmark_box
from tf_dhm.runtime.mirror import MirrorAveraged
from tf_dhm.runtime.predictor import LandmarkModel
from tf_dhm.runtime.saved_model import SavedModelPredictor
from tf_dhm.runtime.store import find_savedmodel, model_name

FACES_AT_ONCE = 256


def find_landmarks(models: Sequence[LandmarkModel], faces: FaceArrays) -> NDArray[np.float32]:
    """The mean of what models find in faces and in their mirror images, from the boxes of their labels.

    Returns:
        (N, 68, 3) float32 pixels of the stored images.
    """
    averaged = [MirrorAveraged(model) for model in models]
    found = np.empty(faces.landmarks.shape, np.float32)
    with Progress(total=len(faces), desc="asking the teacher", unit=" faces") as progress:
        for start in range(0, len(faces), FACES_AT_ONCE):
            rows = slice(start, min(start + FACES_AT_ONCE, len(faces)))
            images, boxes = list(faces.images[rows]), landmark_box(faces.landmarks[rows])
            found[rows] = np.mean([predict_faces(model, images, boxes) for model in averaged], 0)
            progress.update(len(images))
    return found


def write_landmarks(file: Path, names: Sequence[str], faces: FaceArrays) -> None:
    """Write `find_landmarks` of SavedModels, so that a resumed run needs the models no more.

    Args:
        file: to write.
        names: model folders or version folders.
        faces: to find the landmarks of.

    Raises:
        InputError: no such model.
    """
    found = find_landmarks([SavedModelPredictor(name) for name in names], faces)
    with atomic_write(file) as path:
        np.save(path, found)


def data_of(names: Sequence[str]) -> dict[str, str]:
    """The datasets that teachers were trained on, each with a note for the card of the model they teach.

    Args:
        names: model folders or version folders.
    """
    notes: dict[str, str] = {}
    for name in names:
        folder = find_savedmodel(name)
        teacher = model_name(folder)
        if not (folder / DESCRIPTION_FILE).is_file():
            notes[f"data of the teacher {teacher}"] = "unknown, since that model has no description"
            continue
        for run in runs_of(read_description(folder)):
            for dataset, note in run["datasets"].items():
                notes.setdefault(dataset, f"by the teacher {teacher}: {note}")
    return notes


def read_landmarks(file: Path, count: int) -> NDArray[np.float32]:
    """The landmarks that `write_landmarks` wrote, (count, 68, 3).

    Raises:
        InputError: no such file, or one of other faces.
    """
    try:
        landmarks = np.load(file)
    except (OSError, ValueError) as error:
        raise InputError(f"{file}: found {error}, expected the landmarks of the teacher") from error
    if landmarks.shape != (count, 68, 3):
        raise InputError(f"{file}: found shape {landmarks.shape}, expected ({count}, 68, 3)")
    return landmarks
