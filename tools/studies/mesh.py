"""Measurements for docs/mesh.md: the fitted mesh on rendered faces with known geometry.

The heads are persons of the open face who make one to three faces (units, or a left and right pair, of
weight 0.2 to 1), rendered by `pipelines.synthetic` without things in front of them. Settings of the fit were
chosen on the series 5, numbers are of the series TEST_SEED, which nothing was chosen on.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from tqdm import tqdm

from pipelines.datasets import aflw2000_3d
from pipelines.datasets.samples import FaceSample
from pipelines.synthetic.camera import Camera as SceneCamera
from pipelines.synthetic.config import TEST_SEED, RenderConfig
from pipelines.synthetic.renderer import FaceRenderer
from pipelines.synthetic.sampling import random_parameters
from tf_dhm.core.markdown import markdown_table
from tf_dhm.core.types import Array, Image
from tf_dhm.face.camera import FLIP, Camera
from tf_dhm.face.expression import TRUE_NOISE, FaceUnits, face_units
from tf_dhm.face.fit import MODEL_LANDMARKS, TRUE_LANDMARKS, FaceFit, FaceFitter
from tf_dhm.face.geometry import box_size, landmark_box, pose_from_landmarks, rotation_matrix
from tf_dhm.face.mean_face import mean_shape
from tf_dhm.face.metrics import nme
from tf_dhm.face.placement import TO_CAMERA
from tf_dhm.runtime.images import read_photo
from tf_dhm.runtime.mesh import face_vertices
from tf_dhm.runtime.predictor import predict_photos
from tf_dhm.runtime.tflite import TFLitePredictor

IDENTITY_WIDTH = 1.2
"""Spread of rendered identities over that of the open face's own heads."""
WITHIN = 99.0
"""Degrees: the usual protocol leaves out faces with an angle beyond this."""
FIELD_OF_VIEW = 90.0
EYE_DISTANCE = (30.0, 100.0)
"""Centimetres from the camera to the heads of the perspective test."""
MAX_TURN = 40.0
"""Degrees about each axis by which those heads are turned."""
BATCH = 50


@dataclass(frozen=True)
class MeshStudy:
    """Measure the fit of the open face to 68 landmarks."""

    model: str = "fast_dhm_m"
    """Model whose landmarks are fitted."""
    faces: int = 1000
    """Rendered faces."""
    seed: int = TEST_SEED
    """Series of the rendered faces."""
    aflw2000_3d: Path | None = None
    """Folder of AFLW2000-3D, or of a part of it, for the pose."""
    tables: Path | None = None
    """Folder for the tables as CSV, from which `tools.studies.result_tables` writes those of docs/mesh.md."""
    render: RenderConfig = field(
        default_factory=lambda: RenderConfig(
            size=160, max_yaw=60.0, max_pitch=25.0, max_roll=25.0, occlusion=0.0, degrade=0.3
        )
    )
    """Pictures of the heads."""


@dataclass(frozen=True, eq=False)
class Heads:
    """N rendered heads.

    Attributes:
        images: N pictures.
        landmarks: (N, 68, 3) pixels.
        vertices: (N, V, 3) float32 centimetres in the head's frame.
        weights: (N, M) of the face units, in the order of `names`.
        pose: (N, 3) degrees in the axes of the open face.
        names: of the units.
        cameras: N.
    """

    images: list[Image]
    landmarks: Array
    vertices: NDArray[np.float32]
    weights: Array
    pose: Array
    names: tuple[str, ...]
    cameras: list[SceneCamera]


def random_weights(names: tuple[str, ...], rng: np.random.Generator) -> Array:
    """Weights of a random expression: one to three units; left and right together seven times of ten."""
    groups: dict[str, list[int]] = {}
    for index, name in enumerate(names):
        paired = not name.startswith(("jaw", "mouthLeft", "mouthRight", "eyeLook"))
        groups.setdefault(name.removesuffix("Left").removesuffix("Right") if paired else name, []).append(
            index
        )
    weights = np.zeros(len(names))
    for choice in rng.choice(len(groups), rng.integers(1, 4), replace=False):
        members = list(groups.values())[choice]
        if len(members) == 2 and rng.random() < 0.3:
            members = [members[rng.integers(2)]]
        weights[members] = rng.uniform(0.2, 1.0)
    return weights


def render_heads(config: MeshStudy) -> Heads:
    """Render the heads of a study; each depends on the seed and its number alone."""
    renderer, units = FaceRenderer(config.render), face_units()
    rig = renderer.rig
    moves = units.displacement.reshape(len(units.names), -1)
    rows: list[tuple[Any, ...]] = []
    for number in tqdm(range(config.faces), desc="heads"):
        rng = np.random.default_rng((config.seed, number))
        identity = random_parameters(rig, rng)[0] / IDENTITY_WIDTH
        weights = random_weights(units.names, rng)
        offsets = identity @ rig.basis[: len(identity)] + weights.astype(np.float32) @ moves
        p = np.concatenate([identity, np.zeros(len(rig.basis) - len(identity), np.float32)])
        face = renderer.render_head(p, offsets, rng)
        vertices = (rig.model.mean.ravel() + offsets).reshape(-1, 3).astype(np.float32)
        rows.append((face.image, face.camera, face.landmarks, vertices, weights, face.pose))
    images, cameras, *arrays = zip(*rows, strict=True)
    landmarks, heads, weights, pose = (np.stack(column) for column in arrays)
    return Heads(list(images), landmarks.astype(np.float64), heads, weights, pose, units.names, list(cameras))


def measure(config: MeshStudy) -> None:
    """Print the tables of docs/mesh.md, and write them as CSV if asked to."""

    def report(name: str, rows: list[dict[str, Any]]) -> None:
        print(markdown_table(rows))
        if config.tables is not None:
            pd.DataFrame(rows).to_csv(config.tables / f"mesh_{name}.csv", index=False)

    heads = render_heads(config)
    network = TFLitePredictor(config.model)
    boxes = [landmark_box(points)[None] for points in heads.landmarks]
    found = predict_photos(network, heads.images, boxes)
    landmarks = np.concatenate([face.landmarks for face in found]).astype(np.float64)
    everywhere = np.ones(landmarks.shape[:2])
    seen = np.concatenate([everywhere[:1] if face.visibility is None else face.visibility for face in found])

    fitter, true_fitter = FaceFitter(), FaceFitter(config=TRUE_LANDMARKS)
    fits, true_fits = fitter.fit(landmarks, seen), fit_true_landmarks(heads, true_fitter)
    report("shape", shape_rows(heads, fits, true_fits, fitter))
    print(f"NME of the network's landmarks: {nme(landmarks, heads.landmarks).mean():.2f} %")
    style = 10 * np.linalg.norm(fitter.style, axis=0).mean()
    print(f"Difference of style between real landmarks and vertices: {style:.2f} mm\n")
    print(markdown_table(unit_rows(heads, fits, true_fits)))
    report("time", time_rows(fitter, network, heads.images[0], boxes[0], landmarks, seen))
    report("perspective", perspective_rows(FaceFitter(config=MODEL_LANDMARKS)))
    if config.aflw2000_3d is not None:
        report("pose", pose_rows(config.aflw2000_3d, network, fitter))


def fit_true_landmarks(heads: Heads, fitter: FaceFitter) -> list[FaceFit]:
    """Fits of the true landmarks under the cameras of the pictures."""
    fits = []
    for points, camera in zip(heads.landmarks, heads.cameras, strict=True):
        pinhole = None
        if np.isfinite(camera.distance):
            pinhole = Camera(camera.scale * camera.distance, camera.origin)
        fits += fitter.fit(points[None], camera=pinhole)
    return fits


def shape_rows(
    heads: Heads, fits: list[FaceFit], true_fits: list[FaceFit], fitter: FaceFitter
) -> list[dict[str, Any]]:
    """Errors of the vertices of the face: in space, and in the picture if there is a fit."""
    chosen = face_vertices()
    truth = heads.vertices[:, chosen]
    mean = np.broadcast_to(fitter.model.mean[chosen], truth.shape)
    drawn = true_pixels(heads)[:, chosen]
    sizes = box_size(landmark_box(heads.landmarks))

    def row(name: str, shapes: Array, pixels: Array | None) -> dict[str, Any]:
        error = 10 * np.linalg.norm(align(shapes, truth) - truth, axis=-1).mean(1)
        fields = {
            "face": name,
            "vertex error, mm": f"{error.mean():.2f}",
            "median": f"{np.median(error):.2f}",
        }
        if pixels is None:
            return fields | {"dense NME, %": ""}
        dense = 100 * np.linalg.norm(pixels - drawn, axis=-1).mean(1) / sizes
        return fields | {"dense NME, %": f"{dense.mean():.2f}"}

    shapes = np.stack([fit.head[chosen] for fit in fits])
    true_shapes = np.stack([fit.head[chosen] for fit in true_fits])
    pixels, true_drawn = (
        np.stack([fit.vertices[chosen, :2] for fit in faces]) for faces in (fits, true_fits)
    )
    return [
        row("mean face", mean, None),
        row("fit to the network's landmarks", shapes, pixels),
        row("fit to the true landmarks", true_shapes, true_drawn),
    ]


def true_pixels(heads: Heads) -> Array:
    """The drawn positions of vertices, (N, V, 2)."""
    rotation = rotation_matrix(*np.radians(heads.pose).T)
    turned = heads.vertices @ np.swapaxes(rotation, 1, 2)
    return np.stack(
        [camera.project(points)[:, :2] for camera, points in zip(heads.cameras, turned, strict=True)]
    )


def align(shapes: Array, truth: Array) -> Array:
    """Shapes (N, P, 3) after the similarities that bring them nearest to `truth`."""
    moved, fixed = shapes - shapes.mean(1, keepdims=True), truth - truth.mean(1, keepdims=True)
    u, values, vt = np.linalg.svd(np.swapaxes(fixed, 1, 2) @ moved)
    sign = np.ones_like(values)
    sign[:, 2] = np.sign(np.linalg.det(u @ vt))
    scale = (values * sign).sum(1) / (moved**2).sum((1, 2))
    rotation = (u * sign[:, None]) @ vt
    return scale[:, None, None] * moved @ np.swapaxes(rotation, 1, 2) + truth.mean(1, keepdims=True)


def unit_rows(heads: Heads, fits: list[FaceFit], true_fits: list[FaceFit]) -> list[dict[str, Any]]:
    """Correlation and mean error of each unit, best first by the network's landmarks."""
    sources = ((face_units(), fits), (FaceUnits(TRUE_NOISE, TRUE_NOISE), true_fits))
    estimates = [units.weights(np.stack([fit.landmarks for fit in faces])) for units, faces in sources]
    rows = []
    for column, name in enumerate(heads.names):
        truth = heads.weights[:, column]
        found = [estimate[:, column] for estimate in estimates]
        values = [
            value for weights in found for value in (correlation(weights, truth), error(weights, truth))
        ]
        titles = ("network: correlation", "error", "true landmarks: correlation", "error ")
        rows.append({"unit": name, **{t: f"{value:.2f}" for t, value in zip(titles, values, strict=True)}})
    return sorted(rows, key=lambda row: -float(row["network: correlation"]))


def correlation(first: Array, second: Array) -> float:
    """Pearson's; 0 if one does not vary."""
    if min(np.std(first), np.std(second)) < 1e-9:
        return 0.0
    return float(np.corrcoef(first, second)[0, 1])


def error(first: Array, second: Array) -> float:
    return float(np.abs(first - second).mean())


def time_rows(
    fitter: FaceFitter, network: TFLitePredictor, image: Image, box: Array, landmarks: Array, seen: Array
) -> list[dict[str, Any]]:
    """Milliseconds per face, the medians of alternating rounds.

    Each job comes after the network of one face, several times in a row, as in a video: what ran before
    decides which of its numbers are still in the processor's cache.
    """
    units = face_units()
    single = fitter.fit(landmarks[:1], seen[:1])

    def predict() -> object:
        return predict_photos(network, [image], [box])

    jobs = {
        "network, one crop": (predict, 1),
        "fit, one face": (lambda: fitter.fit(landmarks[:1], seen[:1]), 1),
        "fit and its vertices, one face": (lambda: fitter.fit(landmarks[:1], seen[:1])[0].vertices, 1),
        "fit, 16 faces at once": (lambda: fitter.fit(landmarks[:16], seen[:16]), 16),
        "face units, one face": (lambda: units.weights(single[0].landmarks[None]), 1),
    }
    times: dict[str, list[float]] = {name: [] for name in jobs}
    for _, (name, (job, count)), _ in product(range(20), jobs.items(), range(20)):
        predict()
        start = perf_counter()
        job()
        times[name].append((perf_counter() - start) / count)
    base = np.median(times["network, one crop"])
    return [
        {
            "job": name,
            "ms a face": f"{1e3 * np.median(values):.2f}",
            "fastest": f"{1e3 * min(values):.2f}",
            "of the network's time": f"{np.median(values) / base:.2f}",
        }
        for name, values in times.items()
    ]


def perspective_rows(fitter: FaceFitter, count: int = 1000) -> list[dict[str, Any]]:
    """Error of the rotation by a pinhole camera of FIELD_OF_VIEW, for faces of the model anywhere in a square
    picture, with true landmarks."""
    rng = np.random.default_rng(0)
    camera, model = Camera.of_view(FIELD_OF_VIEW, 1000, 1000), fitter.model
    landmarks, turns, angles = [], [], []
    for _ in range(count):
        q = rng.normal(0, 1, len(model.std)) * model.std
        shape = model.landmark_mean + np.tensordot(q, model.landmark_basis, 1)
        turn = rotation_matrix(*np.radians(rng.uniform(-MAX_TURN, MAX_TURN, 3)))
        ray = camera.rays(rng.uniform(0, 1000, 2))
        ray /= np.linalg.norm(ray)
        landmarks.append(project(camera, turn, rng.uniform(*EYE_DISTANCE) * ray, shape))
        turns.append(turn)
        angles.append(np.degrees(np.arccos(-ray[2])))
    points, off = np.stack(landmarks), np.array(angles)
    errors = {}
    for kind in (camera, None):
        # A few at a time: 204 directions of many faces would fill the memory.
        batches = [points[start : start + BATCH] for start in range(0, count, BATCH)]
        fits = [fit for batch in batches for fit in fitter.fit(batch, camera=kind)]
        errors[kind] = [turn_between(fit.matrix[:3, :3], turn) for fit, turn in zip(fits, turns, strict=True)]
    with_camera, parallel = np.array(errors[camera]), np.array(errors[None])
    rows = []
    for low, high in ((0, 20), (20, 35), (35, 55), (0, 55)):
        inside = (off >= low) & (off < high)
        rows.append(
            {
                "degrees from the axis": f"{low} to {high}",
                "faces": int(inside.sum()),
                "median": f"{np.median(with_camera[inside]):.3f}°",
                "95 %": f"{np.quantile(with_camera[inside], 0.95):.3f}°",
                "largest": f"{with_camera[inside].max():.3f}°",
                "as parallel: median": f"{np.median(parallel[inside]):.1f}°",
            }
        )
    return rows


def turn_between(matrix: Array, turn: Array) -> float:
    """Degrees between a fitted rotation (3, 3) to the camera's axes and a true one with y up."""
    cosine = (np.trace((TO_CAMERA[:, None] * matrix).T @ turn) - 1) / 2
    return float(np.degrees(np.arccos(np.clip(cosine, -1, 1))))


def project(camera: Camera, turn: Array, place: Array, shape: Array) -> Array:
    """A head (P, 3) as landmarks (P, 3): pixels, and depth along the line of sight to its origin in pixels at
    that point, as the renderer gives them."""
    turned = shape @ turn.T
    points = turned + place
    pixels = points[:, :2] / -points[:, 2:] * camera.focal * FLIP[:2] + camera.centre
    distance = np.linalg.norm(place)
    across, along = camera.focal / -place[2], camera.focal * distance / place[2] ** 2  # pixels per centimetre
    depth = turned @ (-place / distance) * np.sqrt(across * along)
    return np.concatenate([pixels, depth[:, None]], 1)


def pose_rows(folder: Path, network: TFLitePredictor, fitter: FaceFitter) -> list[dict[str, Any]]:
    """Mean absolute errors of the pose on AFLW2000-3D, crops from the true boxes, one pass.

    The NME of the landmarks is over all images.
    """
    samples = [
        sample for sample in aflw2000_3d.read(folder, wrap_pose=False) if isinstance(sample, FaceSample)
    ]
    found = [face for batch in _batches(samples, 50) for face in predict_samples(network, batch)]
    landmarks = np.concatenate([face.landmarks for face in found]).astype(np.float64)
    seen = np.concatenate([face.visibility for face in found if face.visibility is not None])
    truth = np.stack([sample.pose for sample in samples])
    labels = np.stack([sample.landmarks for sample in samples]).astype(np.float64)
    usable = (np.abs(truth) <= WITHIN).all(1)
    landmark_error = f"{nme(landmarks, labels).mean():.2f}"
    poses = {
        "similarity to the mean face": np.degrees(pose_from_landmarks(landmarks, mean_shape())),
        "fit": np.stack([fit.pose for fit in fitter.fit(landmarks, seen)]),
        "similarity to the mean face, true landmarks": np.degrees(pose_from_landmarks(labels, mean_shape())),
        "fit, true landmarks": np.stack([fit.pose for fit in fitter.fit(labels)]),
    }
    rows: list[dict[str, Any]] = []
    for name, angles in poses.items():
        errors = np.abs(angles - truth)[usable].mean(0)
        values = dict(zip(("pitch", "yaw", "roll"), errors, strict=True), mean=errors.mean())
        row = {"pose": name, **{key: f"{value:.2f}" for key, value in values.items()}}
        row["NME of the landmarks, %"] = "" if "true" in name else landmark_error
        rows.append(row | {"faces": int(usable.sum())})
    return rows


def _batches(samples: list[FaceSample], size: int) -> Iterator[list[FaceSample]]:
    for start in range(0, len(samples), size):
        yield samples[start : start + size]


def predict_samples(network: TFLitePredictor, samples: list[FaceSample]) -> list[Any]:
    """The network's landmarks in the true boxes of samples."""
    images = [read_photo(sample.read_image()).pixels for sample in samples]
    return predict_photos(network, images, [landmark_box(sample.landmarks)[None] for sample in samples])
