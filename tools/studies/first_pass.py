"""Measure ways to make up for the inexact boxes of the face detector without training, and write a table.

python -m tools.studies.first_pass --data-dir PREPARED    # one or more folders that prepare.py wrote
python -m tools.studies.result_tables                     # fills the table of docs/recipe.md

Each face of `val` is searched for in its stored cut-out as `Aligner` does. All ways start from the same
detections, so they differ by what they do with them alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from tf_dhm.core.cli import run_script

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.linear_model import RidgeCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from tqdm import tqdm

from pipelines.datasets.samples import FaceSample
from pipelines.prepared import records
from tf_dhm.core.command_line import parse_options
from tf_dhm.core.configuration import check_fields
from tf_dhm.core.errors import InputError
from tf_dhm.core.files import atomic_write
from tf_dhm.core.types import Array, Image
from tf_dhm.evaluation.boxes import nearest_box
from tf_dhm.face import geometry, metrics
from tf_dhm.runtime.aligner import load_model
from tf_dhm.runtime.crops import cut_crops, upright_boxes, upright_roll
from tf_dhm.runtime.detector import Detection, FaceDetector, Range
from tf_dhm.runtime.finding import LOOKS, SURE
from tf_dhm.runtime.images import decode_raster
from tf_dhm.runtime.predictor import UNSETTLED, LandmarkModel, predict_crops, predict_photos
from tf_dhm.runtime.settings import Choice

REFERENCE = "two passes"
"""Name of the way that the others are compared with."""
FIRST_SCALES = (0.9, 0.95, 1.05, 1.1, 1.2)
SECOND_SCALES = (0.95, 1.05)
SHARES = (0.25, 0.5)
"""Shares of the detected box in the box of the second pass."""
CONFIDENCES = (0.8, 0.95, 0.98)
"""A third pass is made below these confidences of the second."""
DISTANCES = (2, 3, 4, 6)
"""A third pass is made if the first two differ by more than these percentages of the size of the face."""
LIMIT = round(100 * UNSETTLED)
"""That of the runtime."""
ENOUGH = (0.98, 0.99)
"""A second pass is left out from these confidences of the first on."""
BINS = ("0–30°", "30–60°", "60–90°")
DRAWS = 1000
"""Bootstrap samples."""
FOLDS = 2
MIRRORED_KEYPOINTS = [1, 0, 2, 3, 5, 4]
"""Where the keypoints of a detection lie in its mirror image."""
PENALTIES = np.logspace(-2, 4, 13)


@dataclass(frozen=True)
class FirstPassConfig:
    """Faces and models of the comparison."""

    data_dir: tuple[Path, ...]
    """Prepared datasets, whose faces of `val` are used."""
    models: tuple[str, ...] = ("fast_dhm_m", "fast_dhm_s")
    """Models by name or folder."""
    detector: Choice = "full"
    """Looks of the detector, as `Aligner` takes them."""
    output: Path = Path("docs/tables/first_pass.csv")
    """CSV file of the table."""

    def __post_init__(self) -> None:
        check_fields(self)


@dataclass(frozen=True, eq=False)
class Faces:
    """Labelled faces that were detected, N of them.

    Attributes:
        images: (H, W, 3) uint8 RGB.
        truth: (N, 68, 3) true landmarks in their pixels.
        yaw: (N,) degrees.
        boxes: (N, 4) landmark boxes of the detections.
        keypoints: (N, 6, 2) of the detections in pixels.
        scores: (N,) of the detections.
    """

    images: Sequence[Image]
    truth: Array
    yaw: Array
    boxes: Array
    keypoints: Array
    scores: Array


@dataclass(frozen=True, eq=False)
class Pass:
    """What a pass found: landmarks (N, 68, 3) in pixels of the photos, confidence (N,)."""

    landmarks: Array
    confidence: Array


@dataclass(frozen=True, eq=False)
class Way:
    """What was tried: its name, the landmarks (N, 68, 3) it found, and the mean number of passes."""

    name: str
    landmarks: Array
    passes: float


def find_face(
    model: LandmarkModel, detectors: dict[Range, FaceDetector], choice: Choice, face: FaceSample, image: Image
) -> Detection | None:
    """The detection of a labelled face that the search of `Aligner` keeps; None for a missed face."""
    best, surest = None, -1.0
    for reach, margin in LOOKS[choice]:
        for found in detectors[reach].look(image, margin):
            if nearest_box(found.box[None], face) is None:
                continue
            confidence = predict_photos(model, [image], [found.box[None]], 2)[0].confidence
            assert confidence is not None
            if confidence[0] > surest:
                best, surest = found, float(confidence[0])
        if surest >= SURE:
            break
    return best


def find_faces(model: LandmarkModel, choice: Choice, samples: Sequence[FaceSample]) -> Faces:
    """The labelled faces that are detected."""
    detectors: dict[Range, FaceDetector] = {"full": FaceDetector(), "short": FaceDetector(reach="short")}
    found: list[tuple[FaceSample, Image, Detection]] = []
    for face in tqdm(samples, desc=f"{model.name}: detection", unit=" faces"):
        image = decode_raster(face.read_image(), face.name)
        if detection := find_face(model, detectors, choice, face, image):
            found.append((face, image, detection))
    if not found:
        raise InputError(f"data-dir: found no face of {len(samples)} with the detector, expected some")
    return Faces(
        [image for _, image, _ in found],
        np.stack([face.landmarks for face, _, _ in found]),
        np.array([face.pose[1] for face, _, _ in found]),
        np.stack([detection.box for _, _, detection in found]),
        np.stack([detection.keypoints for _, _, detection in found]),
        np.array([detection.score for _, _, detection in found]),
    )


@dataclass(frozen=True, eq=False)
class Passes:
    """A model on the faces."""

    model: LandmarkModel
    faces: Faces

    def first(self, boxes: Array) -> Pass:
        """A pass on the upright crops of boxes (N, 4)."""
        return self._run(boxes, np.zeros(len(boxes)), None)

    def after(self, landmarks: Array, boxes: Array | None = None) -> Pass:
        """A pass that starts from landmarks (N, 68, 3), on crops of their boxes or of other ones (N, 4)."""
        roll = upright_roll(landmarks)
        return self._run(upright_boxes(landmarks, roll) if boxes is None else boxes, roll, landmarks)

    def _run(self, boxes: Array, roll: Array, start: Array | None) -> Pass:
        photos = zip(self.faces.images, boxes, roll, strict=True)
        cut = [cut_crops(image, box, self.model.input_size, turn) for image, box, turn in photos]
        found, landmarks = predict_crops(self.model, cut, None if start is None else list(start[:, None]))
        if found.confidence is None:
            raise InputError(f"model {self.model.name}: found no confidence, expected a model that gives it")
        return Pass(np.concatenate(landmarks), found.confidence)


def scaled(boxes: Array, factor: float) -> Array:
    """Boxes (N, 4) of another size about their centres.

    >>> scaled(np.array([[0.0, 10.0, 10.0, 30.0]]), 1.2).tolist()
    [[-1.0, 8.0, 11.0, 32.0]]
    """
    centre, half = (boxes[:, :2] + boxes[:, 2:]) / 2, (boxes[:, 2:] - boxes[:, :2]) / 2
    return np.concatenate([centre - factor * half, centre + factor * half], 1)


def where(rows: NDArray[np.bool_], a: Array, b: Array) -> Array:
    """The landmarks (N, 68, 3) of `a` in some rows, of `b` in the others."""
    return np.where(rows[:, None, None], a, b)


def into_boxes(points: Array, boxes: Array, roll: Array) -> Array:
    """Points (N, P, 2) of photos relative to boxes (N, 4) turned by roll (N,), in their longer sides."""
    centre, side = (boxes[:, :2] + boxes[:, 2:]) / 2, (boxes[:, 2:] - boxes[:, :2]).max(1)
    turned = np.einsum("npi,nij->npj", points - centre[:, None], rotations(roll))
    return np.asarray(turned / side[:, None, None])


def rotations(roll: Array) -> Array:
    """Matrices (N, 2, 2): rows of offsets in the photo @ matrix = offsets in the crop turned by roll (N,)."""
    cosine, sine = np.cos(roll), np.sin(roll)
    return np.stack([np.stack([cosine, -sine], -1), np.stack([sine, cosine], -1)], -2)


def corrections(boxes: Array, true: Array, roll: Array) -> Array:
    """(N, 4): offset of the true centre in longer sides, logarithms of the ratios of width and height."""
    centre = (true[:, :2] + true[:, 2:]) / 2
    sizes = np.log((true[:, 2:] - true[:, :2]) / (boxes[:, 2:] - boxes[:, :2]))
    return np.concatenate([into_boxes(centre[:, None], boxes, roll)[:, 0], sizes], 1)


def corrected(boxes: Array, roll: Array, values: Array) -> Array:
    """The inverse of `corrections`: the true boxes (N, 4)."""
    side = (boxes[:, 2:] - boxes[:, :2]).max(1)
    offset = np.einsum("nj,nij->ni", values[:, :2], rotations(roll)) * side[:, None]
    centre = (boxes[:, :2] + boxes[:, 2:]) / 2 + offset
    half = (boxes[:, 2:] - boxes[:, :2]) / 2 * np.exp(values[:, 2:])
    return np.concatenate([centre - half, centre + half], 1)


def cross_fitted(keypoints: Array, others: Array, numbers: Array, targets: Array) -> Array:
    """Box corrections (N, 4) by ridge regression, fitted to the faces of the other half.

    Args:
        keypoints: (N, 6, 2) relative to the boxes, as `into_boxes` gives them.
        others: (N, P, 2) further points, each of which is its own in the mirror image.
        numbers: (N, K) what mirroring a face leaves as it is.
        targets: (N, 4) as `corrections` gives them, for the fit.
    """

    def features(points: Array, middle: Array) -> Array:
        both = np.concatenate([points, middle], 1)
        return np.concatenate([both.reshape(len(both), -1), np.abs(both[..., 0]), numbers], 1)

    flip, flip_targets = np.array([-1.0, 1.0]), np.array([-1.0, 1.0, 1.0, 1.0])
    straight = features(keypoints, others)
    mirrored = features(keypoints[:, MIRRORED_KEYPOINTS] * flip, others * flip)
    fold, values = np.arange(len(targets)) % FOLDS, np.empty_like(targets)
    for number in range(FOLDS):
        fit, test = fold != number, fold == number
        model = make_pipeline(StandardScaler(), RidgeCV(PENALTIES))
        goal = np.concatenate([targets[fit], targets[fit] * flip_targets])
        # A few detections of something else than the face must not decide the fit.
        limit = np.quantile(np.abs(goal), 0.98, axis=0)
        model.fit(np.concatenate([straight[fit], mirrored[fit]]), np.clip(goal, -limit, limit))
        values[test] = (model.predict(straight[test]) + model.predict(mirrored[test]) * flip_targets) / 2
    return values


def regressed_first_boxes(faces: Faces) -> Array:
    """The detected boxes (N, 4) corrected by all coordinates of the keypoints and the score."""
    upright = np.zeros(len(faces.boxes))
    points = into_boxes(faces.keypoints, faces.boxes, upright)
    sides = faces.boxes[:, 2:] - faces.boxes[:, :2]
    numbers = np.stack([np.log(sides[:, 0] / sides[:, 1]), faces.scores], 1)
    targets = corrections(faces.boxes, geometry.landmark_box(faces.truth), upright)
    return corrected(faces.boxes, upright, cross_fitted(points, points[:, :0], numbers, targets))


def regressed_boxes(faces: Faces, found: Pass, boxes: Array, roll: Array) -> Array:
    """The boxes (N, 4) of the first landmarks corrected by the detection and the first confidence."""
    points = into_boxes(faces.keypoints, boxes, roll)
    centre = into_boxes((faces.boxes[:, None, :2] + faces.boxes[:, None, 2:]) / 2, boxes, roll)
    own, detected = boxes[:, 2:] - boxes[:, :2], faces.boxes[:, 2:] - faces.boxes[:, :2]
    trust = np.clip(found.confidence, 1e-3, 1 - 1e-3)  # its logit must be finite
    numbers = [np.log(detected / own), np.log(own[:, :1] / own[:, 1:])]
    numbers += [faces.scores[:, None], np.log(trust / (1 - trust))[:, None]]
    targets = corrections(boxes, upright_boxes(faces.truth, roll), roll)
    return corrected(boxes, roll, cross_fitted(points, centre, np.concatenate(numbers, 1), targets))


def ways(passes: Passes) -> Iterator[Way]:
    """All that was tried on the faces, two passes first."""
    faces = passes.faces
    first = passes.first(faces.boxes)
    second = passes.after(first.landmarks)
    third = passes.after(second.landmarks)
    yield Way(REFERENCE, second.landmarks, 2)
    yield Way("one pass", first.landmarks, 1)
    yield Way("three passes", third.landmarks, 3)

    def two_from(boxes: Array) -> Array:
        return passes.after(passes.first(boxes).landmarks).landmarks

    for factor in FIRST_SCALES:
        yield Way(f"first crop × {factor:g}", two_from(scaled(faces.boxes, factor)), 2)
    yield Way("first box: regression of all keypoints", two_from(regressed_first_boxes(faces)), 2)
    yield Way("first box: the true one (bound)", two_from(geometry.landmark_box(faces.truth)), 2)

    roll = upright_roll(first.landmarks)
    boxes = upright_boxes(first.landmarks, roll)
    for factor in SECOND_SCALES:
        resized = passes.after(first.landmarks, scaled(boxes, factor))
        yield Way(f"second crop × {factor:g}", resized.landmarks, 2)
    for share in SHARES:
        mixed = passes.after(first.landmarks, (1 - share) * boxes + share * faces.boxes)
        yield Way(f"second box: {share:.0%} of the detected one", mixed.landmarks, 2)
    regressed = passes.after(first.landmarks, regressed_boxes(faces, first, boxes, roll))
    yield Way("second box: regression of landmarks and keypoints", regressed.landmarks, 2)
    true = passes.after(first.landmarks, upright_boxes(faces.truth, roll))
    yield Way("second box: the true one (bound)", true.landmarks, 2)
    for limit in CONFIDENCES:
        rows = second.confidence < limit
        name = f"third pass if the confidence is below {limit:g}"
        yield Way(name, where(rows, third.landmarks, second.landmarks), 2 + rows.mean())
    # No error: how far two passes differ, in percent of the size of the face.
    apart = metrics.nme(first.landmarks, second.landmarks)
    for percent in DISTANCES:
        rows = apart > percent
        name = f"third pass if two differ by over {percent} %"
        yield Way(name, where(rows, third.landmarks, second.landmarks), 2 + rows.mean())
    surer = (apart > LIMIT) & (third.confidence > second.confidence)
    name = f"third pass if two differ by over {LIMIT} %, kept if surer"
    yield Way(name, where(surer, third.landmarks, second.landmarks), 2 + (apart > LIMIT).mean())
    nearer = (apart > LIMIT) & (metrics.nme(second.landmarks, third.landmarks) < apart)
    name = f"third pass if two differ by over {LIMIT} %, kept if nearer to the second than that to the first"
    yield Way(name, where(nearer, third.landmarks, second.landmarks), 2 + (apart > LIMIT).mean())
    yield Way("mean of second and third pass", (second.landmarks + third.landmarks) / 2, 3)
    for limit in ENOUGH:
        rows = first.confidence < limit
        name = f"second pass only if the confidence is below {limit:g}"
        yield Way(name, where(rows, second.landmarks, first.landmarks), 1 + rows.mean())


def bin_means(values: Array, bins: NDArray[np.intp]) -> Array:
    """The means (3,) of values (N,) of the yaw bins."""
    return np.array([values[bins == number].mean() for number in range(len(metrics.YAW_BINS))])


def difference(errors: Array, reference: Array, bins: NDArray[np.intp], seed: int = 0) -> tuple[float, float]:
    """How much the mean of the bins changes, and its bootstrap standard deviation over faces of each bin.

    Args:
        errors, reference: (N,) percent of the same faces.
        bins: (N,) their yaw bins.
        seed: of the draws.
    """
    rng = np.random.default_rng(seed)
    parts = [(errors - reference)[bins == number] for number in range(len(metrics.YAW_BINS))]
    draws = [part[rng.integers(0, len(part), (DRAWS, len(part)))].mean(1) for part in parts]
    return float(np.mean([part.mean() for part in parts])), float(np.mean(draws, 0).std())


def way_rows(model: str, faces: Faces, tried: Sequence[Way]) -> list[dict[str, str]]:
    """The rows of the table; the first way is the one that the others are compared with."""
    bins = metrics.yaw_bins(faces.yaw)
    reference = metrics.nme(tried[0].landmarks, faces.truth)
    rows = []
    for way in tried:
        errors = metrics.nme(way.landmarks, faces.truth)
        means = bin_means(errors, bins)
        change, spread = difference(errors, reference, bins)
        rows.append(
            {
                "model": model,
                "way": way.name,
                **dict(zip(BINS, (f"{mean:.2f}" for mean in means), strict=True)),
                "mean of bins": f"{means.mean():.3f}",
                "difference": "–" if way is tried[0] else f"{change:+.3f} ± {spread:.3f}".replace("-", "−"),
                "above 6 %": f"{metrics.failure_rate(errors):.1%}",
                "passes per face": f"{way.passes:.2f}",
            }
        )
    return rows


def measure(config: FirstPassConfig) -> pd.DataFrame:
    """The table of all models."""
    samples = [face for folder in config.data_dir for face in records.read_samples(folder, "val")]
    rows = []
    for name in config.models:
        model = load_model(name)
        faces = find_faces(model, config.detector, samples)
        if missing := set(range(len(metrics.YAW_BINS))) - set(metrics.yaw_bins(faces.yaw).tolist()):
            raise InputError(f"data-dir: found no face in {len(missing)} yaw bins, expected some in each")
        print(f"{model.name}: {len(faces.yaw)} of {len(samples)} faces detected")
        rows += way_rows(Path(name).name, faces, list(ways(Passes(model, faces))))
    return pd.DataFrame(rows)


def main() -> None:
    config = parse_options(FirstPassConfig, description=__doc__)
    table = measure(config)
    with atomic_write(config.output) as path:
        table.to_csv(path, index=False)
    print(table.to_string(index=False))


if __name__ == "__main__":
    run_script(main)
