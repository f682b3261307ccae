"""Draw the error by yaw, the CED, and the models beside MediaPipe on the same faces.

    python -m tools.studies.error_curves table --per-image runs/evaluation/per_image.csv
    python -m tools.studies.error_curves curves
    python -m tools.studies.error_curves sheet

`table` keeps yaw and error of each face of an evaluation (evaluate.py) in docs/errors.csv, without names of
images; `curves` draws them; `sheet` renders heads at 0, 30, 60 and 90 degrees and shows what each system
finds on them.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from tf_dhm.core.cli import run_script

import numpy as np
import pandas as pd
import tyro
from matplotlib.figure import Figure
from numpy.typing import NDArray

from tf_dhm.core.configuration import check_fields
from tf_dhm.core.errors import InputError
from tf_dhm.core.files import atomic_write
from tf_dhm.core.types import Array
from tf_dhm.evaluation.entries import load_entries, load_peers
from tf_dhm.evaluation.figures import Picture, curve_style, new_figure, picture_sheet, save_figure
from tf_dhm.face import metrics
from tf_dhm.face.geometry import landmark_box
from tf_dhm.runtime.detector import FaceDetector
from tf_dhm.runtime.images import read_photo
from tools.draw_turning_heads import View, render_turning
from tools.studies.photo import PHOTO

ERRORS = Path("docs/errors.csv")
FIGURES = Path("docs/figures")
COLUMNS = ["model", "yaw", "nme"]
BANDWIDTH = 5.0
"""Standard deviation in degrees of the Gaussian window in which errors are averaged."""
LIMIT = 10.0
"""Right end of the CED in percent."""
YAWS = np.array([0.0, 30.0, 60.0, 90.0])


@dataclass(frozen=True)
class Table:
    """Keep yaw and error of each face of an evaluation."""

    per_image: Path
    """File that evaluate.py wrote."""
    labels: str = "original"
    """Label set to keep."""
    models: tuple[str, ...] = ()
    """Rows to keep, by the name in the file; by default all with true boxes."""
    output: Path = ERRORS
    """CSV file to write: a row for each model and face."""

    def __post_init__(self) -> None:
        check_fields(self)

    def run(self) -> None:
        table = pd.read_csv(self.per_image)
        table = table[table["labels"] == self.labels]
        names = self.models or tuple(name for name in table["model"].unique() if "detected" not in name)
        kept = table[table["model"].isin(names)].assign(yaw=table["yaw"].abs())[COLUMNS]
        if kept.empty:
            raise InputError(f"{self.per_image}: found no rows of {names} with labels {self.labels}")
        # Sorted, so that a row does not show which image it is of.
        kept = kept.sort_values(COLUMNS)
        with atomic_write(self.output) as path:
            kept.to_csv(path, index=False, float_format="%.2f")
        print(f"written: {self.output}, {len(kept)} rows")


@dataclass(frozen=True)
class Curves:
    """Error by yaw, and the share of faces below each error."""

    errors: Path = ERRORS
    """Table of the command `table`."""
    output: Path = FIGURES / "error_by_yaw.png"
    """Picture to write."""

    def run(self) -> None:
        save_figure(curves_figure(pd.read_csv(self.errors)), self.output)
        print(f"written: {self.output}")


@dataclass(frozen=True)
class Sheet:
    """Rendered heads at 0, 30, 60 and 90 degrees and a portrait, with the landmarks of each system."""

    models: tuple[str, ...] = ("fast_dhm_m", "fast_dhm_synthetic")
    """Models to show."""
    peers: tuple[str, ...] = ("mediapipe",)
    """Systems of others, as evaluate.py takes them."""
    seeds: tuple[int, ...] = (4, 5)
    """Seeds of the heads."""
    output: Path = FIGURES / "sheet.jpg"
    """Picture to write."""

    def run(self) -> None:
        views = [view for seed in self.seeds for view in render_turning(seed, YAWS, 320)]
        portrait = read_photo(PHOTO).pixels
        (detection,) = FaceDetector().detect(portrait)
        rows = []
        for entry in [*load_entries(self.models), *load_peers(self.peers)]:
            assert entry.find is not None  # a peer, or a single pass
            boxes = [landmark_box(view.landmarks[entry.box_start :]) for view in views]
            found = entry.find([view.image for view in views], np.array(boxes))
            pictures = [
                Picture(view.image, landmarks, caption(yaw, view, landmarks), view.landmarks)
                for yaw, view, landmarks in zip(np.tile(YAWS, len(self.seeds)), views, found, strict=True)
            ]
            (landmarks,) = entry.find([portrait], detection.box[None])
            rows.append((entry.name, [*pictures, Picture(portrait, landmarks, "a photo")]))
        title = "white: true landmarks, green: found; crops from true boxes, of the photo from the detector's"
        save_figure(picture_sheet(rows, title), self.output)
        print(f"written: {self.output}")


def caption(yaw: float, view: View, landmarks: Array) -> str:
    """Yaw and error of a face."""
    (error,) = metrics.nme(landmarks[None, :, :2], view.landmarks[None, :, :2])
    return f"{yaw:.0f}°, NME {error:.1f} %"


def smoothed(
    yaws: NDArray[np.float64], errors: NDArray[np.float64], at: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Mean of the errors in a Gaussian window around each of some yaws.

    The mirror image of the faces around 0 is included, so that the curve is level there.

    >>> smoothed(np.array([10.0, 10.0]), np.array([2.0, 4.0]), np.array([0.0, 10.0])).tolist()
    [3.0, 3.0]
    """
    distances = np.stack([at[:, None] - yaws, at[:, None] + yaws])
    weights = np.exp(-((distances / BANDWIDTH) ** 2) / 2).sum(0)
    return np.asarray(weights @ errors / weights.sum(1))


def curves_figure(table: pd.DataFrame) -> Figure:
    """Error by yaw on the left, CED on the right.

    Args:
        table: `model`, `yaw` (degrees, 0 or more) and `nme` (percent; inf for a missed face).
    """
    figure = new_figure(9.2, 3.9)
    left, right = figure.subplots(1, 2)
    at, thresholds = np.linspace(0.0, 90.0, 181), np.linspace(0.0, LIMIT, 401)
    for number, (name, part) in enumerate(table.groupby("model", sort=False)):
        colour, style = curve_style(number)
        found = part[np.isfinite(part["nme"])]
        curve = smoothed(found["yaw"].to_numpy(), found["nme"].to_numpy(), at)
        left.plot(at, curve, style, color=colour, label=str(name), linewidth=1.6)
        share = 100.0 * metrics.ced(part["nme"].to_numpy(), thresholds)
        right.plot(thresholds, share, style, color=colour, label=str(name), linewidth=1.6)
    for edge in (30, 60):
        left.axvline(edge, color="grey", linewidth=0.6, linestyle=":")
    left.set(xlabel="|yaw| (degrees)", ylabel="NME (%)", xlim=(0, 90), ylim=(0, None))
    right.set(xlabel="NME (%)", ylabel="faces (%)", xlim=(0, LIMIT), ylim=(0, 100))
    for axes in (left, right):
        axes.grid(alpha=0.3)
    right.legend(loc="lower right", fontsize=8)
    return figure


Command = (
    Annotated[Table, tyro.conf.subcommand("table")]
    | Annotated[Curves, tyro.conf.subcommand("curves")]
    | Annotated[Sheet, tyro.conf.subcommand("sheet")]
)


def main() -> None:
    command: Table | Curves | Sheet = tyro.cli(Command, description=__doc__)  # type: ignore[call-overload]
    command.run()


if __name__ == "__main__":
    run_script(main)
