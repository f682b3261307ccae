"""CED plots and sheets of faces, drawn on Agg."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from matplotlib.image import imread

from tf_dhm.core.errors import InputError
from tf_dhm.evaluation import figures
from tf_dhm.evaluation.figures import PointKind, TradeoffPoint
from tf_dhm.face import geometry
from tf_dhm.face.mean_face import mean_shape


def face(size: int = 100) -> np.ndarray:
    return geometry.unit_to_pixels(mean_shape(), size)


def test_ced_curves_hold_the_shares_in_percent() -> None:
    panels = [
        figures.CedPanel("first", {"a": [1.0, 2.0, 7.0, 8.0], "b": [0.0]}),
        figures.CedPanel("second", {"b": [3.0], "a": []}),
        figures.CedPanel("third", {"a": []}),
    ]
    first, second, third, spare = figures.ced_figure(panels, columns=2).axes
    a, b = first.lines
    x, y = np.asarray(a.get_xdata()), np.asarray(a.get_ydata())
    assert [x[0], x[-1]] == [0.0, 6.0]
    assert [y[0], y[100], y[300], y[-1]] == [0.0, 25.0, 50.0, 50.0]
    assert np.asarray(b.get_ydata())[0] == 100.0
    legend = first.get_legend()
    assert legend is not None
    assert [text.get_text() for text in legend.get_texts()] == ["a: 4.50 %", "b: 0.00 %"]
    # A curve keeps its colour from panel to panel.
    assert [line.get_color() for line in second.lines] == [b.get_color()]
    assert a.get_color() != b.get_color()
    assert not third.lines
    assert third.texts[0].get_text() == "no faces"
    assert not spare.get_visible()


def test_the_legend_of_many_ced_curves_covers_no_plot() -> None:
    curves = {f"model {number} (default passes, detected boxes)": [number, 3.0] for number in range(12)}
    figure = figures.ced_figure([figures.CedPanel("panel", curves)] * 2, columns=1)
    figure.draw_without_rendering()
    plots = [axes.get_window_extent() for axes in figure.axes]
    legends = [legend.get_window_extent() for axes in figure.axes if (legend := axes.get_legend())]
    assert len(legends) == 2
    assert not any(plot.overlaps(legend) for plot in plots for legend in legends)
    assert min(plot.height for plot in plots) > 2.5 * figure.dpi


def test_curve_styles_are_distinct() -> None:
    assert len({figures.curve_style(i) for i in range(40)}) == 40


def test_picture_sheet_puts_landmarks_where_the_face_is(tmp_path: Path) -> None:
    # A blue photo with a red dot at the tip of the nose, landmark 30.
    image = np.zeros((120, 160, 3), np.uint8)
    image[..., 2] = 255
    points = face() + [40.0, 10.0, 0.0]
    x, y = points[30, :2].round().astype(int)
    image[y - 2 : y + 3, x - 2 : x + 3] = (255, 0, 0)
    pictures = [figures.Picture(image, points, "one", truth=points), figures.Picture(image, points)]
    figure = figures.picture_sheet([("row", pictures), ("short row", pictures[:1])], "title")
    axes = figure.axes[0]
    assert axes.get_title() == "one"
    assert axes.get_ylabel() == "row"
    nose = np.asarray(axes.lines[-1].get_xydata())[30]
    shown = np.asarray(axes.images[0].get_array())
    red = np.argwhere(shown[..., 0] > 128).mean(0)[::-1]
    np.testing.assert_allclose(nose, red, atol=1.0)
    # With the true landmarks there are twice as many lines.
    assert len(axes.lines) == 2 * len(figure.axes[1].lines)
    assert not figure.axes[3].images

    for name in ("a.png", "b.png"):
        figures.save_figure(figure, tmp_path / name)
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
    assert imread(tmp_path / "a.png").shape[0] == pytest.approx(figure.get_figheight() * figures.DPI, abs=1)


def points_of(*rows: tuple[str, str, float, float, PointKind]) -> list[TradeoffPoint]:
    return [TradeoffPoint(*row) for row in rows]


def test_pareto_front() -> None:
    points = points_of(
        ("slow and bad", "a", 9.0, 9.0, "series"),
        ("best", "a", 5.0, 1.0, "series"),
        ("fast", "b", 1.0, 7.0, "series"),
        ("as fast, worse", "b", 1.0, 8.0, "series"),
        ("between", "b", 3.0, 4.0, "series"),
        ("as good, slower", "b", 4.0, 4.0, "series"),
    )
    assert [point.name for point in figures.pareto_front(points)] == ["fast", "between", "best"]
    assert figures.pareto_front([]) == []


def test_tradeoff_figure() -> None:
    points = points_of(
        ("x2", "CNN", 4.0, 3.0, "series"),
        ("x1", "CNN", 2.0, 4.0, "series"),
        ("theirs", "published", 1.0, 2.0, "apart"),
        ("", "trials", 9.0, 5.0, "single"),
        ("", "trials", 8.0, 6.0, "single"),
    )
    first, second = figures.tradeoff_figure([("ms", points), ("bytes", points[:1])], "title").axes
    assert (first.get_xscale(), first.get_xlabel(), first.get_ylabel()) == ("log", "ms", "NME (%)")
    cnn, published, trials, front = first.lines
    # Lines go by rising cost; published systems are hollow and not part of the front.
    assert np.asarray(cnn.get_xydata()).tolist() == [[2.0, 4.0], [4.0, 3.0]]
    assert published.get_markerfacecolor() == "none"
    assert cnn.get_markerfacecolor() != "none"
    assert (cnn.get_linestyle(), trials.get_linestyle()) == ("-", "None")
    assert np.asarray(front.get_xydata()).tolist() == [[2.0, 4.0], [4.0, 3.0]]
    assert [text.get_text() for text in first.texts] == ["x2", "x1", "theirs"]
    assert cnn.get_color() == second.lines[0].get_color()
    assert len(second.lines) == 1  # no front of one point


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([], "ms: found no point"),
        ([("a", "", 0.0, 1.0, "series")], "ms: found no number more than 0 for a"),
        ([("a", "", 1.0, float("nan"), "apart")], "ms: found no number more than 0 for a"),
    ],
)
def test_tradeoffs_that_cannot_be_drawn(
    rows: list[tuple[str, str, float, float, PointKind]], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        figures.tradeoff_figure([("ms", points_of(*rows))])


def test_states_figure() -> None:
    image = np.zeros((100, 100, 3), np.uint8)
    maps = [np.full((20, 20, 3), value) for value in (0.0, 1.5)]
    figure = figures.states_figure(image, [face(), face() + 1.0, face() + 2.0], maps)
    grid = np.array(figure.axes).reshape(2, 3)
    assert [axes.get_title() for axes in grid[0]] == ["$p_{0}$", "$p_{1}$", "$p_{2}$"]
    assert [axes.get_visible() for axes in grid[1]] == [True, True, False]
    np.testing.assert_allclose(np.asarray(grid[0, 1].lines[-1].get_xydata()), face()[:, :2] + 1.0)
    # A map of fewer pixels covers the same square.
    assert grid[1, 1].images[0].get_extent() == [-0.5, 99.5, 99.5, -0.5]
    assert np.asarray(grid[1, 1].images[0].get_array()).max() == 1.0
