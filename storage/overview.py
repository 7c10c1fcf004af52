"""What runs there are, and how far each is."""

import datetime
import pathlib
from typing import Any

from console import markdown
from console.errors import InputError
from storage import checkpoints, lock, records
from storage.opening import FREE_TO_CHANGE
from storage.run import Run, load_run


def describe(run: Run) -> dict[str, Any]:
    """Returns what is known of a run, as plain values."""
    newest = run.newest(*checkpoints.KINDS)
    trained_by = lock.holder(run.folder)
    if trained_by:
        state = f"in training ({trained_by})"
    else:
        state = "finished" if run.result else "stopped"
    return {
        "run": run.name,
        "state": state,
        "step": newest[0].step if newest else 0,
        "train_steps": run.flags["train_steps"],
        "dataset": run.dataset["name"],
        "validation_accuracy": run.validation_accuracy,
        "test_accuracy": run.result and run.result["accuracy"],
        "updated": run.updated,
        "bytes": sum(map(_size, run.folder.rglob("*"))),
        "flags": run.flags,
    }


def all_runs(checkpoint_dir: pathlib.Path) -> list[dict[str, Any]]:
    """Returns what is known of each run in a folder, the one trained last first.

    Raises:
        InputError: there is none, or a record is damaged.
    """
    found = [load_run(path.parent) for path in checkpoint_dir.glob(f"*/{records.FILE}")]
    if not found:
        raise InputError(f"--checkpoint_dir: expected runs in {checkpoint_dir}, found none")
    return sorted(map(describe, found), key=lambda run: run["updated"], reverse=True)


def table(runs: list[dict[str, Any]]) -> str:
    """Returns the runs as a table, with those flags in which they differ."""
    names = {name for run in runs for name in run["flags"]} - {"train_steps", *FREE_TO_CHANGE}
    differing = [
        name for name in sorted(names) if len({str(run["flags"].get(name)) for run in runs}) > 1
    ]
    rows = [
        [
            run["run"],
            run["state"],
            f"{run['step']}/{run['train_steps']}",
            run["dataset"],
            _share(run["validation_accuracy"]),
            _share(run["test_accuracy"]),
            _age(run["updated"]),
            f"{run['bytes'] / 1e6:.0f} MB",
            *(run["flags"].get(name, "") for name in differing),
        ]
        for run in runs
    ]
    header = ["run", "state", "step", "data", "validation", "test", "age", "size", *differing]
    return markdown.aligned(header, rows)


def _size(path: pathlib.Path) -> int:
    try:
        return path.stat().st_size if path.is_file() else 0
    except FileNotFoundError:
        return 0  # A run in training deletes its older checkpoints.


def _share(accuracy: float | None) -> str:
    return "" if accuracy is None else f"{accuracy:.4f}"


def _age(updated: str) -> str:
    seconds = (
        datetime.datetime.now(datetime.timezone.utc) - datetime.datetime.fromisoformat(updated)
    ).total_seconds()
    for unit, length in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= length:
            return f"{seconds / length:.0f} {unit}"
    return f"{seconds:.0f} s"
