"""The studies by name. Each has a TITLE, `cells` (one for each run), `train`, and `report`."""

from types import ModuleType

from studies import (
    depth,
    dropout,
    initialization,
    learning_rate,
    noise,
    paper,
    smoothness,
    statistics,
    steps_to_accuracy,
    weight_decay,
)

STUDIES: dict[str, ModuleType] = {
    "learning_rate": learning_rate,
    "speed": steps_to_accuracy,
    "initialization": initialization,
    "dropout": dropout,
    "paper": paper,
    "statistics": statistics,
    "depth": depth,
    "smoothness": smoothness,
    "noise": noise,
    "weight_decay": weight_decay,
}
