"""What the scale of the weights means with batch normalization, and so what weight decay does.

Ioffe & Szegedy (2015), arXiv 1502.03167, sections 3.3 and 3.4: BN((aW)u) = BN(Wu), and less
weight decay is needed
van Laarhoven (2017), arXiv 1706.05350: weight decay changes the effective learning rate
"""

import pathlib
import statistics
from typing import Any

import numpy as np

from console import markdown
from mnist.batches import Batches
from mnist.datasets import Dataset, Split
from studies import choosing, plots
from studies.cells import Cell, Row
from studies.landscape import Landscape, Weights, norm
from studies.plots import STYLES, Curve
from studies.results import accuracy_of, outcomes, spread, values, where
from studies.trials import LearningCurve

TITLE = "The scale of the weights, and weight decay"
DECAYS = (0.0, 3e-4, 3e-3)
RATES = {True: (0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0), False: (0.3, 1.0, 3.0)}
# So few that the network can overfit, which weight decay is for.
FEW_IMAGES = 5000
# By which all weights before a normalization are multiplied, to see what changes.
SCALES = (1e-3, 1e-2, 0.1, 10.0, 100.0)


def cells(full: bool) -> list[Cell]:
    """Returns the grid; in full, four times as long, with two more seeds."""
    return [
        Cell(
            {"batch_norm": batch_norm, "weight_decay": decay, "learning_rate": rate, "seed": seed},
            {
                "model": "mlp",
                "optimizer": "sgd",
                "train_images": FEW_IMAGES,
                "train_steps": 1600 if full else 400,
            },
        )
        for batch_norm, rates in RATES.items()
        for decay in DECAYS
        for rate in rates
        for seed in range(5 if full else 3)
    ]


def train(cell: Cell, dataset: Dataset, folder: pathlib.Path) -> list[Row]:
    """Trains one cell."""
    return ScaleTrial(cell.flags, dataset, folder, ()).train()


class ScaleTrial(LearningCurve):
    """Adds to the last row what the scale of the weights is, and what it would change.

    `effective_rate` is the learning rate over the squared length of a unit's weights. For each of
    `SCALES`, `outputs_at_A` is how much the inputs of the last hidden layer change if all weights
    before a normalization are A times as large, relative to their deviation; and `gradient_at_A`
    the length of those weights' gradient there, times A, relative to that where they are.
    """

    def on_end(self) -> None:
        """Adds the last figures."""
        super().on_end()
        rate, last = self._flags["learning_rate"], self.rows[-1]
        variables = self.training.weights.values()
        last["effective_rate"] = rate / _squared_length(_hidden(variables))
        with Landscape(self.graph) as landscape:
            # Of the images that are next, those of one batch.
            batch = Split(*self._batch())
            weights = landscape.load(variables)
            _, gradient = landscape.gradient(weights, batch)
            outputs = landscape.last_inputs(batch)
            is_scaled = [name in _hidden(variables) for name in landscape.names]
            length = norm(_chosen(gradient, is_scaled))
            for scale in SCALES:
                pairs = zip(weights, is_scaled, strict=True)
                scaled = [w * scale if is_hidden else w for w, is_hidden in pairs]
                _, there = landscape.gradient(scaled, batch)
                change = landscape.last_inputs(batch) - outputs
                last[f"outputs_at_{scale:g}"] = float(np.std(change) / np.std(outputs))
                last[f"gradient_at_{scale:g}"] = norm(_chosen(there, is_scaled)) * scale / length

    def _batch(self) -> tuple[np.ndarray, np.ndarray]:
        size, seed = self._flags["batch_size"], self._flags["seed"]
        return Batches(*self.dataset.train, size, seed).batch(0)


def _hidden(variables: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Returns the weights before a normalization, by name."""
    return {
        name: value
        for name, value in variables.items()
        if name.startswith("dense") and name.endswith("/weights")
    }


def _squared_length(hidden: dict[str, np.ndarray]) -> float:
    """Returns the squared length of a unit's weights: the mean of each layer's, over layers."""
    return statistics.fmean(
        float(np.mean(np.sum(np.square(weights), axis=0))) for weights in hidden.values()
    )


def _chosen(weights: Weights, is_chosen: list[bool]) -> Weights:
    return [w for w, chosen in zip(weights, is_chosen, strict=True) if chosen]


def report(rows: list[Row], folder: pathlib.Path) -> str:
    """Draws the plot, and returns it with the tables in Markdown."""
    ends = outcomes(rows)
    figure, panels = plots.panels(2, rows, plots.BANDS)
    arms = {arm: where(ends, batch_norm=arm) for arm in (True, False)}
    bests = {
        arm: [choosing.best(where(of_arm, weight_decay=decay), "learning_rate") for decay in DECAYS]
        for arm, of_arm in arms.items()
    }
    _draw_decays(panels[0], bests)
    _draw_effective_rates(panels[1], arms[True])
    lines = [
        [
            f"{decay:g}",
            *(
                cell
                for best in of_decay
                for cell in (
                    best.text,
                    accuracy_of(best.ends),
                    spread([row["effective_rate"] for row in best.ends], ".3g"),
                )
            ),
        ]
        for decay, *of_decay in zip(DECAYS, bests[True], bests[False], strict=True)
    ]
    header = [
        "weight decay",
        "rate with batch norm",
        "test accuracy [%]",
        "effective rate at the end",
        "rate without",
        "test accuracy [%]",
        "effective rate at the end",
    ]
    return "\n".join(
        [
            plots.save(figure, folder, "weight_decay"),
            f"## Weight decay\n\n{markdown.table(header, lines)}\n",
            f"With batch norm, all rates:\n\n{_table_of_rates(arms[True])}\n",
            f"## Weights times a\n\n{_table_of_scales(arms)}\n",
        ]
    )


def _draw_decays(axes: Any, bests: dict[bool, list[choosing.Best]]) -> None:
    axes.set(title="each at its best learning rate", xlabel="weight decay")
    axes.set_xscale("symlog", linthresh=DECAYS[1] / 3)
    axes.set_ylabel("test error after training [%]")
    plots.log_y(axes)
    choosing.draw(axes, DECAYS, bests)
    axes.set_xticks(DECAYS)
    axes.minorticks_off()


def _draw_effective_rates(axes: Any, ends: list[Row]) -> None:
    axes.set(title="with batch norm", xlabel="effective rate at the end", xscale="log")
    plots.log_y(axes)
    curves = []
    for decay, style in zip(DECAYS, STYLES, strict=False):
        of_rates = [
            where(ends, weight_decay=decay, learning_rate=rate)
            for rate in values(ends, "learning_rate")
        ]
        # Without decay, a higher rate may end as a lower effective one.
        points = sorted(
            (
                statistics.fmean(row["effective_rate"] for row in of),
                [plots.error(row) for row in of],
            )
            for of in of_rates
        )
        curves.append(Curve(f"decay {decay:g}", style, *zip(*points, strict=True)))
    plots.draw(axes, curves, has_legend=True)


def _table_of_rates(ends: list[Row]) -> str:
    lines = []
    for decay in DECAYS:
        for rate in values(ends, "learning_rate"):
            of = where(ends, weight_decay=decay, learning_rate=rate)
            effective = spread([row["effective_rate"] for row in of], ".3g")
            lines.append([f"{decay:g}", f"{rate:g}", effective, accuracy_of(of)])
    header = ["weight decay", "learning rate", "effective rate at the end", "test accuracy [%]"]
    return markdown.table(header, lines)


def _table_of_scales(arms: dict[bool, list[Row]]) -> str:
    undecayed = {
        arm: choosing.best(where(of_arm, weight_decay=0.0), "learning_rate").ends
        for arm, of_arm in arms.items()
    }
    lines = []
    for scale in SCALES:
        line = [f"{scale:g}"]
        for arm in (True, False):
            for measure in ("outputs", "gradient"):
                name = f"{measure}_at_{scale:g}"
                line.append(spread([row[name] for row in undecayed[arm]], ".3g"))
        lines.append(line)
    header = [
        "a",
        "change of outputs, with batch norm",
        "gradient times a",
        "change of outputs, without",
        "gradient times a",
    ]
    return markdown.table(header, lines)
