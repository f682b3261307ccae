"""Accuracy of models on labelled faces: the error of each face, and summaries."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from tf_dhm.core.errors import InputError
from tf_dhm.core.progress import Progress
from tf_dhm.core.types import Array, Image
from tf_dhm.evaluation.boxes import TRUE_BOXES, Boxes, nearest_box, row_name
from tf_dhm.evaluation.entries import Entry, ModelSize, distinct_names
from tf_dhm.evaluation.labelled_faces import Face, Rejected, box_landmarks, read_batches
from tf_dhm.face import geometry, metrics
from tf_dhm.face.mean_face import mean_shape

POSE_ERRORS = [f"{angle}_error" for angle in metrics.ANGLES]

Search = Callable[[Image], NDArray[np.float32]]
"""A photo (H, W, 3) -> the landmarks (N, 68, 3) of all its faces."""

SEARCHED = "the boxes of its own search of the photo, as Aligner does it"
"""Boxes of the rows of a model that finds the faces of photos itself."""

Metrics = dict[str, dict[str, dict[str, Any]]]
"""Model -> label set -> metric -> number: the content of metrics.json."""


@dataclass(frozen=True)
class Row:
    """What a row of the tables is about.

    Attributes:
        size: of the model.
        boxes: what its crops were cut from, in words.
        version: of a model in a version folder.
        fitted: what was fitted to the annotation of the dataset itself, in words; "" for nothing.
    """

    size: ModelSize
    boxes: str
    version: int | None = None
    fitted: str = ""


@dataclass(frozen=True)
class Evaluation:
    """What models made of labelled faces.

    Attributes:
        table: one row for each model, label set and face: model, labels, name, yaw (degrees, NaN
            if unknown), bin (as in `metrics.YAW_BINS`, "" if unknown), nme (percent; infinite for a
            missed face), and pitch_error, yaw_error, roll_error (degrees, NaN if unknown).
        rejected: one row for each face left out: labels, name, reason.
        faces: label set -> its usable faces.
        landmarks: (model, label set) -> (N, 68, 3) float32 pixels of the images, as `faces`; NaN for
            a missed face.
        rows: model, with its passes and boxes -> what it is.
    """

    table: pd.DataFrame
    rejected: pd.DataFrame
    faces: dict[str, list[Face]]
    landmarks: dict[tuple[str, str], NDArray[np.float32]]
    rows: dict[str, Row]

    def with_row(self, name: str, row: Row, landmarks: Mapping[str, NDArray[np.float32]]) -> Evaluation:
        """This evaluation with one more row.

        Args:
            name: of the row.
            row: what it is.
            landmarks: label set -> (N, 68, 3) pixels, as `faces`.

        Raises:
            InputError: there is a row of that name.
        """
        distinct_names([*self.rows, name], [*self.rows, name])
        tables = [
            face_table(name, labels, self.faces[labels], points) for labels, points in landmarks.items()
        ]
        return replace(
            self,
            table=pd.concat([self.table, *tables], ignore_index=True),
            landmarks=self.landmarks | {(name, labels): points for labels, points in landmarks.items()},
            rows=self.rows | {name: row},
        )


def evaluate(
    entries: Sequence[Entry],
    label_sets: Mapping[str, Iterable[Face | Rejected]],
    boxes: Sequence[Boxes] = (TRUE_BOXES,),
) -> Evaluation:
    """Run models over the faces of label sets.

    Args:
        entries: the models.
        label_sets: name -> faces.
        boxes: what crops are cut from; each gives a row for each entry, but that an entry whose boxes
            leave out the jaw takes only true ones, and one that only searches photos none but detected ones.

    Raises:
        InputError: two entries of one name, a label set without a usable face, no row at all, or a
            model that fails.
    """
    names = [entry.name for entry in entries]
    distinct_names(names, names)
    runs = {
        row_name(entry.name, kind.name): (entry, kind)
        for entry in entries
        for kind in boxes
        if (own_search(entry, kind) or entry.find) and (kind is TRUE_BOXES or not entry.box_start)
    }
    if not runs:
        kinds = ", ".join(kind.name or "true boxes" for kind in boxes)
        raise InputError(f"boxes: found {kinds}, expected others: {', '.join(names)} cannot take these")
    tables: list[pd.DataFrame] = []
    rejections: list[tuple[str, str, str]] = []
    faces: dict[str, list[Face]] = {}
    landmarks: dict[tuple[str, str], NDArray[np.float32]] = {}
    known: dict[Hashable, dict[str, NDArray[np.float32]]] = {}
    for labels, items in label_sets.items():
        rejected: list[tuple[str, str]] = []
        used: list[Face] = []
        found: dict[str, list[NDArray[np.float32]]] = {name: [] for name in runs}
        with Progress(desc=f"labels {labels}", unit=" faces") as progress:
            for batch in read_batches(items, rejected):
                keys = [what_is_seen(face, image) for face, image in batch]
                new = {key: item for key, item in zip(keys, batch, strict=True) if key not in known}
                known.update((key, {}) for key in new)
                boxes_of: dict[str, list[Array | None]] = {}
                for name, (entry, kind) in runs.items():
                    if align := own_search(entry, kind):
                        points = search_batch(align, list(new.values()))
                    else:
                        if kind.name not in boxes_of:
                            boxes_of[kind.name] = [kind.find(face, image) for face, image in new.values()]
                        points = find_batch(entry, list(new.values()), boxes_of[kind.name])
                    for key, own in zip(new, points, strict=True):
                        known[key][name] = own
                    found[name].append(np.stack([known[key][name] for key in keys]))
                used.extend(face for face, _ in batch)
                progress.update(len(batch))
        if not used:
            first = ": " + ": ".join(rejected[0]) if rejected else ""
            raise InputError(f"labels {labels}: found no usable face and {len(rejected)} rejected{first}")
        faces[labels] = used
        rejections += [(labels, name, reason) for name, reason in rejected]
        for name in runs:
            landmarks[name, labels] = np.concatenate(found[name])
            tables.append(face_table(name, labels, used, landmarks[name, labels]))
    return Evaluation(
        table=pd.concat(tables, ignore_index=True),
        rejected=pd.DataFrame(rejections, columns=["labels", "name", "reason"]),
        faces=faces,
        landmarks=landmarks,
        rows={
            name: Row(entry.size, SEARCHED if own_search(entry, kind) else kind.source, entry.version)
            for name, (entry, kind) in runs.items()
        },
    )


def what_is_seen(face: Face, image: Image) -> Hashable:
    """A key of all that the landmarks found for a face depend on, which its labels need not be."""
    return face.name, box_landmarks(face).tobytes(), image.shape, zlib.crc32(image.tobytes())


def own_search(entry: Entry, kind: Boxes) -> Search | None:
    """What an entry finds the faces of photos with, if it takes no boxes of this kind but searches."""
    return entry.align if kind.detected else None


def search_batch(align: Search, batch: Sequence[tuple[Face, Image]]) -> NDArray[np.float32]:
    """The landmarks (N, 68, 3) that a model finds by itself in N photos.

    Args:
        align: see `Entry`.
        batch: of each photo its labelled face, and the image. Of several faces found, the one whose
            landmarks are nearest to the labelled face counts; a missed face is NaN.
    """
    landmarks = np.full((len(batch), geometry.NUM_LANDMARKS, 3), np.nan, np.float32)
    for i, (face, image) in enumerate(batch):
        found = align(image)
        row = nearest_box(geometry.landmark_box(found), face) if len(found) else None
        if row is not None:
            landmarks[i] = found[row]
    return landmarks


def find_batch(
    entry: Entry, batch: Sequence[tuple[Face, Image]], boxes: Sequence[Array | None]
) -> NDArray[np.float32]:
    """The landmarks (N, 68, 3) of the N faces of a batch; NaN for one without a box."""
    landmarks = np.full((len(batch), geometry.NUM_LANDMARKS, 3), np.nan, np.float32)
    found_boxes = {i: box for i, box in enumerate(boxes) if box is not None}
    if not found_boxes:
        return landmarks
    kept, own = list(found_boxes), list(found_boxes.values())
    if entry.box_start:
        own = [geometry.landmark_box(box_landmarks(batch[i][0])[entry.box_start :]) for i in kept]
    assert entry.find is not None  # or there would be no such run
    found = entry.find([batch[i][1] for i in kept], np.stack(own))
    if not np.isfinite(found[..., :2]).all():
        raise InputError(f"{entry.name}: found landmarks that are NaN or infinite, expected finite ones")
    landmarks[kept] = found
    return landmarks


def face_table(model: str, labels: str, faces: Sequence[Face], landmarks: Array) -> pd.DataFrame:
    """The rows of `Evaluation.table` of one model and label set."""
    pose = np.array([face.pose for face in faces], np.float64)
    errors = metrics.nme(landmarks, [face.landmarks for face in faces])
    bins = metrics.yaw_bins(pose[:, 1])
    turned = np.full((len(faces), 3), np.nan)
    known = np.isfinite(landmarks).all((1, 2))  # z included: without it there is no pose
    turned[known] = np.degrees(geometry.pose_from_landmarks(landmarks[known], mean_shape()))
    table = pd.DataFrame(
        {
            "model": model,
            "labels": labels,
            "name": [face.name for face in faces],
            "yaw": pose[:, 1],
            "bin": [metrics.YAW_BINS[i] if i != metrics.UNKNOWN_BIN else "" for i in bins],
            "nme": np.where(np.isnan(errors), np.inf, errors),
        }
    )
    table[POSE_ERRORS] = metrics.pose_errors(turned, pose)
    return table


def summarize(table: pd.DataFrame) -> Metrics:
    """`metrics.json`: model -> label set -> metric -> number, in the order of the table."""
    result: Metrics = {}
    for (model, labels), part in table.groupby(["model", "labels"], sort=False):
        summary = metrics.summarize(part["nme"], part["yaw"])
        result.setdefault(str(model), {})[str(labels)] = summary | metrics.summarize_pose(part[POSE_ERRORS])
    return result
