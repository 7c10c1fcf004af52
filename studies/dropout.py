"""Whether batch normalization makes dropout unnecessary."""

import pathlib

from console import markdown
from mnist.datasets import Dataset
from studies import plots
from studies.cells import Cell, Row
from studies.results import accuracy_of, outcomes, values, where
from studies.trials import LearningCurve

TITLE = "Batch norm, dropout, both, neither"
EPOCH = 429


def cells(full: bool) -> list[Cell]:
    """Returns the grid: three epochs of `cnn` or, in full, ten with more rates and seeds."""
    epochs = 10 if full else 3
    return [
        Cell(
            {"batch_norm": batch_norm, "dropout": share, "seed": seed},
            # The recipe of train.py, which makes the most of a given number of epochs.
            {
                "model": "cnn",
                "train_steps": epochs * EPOCH,
                "lr_schedule": "onecycle",
                "learning_rate": 6e-3,
            },
        )
        for batch_norm in (True, False)
        for share in ((0.0, 0.25, 0.5, 0.75) if full else (0.0, 0.5))
        for seed in range(5 if full else 3)
    ]


def train(cell: Cell, dataset: Dataset, folder: pathlib.Path) -> list[Row]:
    """Trains one cell, evaluating it every epoch."""
    return LearningCurve(
        cell.flags, dataset, folder, range(0, cell.flags["train_steps"], EPOCH)
    ).train()


def report(rows: list[Row], folder: pathlib.Path) -> str:
    """Draws the plot, and returns it with the table in Markdown."""
    ends = outcomes(rows)
    arms = [(arm, share) for arm in (True, False) for share in values(ends, "dropout")]
    figure, (axes,) = plots.panels(1, rows, "dots: seeds; bars: means")
    lines: list[list[str]] = []
    for place, (arm, share) in enumerate(reversed(arms)):
        of_arm = where(ends, batch_norm=arm, dropout=share)
        plots.draw_dots(
            axes, place, [plots.error(row) for row in of_arm], plots.WITH if arm else plots.WITHOUT
        )
        lines.insert(0, [_name(arm, share), accuracy_of(of_arm)])
    axes.set_yticks(range(len(arms)), [_name(*arm) for arm in reversed(arms)])
    axes.set_ylim(-0.5, len(arms) - 0.5)  # so that no bar is cut off
    axes.set_xlabel("test error [%]")
    header = ["regularized by", "test accuracy [%]"]
    return f"{plots.save(figure, folder, 'dropout')}\n{markdown.table(header, lines)}\n"


def _name(batch_norm: bool, share: float) -> str:
    parts = ["batch norm"] * batch_norm + [f"dropout {share:g}"] * (share > 0)
    return " and ".join(parts) or "neither"
