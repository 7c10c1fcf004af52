"""How deep a network of saturating units can be, with and without batch normalization."""

import pathlib

from console import markdown
from mnist.datasets import Dataset
from studies import choosing, plots
from studies.cells import Cell, Row
from studies.results import accuracy_of, outcomes, values, where
from studies.trials import LearningCurve

TITLE = "Accuracy over the number of layers"
# By unit and number of layers, with batch norm and without: around the best of a first look.
RATES = {
    ("sigmoid", 2): ((3e-2, 0.1, 0.3), (3e-3, 1e-2, 3e-2)),
    ("sigmoid", 5): ((1e-2, 3e-2, 0.1, 0.3), (3e-3, 1e-2, 3e-2)),
    ("sigmoid", 10): ((1e-4, 3e-4, 1e-3), (1e-3, 3e-3, 1e-2)),
    ("sigmoid", 20): ((1e-4, 3e-4, 1e-3), (3e-4, 1e-3)),
    ("relu", 2): ((3e-3, 1e-2, 3e-2), (1e-3, 3e-3, 1e-2)),
    ("relu", 5): ((1e-3, 3e-3, 1e-2), (1e-3, 3e-3, 1e-2)),
    ("relu", 10): ((1e-3, 3e-3, 1e-2), (3e-4, 1e-3, 3e-3)),
    ("relu", 20): ((1e-3, 3e-3, 1e-2), (3e-4, 1e-3, 3e-3)),
}


def cells(full: bool) -> list[Cell]:
    """Returns the grid; in full, four times as long, with two more seeds."""
    return [
        Cell(
            {
                "activation": activation,
                "hidden_layers": depth,
                "batch_norm": batch_norm,
                "learning_rate": rate,
                "seed": seed,
            },
            {"model": "mlp", "train_steps": 2400 if full else 600},
        )
        for (activation, depth), rates_of_arms in RATES.items()
        for batch_norm, rates in zip((True, False), rates_of_arms, strict=True)
        for rate in rates
        for seed in range(5 if full else 3)
    ]


def train(cell: Cell, dataset: Dataset, folder: pathlib.Path) -> list[Row]:
    """Trains one cell; its curve has ten points."""
    steps = cell.flags["train_steps"]
    return LearningCurve(cell.flags, dataset, folder, range(0, steps, steps // 10)).train()


def report(rows: list[Row], folder: pathlib.Path) -> str:
    """Draws the plot, and returns it with the tables in Markdown."""
    ends = outcomes(rows)
    kinds = values(ends, "activation")
    key = f"each network at its own best learning rate; {plots.BANDS}"
    figure, panels = plots.panels(len(kinds), rows, key)
    text = []
    for kind, axes in zip(kinds, panels, strict=True):
        of_kind = where(ends, activation=kind)
        depths = values(of_kind, "hidden_layers")
        arms = {
            arm: [
                choosing.best(where(of_kind, batch_norm=arm, hidden_layers=depth), "learning_rate")
                for depth in depths
            ]
            for arm in (True, False)
        }
        axes.set(xlabel="hidden layers", ylabel="test error after training [%]", xscale="log")
        axes.set_title(plots.written(kind))
        axes.set_xticks(depths)
        axes.minorticks_off()
        plots.log_y(axes)
        choosing.draw(axes, depths, arms)
        lines = [
            [f"{depth}", *(cell for best in pair for cell in (best.text, accuracy_of(best.ends)))]
            for depth, *pair in zip(depths, arms[True], arms[False], strict=True)
        ]
        header = [
            "hidden layers",
            "rate with batch norm",
            "test accuracy [%]",
            "rate without",
            "test accuracy [%]",
        ]
        text.append(f"## {plots.written(kind)}\n\n{markdown.table(header, lines)}\n")
    return f"{plots.save(figure, folder, 'depth')}\n" + "\n".join(text)
