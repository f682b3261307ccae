"""Measurements for docs/runtime.md: accuracy of pose, visibility and confidence, formats, and memory.

python -m tools.studies.runtime_measures --aflw2000-3d AFLW2000-3D --wild68 PREPARED_WILD68
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tf_dhm.core.cli import run_script

import numpy as np

from pipelines.datasets import aflw2000_3d
from pipelines.datasets.samples import OCCLUDED, SELF_OCCLUDED, UNLABELLED, VISIBLE, Rejection
from pipelines.input.batches import plain_crops
from pipelines.prepared import records
from tf_dhm.core.command_line import parse_options
from tf_dhm.core.configuration import AtLeastOne, check_fields
from tf_dhm.core.files import atomic_write
from tf_dhm.core.markdown import markdown_table
from tf_dhm.core.progress import Progress
from tf_dhm.core.types import Array, Image
from tf_dhm.face import geometry, metrics
from tf_dhm.face.geometry import overlaps
from tf_dhm.face.mean_face import mean_shape
from tf_dhm.face.metrics import balanced_accuracy, roc_auc
from tf_dhm.runtime.crops import cut_crops
from tf_dhm.runtime.detector import FaceDetector
from tf_dhm.runtime.images import decode_raster
from tf_dhm.runtime.predictor import Prediction, join_predictions
from tf_dhm.runtime.saved_model import SavedModelPredictor
from tf_dhm.runtime.settings import Backend
from tf_dhm.runtime.store import DEFAULT_MODEL, find_savedmodel, model_name
from tf_dhm.runtime.tflite import DEFAULT_KIND, KINDS, TFLitePredictor, tflite_name
from tools.studies.photo import PHOTO

PER_PHOTO = 3
"""Number of boxes without a face to search for in each photo."""
TRIES = 30
PROGRAM = """
import json, sys
from tf_dhm.runtime.aligner import Aligner
model, backend, photo, boxes = json.loads(sys.argv[1])
faces = Aligner(model, backend=backend).align(photo, boxes)
assert faces
print(next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmHWM")) / 1024)
"""
"""Aligns one photo and prints the peak resident memory in MB. (Linux only; getrusage would also count the
memory of the parent process.)"""


@dataclass(frozen=True)
class RuntimeMeasureConfig:
    """Measure the runtime's accuracy on AFLW2000-3D, and its memory; prints Markdown tables."""

    aflw2000_3d: Path
    """Folder of AFLW2000-3D, or of a part of it."""
    model: str = DEFAULT_MODEL
    """Name or folder of a model; its TFLite files are measured as far as they are there."""
    wild68: Path | None = None
    """wild68 as prepare.py wrote it: visibility is measured against the flags of its `val` faces."""
    photo: Path = PHOTO
    """Photo that is aligned while memory is measured."""
    lite_python: Path | None = None
    """Python of an environment with requirements-lite.txt, whose memory is measured too."""
    limit: AtLeastOne | None = None
    """Use at most this many photos."""
    json: Path | None = None
    """Write all figures to this file."""

    def __post_init__(self) -> None:
        check_fields(self)


@dataclass(frozen=True)
class Faces:
    """Test faces: crops (N, S, S, 3), matrices (N, 2, 3) crop to photo, landmarks (N, 68, 3) in the
    photo, pose (N, 3) degrees; and crops of places in the same photos that hold no face (M, S, S, 3)."""

    crops: Image
    matrices: Array
    landmarks: Array
    pose: Array
    without: Image


def measure(config: RuntimeMeasureConfig) -> str:
    """Measure everything and return the tables."""
    version = find_savedmodel(config.model)
    original = SavedModelPredictor(version)
    faces = read_faces(config.aflw2000_3d, original.input_size, config.limit)
    answers = {"SavedModel": original.predict(faces.crops)}
    sizes = {
        "SavedModel": float(
            sum(p.stat().st_size for p in version.rglob("*") if p.suffix != ".tflite" and p.is_file())
        )
    }
    for kind in KINDS:
        path = version / tflite_name(model_name(version), kind)
        if path.is_file():
            answers[f"TFLite {kind}"] = answer_in_turn(TFLitePredictor(path), faces.crops)
            sizes[f"TFLite {kind}"] = float(path.stat().st_size)
    tables = {
        "formats": format_rows(faces, answers, sizes),
        "pose": pose_rows(faces, answers["SavedModel"].landmarks),
    }
    if answers["SavedModel"].confidence is not None:
        tables["confidence"] = confidence_rows(original, faces)
    if config.wild68 is not None and answers["SavedModel"].visibility is not None:
        tables["visibility"] = visibility_rows(original, config.wild68)
    tables["memory"] = memory_rows(config, version)
    if config.json is not None:
        with atomic_write(config.json) as path:
            path.write_text(
                json.dumps({"faces": len(faces.crops), "places": len(faces.without), **tables}, indent=2)
            )
    titles = [f"{len(faces.crops)} faces, {len(faces.without)} places without one, model {version}"]
    return "\n\n".join(
        [*titles, *(f"{name}\n\n{markdown_table(rows).rstrip()}" for name, rows in tables.items())]
    )


def read_faces(folder: Path, size: int, limit: int | None) -> Faces:
    """Crop every face from the box of its true landmarks, and places of its photo without a face."""
    detector = FaceDetector()
    crops, matrices, landmarks, poses, without = [], [], [], [], []
    for number, sample in enumerate(Progress(aflw2000_3d.read(folder, wrap_pose=False), unit=" photos")):
        if limit is not None and number >= limit:
            break
        if isinstance(sample, Rejection):
            continue
        image = decode_raster(sample.read_image(), sample.name)
        box = geometry.landmark_box(sample.landmarks)
        found, matrix = cut_crops(image, box[None], size)
        crops.append(found[0])
        matrices.append(matrix[0])
        landmarks.append(sample.landmarks)
        poses.append(sample.pose)
        known = [box, *(face.box for face in detector.detect(image))]
        places = places_without_face(image.shape[1], image.shape[0], known, np.random.default_rng(number))
        without.append(cut_crops(image, places, size)[0])
    return Faces(
        np.stack(crops), np.stack(matrices), np.stack(landmarks), np.stack(poses), np.concatenate(without)
    )


def places_without_face(width: int, height: int, faces: Sequence[Array], rng: np.random.Generator) -> Array:
    """Square boxes (N, 4) of 0.3 to 1.2 times the size of the first face whose crops meet no face.

    Args:
        width, height: of the photo.
        faces: boxes of all faces in it.
        rng: of the places.
    """
    size = float((faces[0][2:] - faces[0][:2]).max())
    found: list[Array] = []
    for _ in range(TRIES):
        side = size * rng.uniform(0.3, 1.2)
        reach = geometry.CROP_SCALE * side / 2
        if 2 * reach >= min(width, height) or len(found) == PER_PHOTO:
            continue
        centre = rng.uniform([reach, reach], [width - reach, height - reach])
        crop = np.concatenate([centre - reach, centre + reach])
        if not overlaps(crop[None], faces).any():
            found.append(np.concatenate([centre - side / 2, centre + side / 2]))
    return np.array(found).reshape(-1, 4)


def answer_in_turn(model: TFLitePredictor, crops: Image) -> Prediction:
    """The outputs for crops, one call per crop, as for photos with one face."""
    return join_predictions([model.predict(crop[None]) for crop in crops])


def format_rows(
    faces: Faces, answers: dict[str, Prediction], sizes: dict[str, float]
) -> list[dict[str, Any]]:
    """Bytes, NME by bin, and the largest differences to the SavedModel, for each format."""
    rows = []
    reference = answers["SavedModel"]
    for name, found in answers.items():
        points = geometry.transform_landmarks(faces.matrices, found.landmarks)
        summary = metrics.summarize(metrics.nme(points, faces.landmarks), faces.pose[:, 1])
        difference = np.linalg.norm(found.landmarks[..., :2] - reference.landmarks[..., :2], axis=-1)
        row = {"format": name, "bytes": int(sizes[name])}
        row |= {key.removeprefix("nme_"): value for key, value in summary.items() if key.startswith("nme_")}
        row |= {"crop px, mean": float(difference.mean()), "crop px, greatest": float(difference.max())}
        for key in ("visibility", "confidence"):
            one, other = getattr(found, key), getattr(reference, key)
            if other is not None:
                row[f"{key}, greatest"] = float(np.abs(one - other).max())
        rows.append(row)
    return rows


def pose_rows(faces: Faces, landmarks: Array) -> list[dict[str, Any]]:
    """Mean absolute error of each angle in degrees, by bin of yaw, and over faces within 99 degrees."""
    found = np.degrees(
        geometry.pose_from_landmarks(geometry.transform_landmarks(faces.matrices, landmarks), mean_shape())
    )
    true = np.degrees(geometry.pose_from_landmarks(faces.landmarks, mean_shape()))
    rows = []
    chosen = {"all": np.ones(len(found), bool), "within 99": (np.abs(faces.pose) <= 99).all(1)}
    for number, name in enumerate(metrics.YAW_BINS):
        chosen[name.replace("_", "-")] = metrics.yaw_bins(faces.pose[:, 1]) == number
    for source, angles in (("the model's landmarks", found), ("the true landmarks", true)):
        error = np.abs((angles - faces.pose + 180.0) % 360.0 - 180.0)
        for title, rows_of in chosen.items():
            mean = error[rows_of].mean(0)
            row = dict(zip(("pitch", "yaw", "roll"), map(float, mean), strict=True))
            rows.append(
                {
                    "pose of": source,
                    "|yaw|": title,
                    **row,
                    "mean": float(mean.mean()),
                    "faces": int(rows_of.sum()),
                }
            )
    return rows


def confidence_rows(model: SavedModelPredictor, faces: Faces) -> list[dict[str, Any]]:
    """ROC of confidence: true faces against places without one."""
    own, other = model.predict(faces.crops).confidence, model.predict(faces.without).confidence
    assert own is not None
    assert other is not None
    row: dict[str, Any] = {
        "faces": len(own),
        "places": len(other),
        "AUC": roc_auc(np.concatenate([own, other]), np.arange(len(own) + len(other)) < len(own)),
    }
    for threshold in (0.3, 0.5, 0.6):
        row[f"faces over {threshold}"] = float((own > threshold).mean())
        row[f"places over {threshold}"] = float((other > threshold).mean())
    return [row]


def visibility_rows(model: SavedModelPredictor, folder: Path) -> list[dict[str, Any]]:
    """Visibility against the flags of `val` faces, cropped by their own boxes."""
    faces = records.load(folder, "val")
    crops, _ = plain_crops(faces, model.input_size)
    labelled = (faces.visibility != UNLABELLED).any(1)
    found, flags = model.predict(crops[labelled]).visibility, faces.visibility[labelled]
    assert found is not None
    rows = []
    for title, hidden in (
        ("visible against all others", (SELF_OCCLUDED, OCCLUDED)),
        ("against self-occluded", (SELF_OCCLUDED,)),
        ("against occluded by something else", (OCCLUDED,)),
    ):
        chosen = np.isin(flags, (VISIBLE, *hidden))
        visible = flags[chosen] == VISIBLE
        rows.append(
            {
                "points": title,
                "AUC": roc_auc(found[chosen], visible),
                "balanced accuracy": balanced_accuracy(found[chosen], visible),
                "accuracy": float(((found[chosen] >= 0.5) == visible).mean()),
                "number": int(chosen.sum()),
                "visible": float(visible.mean()),
            }
        )
    return rows


def memory_rows(config: RuntimeMeasureConfig, version: Path) -> list[dict[str, Any]]:
    """Peak resident memory while one photo is aligned, each case in its own process."""
    pythons = {"requirements.txt": Path(sys.executable)}
    if config.lite_python is not None:
        pythons["requirements-lite.txt"] = config.lite_python
    rows = []
    for environment, python in pythons.items():
        backends: tuple[Backend, ...] = ("tflite", "saved_model")
        for backend in backends if environment == "requirements.txt" else backends[:1]:
            if (
                backend == "tflite"
                and not (version / tflite_name(model_name(version), DEFAULT_KIND)).is_file()
            ):
                continue
            row: dict[str, Any] = {"environment": environment, "backend": backend}
            for title, boxes in (("box given", [[180.0, 60.0, 270.0, 160.0]]), ("with the detector", None)):
                row[f"{title}, MB"] = peak_memory(python, version, backend, config.photo, boxes)
            rows.append(row)
    return rows


def peak_memory(
    python: Path, model: Path, backend: Backend, photo: Path, boxes: list[list[float]] | None
) -> float:
    """Peak resident memory in MB of a process that aligns a photo."""
    arguments = json.dumps([str(model.resolve()), backend, str(photo.resolve()), boxes])
    done = subprocess.run(
        [str(python), "-c", PROGRAM, arguments],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[2])},
        capture_output=True,
        text=True,
        check=True,
    )
    return float(done.stdout.splitlines()[-1])


def main() -> None:
    print(measure(parse_options(RuntimeMeasureConfig, description=__doc__)))


if __name__ == "__main__":
    run_script(main)
