"""Packs prepared faces, and weights to begin with, into a folder for a machine without TensorFlow."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from pipelines.prepared.arrays import FaceArrays
from pipelines.prepared.datasets import load_mixture
from pipelines.runs.description import describe_datasets
from pipelines.runs.faces import prepared_folders
from pipelines.runs.run import read_initial
from tf_dhm.core.configuration import to_json
from tf_dhm.core.errors import InputError
from tf_dhm.core.files import atomic_write
from tf_dhm.core.progress import Progress
from tf_dhm.export.description import read_description
from tf_dhm.face.geometry import crop_square, landmark_box
from tf_dhm.runtime.crops import MAX_SHRINK
from tf_dhm.training.presets import find_preset
from tools.jax_training import files
from tools.jax_training.files import Pack, PackedFaces
from tools.jax_training.options import PackOptions


def pack(options: PackOptions, command: str) -> Pack:
    """Write a folder in which networks can be trained; returns what it holds.

    Raises:
        InputError: the folder exists, or a dataset or a model is rejected.
    """
    if options.folder.exists():
        raise InputError(f"{options.folder}: found a folder, expected none; pack into another folder")
    folders = prepared_folders(options.data, options.input_size, options.threads)
    mixture = load_mixture(folders)
    counts = np.bincount(mixture.sources, minlength=len(folders)).tolist()
    packed = Pack(
        command=command,
        dataset=options.data.dataset,
        datasets=describe_datasets(options.data.dataset, counts, options.data.dataset_weights),
        input_size=options.input_size,
        quality=options.quality,
        train=len(mixture.train),
        train_of_each=tuple(counts),
        val=len(mixture.val),
    )
    with atomic_write(options.folder) as folder:
        folder.mkdir()
        for name in options.init:
            write_initial(folder / files.INITIAL_FOLDER, name)
        for file, faces in ((files.TRAIN_FILE, mixture.train), (files.VAL_FILE, mixture.val)):
            files.write_faces(folder / file, pack_faces(faces, options.input_size, options.quality))
        (folder / files.PACK_FILE).write_text(to_json(packed))
    size = sum(path.stat().st_size for path in options.folder.rglob("*") if path.is_file())
    print(
        f"{options.folder}: {packed.train:,} faces to train with, {packed.val:,} of val, {size / 1e6:.1f} MB"
    )
    return packed


def pack_faces(faces: FaceArrays, input_size: int, quality: int) -> PackedFaces:
    """Faces with their images as WebP files.

    Raises:
        InputError: a face is so large that its crop would have to be averaged.
    """
    side = crop_square(landmark_box(faces.landmarks))[:, 2]
    if side.max() > MAX_SHRINK * input_size:
        raise InputError(
            f"input_size: found {input_size} with a face whose crop has {side.max():.0f} stored pixels, "
            f"expected at most {MAX_SHRINK} for one; prepare the dataset with a smaller --crop-side"
        )
    parameters = [int(cv2.IMWRITE_WEBP_QUALITY), quality]
    images = []
    for number in Progress(range(len(faces)), desc="packing", unit=" faces"):
        bgr = cv2.cvtColor(faces.images[number], cv2.COLOR_RGB2BGR)
        images.append(cv2.imencode(".webp", bgr, parameters)[1].tobytes())
    return PackedFaces(images, faces.landmarks, faces.pose[:, 1], faces.sigma)


def write_initial(folder: Path, name: str) -> None:
    """Write the weights and the description of a SavedModel.

    Raises:
        InputError: no such model, a model of another network than its preset's, or a second one of a preset.
    """
    preset = read_description(Path(name)).preset
    description, weights = read_initial(name, find_preset(preset).model)
    if (folder / f"{preset}.npz").exists():
        raise InputError(f"init: found {name} and another model of {preset}, expected one of each preset")
    assert weights is not None
    files.write_weights(folder / f"{preset}.npz", weights)
    (folder / f"{preset}.json").write_text(to_json(description))
