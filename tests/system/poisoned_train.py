"""`train.py` whose last weights turn NaN in step 12, until the rate is down to a quarter.

Too high a learning rate has this effect only on some data and some processors. One of several
workers writes its variables to `workerRANK.npz`, so that a test can tell whether they agree; and
the first time that the chief goes back, this takes longer than a step may.
"""

import json
import os
import time

import numpy as np

import train
from console import commands, importing

POISONED_STEP = 12
STEP_SECONDS = 6.0


def poison(take_step):
    """Returns a `take_step` that damages the weights before a certain step."""

    def take_poisoned_step(session, graph, images, labels, *, rate_factor, **options):
        if session.run(graph.global_step) == POISONED_STEP - 1 and rate_factor > 0.25:
            (weights,) = [v for v in session.graph.get_collection("variables") if is_last(v)]
            weights.load(np.full(weights.shape, np.nan), session)
        taken = take_step(session, graph, images, labels, rate_factor=rate_factor, **options)
        if "TF_CONFIG" in os.environ:
            write_variables(session)
        return taken

    return take_poisoned_step


def slow_at_first(restore):
    """Returns a `restore` that takes long when it is called first."""
    delays = iter([STEP_SECONDS + 1])

    def slow_restore(*arguments):
        time.sleep(next(delays, 0))
        return restore(*arguments)

    return slow_restore


def write_variables(session):
    """Writes all variables of this worker."""
    rank = json.loads(os.environ["TF_CONFIG"])["task"]["index"]
    values = session.run({v.op.name: v for v in session.graph.get_collection("variables")})
    np.savez(f"worker{rank}.npz", **{name.replace("/", "|"): v for name, v in values.items()})


def is_last(variable):
    """Whether a variable is the last layer's weights."""
    return variable.op.name == "logits/weights"


if __name__ == "__main__":
    importing.import_tensorflow()
    from training import loop

    loop.take_step = poison(loop.take_step)
    if "TF_CONFIG" in os.environ:
        from cluster import workers
        from storage import variables

        workers.STEP_SECONDS = STEP_SECONDS
        variables.restore = slow_at_first(variables.restore)
    commands.run(train.main)
