"""The MNIST experiment of the batch-norm paper (section 4.1 and figure 1)."""

import pathlib

import numpy as np

from console import markdown
from mnist.datasets import Dataset
from networks.architectures import AFTER_NORMALIZATION
from studies import plots
from studies.cells import DIVERGED, Cell, Row
from studies.plots import WITH, WITHOUT, Curve
from studies.results import accuracy_of, by_seed, error_curves, outcomes, spread, values, where
from studies.trials import LearningCurve
from training.evaluator import Evaluator

TITLE = "The paper's MNIST experiment"
POINTS = 100
PERCENTILES = (15, 50, 85)
# Chosen before looking at any unit.
UNIT = 0


def cells(full: bool) -> list[Cell]:
    """Returns the grid; in full, as long as the paper's, which does not state its learning rate."""
    return [
        Cell(
            {"batch_norm": batch_norm, "seed": seed},
            {
                "model": "mlp",
                "batch_size": 60,
                "optimizer": "sgd",
                "learning_rate": 0.1,
                "train_steps": 50_000 if full else 10_000,
            },
        )
        for batch_norm in (True, False)
        for seed in range(3)
    ]


def train(cell: Cell, dataset: Dataset, folder: pathlib.Path) -> list[Row]:
    """Trains one cell; its curves have a hundred points.

    They show the test images, as the paper's do; nothing is chosen by them.
    """

    def percentiles(evaluator: Evaluator) -> Row:
        tensor = evaluator.graph.graph.get_tensor_by_name(f"dense3/{AFTER_NORMALIZATION}:0")
        inputs = evaluator.values(tensor, dataset.test.images)[:, UNIT]
        return {f"p{percent}": float(np.percentile(inputs, percent)) for percent in PERCENTILES}

    steps = cell.flags["train_steps"]
    return LearningCurve(
        cell.flags,
        dataset,
        folder,
        range(0, steps, steps // POINTS),
        split="test",
        look=percentiles,
    ).train()


def report(rows: list[Row], folder: pathlib.Path) -> str:
    """Redraws the figure's three panels, and returns them with a table in Markdown."""
    key = f"(a) {plots.BANDS}; (b), (c) the first seed, over the test images"
    figure, panels = plots.panels(3, rows, key)
    arms = {name: where(rows, batch_norm=arm) for name, arm in (("with", True), ("without", False))}
    panels[0].set(title="(a) test error", xlabel="step", ylabel="test error [%]")
    plots.log_y(panels[0])
    curves = []
    for (name, of_arm), style in zip(arms.items(), (WITH, WITHOUT), strict=True):
        curves.append(Curve(f"{name} batch norm", style, *error_curves(by_seed(of_arm))))
    plots.draw(panels[0], curves)
    panels[1].set_ylabel("input to one sigmoid\nof the last hidden layer")
    panels[1].sharey(panels[2])
    for axes, letter, name, style in (
        (panels[1], "b", "without", WITHOUT),
        (panels[2], "c", "with", WITH),
    ):
        axes.set(title=f"({letter}) {name} batch norm", xlabel="step")
        plots.draw(axes, _percentile_curves(arms[name], style))
    header = [
        "",
        "test accuracy at the end [%]",
        "how far the median moved",
        "from p15 to p85 at the end",
    ]
    lines = [
        [f"{name} batch norm", accuracy_of(outcomes(of_arm)), *_movement(of_arm)]
        for name, of_arm in arms.items()
    ]
    return f"{plots.save(figure, folder, 'paper')}\n{markdown.table(header, lines)}\n"


def _percentile_curves(rows: list[Row], style: plots.Style) -> list[Curve]:
    """Returns percentiles of the unit's input over the test images, in the first run."""
    of_seed = [row for row in by_seed(rows)[0] if row["status"] != DIVERGED]
    steps = values(of_seed, "step")
    return [
        Curve(f"{percent}th percentile", style, steps, [[row[f"p{percent}"]] for row in of_seed])
        for percent in PERCENTILES
    ]


def _movement(rows: list[Row]) -> list[str]:
    """Returns how far the median of the unit's input moves, and the input's final width."""
    sound = [row for row in rows if row["status"] != DIVERGED]
    medians = [[row["p50"] for row in of_seed] for of_seed in by_seed(sound)]
    widths = [row["p85"] - row["p15"] for row in outcomes(sound)]
    return [spread([max(m) - min(m) for m in medians], ".2f"), spread(widths, ".2f")]
