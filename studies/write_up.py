"""A study's report, and the facts it begins with."""

import contextlib
import datetime
import hashlib
import itertools
import json
import pathlib
import re
import time
from collections.abc import Iterator
from types import ModuleType
from typing import Any

from console import markdown
from console.errors import InputError
from console.files import write_json, write_text
from storage.run import made_with
from studies.cells import DIVERGED, Cell, Row
from studies.results import FILE, outcomes, values, where

FACTS_FILE, REPORT_FILE = "study.json", "report.md"


def begin(
    folder: pathlib.Path, command: str, cells: list[Cell], dataset: dict[str, Any]
) -> dict[str, Any]:
    """Returns the facts of a study, and records them if it is new.

    Raises:
        InputError: it was started with a different grid or different data, or on a different
            machine, so one table would mix the results of both.
    """
    facts: dict[str, Any] = {
        "command": command,
        "grid": _checksum(cells),
        "dataset": dataset,
        "made_with": made_with(),
    }
    if (folder / FILE).exists() and not (folder / FACTS_FILE).exists():
        raise InputError(f"{folder / FILE}: expected {FACTS_FILE} beside it, found none")
    if (folder / FACTS_FILE).exists():
        former = _read(folder)
        for name in facts:
            if former.get(name) != facts[name]:
                raise InputError(
                    f"{folder}: expected {name} {former.get(name)}, found {facts[name]}; "
                    "--results_dir=FOLDER begins afresh"
                )
        return former
    facts |= {"date": datetime.date.today().isoformat(), "seconds": 0}
    write_json(folder / FACTS_FILE, facts)
    return facts


def check(folder: pathlib.Path, cells: list[Cell], dataset: str) -> None:
    """Checks that a finished study is what would be trained now.

    Args:
        folder: of the study.
        cells: its grid.
        dataset: the flag of that name.

    Raises:
        InputError: it was trained with a different grid, or on other data than the flag says.
    """
    facts = _read(folder)
    name = facts["dataset"]["name"]
    for what, former, now in (
        ("its grid", facts["grid"], _checksum(cells)),
        ("data", "synthetic" if name == "synthetic" else "mnist", dataset),
    ):
        if now not in (former, "auto"):
            raise InputError(
                f"{folder}: expected {what} {former}, found {now}; "
                "--results_dir=FOLDER begins afresh"
            )


def _checksum(cells: list[Cell]) -> str:
    return hashlib.sha256(json.dumps([cell.flags for cell in cells]).encode()).hexdigest()


@contextlib.contextmanager
def on_the_clock(folder: pathlib.Path, facts: dict[str, Any]) -> Iterator[None]:
    """Adds the time that the block takes, even if interrupted, to the facts."""
    started = time.monotonic()
    try:
        yield
    finally:
        facts["seconds"] += round(time.monotonic() - started)
        write_json(folder / FACTS_FILE, facts)


def write(folder: pathlib.Path, study: ModuleType, rows: list[Row]) -> tuple[pathlib.Path, str]:
    """Draws the plots and writes the report of a study.

    Returns:
        The report's path, and its data set and tables as text for a terminal.

    Raises:
        InputError: there are no facts beside the results.
    """
    facts = _read(folder)
    cells = study.cells(facts["command"].endswith("--full"))
    found = study.report(rows, folder).rstrip("\n")
    introduction = f"# {study.TITLE}\n\n{_introduction(facts, rows)}\n{_recipe(cells)}"
    write_text(folder / REPORT_FILE, f"{introduction}\n{found}\n")
    return folder / REPORT_FILE, f"data: {facts['dataset']['name']}\n\n{_for_terminal(found)}"


def _for_terminal(report: str) -> str:
    """Aligns the columns of the tables in a report, and leaves out the plots."""
    text = []
    for is_table, lines in itertools.groupby(report.splitlines(), lambda line: line[:1] == "|"):
        if is_table:
            header, _, *rows = [line[2:-2].split(" | ") for line in lines]
            text.append(markdown.aligned(header, rows))
        else:
            text += [line for line in lines if not line.startswith("![")]
    return re.sub(r"\n{3,}", "\n\n", "\n".join(text)).strip("\n")


def _introduction(facts: dict[str, Any], rows: list[Row]) -> str:
    made = facts["made_with"]
    # What a reader should know besides; written into the file by hand.
    remark = f" {facts['remark']}" if "remark" in facts else ""
    diverged = len(where(outcomes(rows), status=DIVERGED))
    seeds = ", ".join(map(str, sorted(values(rows, "seed"))))
    return (
        f"`{facts['command']}`, {facts['date']}, {_duration(facts['seconds'])} on "
        f"{made['cores']} cores ({made['processor']}), TensorFlow {made['tensorflow']}. "
        f"Data: **{facts['dataset']['name']}**, {facts['dataset']['train']:,} training images. "
        f"{len(outcomes(rows))} runs, seeds {seeds}; {diverged} diverged, which counts as "
        "an accuracy of 10 %, that of a guess. Figures are mean ± standard deviation (number of "
        f"seeds); bands in the plots are from the lowest to the highest seed. All of them come "
        f"from [{FILE}]({FILE}).{remark}\n"
    )


def _recipe(cells: list[Cell]) -> str:
    """Lists the flags that are the same for all runs, or follow from the network."""
    settings = []
    for flag in cells[0].flags:
        given = list(dict.fromkeys(str(cell.flags[flag]) for cell in cells))
        if flag not in cells[0].varied and given != ["None"]:
            settings.append(f"`{flag}` {' or '.join(given)}")
    return f"Not varied: {', '.join(settings)}.\n"


def _duration(seconds: int) -> str:
    return f"{seconds} seconds" if seconds < 120 else f"{seconds / 60:.0f} minutes"


def _read(folder: pathlib.Path) -> dict[str, Any]:
    try:
        facts = json.loads((folder / FACTS_FILE).read_text())
    except (OSError, ValueError) as error:
        raise InputError(f"{folder / FACTS_FILE}: expected the facts of a study: {error}") from None
    if not isinstance(facts, dict):
        raise InputError(f"{folder / FACTS_FILE}: expected the facts of a study, found others")
    return facts
