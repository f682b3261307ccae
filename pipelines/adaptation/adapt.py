"""Fit the output layer of a model to another annotation, check it on held-out faces, and export it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from pipelines.adaptation.annotations import FOLDS, AnnotatedFace, check_faces, check_kind, check_pairs
from pipelines.adaptation.kinds import BoxKind, Kind
from pipelines.adaptation.views import OutputFeatures, Views, mirror_unit, to_unit
from tf_dhm.core.errors import InputError
from tf_dhm.core.machine import processor_name, software_versions
from tf_dhm.core.progress import Progress
from tf_dhm.core.types import Array, Image
from tf_dhm.core.words import counted
from tf_dhm.export.card import model_card
from tf_dhm.export.description import CARD_FILE, Description
from tf_dhm.export.saved_model import read_head, save_model
from tf_dhm.export.tflite import convert
from tf_dhm.face import geometry, metrics
from tf_dhm.face.mean_face import mean_shape
from tf_dhm.runtime.detector import FaceDetector
from tf_dhm.runtime.images import decode_raster
from tf_dhm.runtime.tflite import DEFAULT_KIND
from tf_dhm.training import output_layer
from tf_dhm.training.output_layer import CrossFit, Examples, OutputLayer

SAME_MEANING = 15.0
"""NME in percent of the old landmarks below which 68 points are taken to mean the same."""
UNRELATED = 20.0
"""NME in percent on held-out faces above which the labels do not belong to the faces."""
FEWEST_OF_A_RANGE = 5
YAW_EDGES = (-90, -60, -30, 30, 60, 90)
MIRROR_TOLERANCE = 1.5
"""Errors of mirrored faces with the learnt pairs, over those of the faces themselves, up to which the points
count as symmetric."""
IMAGES_AT_ONCE = 64


@dataclass(frozen=True)
class SeenFaces:
    """Labelled faces as a model sees them.

    Attributes:
        faces: those with a box, N of them.
        views: of the model; in the first, errors are measured.
        points: (N, V, P, 3) labels in the network's unit, NaN where unknown.
        rejected: (name, reason) of the others.
    """

    faces: list[AnnotatedFace]
    views: Views
    points: Array
    rejected: list[tuple[str, str]]


@dataclass(frozen=True)
class Adapted:
    """A fitted output layer and how it was found.

    Attributes:
        kind: what the points become.
        layer: fitted to all faces.
        strength: of its penalty.
        cross: predictions for held-out faces.
        truth: (N, P, 3) their labels.
        ignored: names of faces with labels that are far off, which did not count.
        pairs: (P,) the mirror image of each point; None if it is not known.
        notes: what the user should know, a sentence each.
    """

    kind: Kind
    layer: OutputLayer
    strength: float
    cross: CrossFit
    truth: Array
    ignored: list[str]
    pairs: NDArray[np.intp] | None
    notes: list[str]

    @property
    def before(self) -> Array:
        """(N,) NME in percent of held-out faces by the old output layer."""
        return metrics.nme(self.cross.before, self.truth)

    @property
    def after(self) -> Array:
        """(N,) NME in percent of the same faces by layers that were not fitted to them."""
        return metrics.nme(self.cross.after, self.truth)


def look_at(model: OutputFeatures, faces: Sequence[AnnotatedFace], boxes: BoxKind) -> SeenFaces:
    """Decode faces, find their boxes and compute the features of their crops.

    Args:
        model: the network.
        faces: with labelled points.
        boxes: "labels": crops are cut from the box of the labelled points; "detected": from that of the
            face detector whose centre is nearest to theirs, and errors are measured in the second pass.

    Raises:
        InputError: no face with a box.
    """
    detector = FaceDetector() if boxes == "detected" else None
    kept: list[AnnotatedFace] = []
    rejected: list[tuple[str, str]] = []
    parts: list[Views] = []
    images: list[Image] = []
    found: list[Array] = []

    def flush() -> None:
        if images:
            parts.append(model.views(images, np.stack(found)))
        images.clear()
        found.clear()

    for face in Progress(faces, desc="features", unit=" faces"):
        try:
            image = decode_raster(face.read_image(), face.name)
            check_near(face.points, image)
            box = find_box(face, image, detector)
        except (InputError, OSError) as error:
            rejected.append((face.name, str(error)))
            continue
        kept.append(face)
        images.append(image)
        found.append(box)
        if len(images) == IMAGES_AT_ONCE:
            flush()
    flush()
    if not kept:
        raise InputError(f"faces: found none that can be used, the first: {': '.join(rejected[0])}")
    views = Views.join(parts)
    if detector is not None:  # users get the second pass
        views = Views(views.features[:, ::-1], views.mirrored[:, ::-1], views.matrices[:, ::-1])
    points = np.stack([face.points for face in kept])
    points[..., 2] -= points[..., 2].mean(1, keepdims=True)  # NaN, if z is unknown, stays NaN
    return SeenFaces(kept, views, to_unit(points[:, None], views.matrices, model.size), rejected)


def check_near(points: Array, image: Image) -> None:
    """Raise InputError that names the first of (P, 3) points that is more than an image size outside."""
    height, width = image.shape[:2]
    sides = np.array([width, height])
    far = (points[:, :2] < -sides) | (points[:, :2] > 2 * sides)
    if far.any():
        point, axis = np.argwhere(far)[0]
        value = points[point, axis]
        raise InputError(
            f"{'xy'[axis]}{point}: found {value:.1f}, far outside of the {width} x {height} image"
        )


def find_box(face: AnnotatedFace, image: Image, detector: FaceDetector | None) -> Array:
    """The box (4,) of a face; InputError if it has none."""
    known = face.points[np.isfinite(face.points[:, :2]).all(1), :2]
    if detector is None:
        return geometry.landmark_box(known)
    centre = (known.min(0) + known.max(0)) / 2.0
    boxes = [np.asarray(detection.box, np.float64) for detection in detector.detect(image)]
    around = [box for box in boxes if (box[:2] <= centre).all() and (centre <= box[2:]).all()]
    if around:
        return min(around, key=lambda box: float(np.linalg.norm(box[:2] + box[2:] - 2.0 * centre)))
    raise InputError("found no face around the labelled points")


def adapt(
    model: OutputFeatures,
    seen: SeenFaces,
    *,
    kind: Kind | None = None,
    mirror: Sequence[int] | Literal["learn", "none"] = "learn",
) -> Adapted:
    """Fit the output layer to labelled faces.

    Args:
        model: the network.
        seen: the faces.
        kind: what the points become; None: landmarks, if they are 68 that lie near those of the model.
        mirror: the mirror image of each point, or whether to learn it. For landmarks it is known.

    Raises:
        InputError: too few faces, labels that do not belong to the faces, or pairs that are no mirror map.
    """
    check_faces(seen.faces)
    names = [face.name for face in seen.faces]
    groups = np.array([face.group for face in seen.faces])
    count = seen.points.shape[2]
    old = model.layer(seen.views.features[:, 0])
    notes = []
    is_68 = count == geometry.NUM_LANDMARKS
    check_kind(kind, count, finetune=False)
    if kind is None:
        near = is_68 and float(np.median(metrics.nme(old, seen.points[:, 0]))) < SAME_MEANING
        kind = "landmarks" if near else "points"
        if is_68 and not near:
            notes.append("The 68 points are not those of the model and become an output of their own.")
    make_prior: Callable[[Examples], OutputLayer]
    if kind == "landmarks":
        pairs: NDArray[np.intp] | None = np.array(geometry.MIRROR_68)

        def make_prior(examples: Examples) -> OutputLayer:
            return model.layer
    else:

        def make_prior(examples: Examples) -> OutputLayer:
            return combined(model.layer, examples)

        plain = Examples(seen.views.features, seen.points, groups)
        pairs = check_pairs(mirror, count) if not isinstance(mirror, str) else None
        if mirror == "learn":
            pairs = learn_pairs(plain, seen.views.mirrored, make_prior(plain))
            if pairs is None:
                notes.append(
                    "No mirror map of the points was found, so mirrored copies of the faces were not used. "
                    "If the points are symmetric, give their map, for example --mirror-map 1 0 2 4 3 for the "
                    "eyes, the nose and the corners of the mouth."
                )
    examples = Examples(seen.views.features, seen.points, groups)
    if pairs is not None:
        flipped = mirror_unit(seen.points, pairs)
        examples = Examples(
            np.concatenate([seen.views.features, seen.views.mirrored], 1),
            np.concatenate([seen.points, flipped], 1),
            groups,
        )
    cross = output_layer.cross_fit(examples, make_prior, FOLDS)
    truth = seen.points[:, 0]
    held_out = float(np.median(metrics.nme(cross.after, truth)))
    if held_out > UNRELATED:
        raise InputError(
            f"labels: found a median error of {held_out:.0f} % of the face on held-out faces, expected less "
            f"than {UNRELATED:.0f} %: they do not belong to these faces"
        )
    found = output_layer.fit(examples, make_prior(examples))
    ignored = [name for name, weight in zip(names, found.weights, strict=True) if weight == 0.0]
    if ignored:
        shown = ", ".join(ignored[:5]) + (f" and {len(ignored) - 5} more" if len(ignored) > 5 else "")
        notes.append(
            f"The labels of {counted(len(ignored), 'face')} are far off and were not counted: {shown}."
        )
    if missing := missing_yaw(old, mirrored=pairs is not None):
        notes.append(f"Fewer than {FEWEST_OF_A_RANGE} faces have a yaw of {missing}: expect no gain there.")
    return Adapted(kind, found.layer, found.strength, cross, truth, ignored, pairs, notes)


def combined(layer: OutputLayer, examples: Examples) -> OutputLayer:
    """The layer of other points as sums of the 68 landmarks of `layer`; their z is that of these sums."""
    weights = output_layer.combine_points(layer(examples.features[:, 0]), examples.points[:, 0])  # (68, P)
    return OutputLayer(np.einsum("fld,lp->fpd", layer.kernel, weights), weights.T @ layer.bias)


def learn_pairs(examples: Examples, mirrored: Array, prior: OutputLayer) -> NDArray[np.intp] | None:
    """The mirror image of each point, by the predictions of a fitted layer on mirrored faces.

    Args:
        examples: faces as they are.
        mirrored: (N, V, F) features of their mirrored crops.
        prior: see `output_layer.fit`.

    Returns:
        (P,), or None if the points are not symmetric.
    """
    layer = output_layer.fit(examples, prior, [output_layer.FIRST_STRENGTH]).layer
    truth = examples.points[:, 0, :, :2]
    itself = layer(examples.features[:, 0])[..., :2]
    back = layer(mirrored[:, 0])[..., :2] * [-1.0, 1.0]
    cost = np.nanmedian(np.linalg.norm(back[:, :, None] - truth[:, None], axis=-1), 0)  # (P found, P true)
    found, true = linear_sum_assignment(cost)
    pairs = np.empty(len(cost), np.intp)
    pairs[true] = found
    usual = np.nanmedian(np.linalg.norm(itself - truth, axis=-1))
    if (pairs[pairs] != np.arange(len(pairs))).any() or cost[found, true].mean() > MIRROR_TOLERANCE * usual:
        return None
    return pairs


def missing_yaw(landmarks: Array, mirrored: bool) -> str:
    """The ranges of yaw with too few faces, in words; "" for none.

    Args:
        landmarks: (N, 68, 3) of the model.
        mirrored: whether mirrored copies are used, so that the sign does not matter.
    """
    yaw = np.degrees(geometry.pose_from_landmarks(landmarks, mean_shape())[:, 1])
    edges = (0, *YAW_EDGES[3:]) if mirrored else YAW_EDGES
    counts, _ = np.histogram(np.clip(np.abs(yaw) if mirrored else yaw, -90, 90), edges)
    ranges = [
        f"{low} to {high} degrees"
        for low, high, number in zip(edges, edges[1:], counts, strict=False)
        if number < FEWEST_OF_A_RANGE
    ]
    return ", ".join(ranges)


def summary(adapted: Adapted) -> str:
    """Summary of an adaptation: errors before and after on held-out faces, with their spread."""
    lines = [
        f"{len(adapted.truth)} faces of {adapted.truth.shape[1]} points; mean NME on held-out faces "
        f"({FOLDS} folds; in brackets the least and the greatest of the folds):"
    ]
    old = "old output layer" if adapted.kind == "landmarks" else "sums of the old landmarks"
    for title, errors in ((old, adapted.before), ("fitted output layer", adapted.after)):
        means = [errors[adapted.cross.fold == fold].mean() for fold in range(FOLDS)]
        lines.append(f"  {title}: {errors.mean():.2f} % [{min(means):.2f}, {max(means):.2f}]")
    lines.append(f"strength of the penalty, by cross-validation: {adapted.strength:g}")
    return "\n".join([*lines, *(f"note: {note}" for note in adapted.notes)])


def export(
    model: OutputFeatures, source: Path, adapted: Adapted, dataset: str, note: str, folder: Path, command: str
) -> Path:
    """Write the adapted model as version 1 of a model folder, with its TFLite file and card.

    Args:
        model: the network that was adapted.
        source: its folder, of which the visibility and confidence outputs are kept.
        adapted: the fit.
        dataset: name of the dataset.
        note: what the card says of it.
        folder: the model folder; must not have a version 1.
        command: the command line.

    Returns:
        The version folder.

    Raises:
        InputError: the version exists.
    """
    old = model.description
    points = adapted.layer if adapted.kind == "points" else None
    if points is None:
        kernel, bias = (part.astype(np.float32) for part in (adapted.layer.kernel, adapted.layer.bias))
        model.network.get_layer("landmarks").set_weights([kernel.reshape(len(kernel), -1), bias.ravel()])
    unknown = np.full(len(adapted.after), np.nan)
    what = f"{len(adapted.truth)} faces of {dataset}" + (
        f", {len(points.bias)} points as the output `points`; the landmarks are unchanged" if points else ""
    )
    description = Description(
        preset=old.preset,
        model=old.model,
        options={},
        command=command,
        datasets=old.datasets | {f"{dataset} (output layer)": note},
        faces_seen=0,
        hours=0.0,
        machine=processor_name(),
        val=metrics.summarize(adapted.after, unknown),
        initialized_from=dataclasses.asdict(old),
        quality=old.quality,
        adapted=what,
        software=software_versions(),
    )
    version_dir = folder / "1"
    save_model(model.network.get_weights(), old.model, description, version_dir, read_head(source), points)
    convert(version_dir, None, (DEFAULT_KIND,), name=folder.name)
    (folder / CARD_FILE).write_text(model_card(folder.name, version_dir, description, {}, "1"))
    return version_dir
