"""The cross-fitted accuracy of models: the value of their features in the annotation of a dataset."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np

from pipelines.adaptation.views import OutputFeatures, Views, from_unit, mirror_unit, to_unit
from tf_dhm.core.types import Image
from tf_dhm.evaluation.boxes import TRUE_BOXES
from tf_dhm.evaluation.evaluate import Evaluation, Row
from tf_dhm.evaluation.labelled_faces import Face, read_batches, true_box
from tf_dhm.face.geometry import MIRROR_68
from tf_dhm.training import output_layer
from tf_dhm.training.output_layer import Examples, OutputLayer


def add_cross_fitted(evaluation: Evaluation, models: Sequence[tuple[str, Path]], folds: int) -> Evaluation:
    """Add a row for each model whose output layer is fitted to the annotation of the dataset.

    The faces are dealt into folds; those of each are predicted by a layer that was fitted to the faces of
    the others. Crops are cut from the true boxes, and there is one pass.

    Args:
        evaluation: of the models, with true boxes.
        models: (name of its row, folder) of each.
        folds: 2 or more.

    Raises:
        InputError: a model that is no Fast DHM of this project, or fewer faces than folds.
    """
    for name, folder in models:
        model = OutputFeatures(folder)
        landmarks = {}
        for labels, faces in evaluation.faces.items():
            views = look_at_faces(model, faces)
            points = np.stack([face.landmarks for face in faces]).astype(np.float64)
            points[..., 2] -= points[..., 2].mean(1, keepdims=True)
            unit = to_unit(points[:, None], views.matrices, model.size)
            examples = Examples(
                np.concatenate([views.features, views.mirrored], 1),
                np.concatenate([unit, mirror_unit(unit, np.array(MIRROR_68))], 1),
                np.array([face.name for face in faces]),
            )
            found = output_layer.cross_fit(examples, partial(keep, model.layer), folds).after
            landmarks[labels] = from_unit(found, views.matrices[:, 0], model.size).astype(np.float32)
        old = evaluation.rows[name]
        fitted = (
            f"cross-fitted: the output layer is fitted to this annotation on {folds - 1} of {folds} parts of "
            "the faces and tested on the other part, in turn; not comparable with rows that are not fitted"
        )
        row = Row(old.size, TRUE_BOXES.source, old.version, fitted)
        evaluation = evaluation.with_row(f"{name} (cross-fitted, {folds} folds)", row, landmarks)
    return evaluation


def keep(layer: OutputLayer, examples: Examples) -> OutputLayer:
    """The prior of landmarks of the same meaning: the layer as it is, whatever the examples."""
    return layer


def look_at_faces(model: OutputFeatures, faces: Sequence[Face]) -> Views:
    """The first view of faces that were evaluated before, so that their images can be read."""
    parts: list[Views] = []
    for batch in read_batches(faces, []):
        images: list[Image] = [image for _, image in batch]
        views = model.views(images, np.stack([true_box(face) for face, _ in batch]), second=False)
        parts.append(views)
    return Views.join(parts)
