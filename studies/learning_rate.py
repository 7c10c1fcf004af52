"""How far off the learning rate can be."""

import functools

from studies import sensitivity
from studies.cells import Cell

TITLE = "Final accuracy over learning rates"
RATES = (1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2, 0.1, 0.3, 1.0)
# Only this arm, by optimizer and batch norm, is still good at the highest of these.
BEYOND = {("sgd", True): (3.0, 10.0)}


def cells(full: bool) -> list[Cell]:
    """Returns the grid: an epoch of the small network or, in full, three of `cnn`."""
    fixed = {"model": "cnn", "train_steps": 1287} if full else {"model": "small"}
    return [
        Cell(
            {"optimizer": optimizer, "batch_norm": batch_norm, "learning_rate": rate, "seed": seed},
            fixed,
        )
        for optimizer in ("sgd", "adam")
        for batch_norm in (True, False)
        for rate in (*RATES, *BEYOND.get((optimizer, batch_norm), ()))
        for seed in range(5 if full else 3)
    ]


train = sensitivity.train
report = functools.partial(
    sensitivity.report, by="optimizer", setting="learning_rate", name="learning rate"
)
