"""What is written about an evaluation: tables, CED plots and pictures."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from tf_dhm.core.files import atomic_write
from tf_dhm.core.markdown import DASH, markdown_table
from tf_dhm.core.types import Array
from tf_dhm.core.words import counted
from tf_dhm.evaluation.boxes import TRUE_BOXES
from tf_dhm.evaluation.entries import ModelSize
from tf_dhm.evaluation.evaluate import Evaluation, Metrics, summarize
from tf_dhm.evaluation.figures import CedPanel, Picture, ced_figure, picture_sheet, save_figure
from tf_dhm.evaluation.published import PUBLISHED_DATASET, PUBLISHED_IMAGES, read_published
from tf_dhm.face import metrics
from tf_dhm.runtime.images import decode_raster

METRICS_FILE = "metrics.json"
SHEET_COLUMNS = 5
POSE_COLUMNS = {
    "pitch": "pose_mae_pitch",
    "yaw": "pose_mae_yaw",
    "roll": "pose_mae_roll",
    "pose error": "pose_mae",
}
"""Title in a table -> key in metrics.json and column of the published rows."""


def write_report(evaluation: Evaluation, dataset: str, output_dir: Path) -> str:
    """Write every file of an evaluation and return the text of `table.md` without the published rows.

    metrics.json, per_image.csv, rejected.csv, table.md, ced.png, ced_by_yaw.png and
    best_and_worst.png, whose pictures are of the first label set.

    Args:
        evaluation: of `evaluate`.
        dataset: its name; beside PUBLISHED_DATASET the published rows are given.
        output_dir: a folder, made if need be.
    """
    table = evaluation.table
    results = summarize(table)
    for name, row in evaluation.rows.items():
        for summary in results[name].values():
            summary["boxes"] = row.boxes
            if row.version is not None:
                summary["version"] = row.version
            if row.fitted:
                summary["fitted"] = row.fitted
    published = read_published() if dataset == PUBLISHED_DATASET else None
    labels = next(iter(evaluation.faces))
    title = f"{dataset}, labels: {labels}; white: labels, green: found; NME of each face"
    pictures = picture_sheet(best_and_worst(evaluation, labels), title)
    panels, yaw_panels = ced_panels(table, by_yaw=False), ced_panels(table, by_yaw=True)
    with atomic_write(output_dir / METRICS_FILE) as path:
        path.write_text(json.dumps(results, indent=2) + "\n")
    with atomic_write(output_dir / "per_image.csv") as path:
        table.to_csv(path, index=False, float_format="%.6f")
    with atomic_write(output_dir / "rejected.csv") as path:
        evaluation.rejected.to_csv(path, index=False)
    with atomic_write(output_dir / "table.md") as path:
        path.write_text(report_text(evaluation, results, dataset, published))
    save_figure(ced_figure(panels, columns=len(panels)), output_dir / "ced.png")
    save_figure(ced_figure(yaw_panels, columns=len(metrics.YAW_BINS)), output_dir / "ced_by_yaw.png")
    save_figure(pictures, output_dir / "best_and_worst.png")
    return report_text(evaluation, results, dataset, None)


def report_text(
    evaluation: Evaluation, results: Metrics, dataset: str, published: pd.DataFrame | None
) -> str:
    """The comparison table with the protocol and the counts it rests on.

    Args:
        evaluation: of `evaluate`.
        results: of `summarize`.
        dataset: its name.
        published: rows of `read_published`; None to leave them out.
    """
    lines = [f"# Accuracy on {dataset}", ""]
    lines += [
        "NME in percent: mean distance in x and y over 68 points, divided by sqrt(w h) of the box of the "
        "scored landmarks. Crops are cut from the box of the original landmarks, whatever labels are scored, "
        "unless a row names other boxes. Bins are of |yaw| in degrees. A missed face, one that the detector "
        "does not find, is a failure and is not in the means.",
        "Pose: mean absolute error of pitch, yaw and roll in degrees, over faces whose true angles are all "
        f"within {metrics.POSE_LIMIT:.0f}.",
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
        missed = {
            name: results[name][labels]["missed"] for name in results if results[name][labels]["missed"]
        }
        rejected = int((evaluation.rejected["labels"] == labels).sum())
        lines.append(
            f"- labels {labels}: {counted(len(faces), 'face')}, by bin {counts}; {rejected} rejected"
        )
        lines += [f"  - {name}: {count} missed" for name, count in missed.items()]
    others = {name: row for name, row in evaluation.rows.items() if row.boxes != TRUE_BOXES.source}
    lines += [f"- {name}: crops from {row.boxes}" for name, row in others.items()]
    lines += [f"- {name}: {row.fitted}" for name, row in evaluation.rows.items() if row.fitted]
    sizes = {name: row.size for name, row in evaluation.rows.items()}
    return "\n".join(lines) + "\n\n" + markdown_table(comparison_table(results, sizes, published))


def comparison_table(
    results: Metrics, sizes: Mapping[str, ModelSize], published: pd.DataFrame | None
) -> list[dict[str, str]]:
    """Our rows, then the published ones, every field a string.

    Args:
        results: of `summarize`.
        sizes: model -> its size.
        published: rows of `read_published`; None to leave them out.
    """
    rows: list[dict[str, str]] = []
    for model, by_labels in results.items():
        for labels, summary in by_labels.items():
            size = sizes[model]
            rows.append(
                {
                    "model": model,
                    "source": "this evaluation",
                    "labels": labels,
                    **{bin_title(name): two_digits(summary[f"nme_{name}"]) for name in metrics.YAW_BINS},
                    "mean of bins": two_digits(summary["nme_mean_of_bins"]),
                    "mean of images": two_digits(summary["nme_mean"]),
                    "AUC to 6 %": f"{summary['auc_6']:.3f}",
                    "above 6 %": f"{summary['failure_rate_6']:.1%}",
                    "images": str(summary["images"]),
                    "missed": str(summary["missed"]),
                    **{title: two_digits(summary[key]) for title, key in POSE_COLUMNS.items()},
                    "size": f"{size.bytes:,} bytes",
                    "parameters": "" if size.parameters is None else f"{size.parameters:,}",
                }
            )
    for row in [] if published is None else published.to_dict("records"):
        shared = {"model": row["system"], "source": row["source"], "images": str(PUBLISHED_IMAGES)}
        rows.append(
            {
                **shared,
                "labels": "original",
                **{bin_title(name): row[f"nme_{name}"] for name in metrics.YAW_BINS},
                "mean of bins": row["nme_mean"],
                **{title: row[key] for title, key in POSE_COLUMNS.items()},
                "FPS GPU": row["fps_gpu"],
                "FPS CPU": row["fps_cpu"],
                "ms CPU": row["ms_cpu"],
                "size": row["size"],
                "note": row["note"],
            }
        )
        if row["nme_mean_reannotated"]:
            rows.append({**shared, "labels": "re-annotated", "mean of bins": row["nme_mean_reannotated"]})
    return [{column: cell or DASH for column, cell in row.items()} for row in rows]


def bin_title(name: str) -> str:
    """A yaw bin for the reader: "0_30" -> "0–30°"."""
    return f"{name.replace('_', DASH)}°"


def two_digits(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}"


def ced_panels(table: pd.DataFrame, by_yaw: bool) -> list[CedPanel]:
    """One panel for each label set or, with `by_yaw`, for each label set and bin of |yaw|."""
    panels: list[CedPanel] = []
    for labels, part in table.groupby("labels", sort=False):
        models = list(dict.fromkeys(part["model"]))
        for name in metrics.YAW_BINS if by_yaw else ("",):
            inside = part[part["bin"] == name] if by_yaw else part
            errors = {model: inside.loc[inside["model"] == model, "nme"].to_numpy() for model in models}
            which = f", |yaw| {bin_title(name)}" if by_yaw else ""
            count = len(inside) // len(models)
            panels.append(CedPanel(f"labels: {labels}{which} ({counted(count, 'face')})", errors))
    return panels


def best_and_worst(evaluation: Evaluation, labels: str) -> list[tuple[str, list[Picture]]]:
    """Rows of pictures for each model: lowest, middle and highest NME, from left to right rising."""
    rows: list[tuple[str, list[Picture]]] = []
    for model, errors in errors_of_models(evaluation, labels).items():
        if not np.isfinite(errors).any():
            continue
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
    """Model -> (N,) NME of the faces of a label set, in their order; infinite for a missed face."""
    part = evaluation.table[evaluation.table["labels"] == labels]
    return {str(model): rows["nme"].to_numpy() for model, rows in part.groupby("model", sort=False)}


def extremes(errors: Array) -> dict[str, NDArray[np.intp]]:
    """Kind -> indices of the found faces with the lowest, middle and highest errors, each rising."""
    order = np.argsort(errors, kind="stable")[: np.isfinite(errors).sum()]
    count = min(SHEET_COLUMNS, max(1, len(order) // 3))
    middle = (len(order) - count) // 2
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
