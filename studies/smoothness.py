"""Why batch normalization helps: less shift of the layers' inputs, or a smoother loss?

Ioffe & Szegedy (2015), arXiv 1502.03167, section 2: the shift of inputs
Santurkar et al. (2018), arXiv 1805.11604: the shift of gradients, smoothness, and the noise
"""

import pathlib
import statistics
import zlib
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import tensorflow.compat.v1 as tf

from console import markdown
from mnist.batches import Batches
from mnist.datasets import Dataset, Split
from studies import choosing, plots
from studies.cells import Cell, Row
from studies.landscape import Landscape, along_the_gradient, shift_of_gradients, shift_of_inputs
from studies.plots import STYLES, Curve
from studies.results import by_seed, outcomes, spread, values, where
from studies.trials import Trial
from training.loop import Step
from training.outcomes import ACCURACY_TAG

TITLE = "Internal covariate shift, and how smooth the loss is"


class Arm(NamedTuple):
    """How a network is normalized."""

    batch_norm: bool
    noise: bool
    name: str
    style: plots.Style


ARMS = [
    Arm(True, False, "with batch norm", STYLES[0]),
    Arm(False, False, "without", STYLES[1]),
    Arm(True, True, "batch norm and noise", STYLES[2]),
]
# The networks, with rates for each arm: the paper's, and a deeper one of the kind of unit that is
# usual now.
RATES = {
    ("sigmoid", 3): [(3.0, 10.0, 30.0), (1.0, 3.0, 10.0), (1.0, 3.0, 10.0)],
    ("relu", 5): [(0.1, 0.3, 1.0), (0.1, 0.3, 1.0), (0.3, 1.0, 3.0)],
}
POINTS = 10
# Steps along the gradient: multiples of the learning rate, and the same for all arms. The largest
# of these is as far as the paper's figure 4 goes.
TIMES_RATE = (0.5, 1.0, 2.0, 4.0)
FIXED = (0.05, 0.1, 0.2, 0.4)
# Of the validation images, to see where the inputs of a layer are.
SEEN_IMAGES = 1000


def cells(full: bool) -> list[Cell]:
    """Returns the grid; in full, four times as long, with two more seeds."""
    return [
        Cell(
            {
                "activation": activation,
                "batch_norm": arm.batch_norm,
                "noise": arm.noise,
                "learning_rate": rate,
                "seed": seed,
            },
            {
                "model": "mlp",
                "hidden_layers": depth,
                "optimizer": "sgd",
                "train_steps": 2000 if full else 500,
            },
        )
        for (activation, depth), rates_of_arms in RATES.items()
        for arm, rates in zip(ARMS, rates_of_arms, strict=True)
        for rate in rates
        for seed in range(5 if full else 3)
    ]


def train(cell: Cell, dataset: Dataset, folder: pathlib.Path) -> list[Row]:
    """Trains one cell, and looks at the loss around the weights along the way."""
    return SmoothnessTrial(cell.flags, dataset, folder).train()


class SmoothnessTrial(Trial):
    """Measures, before some of its steps, what the step is going to meet.

    Its rows have `step`, the `loss` (nats), the `accuracy` (a share) on the validation images with
    their own statistics, and the measures of `landscape`: along steps of the arm's own rate
    (`own_`) and of fixed sizes (`fixed_`), of the shift of gradients (`shift_`), and of that of the
    last hidden layer's inputs since the point before (`inputs_moved`).
    """

    def __init__(self, flags: dict[str, Any], dataset: Dataset, folder: pathlib.Path):
        """Takes what a `Trial` takes."""
        options = {"adjustment": noise_of_step(flags["seed"])} if flags["noise"] else {}
        super().__init__(flags, dataset, folder, lambda: options)
        self._landscape = self._files.enter_context(Landscape(self.graph))
        # The training's own are read in another thread.
        self._upcoming = Batches(*dataset.train, flags["batch_size"], flags["seed"])
        self._seen = Split(*(part[:SEEN_IMAGES] for part in dataset.validation))
        self._inputs: np.ndarray | None = None

    def on_step(self, step: int, taken: Step) -> None:
        """Looks around if it is time to."""
        if step % (self._flags["train_steps"] // POINTS):
            return
        weights = self._landscape.load(self.training.weights.values())
        batch = Split(*self._upcoming.batch(step))
        rate = self._flags["learning_rate"]
        before, self._inputs = self._inputs, self._landscape.last_inputs(self._seen)
        measures: Row = {"accuracy": self._landscape.accuracy(self.dataset.validation)}
        for kind, sizes in (("own", [rate * times for times in TIMES_RATE]), ("fixed", FIXED)):
            found = along_the_gradient(self._landscape, weights, batch, sizes)
            measures |= {f"{kind}_{name}": value for name, value in found.items()}
        found = shift_of_gradients(self._landscape, weights, batch, rate)
        measures |= {f"shift_{name}": value for name, value in found.items()}
        if before is not None:
            measures["inputs_moved"] = shift_of_inputs(before, self._inputs)
        self.rows.append({"step": step, "loss": float(taken.loss), **measures})
        curves = {f"landscape/{name}": value for name, value in measures.items()}
        self.events("validation").scalars(
            step, {ACCURACY_TAG: curves.pop("landscape/accuracy"), **curves}
        )


def noise_of_step(seed: int) -> Callable[[tf.Tensor], tuple[tf.Tensor, tf.Tensor]]:
    """Returns an `adjustment` that undoes batch norm: noise whose distribution changes every step.

    As Santurkar et al. do, each unit gets a mean from -0.5 to 0.5 and a deviation from 1 to 1.25,
    drawn anew for every step, and each example values around these. The noise is a function of the
    seed, the layer's name and the step.
    """

    def adjustment(shape: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        of_layer = zlib.crc32(tf.get_variable_scope().name.encode()) * 2**10 + 4 * seed
        step = tf.train.get_global_step()

        def uniform(number: int, size: tf.Tensor, low: float, high: float) -> tf.Tensor:
            seeds = tf.stack([tf.cast(of_layer + number, tf.int64), step])
            return tf.random.stateless_uniform(size, seeds, low, high)

        unit = shape[1:]
        factor = uniform(0, unit, 1.0, 1.25) + uniform(1, shape, -0.1, 0.1)
        offset = uniform(2, unit, -0.5, 0.5) + uniform(3, shape, -0.1, 0.1)
        return factor, offset

    return adjustment


def report(rows: list[Row], folder: pathlib.Path) -> str:
    """Draws the plots, and returns them with the tables in Markdown."""
    text = []
    for activation in values(rows, "activation"):
        of_kind = where(rows, activation=activation)
        trainings = {arm: _at_best_rate(of_kind, arm) for arm in ARMS}
        key = f"each network at its own best learning rate; {plots.BANDS}"
        figure, panels = plots.panels(len(DRAWN), rows, key)
        for axes, (column, drawn) in zip(panels, DRAWN.items(), strict=True):
            title, label, is_logarithmic = drawn
            axes.set(title=title, ylabel=label, xlabel="step")
            if is_logarithmic:
                plots.log_y(axes)
            curves = [_curve(arm, rows_of_arm, column) for arm, rows_of_arm in trainings.items()]
            plots.draw(axes, curves)
        name = f"smoothness-{activation}"
        text.append(f"## {plots.written(activation)}\n\n{plots.save(figure, folder, name)}")
        text.append(_table(of_kind, trainings))
    return "\n".join(text)


# What is drawn: a column, the title of its panel, the label of its y axis, whether it is
# logarithmic.
DRAWN = {
    "own_range": ("loss along the step", "highest minus lowest loss [nats]", True),
    "own_change": ("gradient along the step", "largest change, relative", True),
    "shift_change": ("shift of gradients (2018)", "change of a layer's gradient, relative", False),
    "inputs_moved": ("shift of inputs (2015)", "move of the median, in widths", True),
}
# What the table has: columns, the names of its rows, and the form of their figures.
MEASURES = {
    "own_range": ("steps of 0.5 to 4 times its rate: range of the loss [nats]", ".3f"),
    "own_change": ("the same: largest change of the gradient, relative", ".2f"),
    "own_cosine": ("the same: smallest cosine of the gradients", ".2f"),
    "own_beta": ("the same: effective beta-smoothness", ".2f"),
    "fixed_range": ("steps of 0.05 to 0.4: range of the loss [nats]", ".3f"),
    "fixed_change": ("the same: largest change of the gradient, relative", ".2f"),
    "fixed_cosine": ("the same: smallest cosine of the gradients", ".2f"),
    "fixed_beta": ("the same: effective beta-smoothness", ".2f"),
    "shift_change": ("shift of gradients (2018): change, relative", ".2f"),
    "shift_cosine": ("the same: cosine", ".2f"),
    "inputs_moved": ("shift of inputs (2015): move of the median, in widths", ".3f"),
}


def _of(rows: list[Row], arm: Arm) -> list[Row]:
    return where(rows, batch_norm=arm.batch_norm, noise=arm.noise)


def _at_best_rate(rows: list[Row], arm: Arm) -> list[list[Row]]:
    """Returns the rows of each seed, at the rate with the best accuracy at the end."""
    of_arm = _of(rows, arm)
    rate = choosing.best(outcomes(of_arm), "learning_rate").value
    return by_seed(where(of_arm, learning_rate=rate))


def _curve(arm: Arm, trainings: list[list[Row]], column: str) -> Curve:
    points = list(zip(*trainings, strict=True))
    # The first point has no inputs before it.
    points = [point for point in points if point[0][column] is not None]
    samples = [[row[column] for row in point] for point in points]
    return Curve(arm.name, arm.style, [point[0]["step"] for point in points], samples)


def _table(rows: list[Row], trainings: dict[Arm, list[list[Row]]]) -> str:
    """Returns a table with a column for each arm, of means over the points of each run."""
    bests = [choosing.best(outcomes(_of(rows, arm)), "learning_rate") for arm in ARMS]
    lines = [
        ["learning rate", *(best.text for best in bests)],
        [
            "validation accuracy at the end [%]",
            *(spread([100 * row["accuracy"] for row in best.ends], ".2f") for best in bests),
        ],
    ]
    for column, (name, form) in MEASURES.items():
        line = [name]
        for arm in ARMS:
            found = [[row[column] for row in rows_of_seed] for rows_of_seed in trainings[arm]]
            means = [statistics.fmean(v for v in one if v is not None) for one in found]
            line.append(spread(means, form))
        lines.append(line)
    return markdown.table(["mean over the training", *(arm.name for arm in ARMS)], lines) + "\n"
