"""The grid of a study: one cell for each run. Does not import TensorFlow, which takes seconds."""

from typing import Any, NamedTuple

FINISHED, DIVERGED = "finished", "diverged"
# Flags that a study does not set. The rate is constant, unlike in `train.py`, since the number of
# steps to an accuracy should not depend on how many are still to come.
DEFAULTS: dict[str, Any] = {
    "model": "small",
    "batch_norm": True,
    "bn_decay": 0.9,
    "bn_epsilon": 1e-5,
    "precision": "float32",
    "batch_size": 128,
    "train_steps": 429,
    "optimizer": "adam",
    "learning_rate": 1e-3,
    "lr_schedule": "constant",
    "dropout": 0.0,
    "init_stddev": None,
    "seed": 0,
}

# Flags that only some studies set: those of `train.py` that have no effect by default, and others
# that it does not have.
OF_SOME_STUDIES = (
    "weight_decay",
    "hidden_layers",  # of `mlp`
    "activation",  # of its hidden layers
    "train_images",  # how many there are
    "ghost_batch",  # the number of images that are normalized together
    "renorm",  # Batch Renormalization
    "noise",  # after batch norm
)

Row = dict[str, Any]


class Cell(NamedTuple):
    """The flags of one run of a study."""

    varied: dict[str, Any]  # flags of `train.py` that differ from run to run
    fixed: dict[str, Any]  # flags that the study sets for this and similar runs

    @property
    def flags(self) -> dict[str, Any]:
        """All flags of the training."""
        return {**DEFAULTS, **self.fixed, **self.varied}

    @property
    def name(self) -> str:
        """The run's name in TensorBoard and in messages."""
        return ",".join(f"{flag}={value}" for flag, value in self.varied.items())
