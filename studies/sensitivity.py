"""How far off a setting can be: the final accuracy over its values, with and without batch norm."""

import pathlib
import statistics
from collections.abc import Sequence

from console import markdown
from mnist.datasets import Dataset
from studies import plots
from studies.cells import Cell, Row
from studies.results import accuracy_of, final_accuracy, outcomes, values, where
from studies.trials import LearningCurve

# A value is good if it loses at most this much accuracy to the best one, in percentage points.
TOLERANCE = 0.5


def train(cell: Cell, dataset: Dataset, folder: pathlib.Path) -> list[Row]:
    """Trains one cell; its curve has five points."""
    steps = cell.flags["train_steps"]
    return LearningCurve(
        cell.flags, dataset, folder, {steps * part // 5 for part in range(1, 5)}
    ).train()


def report(rows: list[Row], folder: pathlib.Path, by: str, setting: str, name: str) -> str:
    """Draws the plot, and returns it with the tables in Markdown.

    Args:
        rows: the results.
        folder: for the plot.
        by: the column that gets a panel and a table for each of its values.
        setting: the column along the x axis.
        name: label of that axis and of the tables' column.
    """
    ends = outcomes(rows)
    kinds = values(ends, by)
    key = f"dots: the values tried; {plots.BANDS}"
    figure, panels = plots.panels(len(kinds), rows, key)
    text = []
    for kind, axes in zip(kinds, panels, strict=True):
        of_kind = where(ends, **{by: kind})
        axes.set(xlabel=name, xscale="log", ylabel="test error after training [%]")
        axes.set_title(plots.written(kind))
        plots.draw_arms(axes, of_kind, setting)
        table, good = _table(of_kind, setting, name), _good_values(of_kind, setting)
        text.append(f"## {plots.written(kind)}\n\n{table}\n{good}")
    return plots.save(figure, folder, setting) + "\n" + "\n".join(text)


def _table(rows: list[Row], setting: str, name: str) -> str:
    lines = []
    for value in values(rows, setting):
        arms = [where(rows, batch_norm=arm, **{setting: value}) for arm in (True, False)]
        lines.append([f"{value:g}", *map(accuracy_of, arms)])
    header = [name, "test accuracy with batch norm [%]", "without [%]"]
    return markdown.table(header, lines) + "\n"


def _good_values(rows: list[Row], setting: str) -> str:
    """Says which values are within `TOLERANCE` of the best."""
    lines = []
    for name, arm in (("With", True), ("Without", False)):
        of_arm = where(rows, batch_norm=arm)
        means = {
            value: statistics.fmean(
                100 * final_accuracy(row) for row in where(of_arm, **{setting: value})
            )
            for value in values(of_arm, setting)
        }
        best = max(means.values())
        good = [value for value, mean in means.items() if mean >= best - TOLERANCE]
        lines.append(
            f"{name} batch norm: {best:.2f} % at best; within {TOLERANCE:g} points of that "
            f"{_ranges(good, list(means))}.\n"
        )
    return "\n".join(lines)


def _ranges(chosen: Sequence[float], all_values: Sequence[float]) -> str:
    """Describes the chosen values by the first and last, or one by one if there are gaps."""
    first, last = all_values.index(chosen[0]), all_values.index(chosen[-1])
    if len(chosen) == 1:
        return f"only {chosen[0]:g}"
    if last - first + 1 > len(chosen):
        return "are " + ", ".join(f"{value:g}" for value in chosen)
    return f"are {chosen[0]:g} to {chosen[-1]:g}, a factor of {chosen[-1] / chosen[0]:.0f}"
