"""How far off the scale of the initial weights can be."""

import functools

from studies import sensitivity
from studies.cells import Cell

TITLE = "Final accuracy over the standard deviation of the initial weights"
DEVIATIONS = (1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2, 0.1, 0.3, 1.0)


def cells(full: bool) -> list[Cell]:
    """Returns the grid: an epoch of the small networks or, in full, three of these and `cnn`."""
    return [
        Cell(
            {"model": name, "batch_norm": batch_norm, "init_stddev": deviation, "seed": seed},
            {"train_steps": 1287 if full else 429},
        )
        for name in (("cnn", "small", "mlp") if full else ("small", "mlp"))
        for batch_norm in (True, False)
        for deviation in DEVIATIONS
        for seed in range(5 if full else 3)
    ]


train = sensitivity.train
report = functools.partial(
    sensitivity.report,
    by="model",
    setting="init_stddev",
    name="standard deviation of the initial weights",
)
