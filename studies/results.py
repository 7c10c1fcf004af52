"""A study's results: rows in a CSV file, from which its report is made."""

import csv
import io
import pathlib
import statistics
from collections.abc import Sequence
from typing import Any

from console.errors import InputError
from console.files import write_text
from studies.cells import DIVERGED, FINISHED, Cell, Row

FILE = "results.csv"
# A network that gives the same answer for every image is right for one in ten.
CHANCE = 0.1


class Results:
    """The rows of finished cells, in a CSV file that is replaced atomically."""

    def __init__(self, path: pathlib.Path):
        """Reads the file, if there is one.

        Raises:
            InputError: it is not a table of results.
        """
        self._path = path
        self.rows: list[Row] = []
        if path.exists():
            with path.open(newline="") as file:
                reader = csv.DictReader(file)
                lines = list(reader)
            if not all("status" in line and None not in line.values() for line in lines):
                raise InputError(f"{path}: expected a table with a `status`, found another")
            self.rows = [{name: _parse(text) for name, text in line.items()} for line in lines]

    def of(self, cell: Cell) -> list[Row]:
        """Returns the rows of one cell, in the order of its steps; none if it is untrained."""
        return [row for row in self.rows if cell.varied.items() <= row.items()]

    def add(self, cell: Cell, rows: list[Row], cells: Sequence[Cell]) -> None:
        """Adds a finished cell, and saves all of them in the order of the grid's `cells`."""
        self.rows += [{**cell.varied, **row} for row in rows]
        self.rows = [row for one in cells for row in self.of(one)]
        names = list(dict.fromkeys(name for row in self.rows for name in row))
        table = io.StringIO()
        writer = csv.DictWriter(table, names, lineterminator="\n")
        writer.writeheader()
        writer.writerows(self.rows)
        write_text(self._path, table.getvalue())
        # From here on every row has every column, as when read from the file.
        self.rows = [{name: row.get(name) for name in names} for row in self.rows]


def where(rows: list[Row], **conditions: Any) -> list[Row]:
    """Returns the rows with these values."""
    return [row for row in rows if conditions.items() <= row.items()]


def values(rows: list[Row], name: str) -> list[Any]:
    """Returns the distinct values of a column, in order of appearance."""
    return list(dict.fromkeys(row[name] for row in rows))


def outcomes(rows: list[Row]) -> list[Row]:
    """Returns the last row of each cell."""
    return [row for row in rows if row["status"] in (FINISHED, DIVERGED)]


def final_accuracy(row: Row) -> float:
    """Returns a cell's test accuracy from its last row, or chance if training diverged."""
    return CHANCE if row["status"] == DIVERGED else row["test_accuracy"]


def error_curves(trainings: list[list[Row]]) -> tuple[list[int], list[list[float]]]:
    """Returns the steps, and at each of them the errors of all runs in percent.

    A run that diverged has the error of a guess from there on.
    """
    steps = [row["step"] for row in max(trainings, key=len)]
    accuracies = [
        [
            t[i]["accuracy"] if i < len(t) and t[i]["status"] != DIVERGED else CHANCE
            for t in trainings
        ]
        for i in range(len(steps))
    ]
    return steps, [[100 * (1 - accuracy) for accuracy in at_step] for at_step in accuracies]


def by_seed(rows: list[Row]) -> list[list[Row]]:
    """Returns the rows of each seed."""
    return [where(rows, seed=seed) for seed in values(rows, "seed")]


def spread(figures: Sequence[float], form: str) -> str:
    """Returns mean, standard deviation and count of `figures`, such as `98.71 ± 0.08 (3)`."""
    if not figures:
        return "-"
    deviation = f" ± {statistics.stdev(figures):{form}}" if len(figures) > 1 else ""
    return f"{statistics.fmean(figures):{form}}{deviation} ({len(figures)})"


def accuracy_of(rows: list[Row]) -> str:
    """Returns the final accuracy of some cells in percent, and how many of them diverged."""
    diverged = len(where(rows, status=DIVERGED))
    text = spread([100 * final_accuracy(row) for row in rows], ".2f")
    return f"{text}, {diverged} diverged" if diverged else text


def _parse(text: str) -> Any:
    """Parses a field of the CSV file: None, a bool, a number or a string."""
    if text in ("", "True", "False"):
        return {"": None, "True": True, "False": False}[text]
    for number in (int, float):
        try:
            return number(text)
        except ValueError:
            continue
    return text
