"""Accuracy of models on labelled faces: the error of each face, and summaries."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from tqdm import tqdm

from tf_dhm.core.errors import InputError
from tf_dhm.core.types import Array
from tf_dhm.evaluation.boxes import TRUE_BOXES, Boxes, with_boxes
from tf_dhm.evaluation.entries import Entry, distinct_names
from tf_dhm.evaluation.labelled_faces import Face, Refused, read_batches
from tf_dhm.face import geometry, metrics

Metrics = dict[str, dict[str, dict[str, Any]]]
"""Model -> label set -> metric -> number: the content of metrics.json."""


@dataclass(frozen=True)
class Evaluation:
    """What models made of labelled faces.

    Attributes:
        table: one row for each model, label set and face: model, labels, name, yaw (degrees, NaN
            if unknown), bin (as in `metrics.YAW_BINS`, "" if unknown), nme (percent).
        refused: one row for each face left out: labels, name, reason.
        faces: label set -> its usable faces.
        landmarks: (model, label set) -> (N, 68, 3) float32 pixels of the images, as `faces`.
        boxes: what the crops were cut from.
    """

    table: pd.DataFrame
    refused: pd.DataFrame
    faces: dict[str, list[Face]]
    landmarks: dict[tuple[str, str], NDArray[np.float32]]
    boxes: str = TRUE_BOXES


def evaluate(
    entries: Sequence[Entry], label_sets: Mapping[str, Iterable[Face | Refused]], boxes: Boxes | None = None
) -> Evaluation:
    """Run models over the faces of label sets.

    Args:
        entries: the models.
        label_sets: name -> faces.
        boxes: what crops are cut from; None: the boxes of the true landmarks.

    Raises:
        InputError: two entries of one name, a label set without a usable face, or a model that fails.
    """
    names = [entry.name for entry in entries]
    distinct_names(names, names)
    for entry in entries if boxes is not None else ():
        if entry.box_start:
            raise InputError(f"boxes: found {entry.name}, which wants boxes without the jaw, so true ones")
    rows: list[pd.DataFrame] = []
    refusals: list[tuple[str, str, str]] = []
    faces: dict[str, list[Face]] = {}
    landmarks: dict[tuple[str, str], NDArray[np.float32]] = {}
    for labels, items in label_sets.items():
        refused: list[tuple[str, str]] = []
        used: list[Face] = []
        found: dict[str, list[Array]] = {entry.name: [] for entry in entries}
        with tqdm(desc=f"labels {labels}", unit="face") as progress:
            for batch in read_batches(items, refused):
                progress.update(len(batch))
                own: list[Array] = []
                if boxes is not None:
                    batch, own = with_boxes(batch, boxes, refused)
                    if not batch:
                        continue
                truth = np.stack([face.landmarks for face, _ in batch])
                images = [image for _, image in batch]
                for entry in entries:
                    true = geometry.landmark_box(truth[:, entry.box_start :])
                    found[entry.name].append(entry.find(images, np.stack(own) if own else true))
                used.extend(face for face, _ in batch)
        if not used:
            first = ": " + ": ".join(refused[0]) if refused else ""
            raise InputError(f"labels {labels}: found no usable face and {len(refused)} refused{first}")
        faces[labels] = used
        refusals += [(labels, name, reason) for name, reason in refused]
        for entry in entries:
            points = np.concatenate(found[entry.name])
            landmarks[entry.name, labels] = points
            rows.append(face_table(entry.name, labels, used, points))
    return Evaluation(
        table=pd.concat(rows, ignore_index=True),
        refused=pd.DataFrame(refusals, columns=["labels", "name", "reason"]),
        faces=faces,
        landmarks=landmarks,
        boxes=TRUE_BOXES if boxes is None else boxes.source,
    )


def face_table(model: str, labels: str, faces: Sequence[Face], landmarks: Array) -> pd.DataFrame:
    """The rows of `Evaluation.table` of one model and label set."""
    yaw = np.array([face.pose[1] for face in faces], np.float64)
    return pd.DataFrame(
        {
            "model": model,
            "labels": labels,
            "name": [face.name for face in faces],
            "yaw": yaw,
            "bin": [metrics.YAW_BINS[i] if i != metrics.UNKNOWN_BIN else "" for i in metrics.yaw_bins(yaw)],
            "nme": metrics.nme(landmarks, [face.landmarks for face in faces]),
        }
    )


def summarize(table: pd.DataFrame) -> Metrics:
    """`metrics.json`: model -> label set -> metric -> number, in the order of the table."""
    result: Metrics = {}
    for (model, labels), part in table.groupby(["model", "labels"], sort=False):
        result.setdefault(str(model), {})[str(labels)] = metrics.summarize(part["nme"], part["yaw"])
    return result
