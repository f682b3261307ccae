"""Accuracy of exported models on labelled faces: tables, CED plots and pictures."""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal, Protocol, runtime_checkable

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from tqdm import tqdm

from tf_dhm.core.errors import InputError
from tf_dhm.core.files import atomic_write
from tf_dhm.core.types import Array, Image
from tf_dhm.evaluation.figures import CedPanel, Picture, TradeoffPoint, ced_figure, picture_sheet, save_figure
from tf_dhm.evaluation.peers import load_peer
from tf_dhm.face import geometry, metrics
from tf_dhm.runtime.detector import FaceDetector
from tf_dhm.runtime.images import decode_raster
from tf_dhm.runtime.predictor import LandmarkModel, Predictor, find_faces

PUBLISHED = Path(__file__).parents[1] / "assets" / "published.csv"
"""Table I of the paper as printed, and systems measured side by side under the same protocol."""
PUBLISHED_DATASET = "aflw2000_3d"
PUBLISHED_IMAGES = 2000
BATCH_IMAGES = 50
BATCH_PIXELS = 64_000_000
"""Decoded pixels held at once, so that large photos do not fill the memory."""
SHEET_COLUMNS = 5
TRUE_BOXES = "that box"
NEAR = 0.6
"""Longer sides of a true box within which a detection is one of that face."""
DASH = "–"

Metrics = dict[str, dict[str, dict[str, Any]]]


@runtime_checkable
class Face(Protocol):
    """What evaluation asks of a labelled face; `pipelines.datasets.samples.FaceSample` is one."""

    @property
    def name(self) -> str:
        """Unique in its dataset."""
        ...

    @property
    def landmarks(self) -> NDArray[np.float32]:
        """(68, 3) pixels of the image; z may be NaN."""
        ...

    @property
    def pose(self) -> NDArray[np.float32]:
        """(3,) degrees pitch, yaw, roll; NaN if unknown."""
        ...

    def read_image(self) -> bytes:
        """The encoded image; raises InputError or OSError."""
        ...


@runtime_checkable
class Refused(Protocol):
    """A face that the reader of its dataset refused; `pipelines.datasets.samples.Refusal` is one."""

    @property
    def name(self) -> str:
        """Unique in its dataset."""
        ...

    @property
    def reason(self) -> str:
        """What is wrong with it."""
        ...


@dataclass(frozen=True)
class ModelSize:
    """Bytes of a model, and its number of parameters, None where that is not known.

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
            boxes (N, 4).
        size: of its weights or files.
        box_start: the first of the true landmarks that those boxes bound; 17 leaves out the jaw.
        version: of a model in a version folder.
    """

    name: str
    find: Callable[[Sequence[Image], ArrayLike], NDArray[np.float32]]
    size: ModelSize
    box_start: int = 0
    version: int | None = None


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


@dataclass(frozen=True)
class Boxes:
    """Landmark boxes other than the true ones, to cut crops from.

    Attributes:
        source: in words.
        find: a face and its image (H, W, 3) -> its box (4,); None where there is none.
    """

    source: str
    find: Callable[[Face, Image], Array | None]


def detected_boxes() -> Boxes:
    """The boxes of the face detector. Of several faces that whose centre is nearest to the true one
    counts, within NEAR of the longer side of the true box."""
    detector = FaceDetector()

    def find(face: Face, image: Image) -> Array | None:
        true = geometry.landmark_box(face.landmarks)
        found = np.array([detection.box for detection in detector.detect(image)]).reshape(-1, 4)
        off = np.linalg.norm((found[:, :2] + found[:, 2:] - true[:2] - true[2:]) / 2.0, axis=1)
        if not len(found) or off.min() > NEAR * (true[2:] - true[:2]).max():
            return None
        return found[off.argmin()]

    return Boxes("the boxes of the face detector; a face that it does not find is refused", find)


def disturbed_boxes(shift: float, scale: float) -> Boxes:
    """True boxes with normal errors, always the same for a face.

    Args:
        shift: standard deviation of each coordinate of the centre, in longer sides of the true box.
        scale: that of the logarithm of the size.
    """
    if not (0 <= shift < np.inf and 0 <= scale < np.inf):
        raise InputError(f"box_error: found {shift} and {scale}, expected 0 or more")

    def find(face: Face, image: Image) -> Array:
        true = geometry.landmark_box(face.landmarks).astype(np.float64)
        errors = np.random.default_rng(zlib.crc32(face.name.encode())).normal(size=3)
        centre, half = (true[:2] + true[2:]) / 2.0, (true[2:] - true[:2]) / 2.0
        centre += 2.0 * half.max() * shift * errors[:2]
        half *= np.exp(scale * errors[2])
        return np.concatenate([centre - half, centre + half])

    return Boxes(
        f"the true boxes shifted by a normal error of {shift:g} sides and scaled by one of {scale:g}", find
    )


def load_entries(models: Sequence[str | Path], passes: Sequence[int] = (1,)) -> list[Entry]:
    """Load models; each gives one entry for each number of passes.

    Models of the same name are told apart by the paths they were given as.
    """
    predictors = [Predictor(path) for path in models]
    names = distinct_names([predictor.name for predictor in predictors], [str(path) for path in models])
    return [
        Entry(
            name=name if count == 1 else f"{name} ({count} passes)",
            find=partial(predict_faces, predictor, passes=count),
            size=model_size(predictor.version_dir),
            version=int(folder) if (folder := predictor.version_dir.name).isdecimal() else None,
        )
        for name, predictor in zip(names, predictors, strict=True)
        for count in dict.fromkeys(passes)
    ]


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


def with_boxes(
    batch: list[tuple[Face, Image]], boxes: Boxes, refused: list[tuple[str, str]]
) -> tuple[list[tuple[Face, Image]], list[Array]]:
    """The faces of a batch that have a box, and their boxes; the others are appended to `refused`."""
    kept, own = [], []
    for face, image in batch:
        box = boxes.find(face, image)
        if box is None:
            refused.append((face.name, "found no box"))
            continue
        kept.append((face, image))
        own.append(box)
    return kept, own


def read_batches(
    items: Iterable[Face | Refused], refused: list[tuple[str, str]]
) -> Iterator[list[tuple[Face, Image]]]:
    """Decode faces in batches of at most BATCH_IMAGES images and about BATCH_PIXELS pixels.

    Args:
        items: what a dataset's reader yields.
        refused: name and reason of every face that cannot be used are appended to it.
    """
    batch: list[tuple[Face, Image]] = []
    pixels = 0
    for item in items:
        if isinstance(item, Refused):
            refused.append((item.name, item.reason))
            continue
        try:
            image = decode_raster(item.read_image(), item.name)
        except (InputError, OSError) as error:
            refused.append((item.name, str(error)))
            continue
        batch.append((item, image))
        pixels += image.shape[0] * image.shape[1]
        if len(batch) == BATCH_IMAGES or pixels >= BATCH_PIXELS:
            yield batch
            batch, pixels = [], 0
    if batch:
        yield batch


def predict_faces(
    predictor: LandmarkModel, images: Sequence[Image], boxes: ArrayLike, passes: int = 1
) -> NDArray[np.float32]:
    """`predictor.find_faces` for one face in each of many images.

    Args:
        predictor: the model.
        images: N arrays (H, W, 3) uint8 RGB of any sizes.
        boxes: (N, 4) landmark boxes.
        passes: 1 or more.

    Returns:
        (N, 68, 3) float32 landmarks in pixels of the images.
    """
    found = find_faces(predictor, images, list(np.asarray(boxes)[:, None]), passes)
    return np.concatenate([prediction.landmarks for prediction in found])


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


def read_published() -> pd.DataFrame:
    """The published rows as printed: every field a string, empty where nothing is printed."""
    return pd.read_csv(PUBLISHED, dtype=str, keep_default_na=False)


def published_points(column: Literal["ms", "bytes"]) -> list[TradeoffPoint]:
    """The published rows for `figures.tradeoff_figure`, original labels.

    Args:
        column: "ms" of one face on a CPU (from frames per second where those are printed; not the same
            CPU for all), or "bytes". A row without it, or with a bound such as "<1", is left out.
    """
    points = []
    for row in read_published().to_dict("records"):
        try:
            if column == "bytes":
                number, unit = row["size"].replace(",", "").split()
                cost = float(number) * {"MB": 1e6, "bytes": 1.0}[unit]
            else:
                cost = float(row["ms_cpu"].split()[0]) if row["ms_cpu"] else 1000.0 / float(row["fps_cpu"])
            points.append(TradeoffPoint(row["system"], row["source"], cost, float(row["nme_mean"]), "apart"))
        except ValueError:
            continue
    return points


def measured_points(
    results: Metrics, benchmark: Mapping[str, Any], labels: str, column: Literal["ms", "bytes"], group: str
) -> list[TradeoffPoint]:
    """Measured models for `figures.tradeoff_figure`: those with an NME and a time.

    Args:
        results: of `summarize`, or of the file metrics.json.
        benchmark: the JSON file of `benchmark.run`; of each model the fastest runtime on one thread
            of the CPU with batch 1 counts, or the smallest file, of those that answer as the
            SavedModel does: in float32 or float16.
        labels: which label set; its mean of bins, or of images where poses are unknown.
        column: "ms" of the stage "model", or "bytes".
        group: of all points.
    """
    points = []
    for model, by_labels in results.items():
        rows = [
            row
            for row in benchmark["results"]
            if (row["model"], row["device"], row["threads"], row["stage"], row["batch"])
            == (model, "cpu", 1, "model", 1)
            and row["precision"] in ("saved_model", "float32", "float16")
        ]
        if not rows or labels not in by_labels:
            continue
        summary = by_labels[labels]
        cost = min(row["ms" if column == "ms" else "file_bytes"] for row in rows)
        points.append(TradeoffPoint(model, group, float(cost), metrics.headline(summary)))
    return points


def comparison_table(
    results: Metrics, sizes: Mapping[str, ModelSize], published: pd.DataFrame | None
) -> pd.DataFrame:
    """Our rows, then the published ones, every field a string.

    Args:
        results: of `summarize`.
        sizes: model -> its size.
        published: of `read_published`; None where the dataset is another one.
    """
    rows: list[dict[str, str]] = []
    for model, by_labels in results.items():
        for labels, summary in by_labels.items():
            size = sizes[model]
            rows.append(
                {
                    "system": model,
                    "source": "this evaluation",
                    "labels": labels,
                    **{bin_title(name): two_digits(summary[f"nme_{name}"]) for name in metrics.YAW_BINS},
                    "mean of bins": two_digits(summary["nme_mean_of_bins"]),
                    "mean of images": two_digits(summary["nme_mean"]),
                    "AUC 6 %": f"{summary['auc_6']:.3f}",
                    "failures 6 %": f"{summary['failure_rate_6']:.1%}",
                    "images": str(summary["images"]),
                    "size": f"{size.bytes:,} bytes",
                    "parameters": "" if size.parameters is None else f"{size.parameters:,}",
                }
            )
    for row in [] if published is None else published.to_dict("records"):
        shared = {"system": row["system"], "source": row["source"], "images": str(PUBLISHED_IMAGES)}
        rows.append(
            {
                **shared,
                "labels": "original",
                **{bin_title(name): row[f"nme_{name}"] for name in metrics.YAW_BINS},
                "mean of bins": row["nme_mean"],
                "FPS GPU": row["fps_gpu"],
                "FPS CPU": row["fps_cpu"],
                "ms CPU": row["ms_cpu"],
                "size": row["size"],
                "note": row["note"],
            }
        )
        if row["nme_mean_reannotated"]:
            rows.append({**shared, "labels": "re-annotated", "mean of bins": row["nme_mean_reannotated"]})
    return pd.DataFrame(rows).fillna("").replace("", DASH)


def bin_title(name: str) -> str:
    """A yaw bin for the reader: "0_30" -> "0–30"."""
    return name.replace("_", DASH)


def two_digits(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}"


def to_markdown(table: pd.DataFrame) -> str:
    """A table of strings as Markdown, its columns aligned for reading as plain text."""
    lines = [[str(column), *table[column]] for column in table.columns]
    padded = [[cell.ljust(max(map(len, line))) for cell in line] for line in lines]
    rows = ["| " + " | ".join(cells) + " |" for cells in zip(*padded, strict=True)]
    rule = "|" + "|".join("-" * (len(line[0]) + 2) for line in padded) + "|"
    return "\n".join([rows[0], rule, *rows[1:]]) + "\n"


def ced_panels(table: pd.DataFrame, by_yaw: bool) -> list[CedPanel]:
    """One panel for each label set or, with `by_yaw`, for each label set and bin of |yaw|."""
    panels: list[CedPanel] = []
    for labels, part in table.groupby("labels", sort=False):
        models = list(dict.fromkeys(part["model"]))
        for name in metrics.YAW_BINS if by_yaw else ("",):
            inside = part[part["bin"] == name] if by_yaw else part
            errors = {model: inside.loc[inside["model"] == model, "nme"].to_numpy() for model in models}
            which = f", |yaw| {bin_title(name)}°" if by_yaw else ""
            count = len(inside) // len(models)
            panels.append(CedPanel(f"labels: {labels}{which} ({count} faces)", errors))
    return panels


def best_and_worst(evaluation: Evaluation, labels: str) -> list[tuple[str, list[Picture]]]:
    """Rows of pictures for each model: lowest, middle and highest NME, from left to right rising."""
    rows: list[tuple[str, list[Picture]]] = []
    for model, errors in errors_of_models(evaluation, labels).items():
        for kind, indices in extremes(errors).items():
            rows.append((f"{model}\n{kind}", pictures_of(evaluation, labels, model, indices)))
    return rows


def side_by_side(evaluation: Evaluation, labels: str) -> list[tuple[str, list[Picture]]]:
    """Rows of pictures: the faces of lowest, middle and highest mean NME over the models, one row a model.

    What each model makes of one face stands in one column.
    """
    errors = errors_of_models(evaluation, labels)
    return [
        (f"{kind}\n{model}", pictures_of(evaluation, labels, model, indices))
        for kind, indices in extremes(np.mean(list(errors.values()), 0)).items()
        for model in errors
    ]


def errors_of_models(evaluation: Evaluation, labels: str) -> dict[str, Array]:
    """Model -> (N,) NME of the faces of a label set, in their order."""
    part = evaluation.table[evaluation.table["labels"] == labels]
    return {str(model): rows["nme"].to_numpy() for model, rows in part.groupby("model", sort=False)}


def extremes(errors: Array) -> dict[str, NDArray[np.intp]]:
    """Kind -> indices of the faces with the lowest, middle and highest errors, each rising."""
    count = min(SHEET_COLUMNS, max(1, len(errors) // 3))
    middle = (len(errors) - count) // 2
    order = np.argsort(errors, kind="stable")
    return {"best": order[:count], "typical": order[middle : middle + count], "worst": order[-count:]}


def pictures_of(evaluation: Evaluation, labels: str, model: str, indices: NDArray[np.intp]) -> list[Picture]:
    """Faces of a label set with what a model found, named with their errors."""
    faces, errors = evaluation.faces[labels], errors_of_models(evaluation, labels)[model]
    return [
        Picture(
            image=decode_raster(faces[i].read_image(), faces[i].name),
            landmarks=evaluation.landmarks[model, labels][i],
            caption=f"{faces[i].name}  {errors[i]:.2f} %",
            truth=faces[i].landmarks,
        )
        for i in indices
    ]


def write_report(evaluation: Evaluation, entries: Sequence[Entry], dataset: str, output_dir: Path) -> str:
    """Write every file of an evaluation and return the text of `table.md`.

    metrics.json, per_image.csv, refused.csv, table.md, ced.png, ced_by_yaw.png and
    best_and_worst.png, whose pictures are of the first label set.

    Args:
        evaluation: of `evaluate`.
        entries: its models.
        dataset: its name; beside PUBLISHED_DATASET the published rows are given.
        output_dir: a folder, made if need be.
    """
    table = evaluation.table
    results = summarize(table)
    for entry in entries:
        if entry.version is not None:
            for summary in results[entry.name].values():
                summary["version"] = entry.version
    if evaluation.boxes != TRUE_BOXES:
        for by_labels in results.values():
            for summary in by_labels.values():
                summary["boxes"] = evaluation.boxes
    text = report_text(evaluation, results, {entry.name: entry.size for entry in entries}, dataset)
    labels = next(iter(evaluation.faces))
    title = f"{dataset}, labels: {labels}; white: labels, green: found; NME of each face"
    pictures = picture_sheet(best_and_worst(evaluation, labels), title)
    panels, yaw_panels = ced_panels(table, by_yaw=False), ced_panels(table, by_yaw=True)
    with atomic_write(output_dir / "metrics.json") as path:
        path.write_text(json.dumps(results, indent=2) + "\n")
    with atomic_write(output_dir / "per_image.csv") as path:
        table.to_csv(path, index=False, float_format="%.6f")
    with atomic_write(output_dir / "refused.csv") as path:
        evaluation.refused.to_csv(path, index=False)
    with atomic_write(output_dir / "table.md") as path:
        path.write_text(text)
    save_figure(ced_figure(panels, columns=len(panels)), output_dir / "ced.png")
    save_figure(ced_figure(yaw_panels, columns=len(metrics.YAW_BINS)), output_dir / "ced_by_yaw.png")
    save_figure(pictures, output_dir / "best_and_worst.png")
    return text


def report_text(
    evaluation: Evaluation, results: Metrics, sizes: Mapping[str, ModelSize], dataset: str
) -> str:
    """`table.md`: the comparison table with the protocol and the counts it rests on."""
    published = read_published() if dataset == PUBLISHED_DATASET else None
    lines = [f"# Accuracy on {dataset}", ""]
    lines += [
        "NME in percent: mean distance in x and y over 68 points, divided by sqrt(w h) of the box of the "
        f"true landmarks; crops are cut from {evaluation.boxes}. Bins are of |yaw| in degrees.",
        "Size: of a SavedModel its weights, of another model its files.",
        "",
    ]
    if published is not None:
        lines += [
            "Rows marked *published* are as printed and were not run again; rows marked *measured side by "
            f"side* were run under this protocol; both are on all {PUBLISHED_IMAGES} images.",
            "",
        ]
    for labels, faces in evaluation.faces.items():
        bins = metrics.yaw_bins([face.pose[1] for face in faces])
        counts = "/".join(str(int((bins == i).sum())) for i in range(len(metrics.YAW_BINS)))
        refused = int((evaluation.refused["labels"] == labels).sum())
        lines.append(f"- labels {labels}: {len(faces)} faces, by bin {counts}; {refused} refused")
    return "\n".join(lines) + "\n\n" + to_markdown(comparison_table(results, sizes, published))
