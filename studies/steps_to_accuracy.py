"""How many steps and seconds batch normalization saves, each arm at its own best learning rate."""

import math
import pathlib
import statistics
from typing import NamedTuple

from console import markdown
from mnist.datasets import Dataset
from studies import plots
from studies.cells import Cell, Row
from studies.plots import WITH, WITHOUT, Curve
from studies.results import by_seed, error_curves, spread, values, where
from studies.trials import LearningCurve

TITLE = "Steps and seconds to an accuracy"
TARGETS = (0.97, 0.98, 0.99)  # validation accuracy
# Those around the best, which is another one with batch norm (True) and without.
RATES: dict[tuple[str, str], dict[bool, tuple[float, ...]]] = {
    ("cnn", "sgd"): {True: (0.1, 0.3, 1.0, 3.0, 10.0), False: (0.1, 0.3, 1.0)},
    ("cnn", "adam"): {True: (3e-4, 1e-3, 3e-3, 1e-2), False: (1e-3, 3e-3, 1e-2)},
    ("small", "sgd"): {True: (0.1, 0.3, 1.0, 3.0, 10.0), False: (0.1, 0.3, 1.0)},
    ("small", "adam"): {True: (3e-4, 1e-3, 3e-3, 1e-2), False: (1e-3, 3e-3, 1e-2)},
    ("mlp", "sgd"): {True: (1.0, 3.0, 10.0, 30.0), False: (1.0, 3.0, 10.0)},
    ("mlp", "adam"): {True: (3e-3, 1e-2, 3e-2, 0.1), False: (1e-3, 3e-3, 1e-2, 3e-2)},
}
STEPS = {"small": 860, "mlp": 2150, "cnn": 860}
# Dense only while accuracy rises fast, since an evaluation takes as long as fifteen steps.
EVALUATED_STEPS = {*range(20, 200, 20), *range(200, max(STEPS.values()), 40)}
# Some seeds choose the rate and others judge it; otherwise luck would count twice.
CHOOSING_SEEDS = (10, 11)


def cells(full: bool) -> list[Cell]:
    """Returns the grid; in full, with `cnn` and two more seeds."""
    return [
        Cell(
            {
                "model": name,
                "optimizer": optimizer,
                "batch_norm": batch_norm,
                "learning_rate": rate,
                "seed": seed,
            },
            {"train_steps": STEPS[name]},
        )
        for (name, optimizer), rates_of_arms in RATES.items()
        if full or name != "cnn"
        for batch_norm, rates in rates_of_arms.items()
        for rate in rates
        for seed in (*CHOOSING_SEEDS, *range(5 if full else 3))
    ]


def train(cell: Cell, dataset: Dataset, folder: pathlib.Path) -> list[Row]:
    """Trains one cell."""
    return LearningCurve(cell.flags, dataset, folder, EVALUATED_STEPS).train()


def report(rows: list[Row], folder: pathlib.Path) -> str:
    """Draws the plot, and returns it with the table in Markdown."""
    kinds = [(n, o) for n in values(rows, "model") for o in values(rows, "optimizer")]
    key = f"each arm at the rate that reaches {100 * TARGETS[0]:g} % soonest; {plots.BANDS}"
    figure, panels = plots.panels(len(kinds), rows, key)
    lines = []
    for (name, optimizer), axes in zip(kinds, panels, strict=True):
        arms = [
            where(rows, model=name, optimizer=optimizer, batch_norm=arm) for arm in (True, False)
        ]
        written = [plots.written(name), plots.written(optimizer)]
        lines += [[*written, *line] for line in _compare(*arms)]
        axes.set(title=", ".join(written), xlabel="step", ylabel="validation error [%]")
        plots.log_y(axes)
        styles = zip(("with", "without"), (WITH, WITHOUT), arms, strict=True)
        plots.draw(axes, [_curve(f"{text} batch norm", style, arm) for text, style, arm in styles])
    header = [
        "network",
        "optimizer",
        "validation accuracy",
        "rate with batch norm",
        "steps",
        "seconds",
        "rate without",
        "steps",
        "seconds",
        "times fewer steps",
        "times fewer seconds",
    ]
    return f"{plots.save(figure, folder, 'speed')}\n{markdown.table(header, lines)}\n"


class _Arm(NamedTuple):
    """How soon the runs of one arm reached a target, at the arm's best rate."""

    rate: str
    steps: list[int]
    seconds: list[float]
    missed: int  # runs that never reached it

    def figures(self) -> list[str]:
        """Returns the cells of the table."""
        missed = f", {self.missed} never" if self.missed else ""
        return [self.rate, spread(self.steps, ".0f") + missed, spread(self.seconds, ".1f")]


def _compare(with_bn: list[Row], without: list[Row]) -> list[list[str]]:
    lines = []
    for target in TARGETS:
        arms = [_judge(rows, target) for rows in (with_bn, without)]
        ratios = ["-", "-"]
        if not any(arm.missed for arm in arms):
            ratios = [
                f"{statistics.fmean(slow) / statistics.fmean(fast):.2f}"
                for fast, slow in zip(*((arm.steps, arm.seconds) for arm in arms), strict=True)
            ]
        lines.append([f"{100 * target:g} %", *arms[0].figures(), *arms[1].figures(), *ratios])
    return lines


def _judge(rows: list[Row], target: float) -> _Arm:
    rate = _best_rate(rows, target)
    firsts = [_first_at(training, target) for training in _judged(rows, rate)]
    reached = [row for row in firsts if row]
    rates = values(rows, "learning_rate")
    at_edge = " (at the edge of the grid)" if rate in (rates[0], rates[-1]) else ""
    return _Arm(
        f"{rate:g}{at_edge}",
        [row["step"] for row in reached],
        [row["seconds"] for row in reached],
        len(firsts) - len(reached),
    )


def _judged(rows: list[Row], rate: float) -> list[list[Row]]:
    """Returns the runs at a rate whose seeds had no part in choosing it."""
    trainings = by_seed(where(rows, learning_rate=rate))
    return [training for training in trainings if training[0]["seed"] not in CHOOSING_SEEDS]


def _best_rate(rows: list[Row], target: float) -> float:
    """Returns the rate at which the choosing seeds reach the target soonest."""

    def mean_steps(rate: float) -> tuple[float, float]:
        trainings = [
            t for t in by_seed(where(rows, learning_rate=rate)) if t[0]["seed"] in CHOOSING_SEEDS
        ]
        firsts = [_first_at(training, target) for training in trainings]
        steps = statistics.fmean(row["step"] if row else math.inf for row in firsts)
        # If no rate gets there, take the one that gets nearest.
        nearest = statistics.fmean(max(row["accuracy"] or 0 for row in t) for t in trainings)
        return steps, -nearest

    return min(values(rows, "learning_rate"), key=mean_steps)


def _first_at(training: list[Row], target: float) -> Row | None:
    return next((row for row in training if (row["accuracy"] or 0) >= target), None)


def _curve(name: str, style: plots.Style, rows: list[Row]) -> Curve:
    """Returns the validation error over steps at the best rate for the first target."""
    judged = _judged(rows, _best_rate(rows, TARGETS[0]))
    return Curve(name, style, *error_curves(judged))
