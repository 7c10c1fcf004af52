"""Trains 50 steps in float64 as one of the workers of TF_CONFIG, or alone; writes all variables.

In float32, rounding alone moves the weights by several percent in 50 steps; not in float64.
"""

import sys

import numpy as np
import tensorflow.compat.v1 as tf

import model
from cluster import joining
from mnist import synthetic
from mnist.batches import Batches
from runtime.training import take_step

STEPS = 50
BATCH_SIZE = 10  # which 4 and 3 workers can't share evenly

NETWORK = model.Network("small", True, 0.9, 1e-5, "float64")
RECIPE = model.Recipe(
    seed=1,
    train_steps=STEPS,
    optimizer="adam",
    learning_rate=1e-3,
    lr_schedule="onecycle",
    dropout=0.3,
    augment="affine",
    label_smoothing=0.1,
    weight_decay=0.1,
    weight_average=0.9,
)


def main(path: str) -> None:
    """Trains; the chief writes the variables to `path`."""
    with joining.started(BATCH_SIZE, sync_batch_norm=True) as workers:
        graph = model.training_graph(NETWORK, RECIPE, workers.replica)
        images, labels = synthetic.draw_digits(200, seed=0)
        batches = Batches(images, labels, BATCH_SIZE, seed=1).taking(workers.part)
        with workers.session(graph) as session:
            if workers.is_chief:
                session.run(graph.initializer)
            workers.share_weights(session)
            for batch in batches.ahead(0, STEPS):
                with workers.watched(is_step=True) as options:
                    take_step(session, graph, *batch, options=options)
            workers.leave()
            if workers.is_chief:
                variables = graph.graph.get_collection(tf.GraphKeys.GLOBAL_VARIABLES)
                values = session.run({variable.op.name: variable for variable in variables})
                np.savez(path, **{name.replace("/", "|"): v for name, v in values.items()})


if __name__ == "__main__":
    main(sys.argv[1])
