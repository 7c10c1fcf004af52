"""The studies by name. Each module has a TITLE, the `cells` of its grid, `train`, and `report`."""

from types import ModuleType

from studies import dropout, initialization, learning_rate, paper, speed, statistics

STUDIES: dict[str, ModuleType] = {
    "learning_rate": learning_rate,
    "speed": speed,
    "initialization": initialization,
    "dropout": dropout,
    "paper": paper,
    "statistics": statistics,
}
