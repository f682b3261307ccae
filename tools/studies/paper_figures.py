"""Draw the figures of the paper from models and datasets on disk.

    python -m tools.studies.paper_figures states --model runs/family/dhm_small_seed1/export/dhm_small
    python -m tools.studies.paper_figures ablations
    python -m tools.studies.paper_figures ced --models fast_dhm --data aflw2000_3d=AFLW2000-3D menpo_3d=LS3D-W
    python -m tools.studies.paper_figures faces --models fast_dhm --peers mediapipe
    python -m tools.studies.paper_figures tradeoff --metrics runs/evaluation/metrics.json \\
        --benchmark benchmark.json
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from tf_dhm.core.cli import run_script

import numpy as np
import pandas as pd
import tyro

from pipelines.datasets import aflw2000_3d
from pipelines.datasets.catalogue import SYNTHETIC
from pipelines.datasets.readers import read_dataset
from pipelines.datasets.samples import FaceSample
from pipelines.prepared import datasets, records
from tf_dhm.core.errors import InputError
from tf_dhm.evaluation import figures
from tf_dhm.evaluation.entries import load_entries, load_peers
from tf_dhm.evaluation.evaluate import Evaluation, evaluate
from tf_dhm.evaluation.figures import CedPanel, TradeoffPoint
from tf_dhm.evaluation.published import measured_points, published_points
from tf_dhm.evaluation.report import errors_of_models, side_by_side
from tf_dhm.export.description import read_description
from tf_dhm.export.saved_model import read_weights
from tf_dhm.networks.config import ModelConfig
from tf_dhm.networks.dhm import trace_states
from tf_dhm.networks.models import build_model, constant_heatmap
from tf_dhm.runtime.crops import cut_crops
from tf_dhm.runtime.detector import FaceDetector
from tf_dhm.runtime.images import read_photo
from tf_dhm.runtime.store import find_savedmodel
from tools.studies import family_study
from tools.studies.family_study import StudyConfig
from tools.studies.photo import PHOTO

LIMIT = 10.0
"""Right end of CED plots in percent, as in the paper's Fig. 5."""
FOLDER = Path("docs/figures")
PICTURE_SIZE = 320
"""Side in pixels of the crop on which states are drawn."""
COSTS: dict[str, Literal["ms", "bytes"]] = {
    "time of one face on one thread of a CPU (ms)": "ms",
    "model on disk (bytes)": "bytes",
}


@dataclass(frozen=True)
class States:
    """Fig. 3: points and heat map at each state of DHM on a face."""

    model: str
    """Exported model of the family "dhm", as runs/family/dhm_small_seed1/export/dhm_small."""
    photo: Path = PHOTO
    """Photo; its first face is shown."""
    output: Path = FOLDER / "states.png"
    """Picture to write."""

    def draw(self) -> None:
        version_dir = find_savedmodel(self.model)
        config: ModelConfig = read_description(version_dir).model
        if config.family != "dhm":
            raise InputError(
                f"{self.model}: found the family {config.family}, expected dhm, which has states"
            )
        photo = read_photo(self.photo).pixels
        found = FaceDetector().detect(photo)
        if not found:
            raise InputError(f"{self.photo}: found no face, expected one")
        size = config.input_size
        crops, _ = cut_crops(photo, found[0].box, size)
        pictures, _ = cut_crops(photo, found[0].box, PICTURE_SIZE)
        network = build_model(config)
        network.set_weights(read_weights(version_dir))
        inputs = {"image": crops.astype(np.float32), "heatmap": constant_heatmap(size)}
        states = trace_states(network)(inputs)
        # Both crops are of one square; their pixels' corners agree, not their centres.
        points = [(state[0].numpy() + 0.5) * (PICTURE_SIZE / size) - 0.5 for state in states["landmarks"]]
        maps = [drawn[0].numpy() for drawn in states["heatmaps"]] if config.heatmap_input else []
        figures.save_figure(figures.states_figure(pictures[0], points, maps), self.output)


@dataclass(frozen=True)
class Ablations:
    """Fig. 5 (a): CED curves of the small twins, from the runs of tools.studies.family_study."""

    runs_dir: Path = Path("runs/family")
    """Folder of the study."""
    seed: int = 1
    """Seed of the runs to show."""
    output: Path = FOLDER / "ablations.png"
    """Picture to write."""

    def draw(self) -> None:
        errors: dict[str, Any] = {}
        for run in family_study.runs(StudyConfig(output_dir=self.runs_dir, seeds=(self.seed,))):
            table = run.metrics_file.with_name("per_image.csv")
            if table.is_file():
                errors[run.preset] = pd.read_csv(table)["nme"].to_numpy()
        if not errors:
            raise InputError(f"{self.runs_dir}: found no finished run of seed {self.seed}, expected some")
        count = len(next(iter(errors.values())))
        panel = CedPanel(f"AFLW2000-3D, original labels ({count} faces)", errors)
        figures.save_figure(figures.ced_figure([panel], columns=1, limit=LIMIT), self.output)


@dataclass(frozen=True)
class Measured:
    """Models and peers on labelled faces, for the figures that show them."""

    models: tuple[str, ...]
    """Model folders, or names of models of this project."""
    peers: tuple[str, ...] = ()
    """Systems of others, as evaluate.py takes them."""
    data: tuple[str, ...] = ()
    """Datasets as NAME=FOLDER; by default synthetic faces, rendered once."""
    cache_dir: Path = Path("data/prepared")
    """Folder in which the synthetic faces are kept."""
    faces: int = 1000
    """Number of synthetic faces to render."""

    def evaluate(self) -> dict[str, Evaluation]:
        """Dataset -> results of the models on all its test faces, with the labels it comes with."""
        entries = load_entries(self.models) + load_peers(self.peers)
        results: dict[str, Evaluation] = {}
        for text in self.data or (SYNTHETIC,):
            name, _, folder = text.partition("=")
            if name == SYNTHETIC and not folder:
                items: Any = records.read_samples(
                    datasets.evaluation_folder(self.cache_dir, self.faces), "test"
                )
            elif not folder:
                raise InputError(f"data: found {text!r}, expected NAME=FOLDER")
            elif name == "aflw2000_3d":
                items = aflw2000_3d.read(Path(folder), wrap_pose=False)
            else:
                items = [
                    item
                    for item in read_dataset(name, Path(folder))
                    if not isinstance(item, FaceSample) or item.split == "test"
                ]
            results[name] = evaluate(entries, {name: items})
        return results


@dataclass(frozen=True)
class Ced(Measured):
    """Fig. 5 (b-h): CED curves on each of the datasets on disk."""

    output: Path = FOLDER / "ced.png"
    """Picture to write."""

    def draw(self) -> None:
        panels = []
        for name, result in self.evaluate().items():
            errors = errors_of_models(result, name)
            panels.append(CedPanel(f"{name} ({len(result.faces[name])} faces)", errors))
        figures.save_figure(figures.ced_figure(panels, min(len(panels), 3), LIMIT), self.output)


@dataclass(frozen=True)
class Faces(Measured):
    """Fig. 6 and 9: best, typical and worst faces of a dataset, the models side by side."""

    output: Path = FOLDER / "faces.jpg"
    """Picture to write; with several datasets, one each: faces_NAME.jpg."""

    def draw(self) -> None:
        results = self.evaluate()
        for name, result in results.items():
            path = self.output
            if len(results) > 1:
                path = path.with_stem(f"{path.stem}_{name}")
            title = f"{name}; white: labels, green: found; NME of each face"
            sheet = figures.picture_sheet(side_by_side(result, name), title)
            figures.save_figure(sheet, path)


@dataclass(frozen=True)
class Tradeoff:
    """Fig. 7 and 8: time and bytes against NME, with the systems of Table I."""

    metrics: Path | None = None
    """metrics.json that evaluate.py wrote on AFLW2000-3D."""
    benchmark: Path | None = None
    """JSON file that benchmark.py wrote for the same models."""
    labels: str = "original"
    """Label set of metrics.json to show."""
    limit: float = 8.0
    """Published systems with a higher NME in percent are left out."""
    output: Path = FOLDER / "tradeoff.png"
    """Picture to write."""

    def draw(self) -> None:
        if (self.metrics is None) != (self.benchmark is None):
            raise InputError("metrics, benchmark: found one of them, expected both or none")
        plots = []
        for label, column in COSTS.items():
            points: list[TradeoffPoint] = []
            if self.metrics is not None and self.benchmark is not None:
                results, timing = (read_report(path) for path in (self.metrics, self.benchmark))
                group = f"measured here ({timing['machine']['cpu']})"
                points = measured_points(results, timing, self.labels, column, group)
                if not points:
                    raise InputError(
                        f"{self.benchmark}: found none of the models {', '.join(results)} on one thread with "
                        f"batch 1, or no labels {self.labels} in {self.metrics}; expected some"
                    )
            points += [point for point in published_points(column) if point.nme <= self.limit]
            plots.append((label, points))
        title = (
            "AFLW2000-3D, mean of the yaw bins; hollow: as published or as measured before, not timed here"
        )
        figures.save_figure(figures.tradeoff_figure(plots, title), self.output)


def read_report(path: Path) -> dict[str, Any]:
    """A JSON file of evaluate.py or benchmark.py; InputError if it is not one."""
    try:
        content = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: found {error}, expected a report as JSON") from error
    if not isinstance(content, dict):
        raise InputError(f"{path}: found {type(content).__name__}, expected a report as JSON")
    return content


Figure = States | Ablations | Ced | Faces | Tradeoff


def main() -> None:
    figure: Figure = tyro.cli(Figure, description=__doc__)  # type: ignore[call-overload]
    figure.draw()
    print(f"written: {figure.output}")


if __name__ == "__main__":
    run_script(main)
