"""Models, and systems of others, as entries of an evaluation."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tf_dhm.core.errors import InputError
from tf_dhm.core.types import Image
from tf_dhm.evaluation.peers.load import load_peer
from tf_dhm.face import geometry
from tf_dhm.runtime.aligner import Aligner
from tf_dhm.runtime.mirror import MirrorAveraged
from tf_dhm.runtime.predictor import LandmarkModel, predict_photos
from tf_dhm.runtime.saved_model import SavedModelPredictor
from tf_dhm.runtime.settings import Passes


@dataclass(frozen=True)
class ModelSize:
    """Bytes of a model, and its number of parameters, None if that is not known.

    Of a SavedModel the bytes are those of its weights, as published sizes are; of a peer, its files'.
    """

    bytes: int
    parameters: int | None


@dataclass(frozen=True)
class Entry:
    """A model, or a peer, as it stands in the tables: with its number of passes.

    Attributes:
        name: in the tables.
        find: what finds the landmarks, (N, 68, 3) pixels, of one face in each of N images with the
            boxes (N, 4); None for an entry that only searches photos.
        size: of its weights or files.
        box_start: the first of the true landmarks that those boxes bound; 17 leaves out the jaw.
        version: of a model in a version folder.
        folder: of a SavedModel.
        has_points: whether the model also has an output `points`, which is not measured.
        is_plain: whether it is a single pass over crops as they are.
        align: finds the landmarks (N, 68, 3) of all faces of a photo without boxes, as a user's photo is
            aligned; None for a system without a detector of its own.
    """

    name: str
    find: Callable[[Sequence[Image], ArrayLike], NDArray[np.float32]] | None
    size: ModelSize
    box_start: int = 0
    version: int | None = None
    folder: Path | None = None
    has_points: bool = False
    is_plain: bool = True
    align: Callable[[Image], NDArray[np.float32]] | None = None


def load_entries(
    models: Sequence[str | Path], passes: Sequence[Passes] = (1,), mirror: bool = False
) -> list[Entry]:
    """Load models; each gives one entry for each number of passes and, with `mirror`, one more for the mean
    of each crop and its mirror image.

    Models of the same name are told apart by the paths they were given as. An entry with "default" passes
    searches photos as an `Aligner` does by default, and takes no boxes.
    """
    predictors = [SavedModelPredictor(path) for path in models]
    names = distinct_names([predictor.name for predictor in predictors], [str(path) for path in models])
    entries = []
    for name, predictor in zip(names, predictors, strict=True):
        folder = predictor.version_dir
        size = model_size(folder)
        version = int(folder.name) if folder.name.isdecimal() else None
        for count in dict.fromkeys(passes):
            for mirrored in (False, True) if mirror else (False,):
                details = [f"{count} passes"] * (count != 1) + ["mirrored"] * mirrored
                averaged = MirrorAveraged(predictor) if mirrored else predictor
                aligner = Aligner(predictor, passes=None if count == "default" else count, mirror=mirrored)
                entries.append(
                    Entry(
                        name=f"{name} ({', '.join(details)})" if details else name,
                        find=None if count == "default" else partial(predict_faces, averaged, passes=count),
                        size=size,
                        version=version,
                        folder=folder,
                        has_points=predictor.has_points,
                        is_plain=not details,
                        align=partial(align_photo, aligner),
                    )
                )
    return entries


def load_peers(peers: Sequence[str]) -> list[Entry]:
    """Load systems of others; see `peers.load_peer`."""
    loaded = [load_peer(peer) for peer in peers]
    names = distinct_names([peer.name for peer in loaded], list(peers))
    return [
        Entry(name, peer.find, ModelSize(peer.file_bytes, None), peer.box_start)
        for name, peer in zip(names, loaded, strict=True)
    ]


def label_set_names(labels: Sequence[str]) -> list[str]:
    """Names of label sets: "original", and the stem of a label file.

    >>> label_set_names(["original", "data/reannotated.npz"])
    ['original', 'reannotated']
    """
    stems = [label if label == "original" else Path(label).stem for label in labels]
    return distinct_names(stems, labels)


def distinct_names(names: Sequence[str], longer: Sequence[str]) -> list[str]:
    """`names`, with those that occur twice replaced by `longer` ones.

    Raises:
        InputError: the longer ones are equal too.

    >>> distinct_names(["a", "b", "b"], ["x/a", "x/b", "y/b"])
    ['a', 'x/b', 'y/b']
    """
    chosen = [long if names.count(name) > 1 else name for name, long in zip(names, longer, strict=True)]
    repeated = sorted({name for name in chosen if chosen.count(name) > 1})
    if repeated:
        raise InputError(f"found {', '.join(repeated)} more than once, expected each once")
    return chosen


def align_photo(aligner: Aligner, image: Image) -> NDArray[np.float32]:
    """The landmarks (N, 68, 3) of all faces that an aligner finds in a photo (H, W, 3) uint8 RGB."""
    found = [face.landmarks for face in aligner.align(image)]
    return np.stack(found) if found else np.zeros((0, geometry.NUM_LANDMARKS, 3), np.float32)


def predict_faces(
    predictor: LandmarkModel, images: Sequence[Image], boxes: ArrayLike, passes: int = 1
) -> NDArray[np.float32]:
    """`predictor.predict_photos` for one face in each of many images.

    Args:
        predictor: the model.
        images: N arrays (H, W, 3) uint8 RGB of any sizes.
        boxes: (N, 4) landmark boxes.
        passes: 1 or more.

    Returns:
        (N, 68, 3) float32 landmarks in pixels of the images.
    """
    found = predict_photos(predictor, images, list(np.asarray(boxes)[:, None]), passes)
    return np.concatenate([prediction.landmarks for prediction in found])


def model_size(version_dir: Path) -> ModelSize:
    """Size of the weights of a SavedModel."""
    # Imported here, so that tables and plots do not cost the seconds TensorFlow needs to load.
    import tensorflow as tf

    variables = version_dir / "variables" / "variables"
    counts: dict[tf.DType, int] = {}
    if variables.with_suffix(".index").is_file():
        reader = tf.train.load_checkpoint(str(variables))
        types = reader.get_variable_to_dtype_map()
        for name, shape in reader.get_variable_to_shape_map().items():
            if types[name].is_floating:
                counts[types[name]] = counts.get(types[name], 0) + int(np.prod(shape))
    return ModelSize(sum(count * dtype.size for dtype, count in counts.items()), sum(counts.values()))
