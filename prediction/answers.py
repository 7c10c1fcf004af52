"""What is said of a picture: the digit, or what was found instead; as a line, JSON and CSV."""

import csv
import io
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from prediction import preparation
from prediction.preparation import Prepared

UNSURE = "unsure"
COLUMNS = ("file", "found", "digit", "probability", "runner_up", "runner_up_probability", "why")


class Reading(NamedTuple):
    """What the network says of one digit."""

    digit: int
    probability: float
    runner_up: int
    runner_up_probability: float
    probabilities: list[float]  # of the digits 0 to 9


class Answer(NamedTuple):
    """What is said of one picture."""

    file: str
    found: str  # `preparation.ONE`, NONE or SEVERAL, or UNSURE
    readings: list[Reading]  # of each digit from left to right
    why: str


def of(
    file: str, prepared: Prepared, probabilities: Sequence[np.ndarray], min_probability: float
) -> Answer:
    """Returns the answer for a picture.

    Args:
        file: its name.
        prepared: what was found in it.
        probabilities: of each of its digits, float32 [10].
        min_probability: with less for any of the digits, the answer is unsure.
    """
    readings = [_reading(row) for row in probabilities]
    found = prepared.found
    if readings and min(reading.probability for reading in readings) < min_probability:
        found = UNSURE if found == preparation.ONE else found
    return Answer(file, found, readings, prepared.why)


def _reading(probabilities: np.ndarray) -> Reading:
    runner_up, digit = np.argsort(probabilities, kind="stable")[-2:]
    rounded = [round(float(value), 4) for value in probabilities]
    return Reading(int(digit), rounded[digit], int(runner_up), rounded[runner_up], rounded)


def line(answer: Answer, many: bool) -> str:
    """Returns the answer as a line of text; with `many`, several digits are read, not refused."""
    if answer.found == preparation.SEVERAL and many:
        digits = "".join(str(reading.digit) for reading in answer.readings)
        each = ", ".join(f"{reading.probability:.4f}" for reading in answer.readings)
        return f"{answer.file}: {digits} ({each})"
    if answer.found in (preparation.NONE, preparation.SEVERAL):
        return f"{answer.file}: {answer.found}: {answer.why}"
    (reading,) = answer.readings
    said = (
        f"{reading.digit} ({reading.probability:.4f}), "
        f"then {reading.runner_up} ({reading.runner_up_probability:.4f})"
    )
    return f"{answer.file}: {'unsure: ' if answer.found == UNSURE else ''}{said}"


def facts(answer: Answer) -> dict[str, Any]:
    """Returns what `--json` has of a picture."""
    return {
        "file": answer.file,
        "found": answer.found,
        "why": answer.why,
        "digits": [reading._asdict() for reading in answer.readings],
    }


def as_csv(answers: Sequence[Answer]) -> str:
    """Returns a table with a row for each digit, and one for each picture without."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for answer in answers:
        for reading in answer.readings or (None,):
            figures = reading[:4] if reading else ("",) * 4
            writer.writerow([answer.file, answer.found, *figures, answer.why])
    return text.getvalue()
