"""What runs there are, and how far each is."""

import datetime
import pathlib
import statistics
from typing import Any

from console import markdown
from console.errors import InputError
from storage import checkpoints, finding, lock
from storage.opening import FREE_TO_CHANGE
from storage.run import Run


def all_runs(checkpoint_dir: pathlib.Path) -> list[dict[str, Any]]:
    """Returns what is known of each run in a folder, as plain values, the one trained last first.

    A run whose record can't be read comes at the end, as damaged.

    Raises:
        InputError: there is none.
    """
    found, faults = finding.readable_runs(checkpoint_dir)
    if not found and not faults:
        raise InputError(f"--checkpoint_dir: expected runs in {checkpoint_dir}, found none")
    damaged = [
        {"run": name, "state": "damaged", "problem": fault}
        for name, fault in sorted(faults.items())
    ]
    return [*map(_describe, found), *damaged]


def _describe(run: Run) -> dict[str, Any]:
    newest = run.newest(*checkpoints.KINDS)
    return {
        "run": run.name,
        "state": _state(run),
        "step": newest[0].step if newest else 0,
        "train_steps": run.flags["train_steps"],
        "dataset": run.dataset["name"],
        "validation_accuracy": run.validation_accuracy,
        "test_accuracy": run.result and run.result["accuracy"],
        "updated": run.updated,
        "bytes": sum(map(_size, run.folder.rglob("*"))),
        "flags": run.flags,
    }


def _state(run: Run) -> str:
    trained_by = lock.holder(run.folder)
    if trained_by:
        return f"in training ({trained_by})"
    state = "finished" if run.result else "stopped"
    return f"{state}, {', '.join(run.missing())} missing" if run.missing() else state


def table(runs: list[dict[str, Any]], width: int | None = None) -> str:
    """Returns the runs as a table, each with the flags in which it differs from most of them.

    Flags for which `width` letters are not enough go on in lines below.
    """
    usual = _most_common_flags([run["flags"] for run in runs if "flags" in run])
    header = ["run", "state", "step", "data", "validation", "test", "age", "size", "unlike most"]
    return markdown.aligned(header, [_row(run, usual) for run in runs], width)


def _row(run: dict[str, Any], usual: dict[str, Any]) -> list[str]:
    if "problem" in run:
        return [run["run"], run["state"], *[""] * 7]
    differing = [f"{name}={run['flags'].get(name)}" for name in usual if _differs(run, name, usual)]
    return [
        run["run"],
        run["state"],
        f"{run['step']}/{run['train_steps']}",
        run["dataset"],
        _share(run["validation_accuracy"]),
        _share(run["test_accuracy"]),
        _age(run["updated"]),
        f"{run['bytes'] / 1e6:.0f} MB",
        " ".join(differing),
    ]


def _most_common_flags(flags: list[dict[str, Any]]) -> dict[str, Any]:
    names = sorted({name for each in flags for name in each} - {"train_steps", *FREE_TO_CHANGE})
    # Of two values that are as common, that of the run trained longer ago, often the default.
    oldest_first = flags[::-1]
    return {
        name: statistics.mode(each[name] for each in oldest_first if name in each) for name in names
    }


def _differs(run: dict[str, Any], name: str, usual: dict[str, Any]) -> bool:
    # A run from before the flag existed has its default, as most others do.
    return run["flags"].get(name, usual[name]) != usual[name]


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
