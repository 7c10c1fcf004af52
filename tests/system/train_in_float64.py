"""Trains in float64 as one of the workers of TF_CONFIG, or alone; writes all variables.

Takes the file to write, the number of steps, and whose batch statistics are: those of "all" workers
together, of each worker's "own" images, or of "nobody", in a network without them. In float32,
rounding alone moves the weights by several percent in 50 steps; not in float64.
"""

import sys

import numpy as np

import model
from cluster import joining
from mnist import synthetic
from mnist.batches import Batches
from training.keeper import Keeper
from training.loop import Training
from training.observer import Observer
from training.plan import Plan

BATCH_SIZE = 10  # which 4 and 3 workers can't share evenly

NETWORK = model.Network("small", True, 0.9, 1e-5, "float64")
RECIPE = model.Recipe(
    seed=1,
    train_steps=50,
    optimizer="adam",
    learning_rate=1e-3,
    lr_schedule="onecycle",
    dropout=0.3,
    augment="affine",
    label_smoothing=0.1,
    weight_decay=0.1,
    weight_average=0.9,
)


class Writer(Observer):
    """Writes the variables at the end."""

    def __init__(self, path):
        """Takes the file."""
        self._path = path

    def on_start(self, training, step):
        """Keeps the weights."""
        self._weights = training.weights

    def on_end(self):
        """Writes them."""
        values = self._weights.values()
        np.savez(self._path, **{name.replace("/", "|"): v for name, v in values.items()})


def main(path: str, train_steps: str, statistics_of: str) -> None:
    """Trains; the chief writes the variables to `path`."""
    steps = int(train_steps)
    with joining.started(BATCH_SIZE, sync_batch_norm=statistics_of == "all") as worker:
        worker.check_agreement({})
        network = NETWORK._replace(batch_norm=statistics_of != "nobody")
        graph = model.training_graph(network, RECIPE, worker.replica)
        images, labels = synthetic.draw_digits(200, seed=0)
        batches = Batches(images, labels, BATCH_SIZE, seed=1)
        plan = Plan(steps, save_every=steps, eval_every=steps, has_validation=False)
        observers = [Writer(path)] if worker.is_chief else []
        Training(graph, batches.taking(worker.part), plan, Keeper(), worker, observers).run()


if __name__ == "__main__":
    main(*sys.argv[1:])
