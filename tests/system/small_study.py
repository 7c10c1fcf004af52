"""`compare.py` with two runs in place of the study `paper`: one is quick, one takes long."""

import functools
import types

from console import importing
from studies.cells import Cell

CELLS = [
    Cell(
        {"model": "mlp", "batch_norm": batch_norm, "learning_rate": 1e-3, "seed": 0},
        {"train_steps": train_steps},
    )
    for batch_norm, train_steps in ((True, 20), (False, 3000))
]

if __name__ == "__main__":
    # Not at the top of the file, since importing it defines the flags of one command.
    import compare
    from console import commands

    importing.import_tensorflow()
    from studies import catalogue, sensitivity

    catalogue.STUDIES["paper"] = types.SimpleNamespace(
        TITLE="Two runs",
        cells=lambda full: CELLS,
        train=sensitivity.train,
        report=functools.partial(
            sensitivity.report, by="model", setting="learning_rate", name="learning rate"
        ),
    )
    commands.run(compare.main)
