"""Crops from which visibility and confidence are learnt: well and badly framed faces, and no faces.

Each crop is made from a prepared face by its number in a series: equal seeds give equal crops. After
training, the head is fitted to the finished network's features of these crops.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from pipelines.datasets.samples import OCCLUDED, SELF_OCCLUDED, UNLABELLED, VISIBLE, unknown_visibility
from pipelines.prepared.arrays import FaceArrays
from pipelines.synthetic.photo import background, degrade
from pipelines.synthetic.series import available_cores
from tf_dhm.core.progress import Progress
from tf_dhm.core.types import Array, Image
from tf_dhm.face import geometry, metrics
from tf_dhm.face.metrics import balanced_accuracy, roc_auc
from tf_dhm.networks.layers import DiffusionHeatMap
from tf_dhm.networks.models import constant_heatmap
from tf_dhm.networks.quality import (
    GOOD_NME,
    CropFeatures,
    QualityConfig,
    QualityHead,
    fit_head,
    network_with_features,
)
from tf_dhm.runtime.crops import cut_crops

Generator = np.random.Generator

SHARES = {"face": 0.45, "astray": 0.25, "shuffled": 0.1, "covered": 0.1, "background": 0.1}
"""Kinds of crops and their shares. face: framed as a detector does. astray: the crop turned, shifted or
scaled far beyond that, down to an eye or a cheek. shuffled: the tiles of a face crop in another order.
covered: the face painted over. background: never held a face."""
KINDS = tuple(SHARES)
WITH_FACE = ("face", "astray")
"""Kinds that have landmarks."""
ROLL, SHIFT, SCALE = 30.0, 0.05, 0.1
"""How a detector frames a face: greatest roll in degrees, standard deviations of the shift over the side
of the crop and of the logarithm of the side (docs/detector.md)."""
DEGRADATION = 0.7
"""Strength of `photo.degrade`."""
BATCH = 256
SECOND_PASS_EVERY = 4
"""Every N-th batch is shown to the network again, as in a second pass: with the heat map of the landmarks
that it predicted."""
CROPS_PER_FACE = 2
"""Maximum number of crops made from one face."""
HELD_OUT_SEED = 1


@dataclass(frozen=True)
class QualityCrops:
    """Crops and their labels.

    images (N, S, S, 3) uint8 RGB; landmarks (N, 68, 3) float32 crop pixels, NaN where there is no
    face; visibility (N, 68) uint8, see `samples`; kind (N,) of KINDS.
    """

    images: Image
    landmarks: NDArray[np.float32]
    visibility: NDArray[np.uint8]
    kind: NDArray[np.str_]


def crop_batches(
    faces: FaceArrays, size: int, count: int, seed: int = 0, batch_size: int = BATCH
) -> Iterator[QualityCrops]:
    """Make `count` crops of random kinds, cycling through the faces in a random order.

    Args:
        faces: prepared faces.
        size: side of the crops in pixels.
        count: number of crops.
        seed: seed of the series.
        batch_size: crops in all batches but the last.
    """
    order = np.random.default_rng((seed, 0)).permutation(len(faces))

    def make(number: int) -> tuple[Image, Array, NDArray[np.uint8], int]:
        return make_crop(faces, int(order[number % len(faces)]), size, (seed, 1, number))

    # Each crop has a seed of its own, so the threads change nothing.
    with ThreadPoolExecutor(available_cores()) as pool:
        for start in range(0, count, batch_size):
            made = pool.map(make, range(start, min(start + batch_size, count)))
            images, landmarks, visibility, kinds = zip(*made, strict=True)
            yield QualityCrops(
                np.stack(images),
                np.stack(landmarks).astype(np.float32),
                np.stack(visibility),
                np.array([KINDS[kind] for kind in kinds]),
            )


def make_crop(
    faces: FaceArrays, row: int, size: int, seed: tuple[int, ...]
) -> tuple[Image, Array, NDArray[np.uint8], int]:
    """One crop: image (S, S, 3), landmarks (68, 3), visibility (68,) and kind."""
    rng = np.random.default_rng(seed)
    number = int(rng.choice(len(KINDS), p=list(SHARES.values())))
    kind = KINDS[number]
    unknown = np.full((geometry.NUM_LANDMARKS, 3), np.nan)
    if kind == "background":
        return degrade(empty(size, rng), DEGRADATION, rng), unknown, unknown_visibility(), number
    cut = cut_astray if kind == "astray" else cut_as_detected
    image, points = cut(faces.images[row], faces.landmarks[row], size, rng)
    visibility = faces.visibility[row]
    if rng.random() < 0.5:
        image = np.ascontiguousarray(image[:, ::-1])
        points, visibility = geometry.mirror_landmarks(points, size), visibility[geometry.MIRROR_68]
    if kind in WITH_FACE:
        if rng.random() < 0.15:
            image, visibility = occlude(image, points, visibility, rng)
        if rng.random() < 0.15:
            image = cut_off(image, rng)
    else:
        image = shuffle_tiles(image, rng) if kind == "shuffled" else cover_face(image, points, rng)
        points, visibility = unknown, unknown_visibility()
    return degrade(image.astype(np.float32) / 255.0, DEGRADATION, rng), points, visibility, number


def cut_as_detected(stored: Image, landmarks: Array, size: int, rng: Generator) -> tuple[Image, Array]:
    """Cut a face out as a detector frames it."""
    shift = np.clip(rng.normal(0.0, SHIFT, 2), -2.5 * SHIFT, 2.5 * SHIFT)
    scale = np.exp(np.clip(rng.normal(0.0, SCALE), -2.5 * SCALE, 2.5 * SCALE))
    return cut_square(stored, landmarks, shift, scale, rng.uniform(-ROLL, ROLL), size, rng)


def cut_astray(stored: Image, landmarks: Array, size: int, rng: Generator) -> tuple[Image, Array]:
    """Cut a square that no detector would: with a large turn, shift or scale, or several of them."""
    how = rng.integers(1, 8)
    roll = rng.uniform(-180.0, 180.0) if how & 1 else rng.uniform(-ROLL, ROLL)
    scale = 2.0 ** rng.uniform(-3.0, 1.3) if how & 2 else np.exp(rng.normal(0.0, SCALE))
    shift = rng.uniform(-0.8, 0.8, 2) if how & 4 else rng.normal(0.0, SHIFT, 2)
    return cut_square(stored, landmarks, shift, float(scale), roll, size, rng)


def cut_square(
    stored: Image,
    landmarks: Array,
    shift: NDArray[np.floating],
    scale: float,
    roll: float,
    size: int,
    rng: Generator,
) -> tuple[Image, Array]:
    """Cut a crop.

    Args:
        stored: (C, C, 3) with the face in the middle.
        landmarks: (68, 3) pixels of it.
        shift: (2,) of the centre, in sides of the plain crop.
        scale: of the side.
        roll: degrees, clockwise.
        size: side of the crop in pixels.
        rng: chooses what lies beyond the border: the photo mirrored, or black as at the end of one.

    Returns:
        (size, size, 3) and the landmarks in its pixels.
    """
    margin = len(stored)
    border = cv2.BORDER_REFLECT_101 if rng.random() < 0.7 else cv2.BORDER_CONSTANT
    beyond = margin - 1
    extended = np.asarray(cv2.copyMakeBorder(stored, beyond, beyond, beyond, beyond, border), np.uint8)
    points = np.array(landmarks, np.float64)
    points[:, :2] += beyond
    box = geometry.landmark_box(points)
    centre = (box[:2] + box[2:]) / 2 + shift * geometry.crop_square(box)[2]
    half = (box[2:] - box[:2]) / 2 * scale
    crops, matrices = cut_crops(
        extended, np.concatenate([centre - half, centre + half]), size, np.radians(roll)
    )
    return crops[0], geometry.transform_landmarks(geometry.invert_affine(matrices[0]), points)


def occlude(
    image: Image, points: Array, visibility: NDArray[np.uint8], rng: Generator
) -> tuple[Image, NDArray[np.uint8]]:
    """Put a rectangle over a part of the crop; visible points below it become occluded."""
    size = len(image)
    x0, y0 = rng.uniform(-0.1, 0.9, 2) * size
    x1, y1 = np.array([x0, y0]) + rng.uniform(0.1, 0.5, 2) * size
    rows, columns = (slice(max(0, round(low)), max(0, round(high))) for low, high in ((y0, y1), (x0, x1)))
    image = image.copy()
    image[rows, columns] = texture(size, rng)[rows, columns]
    x, y = points[:, 0], points[:, 1]
    below = (x > x0) & (x < x1) & (y > y0) & (y < y1) & (visibility == VISIBLE)
    return image, np.where(below, OCCLUDED, visibility).astype(np.uint8)


def cut_off(image: Image, rng: Generator) -> Image:
    """Paint one side black, as if the photo ended within the crop."""
    rows = max(1, round(rng.uniform(0.0, 0.3) * len(image)))
    turns = int(rng.integers(4))
    turned = np.rot90(image, turns).copy()
    turned[:rows] = 0
    return np.ascontiguousarray(np.rot90(turned, -turns))


def shuffle_tiles(image: Image, rng: Generator) -> Image:
    """Reorder the tiles of a crop so that none keeps its place."""
    tiles = int(rng.integers(2, 5))
    edges = np.linspace(0, len(image), tiles + 1).astype(int)
    side = int(np.diff(edges).min())
    parts = [image[y : y + side, x : x + side] for y in edges[:-1] for x in edges[:-1]]
    order = rng.permutation(len(parts))
    # Each tile moves to the place of the next one in a random cycle.
    placed = dict(zip(order, np.roll(order, 1), strict=True))
    rows = [np.concatenate([parts[placed[r * tiles + c]] for c in range(tiles)], 1) for r in range(tiles)]
    return np.asarray(cv2.resize(np.concatenate(rows), image.shape[1::-1]), np.uint8)


def cover_face(image: Image, points: Array, rng: Generator) -> Image:
    """Paint an ellipse over the whole face, with a soft edge."""
    box = geometry.landmark_box(points)
    axes = (box[2:] - box[:2]) / 2 * rng.uniform(1.2, 1.5, 2)
    x, y = ((box[:2] + box[2:]) / 2).tolist()
    width, height = (2 * axes).tolist()
    whole = np.zeros(image.shape[:2], np.float32)
    cv2.ellipse(whole, ((x, y), (width, height), float(rng.uniform(-20, 20))), (1.0,), cv2.FILLED)
    blur = float(rng.uniform(0.5, 0.04 * len(image)))
    matte = np.asarray(cv2.GaussianBlur(whole, (0, 0), blur), np.float32)[..., None]
    return np.asarray(image * (1 - matte) + texture(len(image), rng) * matte, np.uint8)


def texture(size: int, rng: Generator) -> Image:
    """(size, size, 3) without a face."""
    return (empty(size, rng) * 255).astype(np.uint8)


def empty(size: int, rng: Generator) -> NDArray[np.float32]:
    """(size, size, 3) in [0, 1] without a face: a rendered background, one colour, or noise."""
    makers: tuple[Callable[[], NDArray[np.floating]], ...] = (
        lambda: background(size, rng),
        lambda: np.broadcast_to(rng.uniform(0, 1, 3), (size, size, 3)),
        lambda: rng.uniform(0, 1, (size, size, 3)),
    )
    chosen = makers[int(rng.choice(len(makers), p=[0.8, 0.1, 0.1]))]
    return chosen().astype(np.float32)


class FeatureFinder:
    """A network of `models.build_model` with its last features, for crops and for second passes."""

    def __init__(self, network: tf.keras.Model, size: int) -> None:
        full = network_with_features(network)
        mean, draw = tf.constant(constant_heatmap(size)), DiffusionHeatMap(size, dtype="float32")
        self.size = size
        image = tf.TensorSpec([None, size, size, 3], tf.uint8)
        points = tf.TensorSpec([None, geometry.NUM_LANDMARKS, 3], tf.float32)

        def find(crops: Any, heatmap: Any) -> Any:
            return full({"image": tf.cast(crops, tf.float32), "heatmap": heatmap}, training=False)

        self._first = tf.function(lambda crops: find(crops, mean), input_signature=[image], autograph=False)
        self._second = tf.function(
            lambda crops, initial: find(crops, draw(initial)),
            input_signature=[image, points],
            autograph=False,
        )

    def __call__(
        self, crops: Image, initial: NDArray[np.float32] | None = None
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Landmarks (B, 68, 3) in crop pixels and features (B, F) of crops (B, S, S, 3)."""
        found = self._first(crops) if initial is None else self._second(crops, initial)
        landmarks = geometry.unit_to_pixels(found["landmarks"].numpy(), self.size)
        return landmarks.astype(np.float32), found["features"].numpy()


def answer_crops(finder: FeatureFinder, batches: Iterable[QualityCrops]) -> CropFeatures:
    """The features of crops, the labels of their points, and whether the predicted landmarks are good."""

    def answers(
        crops: QualityCrops, found: NDArray[np.float32], features: NDArray[np.float32]
    ) -> CropFeatures:
        with_face = np.isfinite(crops.landmarks[:, 0, 0])
        right = np.zeros(len(found), bool)
        right[with_face] = metrics.nme(found[with_face], crops.landmarks[with_face]) <= GOOD_NME
        return CropFeatures(features, crops.visibility, right, crops.kind)

    parts = []
    for number, crops in enumerate(batches):
        found, features = finder(crops.images)
        parts.append(answers(crops, found, features))
        if number % SECOND_PASS_EVERY == 0:
            parts.append(answers(crops, *finder(crops.images, found)))
    return CropFeatures.join(parts)


def fit_quality(
    network: tf.keras.Model,
    size: int,
    faces: FaceArrays,
    held_out: FaceArrays,
    crops: int,
    config: QualityConfig | None = None,
) -> tuple[QualityHead, dict[str, Any]]:
    """Fit visibility and confidence to a finished network, which is not changed.

    Args:
        network: of `models.build_model`, trained.
        size: side of its crops in pixels.
        faces: to fit to.
        held_out: faces on which the head is measured.
        crops: number of crops, at most CROPS_PER_FACE per face; a tenth as many of held-out faces.
        config: settings of the fit.

    Returns:
        the head, and its quality on held-out faces: see `measure_quality`.
    """
    finder = FeatureFinder(network, size)
    fitted = config or QualityConfig()

    def series(of: FaceArrays, count: int, seed: int, title: str) -> Iterable[QualityCrops]:
        count = min(count, CROPS_PER_FACE * len(of))
        batches = crop_batches(of, size, count, seed)
        return Progress(batches, total=-(-count // BATCH), unit=" batches", desc=title, mininterval=1.0)

    answers = answer_crops(finder, series(faces, crops, fitted.seed, "visibility and confidence"))
    head = fit_head(answers, fitted)
    seed = fitted.seed + HELD_OUT_SEED
    others = answer_crops(finder, series(held_out, max(1, crops // 10), seed, "on held-out faces"))
    return head, measure_quality(head, others)


def measure_quality(head: QualityHead, answers: CropFeatures) -> dict[str, Any]:
    """How well visibility and confidence separate the labelled classes of crops.

    Returns:
        visibility, if the head has it, over labelled points of the kind "face": `visibility_auc`,
        `visibility_auc_self_occluded` and `visibility_auc_occluded` (visible points against those
        alone), `visibility_balanced_accuracy` at 0.5, `visibility_points`. confidence: over all
        crops, `confidence_auc` and `confidence_balanced_accuracy` at 0.5, `confidence_crops`; and
        `confidence_auc_<kind>`, right faces of the kind "face" against crops of a kind that hold
        none. A value is None if one of its two classes is missing.
    """
    found = {key: value.numpy() for key, value in head.predict(tf.constant(answers.features)).items()}
    summary: dict[str, Any] = {}
    if "visibility" in found:
        faces = answers.kind == "face"
        summary |= measure_visibility(found["visibility"][faces], answers.visibility[faces])
    confidence, right = found["confidence"], answers.right
    summary |= {
        "confidence_auc": roc_auc(confidence, right),
        "confidence_balanced_accuracy": balanced_accuracy(confidence, right),
        "confidence_crops": len(right),
    }
    for kind in KINDS:
        chosen = np.where(right, answers.kind == "face", answers.kind == kind)
        summary[f"confidence_auc_{kind}"] = roc_auc(confidence[chosen], right[chosen])
    return summary


def measure_visibility(visible: NDArray[np.float32], flags: NDArray[np.uint8]) -> dict[str, Any]:
    """The part of `measure_quality` about visibility: (N, 68) predictions against flags."""

    def against(*hidden: int) -> float | None:
        chosen = np.isin(flags, (VISIBLE, *hidden))
        return roc_auc(visible[chosen], flags[chosen] == VISIBLE)

    labelled = flags != UNLABELLED
    return {
        "visibility_auc": against(SELF_OCCLUDED, OCCLUDED),
        "visibility_auc_self_occluded": against(SELF_OCCLUDED),
        "visibility_auc_occluded": against(OCCLUDED),
        "visibility_balanced_accuracy": balanced_accuracy(visible[labelled], flags[labelled] == VISIBLE),
        "visibility_points": int(labelled.sum()),
    }
