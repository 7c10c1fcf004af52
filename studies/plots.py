"""Plots that are legible in print, in greyscale, and to readers who can't tell red from green.

Each curve has a colour from Okabe and Ito's set, its own dash pattern, and its name at its end
instead of a legend. A band spans the lowest to the highest seed; the line is their mean. Each
picture says so itself, since it is also seen without its report.
"""

import io
import math
import pathlib
from collections.abc import Sequence
from typing import Any, NamedTuple

import matplotlib
import numpy as np

matplotlib.use("Agg")
# The same data gives the same file, whenever it is drawn.
matplotlib.rcParams.update(
    {
        "svg.hashsalt": "",
        "font.size": 9,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.grid": True,
        "grid.alpha": 0.3,
        "figure.constrained_layout.w_pad": 0.12,
        "figure.constrained_layout.h_pad": 0.08,
    }
)

from matplotlib import pyplot, ticker  # noqa: E402

from console.files import write_bytes  # noqa: E402
from studies.cells import Row  # noqa: E402
from studies.results import final_accuracy, values, where  # noqa: E402


class Style(NamedTuple):
    """How the curve of one kind of training looks in every plot."""

    color: str
    dashes: str
    marker: str


WITH, WITHOUT = Style("#0072B2", "-", "o"), Style("#D55E00", "--", "s")
# For more than two kinds.
STYLES = [
    WITH,
    WITHOUT,
    Style("#009E73", "-.", "^"),
    Style("#CC79A7", ":", "D"),
    Style("#E69F00", (0, (5, 1, 1, 1, 1, 1)), "v"),  # type: ignore[arg-type]
    Style("#000000", (0, (1, 1)), "x"),  # type: ignore[arg-type]
]
PANEL_WIDTH, PANEL_HEIGHT = 4.6, 3.6  # inches
LABEL_HEIGHT = 11  # points from one curve's name to the next
LABEL_DISTANCE = 18  # points from a curve's end to its name, where a line leads there
# Names as one writes them, by the flags' values.
WRITTEN = {"mnist": "MNIST", "mlp": "MLP", "cnn": "CNN", "small": "small CNN"}
WRITTEN |= {"sgd": "SGD", "adam": "Adam", "sigmoid": "Sigmoid", "relu": "ReLU"}
BANDS = "lines: means of the seeds; bands: from the lowest to the highest seed"


class Curve(NamedTuple):
    """Mean and band of what the seeds reached at each x."""

    name: str
    style: Style
    x: Sequence[float]
    samples: Sequence[Sequence[float]]  # [x][seed]


def panels(count: int, rows: list[Row], key: str) -> tuple[Any, list[Any]]:
    """Returns a figure with `count` axes; below, the data set of `rows`, and a key to the marks."""
    columns = count if count <= 3 else 2
    lines = math.ceil(count / columns)
    size = (PANEL_WIDTH * columns, PANEL_HEIGHT * lines)
    figure, axes = pyplot.subplots(lines, columns, figsize=size, layout="constrained")
    (dataset,) = values(rows, "dataset")
    figure.supxlabel(f"{written(dataset)}; {key}", fontsize="small", x=0.99, ha="right")
    return figure, list(np.ravel(axes))


def written(name: str) -> str:
    """Returns a flag's value as one writes it in a text."""
    return WRITTEN.get(name, name)


def draw(axes: Any, curves: Sequence[Curve], *, has_legend: bool = False) -> None:
    """Draws curves, each with its name at its end, or in a legend if these would cross others."""
    for curve in curves:
        means = [np.mean(samples) for samples in curve.samples]
        color, dashes, marker = curve.style
        few = len(curve.x) <= 12
        axes.plot(
            curve.x,
            means,
            color=color,
            linestyle=dashes,
            marker=marker if few else "",
            markersize=4,
            label=curve.name,
        )
        axes.xaxis.set_major_formatter(ticker.FuncFormatter(lambda x, _: _number(x)))
        lowest, highest = map(min, curve.samples), map(max, curve.samples)
        axes.fill_between(
            curve.x, list(lowest), list(highest), color=color, alpha=0.18, linewidth=0
        )
    if has_legend:
        axes.legend(frameon=False)
    else:
        _name_ends(axes, curves)


def draw_arms(axes: Any, rows: list[Row], x: str) -> None:
    """Draws the final test errors with and without batch norm over the values of column `x`."""
    log_y(axes)
    curves = []
    for name, style, arm in (("with", WITH, True), ("without", WITHOUT, False)):
        of_arm = where(rows, batch_norm=arm)
        xs = values(of_arm, x)
        samples = [[error(row) for row in where(of_arm, **{x: value})] for value in xs]
        curves.append(Curve(f"{name} batch norm", style, xs, samples))
    draw(axes, curves)


def draw_dots(axes: Any, y: float, samples: Sequence[float], style: Style) -> None:
    """Draws a dot for each seed along the line at `y`, and a bar at their mean."""
    axes.plot(samples, [y] * len(samples), linestyle="", marker=style.marker, color=style.color)
    axes.plot(np.mean(samples), y, linestyle="", marker="|", markersize=18, color=style.color)


def error(row: Row) -> float:
    """Returns a cell's test error in percent, from its last row."""
    return 100 * (1 - final_accuracy(row))


def _number(x: float) -> str:
    return f"{x:,.0f}" if x >= 1000 else f"{x:g}"


def _name_ends(axes: Any, curves: Sequence[Curve]) -> None:
    """Writes each curve's name beside its last point.

    Where the ends are too close for that, the names are moved apart, and lines lead to them.
    """
    # Where the points are is not known before.
    axes.figure.draw_without_rendering()
    points_per_pixel = 72 / axes.figure.dpi
    ends = []
    for curve in curves:
        end = (curve.x[-1], np.mean(curve.samples[-1]))
        ends.append((axes.transData.transform(end)[1] * points_per_pixel, end, curve))
    ends.sort(key=lambda entry: entry[0])
    heights = [height for height, _, _ in ends]
    places = _apart(heights)
    is_moved = any(abs(p - h) > LABEL_HEIGHT / 3 for p, h in zip(places, heights, strict=True))
    for place, (height, end, curve) in zip(places, ends, strict=True):
        axes.annotate(
            curve.name,
            end,
            xytext=(LABEL_DISTANCE if is_moved else 6, place - height),
            textcoords="offset points",
            color=curve.style.color,
            va="center",
            annotation_clip=False,
            arrowprops={
                "arrowstyle": "-",
                "color": curve.style.color,
                "linewidth": 0.7,
                "relpos": (0, 0.5),
                "shrinkA": 0,
                "shrinkB": 3,
            }
            if is_moved
            else None,
        )


def _apart(heights: Sequence[float]) -> list[float]:
    """Returns places near ascending heights, `LABEL_HEIGHT` apart or more.

    Names that would overlap form a block around the mean of their heights.
    """
    blocks: list[list[float]] = []  # of the heights of names that touch each other
    for height in heights:
        block = [height]
        while blocks and _bottom(block) < _bottom(blocks[-1]) + LABEL_HEIGHT * len(blocks[-1]):
            block = blocks.pop() + block
        blocks.append(block)
    return [_bottom(block) + LABEL_HEIGHT * i for block in blocks for i in range(len(block))]


def _bottom(block: Sequence[float]) -> float:
    return float(np.mean(block)) - LABEL_HEIGHT * (len(block) - 1) / 2


def log_y(axes: Any) -> None:
    """Makes the y axis logarithmic, since the best errors differ by little."""
    axes.set_yscale("log")
    axes.yaxis.set_major_locator(ticker.LogLocator(subs=(1, 2, 5)))
    axes.yaxis.set_major_formatter(ticker.FormatStrFormatter("%g"))
    axes.yaxis.set_minor_locator(ticker.NullLocator())


def save(figure: Any, folder: pathlib.Path, name: str) -> str:
    """Writes NAME.png and NAME.svg; returns the Markdown that shows it."""
    for kind, metadata in (("png", {"Software": None}), ("svg", {"Date": None})):
        content = io.BytesIO()
        figure.savefig(content, format=kind, dpi=150, metadata=metadata)
        write_bytes(folder / f"{name}.{kind}", content.getvalue())
    pyplot.close(figure)
    return f"![{name.replace('_', ' ')}]({name}.png)\n"
