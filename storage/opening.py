"""Opening a run to train it: a new one, one to resume, or one to replace."""

import pathlib
import shutil
from typing import Any

from console.errors import InputError
from console.files import make_folder
from storage import records
from storage.event_files import has_events
from storage.run import UNFINISHED_RECORD, Run, load_run

# Flags that may change when a run is resumed, since its weights so far do not depend on them.
FREE_TO_CHANGE = ("eval_every", "save_every", "on_nan")


def open_run(
    wanted: Run,
    defaults: dict[str, Any],
    summary_dir: pathlib.Path,
    *,
    resume: bool,
    overwrite: bool,
) -> Run:
    """Returns the run that is in the folder of `wanted`, or `wanted` itself as a new one.

    `clear_and_begin` then writes a new one there. A run is a function of its flags, so a run
    started with other flags is not resumed, with one exception: under a constant learning rate a
    run may be extended, since its first steps are those of the longer run.

    Args:
        wanted: the run as it would be without any checkpoint.
        defaults: the defaults of flags that an older version of this suite did not have.
        summary_dir: the folder of the run's event files.
        resume: whether an existing run may be resumed.
        overwrite: whether a new run should replace an existing one.

    Raises:
        InputError: the run exists and `resume` is false; it was started with other flags or
            other data; the folder is not a run's; or a new run would replace another one's curves.
    """
    folder = wanted.folder
    make_folder(folder)
    make_folder(summary_dir)
    is_unused = _is_unused(folder)
    if is_unused and has_events(summary_dir) and not overwrite:
        raise InputError(
            f"{summary_dir} has the curves of a run that is not in {folder.parent}; "
            "--overwrite deletes them, --run=NAME or --summary_dir=FOLDER keeps them"
        )
    if overwrite and not is_unused:
        records.read(folder / records.FILE)
    if overwrite or is_unused:
        return wanted

    run = load_run(folder)
    if not resume:
        raise InputError(
            f"--noresume: the run {folder} exists; "
            "--overwrite starts it afresh, --run=NAME trains another"
        )
    if not run.was_trained_on(wanted.dataset):
        raise InputError(
            f"{folder} was trained on {_describe(run.dataset)}, "
            f"not on {_describe(wanted.dataset)}; --overwrite replaces it, --run=NAME keeps both"
        )
    former, flags = {**defaults, **run.flags}, wanted.flags
    differing = [
        name for name in flags if name not in FREE_TO_CHANGE and former[name] != flags[name]
    ]
    if differing == ["train_steps"] and _can_be_extended(former, flags):
        run.result = None
    elif differing:
        details = "; ".join(f"--{name} was {former[name]}, now {flags[name]}" for name in differing)
        raise InputError(
            f"{folder} was started with other flags: {details}. "
            "--overwrite starts afresh, --run=NAME trains another"
        )
    run.flags = flags
    run.data_dir = wanted.data_dir
    return run


def how_to_go_on(run: Run, summary_dir: pathlib.Path) -> str:
    """Returns what the user can do with a finished run, whose curves are in `summary_dir`."""
    schedule = run.flags["lr_schedule"]
    if schedule == "constant":
        longer = "a larger --train_steps or --epochs"
    else:
        longer = (
            f"not possible, since the {schedule} schedule has ended "
            "(under --lr_schedule=constant it is)"
        )
    gone = "" if has_events(summary_dir) else f", but its curves are not in {summary_dir}"
    if run.missing():
        gone += f", but {' and '.join(run.missing())} can't be evaluated: the files are gone"
    return (
        f"{run.folder} is finished at step {run.flags['train_steps']}{gone}. To start afresh: "
        f"--overwrite; to train another: --run=NAME; to train longer: {longer}"
    )


def clear_and_begin(run: Run) -> None:
    """Records a run without checkpoints, and deletes the remains of an earlier run in its folder.

    In this order, a process killed in between leaves a run that can be resumed.
    """
    run.save()
    # Not the folder itself, which may be a link to a disk with more room.
    for path in run.folder.iterdir():
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        elif path.name != records.FILE:
            path.unlink()


def _is_unused(folder: pathlib.Path) -> bool:
    """Whether a folder is empty, apart from what may remain of a half-written record."""
    return all(path.match(UNFINISHED_RECORD) for path in folder.iterdir())


def _can_be_extended(former: dict[str, Any], flags: dict[str, Any]) -> bool:
    return flags["lr_schedule"] == "constant" and flags["train_steps"] > former["train_steps"]


def _describe(dataset: dict[str, Any]) -> str:
    return (
        f"{dataset['name']} ({dataset['train']} images, fingerprint {dataset['fingerprint'][:8]})"
    )
