"""How well different statistics serve inference: moving averages, exact ones, the batch's own."""

import pathlib
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import tensorflow.compat.v1 as tf

from bn_tools import layers_of
from console import markdown
from mnist.datasets import Dataset
from studies import plots
from studies.cells import Cell, Row
from studies.plots import STYLES, Curve
from studies.results import CHANCE, spread, values, where
from studies.trials import Trial
from training.loop import Step
from training.outcomes import ACCURACY_TAG

TITLE = "Which statistics serve inference"
BATCH_SIZES = (2, 4, 8, 16, 32, 64, 128, 256)
STEPS = (50, 100, 200, 500, 1000, 2000, 5000)
EXACT, OWN = "exact", "the batch's own"
# Where tables and panels fix one of the two axes.
USUAL_BATCH_SIZE, LAST_STEP = 64, STEPS[-1]


class Kind(NamedTuple):
    """A kind of moving average of the batches' means and variances."""

    decay: float
    zero_debias: bool = True
    unbiased: bool = False

    @property
    def name(self) -> str:
        """Its name in tables and plots."""
        debiased = "" if self.zero_debias else ", not debiased"
        return f"decay {self.decay:g}{debiased}{', unbiased variance' * self.unbiased}"


KINDS = [
    *(Kind(decay, zero_debias) for decay in (0.9, 0.99, 0.999) for zero_debias in (True, False)),
    Kind(0.99, unbiased=True),
]
# The plots show these; the tables show all.
SHOWN = ["decay 0.9", "decay 0.99", "decay 0.999", "decay 0.999, not debiased", EXACT, OWN]


def cells(full: bool) -> list[Cell]:
    """Returns the grid: the paper's network or, in full, the small conv net as well."""
    return [
        Cell(
            {"model": name, "batch_size": batch_size, "seed": seed},
            {"train_steps": LAST_STEP},
        )
        for name in (("mlp", "small") if full else ("mlp",))
        for batch_size in BATCH_SIZES
        for seed in range(5 if full else 3)
    ]


def train(cell: Cell, dataset: Dataset, folder: pathlib.Path) -> list[Row]:
    """Trains one cell, and evaluates its weights with every kind of statistics along the way."""
    return StatisticsTrial(cell.flags, dataset, folder).train()


class StatisticsTrial(Trial):
    """Keeps all kinds of statistics in one run, since training does not use those of inference."""

    def __init__(self, flags: dict[str, Any], dataset: Dataset, folder: pathlib.Path):
        """Takes what a `Trial` takes."""
        super().__init__(flags, dataset, folder)
        self.layers = layers_of(self.graph.graph)
        with self.graph.graph.as_default():
            self.fetches = {"moments": [layer_moments(layer.inputs) for layer in self.layers]}
        self.averages = [MovingAverages(kind) for kind in KINDS]

    def on_step(self, step: int, taken: Step) -> None:
        """Updates the averages, and evaluates with each of them if it is time to."""
        for moving_averages in self.averages:
            moving_averages.update(taken.fetched["moments"])
        if step not in STEPS:
            return
        for name, accuracy in self._accuracies():
            self.rows.append({"step": step, "statistics": name, "accuracy": accuracy})
            self.events(name).scalars(step, {ACCURACY_TAG: accuracy})

    def rows_of_divergence(self, step: int) -> list[Row]:
        """From there on, all statistics are as good as a guess."""
        kinds = [*(kind.name for kind in KINDS), EXACT, OWN]
        missing = [later for later in STEPS if later >= step]
        return [
            {"step": later, "statistics": name, "accuracy": CHANCE}
            for later in missing
            for name in kinds
        ]

    def _accuracies(self) -> Iterator[tuple[str, float]]:
        """Yields the validation accuracy of the current weights with each kind of statistics."""
        validation, variables = self.dataset.validation, self.training.weights.values()
        for moving_averages in self.averages:
            for layer, (mean, var) in zip(self.layers, moving_averages.values(), strict=True):
                pop_mean, pop_var = layer.variables.pop_mean, layer.variables.pop_var
                variables |= {pop_mean.op.name: mean, pop_var.op.name: var}
            self.evaluator.load(variables, "the training graph")
            yield moving_averages.kind.name, self.evaluator.classify(*validation).accuracy
        self.evaluator.compute_population(*self.dataset.train)
        yield EXACT, self.evaluator.classify(*validation).accuracy
        yield OWN, self._accuracy_with_own_statistics(*validation)

    def _accuracy_with_own_statistics(self, images: np.ndarray, labels: np.ndarray) -> float:
        """Returns the accuracy of a graph left in training mode, on batches as in training."""
        size, graph = self.batches.batch_size, self.graph
        accuracies = [
            self.training.weights.session.run(
                graph.accuracy,
                {graph.images: images[i : i + size], graph.labels: labels[i : i + size]},
            )
            for i in range(0, len(labels) - size + 1, size)
        ]
        return float(np.mean(accuracies, dtype=np.float64))


class MovingAverages:
    """One kind of moving average, of all layers' means and variances."""

    def __init__(self, kind: Kind):
        """Starts the averages, without data."""
        self.kind = kind
        self._updates = 0
        self._averages: list[np.ndarray] = []

    def update(self, moments: list[tuple[np.ndarray, np.ndarray, float]]) -> None:
        """Adds each layer's mean, biased variance ([channels]) and number of values per channel."""
        decay, zero_debias, unbiased = self.kind
        if not self._averages:
            start = (0.0, 0.0) if zero_debias else (0.0, 1.0)
            self._averages = [np.outer(start, np.ones_like(mean)) for mean, _, _ in moments]
        for i, (mean, var, count) in enumerate(moments):
            batch = np.stack([mean, var * count / (count - 1) if unbiased else var])
            self._averages[i] = decay * self._averages[i] + (1 - decay) * batch
        self._updates += 1

    def values(self) -> list[np.ndarray]:
        """Returns mean and variance, [2, channels], of each layer."""
        weight = 1 - self.kind.decay**self._updates if self.kind.zero_debias else 1.0
        return [average / weight for average in self._averages]


def layer_moments(inputs: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Returns the mean, the biased variance, and the number of values per channel."""
    mean, var = tf.nn.moments(inputs, list(range(inputs.shape.ndims - 1)))
    return mean, var, tf.size(inputs) / inputs.shape.as_list()[-1]


def report(rows: list[Row], folder: pathlib.Path) -> str:
    """Draws the plots, and returns them with the tables in Markdown."""
    text = []
    for name in values(rows, "model"):
        of_model = where(rows, model=name)
        figure, panels = plots.panels(3, rows, f"dots: where it was measured; {plots.BANDS}")
        over_batch_size = where(of_model, step=LAST_STEP)
        over_steps = where(of_model, batch_size=USUAL_BATCH_SIZE)
        with_small_batches = where(of_model, batch_size=BATCH_SIZES[0])
        for axes, part, x, title in (
            (panels[0], over_batch_size, "batch_size", f"after {LAST_STEP:,} steps"),
            (panels[1], over_steps, "step", f"batches of {USUAL_BATCH_SIZE}"),
            (panels[2], with_small_batches, "step", f"batches of {BATCH_SIZES[0]}"),
        ):
            axes.set(
                title=f"{plots.written(name)}, {title}", xlabel=x.replace("_", " "), xscale="log"
            )
            plots.log_y(axes)
            plots.draw(axes, _curves(part, x))
        panels[0].set_ylabel("validation error [%]")
        text.append(
            f"## {plots.written(name)}\n\n{plots.save(figure, folder, f'statistics-{name}')}"
        )
        text.append(f"Validation accuracy [%] after {LAST_STEP:,} steps:\n")
        text.append(_table(over_batch_size, "batch_size", "batch size"))
        text.append(f"Validation accuracy [%] with batches of {USUAL_BATCH_SIZE}:\n")
        text.append(_table(over_steps, "step", "step"))
        text.append(f"Validation accuracy [%] with batches of {BATCH_SIZES[0]}:\n")
        text.append(_table(with_small_batches, "step", "step"))
    return "\n".join(text)


def _curves(rows: list[Row], x: str) -> list[Curve]:
    xs = values(rows, x)
    return [
        Curve(
            name,
            style,
            xs,
            [
                [100 * (1 - row["accuracy"]) for row in where(rows, statistics=name, **{x: value})]
                for value in xs
            ],
        )
        for name, style in zip(SHOWN, STYLES, strict=True)
    ]


def _table(rows: list[Row], x: str, header: str) -> str:
    kinds, xs = values(rows, "statistics"), values(rows, x)
    lines = [
        [
            kind,
            *(
                spread([100 * r["accuracy"] for r in where(rows, statistics=kind, **{x: v})], ".2f")
                for v in xs
            ),
        ]
        for kind in kinds
    ]
    columns = ["statistics", *(f"{header} {value}" for value in xs)]
    return markdown.table(columns, lines) + "\n"
