"""Choosing a setting, such as the learning rate, for each arm of a comparison by itself."""

import statistics
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from studies import plots
from studies.cells import DIVERGED, Row
from studies.plots import WITH, WITHOUT, Curve
from studies.results import CHANCE, values, where

# A network that is right for fewer images than this has learned nothing.
LEARNED = 3 * CHANCE


class Best(NamedTuple):
    """The value of a setting that serves an arm best."""

    value: Any
    ends: list[Row]  # the last rows of its runs
    is_at_edge: bool  # whether it is the first or the last value tried
    has_learned: bool  # if not, it is no better than the others

    @property
    def text(self) -> str:
        """The value, as a table has it."""
        if not self.has_learned:
            return "none learns"
        return f"{self.value:g}{' (at the edge of the grid)' * self.is_at_edge}"


def best(ends: list[Row], setting: str) -> Best:
    """Returns the value of a setting with the best mean accuracy on the validation images.

    Args:
        ends: the last rows of an arm's runs.
        setting: the column with the values.
    """
    tried = values(ends, setting)
    means = {value: validation_accuracy(where(ends, **{setting: value})) for value in tried}
    chosen = max(means, key=lambda value: means[value])
    return Best(
        chosen,
        where(ends, **{setting: chosen}),
        chosen in (min(tried), max(tried)),
        means[chosen] >= LEARNED,
    )


def draw(axes: Any, x: Sequence[float], bests: Mapping[bool, Sequence[Best]]) -> None:
    """Draws the test errors of the best runs at each x, with batch norm (True) and without."""
    plots.draw(
        axes,
        [
            Curve(
                f"{name} batch norm",
                style,
                x,
                [[plots.error(row) for row in best.ends] for best in bests[arm]],
            )
            for name, style, arm in (("with", WITH, True), ("without", WITHOUT, False))
        ],
    )


def validation_accuracy(ends: list[Row]) -> float:
    """Returns the mean of the runs' last accuracies; a run that diverged has that of a guess."""
    return statistics.fmean(
        CHANCE if row["status"] == DIVERGED else row["accuracy"] for row in ends
    )
