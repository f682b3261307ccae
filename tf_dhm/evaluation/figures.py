"""Figures: CED plots, sheets of faces, states of DHM, cost against error; drawn without a display."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import matplotlib
import numpy as np
from adjustText import adjust_text
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patheffects import Normal, Stroke
from numpy.typing import ArrayLike, NDArray

from tf_dhm.core.errors import InputError
from tf_dhm.core.files import atomic_write
from tf_dhm.face import geometry, metrics
from tf_dhm.runtime.crops import cut_crops
from tf_dhm.runtime.drawing import CONTOURS

PREDICTED_COLOUR = "#39ff14"
TRUE_COLOUR = "white"
PICTURE_MARGIN = 1.2
"""Side of a picture of a face over the side of the face's crop."""
PICTURE_SIZE = 224
"""Side of a picture of a face in pixels."""
ROW_TITLE_WIDTH = 24
"""Letters beside one picture."""
LINE_STYLES = ("-", "--", ":", "-.")
LEGEND_LINE = 0.18
"""Height of a line of a legend in inches."""
DPI = 150


@dataclass(frozen=True)
class CedPanel:
    """One plot of a CED figure.

    Attributes:
        title: above the plot.
        errors: name of a curve -> (N,) NME in percent; a curve without errors is left out.
    """

    title: str
    errors: Mapping[str, ArrayLike]


@dataclass(frozen=True)
class Picture:
    """One face of a sheet.

    Attributes:
        image: (H, W, 3) uint8 RGB.
        landmarks: (68, 2 or 3) pixels of the image.
        caption: above the picture.
        truth: (68, 2 or 3) true landmarks, drawn below the others in white.
    """

    image: NDArray[np.uint8]
    landmarks: ArrayLike
    caption: str = ""
    truth: ArrayLike | None = None


PointKind = Literal["series", "single", "apart"]


@dataclass(frozen=True)
class TradeoffPoint:
    """A system in a plot of cost against error.

    Attributes:
        name: written beside the point; "" for nothing.
        group: points of one group share a colour.
        cost: time or bytes, more than 0, in the unit of the axis.
        nme: percent.
        kind: "series", points that a line joins with the others of their group: the multipliers of one
            part of a network, say; "single", points of their own; "apart", those that the front does
            not compare, drawn hollow: published, or measured in another way.
    """

    name: str
    group: str
    cost: float
    nme: float
    kind: PointKind = "series"


def ced_figure(panels: Sequence[CedPanel], columns: int, limit: float = metrics.FAILURE_THRESHOLD) -> Figure:
    """Plot CED curves up to `limit` percent; a curve keeps its colour in every panel.

    The legend below each panel gives the mean NME of each curve over the found faces of that panel; missed
    ones, of infinite error, hold the curve below 100 %.

    Args:
        panels: in reading order.
        columns: panels in a row.
        limit: right end of the axis in percent.
    """
    rows = -(-len(panels) // columns)
    names = list(dict.fromkeys(name for panel in panels for name in panel.errors))
    figure = new_figure(4.6 * columns, (4.1 + LEGEND_LINE * len(names)) * rows)
    grid = figure.subplots(rows, columns, squeeze=False, sharex=True, sharey=True)
    thresholds = np.linspace(0.0, limit, 601)
    for axes, panel in zip(grid.flat, panels, strict=False):
        for name, values in panel.errors.items():
            errors = np.asarray(values, np.float64)
            if errors.size == 0:
                continue
            colour, style = curve_style(names.index(name))
            found = errors[np.isfinite(errors)]
            label = f"{name}: {found.mean():.2f} %" if found.size else f"{name}: none found"
            share = 100.0 * metrics.ced(errors, thresholds)
            axes.plot(thresholds, share, style, color=colour, label=label, linewidth=1.6)
        axes.set_title(panel.title, fontsize=10)
        axes.set_xlabel("NME (%)")
        axes.set_ylabel("faces (%)")
        axes.tick_params(labelbottom=True, labelleft=True)
        axes.grid(alpha=0.3)
        if axes.lines:
            # Below, since six long names cover the curves wherever they stand.
            place = {"loc": "upper center", "bbox_to_anchor": (0.5, -0.14)}
            axes.legend(**place, fontsize=8, title="mean NME", title_fontsize=8)
        else:
            axes.text(0.5, 0.5, "no faces", transform=axes.transAxes, ha="center", va="center")
    for axes in list(grid.flat)[len(panels) :]:
        axes.set_visible(False)
    grid[0, 0].set_xlim(0.0, limit)
    grid[0, 0].set_ylim(0.0, 100.0)
    return figure


def picture_sheet(rows: Sequence[tuple[str, Sequence[Picture]]], title: str = "") -> Figure:
    """Lay out faces in titled rows, each cut to the surroundings of its landmarks.

    Args:
        rows: (title of the row, its pictures, at least one) from the top.
        title: above the whole sheet.
    """
    columns = max(len(pictures) for _, pictures in rows)
    figure = new_figure(1.9 * columns + 0.4, 2.15 * len(rows) + (0.5 if title else 0.0))
    grid = figure.subplots(len(rows), columns, squeeze=False)
    for row_axes, (row_title, pictures) in zip(grid, rows, strict=True):
        for axes in row_axes:
            axes.set(xticks=[], yticks=[])
            axes.spines[:].set_visible(False)
        for axes, picture in zip(row_axes, pictures, strict=False):
            draw_picture(axes, picture)
        lines = [textwrap.fill(line, ROW_TITLE_WIDTH) for line in row_title.splitlines()]
        row_axes[0].set_ylabel("\n".join(lines), fontsize=9)
    if title:
        figure.suptitle(title, fontsize=10)
    return figure


def tradeoff_figure(plots: Sequence[tuple[str, Sequence[TradeoffPoint]]], title: str = "") -> Figure:
    """Plot costs against NME, one plot for each kind of cost, with the Pareto front of what was measured.

    Args:
        plots: (label of the axis of costs, its points); the axis is logarithmic.
        title: above all.

    Raises:
        InputError: no point at all, or a cost or error that is not more than 0.
    """
    for label, points in plots:
        wrong = [point.name for point in points if not (0 < point.cost < np.inf and 0 < point.nme < np.inf)]
        if wrong or not points:
            found = f"no number more than 0 for {', '.join(wrong)}" if wrong else "no point"
            raise InputError(f"{label}: found {found}, expected points with costs and errors")
    figure = new_figure(6.2 * len(plots), 4.6 + (0.3 if title else 0.0))
    groups = list(dict.fromkeys(point.group for _, points in plots for point in points))
    to_move = []
    for axes, (label, points) in zip(figure.subplots(1, len(plots), squeeze=False).flat, plots, strict=True):
        axes.set_xscale("log")
        for group in groups:
            colour, _ = curve_style(groups.index(group))
            for kind, style in (("series", "o-"), ("single", "o"), ("apart", "o")):
                members = [p for p in points if (p.group, p.kind) == (group, kind)]
                if members:
                    members.sort(key=lambda point: point.cost)
                    xy = np.array([[p.cost, p.nme] for p in members]).T
                    (line,) = axes.plot(*xy, style, color=colour, label=group, linewidth=0.8, markersize=5)
                    if kind == "apart":
                        line.set_markerfacecolor("none")
        front = pareto_front([point for point in points if point.kind != "apart"])
        if len(front) > 1:
            xy = np.array([[p.cost, p.nme] for p in front]).T
            axes.plot(*xy, color="black", alpha=0.25, linewidth=4, label="Pareto front", zorder=0)
        axes.set_xlabel(label)
        axes.set_ylabel("NME (%)")
        axes.grid(alpha=0.3)
        axes.margins(0.12)
        labels = [axes.text(p.cost, p.nme, p.name, fontsize=6.5) for p in points if p.name]
        to_move.append((axes, labels, np.array([[p.cost, p.nme] for p in points]).T))
        # Below, since names of points stand anywhere in the plot.
        axes.legend(fontsize=8, loc="upper center", bbox_to_anchor=(0.5, -0.13), ncols=3)
    if title:
        figure.suptitle(title, fontsize=10)
    figure.draw_without_rendering()  # lays the plots out; names are moved by what they cover then
    line = {"arrowstyle": "-", "color": "grey", "linewidth": 0.5}
    for axes, labels, (x, y) in to_move:
        # By steps and not by time, so that the same points give the same figure on any machine.
        adjust_text(labels, x, y, ax=axes, arrowprops=line, iter_lim=300)
    return figure


def pareto_front(points: Sequence[TradeoffPoint]) -> list[TradeoffPoint]:
    """The points that no other beats in cost and error at once, by rising cost.

    >>> a, b, c = (TradeoffPoint(n, "", x, y) for n, x, y in (("a", 1, 5), ("b", 2, 6), ("c", 3, 4)))
    >>> [point.name for point in pareto_front([c, b, a])]
    ['a', 'c']
    """
    front: list[TradeoffPoint] = []
    for point in sorted(points, key=lambda p: (p.cost, p.nme)):
        if not front or point.nme < front[-1].nme:
            front.append(point)
    return front


def states_figure(
    image: NDArray[np.uint8], landmarks: Sequence[ArrayLike], heatmaps: Sequence[NDArray[np.floating]]
) -> Figure:
    """The states of DHM from p_0 on (Fig. 3): the points of each, and below the heat map drawn of them.

    Args:
        image: (S, S, 3) uint8 RGB, the crop.
        landmarks: of each state, (68, 2 or 3) pixels of `image`.
        heatmaps: of the first states, (s, s, 3) in [0, 1]; s may differ from S.
    """
    columns, side = len(landmarks), image.shape[0]
    figure = new_figure(2.1 * columns, 4.5)
    grid = figure.subplots(2, columns, squeeze=False)
    edges = (-0.5, side - 0.5, side - 0.5, -0.5)
    for step, points in enumerate(landmarks):
        upper, lower = grid[:, step]
        upper.imshow(image, interpolation="bilinear")
        draw_landmarks(upper, points, PREDICTED_COLOUR)
        upper.set_title(f"$p_{{{step}}}$", fontsize=10)
        if step < len(heatmaps):
            lower.imshow(np.clip(heatmaps[step], 0.0, 1.0), interpolation="nearest", extent=edges)
            lower.set_title(f"map {step}", fontsize=8)
        else:
            lower.set_visible(False)
        for axes in (upper, lower):
            axes.set(xticks=[], yticks=[], xlim=edges[:2], ylim=edges[2:])
    return figure


def draw_picture(axes: Axes, picture: Picture) -> None:
    """Draw one face, cut around its true landmarks or, without those, around the found ones."""
    box = geometry.landmark_box(picture.landmarks if picture.truth is None else picture.truth)
    centre, half = (box[:2] + box[2:]) / 2, PICTURE_MARGIN * (box[2:] - box[:2]) / 2
    cuts, matrices = cut_crops(picture.image, np.concatenate([centre - half, centre + half]), PICTURE_SIZE)
    to_cut = geometry.invert_affine(matrices[0])
    axes.imshow(cuts[0], interpolation="bilinear")
    if picture.truth is not None:
        draw_landmarks(axes, geometry.transform_landmarks(to_cut, picture.truth), TRUE_COLOUR)
    draw_landmarks(axes, geometry.transform_landmarks(to_cut, picture.landmarks), PREDICTED_COLOUR)
    axes.set_xlim(-0.5, PICTURE_SIZE - 0.5)
    axes.set_ylim(PICTURE_SIZE - 0.5, -0.5)
    axes.set_title(picture.caption, fontsize=7, pad=2)


def draw_landmarks(axes: Axes, landmarks: ArrayLike, colour: str) -> None:
    """Draw 68 landmarks as dots joined by thin lines, in the coordinates of `axes`."""
    xy = np.asarray(landmarks, np.float64)[..., :2]
    # A dark edge keeps light lines apart from a light skin.
    edge = [Stroke(linewidth=1.4, foreground="black", alpha=0.5), Normal()]
    for line, closed in CONTOURS:
        points = xy[[*line, line[0]] if closed else list(line)]
        axes.plot(points[:, 0], points[:, 1], "-", color=colour, linewidth=0.6, path_effects=edge)
    axes.plot(xy[:, 0], xy[:, 1], ".", color=colour, markersize=3.0, markeredgewidth=0)


def curve_style(index: int) -> tuple[str, str]:
    """Colour and line style of curve number `index`: ten colours, then the next line style."""
    palette = matplotlib.colormaps["tab10"].colors  # type: ignore[attr-defined]
    colour = matplotlib.colors.to_hex(palette[index % len(palette)])
    return colour, LINE_STYLES[index // len(palette) % len(LINE_STYLES)]


def new_figure(width: float, height: float) -> Figure:
    """An empty figure of this size in inches, bound to Agg and to no global state."""
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def save_figure(figure: Figure, path: Path) -> None:
    """Write a figure as the format that the suffix of `path` names."""
    with atomic_write(path) as temporary:
        figure.savefig(temporary, dpi=DPI)
