"""Finding a run by its name, and a checkpoint of it."""

import pathlib
import re

from console.errors import InputError
from console.progress import note
from storage import checkpoints, lock, records
from storage.checkpoints import Checkpoint
from storage.run import Run, load_run


def find_checkpoint(
    checkpoint_dir: str, name: str | None, path: str | None
) -> tuple[Run, Checkpoint]:
    """Finds a checkpoint, and the run that it belongs to.

    Args:
        checkpoint_dir: the folder of the runs.
        name: the run whose newest checkpoint to find; None means the run trained last.
        path: the path of a particular checkpoint, used instead of `name`.

    Raises:
        InputError: there is no such run, it has no checkpoint, or its checkpoint is damaged.
    """
    if path:
        run, checkpoint = _at(path)
    else:
        folder = pathlib.Path(checkpoint_dir)
        run = _named(folder, name) if name else _newest_run(folder)
        checkpoint = _newest_checkpoint(run)
    problem = run.problem(checkpoint)
    if problem and not path and _newest_checkpoint(load_run(run.folder)) != checkpoint:
        # Training has replaced it since the record was read.
        return find_checkpoint(checkpoint_dir, run.name, None)
    if problem:
        sound = [str(other) for other in run.newest(*checkpoints.KINDS) if not run.problem(other)]
        cure = f"--checkpoint={sound[0]} is sound" if sound else "no other of the run is sound"
        raise InputError(f"{checkpoint}: can't be trusted: {problem}; {cure}")
    return run, checkpoint


def find_again(run: Run, checkpoint: Checkpoint) -> Checkpoint:
    """Returns a run's checkpoint, or the one that training has replaced it with meanwhile.

    Raises:
        InputError: it is gone, and there is no newer one of its kind.
    """
    if checkpoint.exists():
        return checkpoint
    newest = load_run(run.folder).newest(checkpoint.kind)
    newer = [found for found in newest if found.step > checkpoint.step]
    if not newer:
        raise InputError(f"{checkpoint}: expected a checkpoint, found that it has been deleted")
    note(f"{checkpoint} has been replaced in training; this is step {newer[0].step}")
    return newer[0]


def readable_runs(checkpoint_dir: pathlib.Path) -> tuple[list[Run], dict[str, str]]:
    """Returns the runs in a folder, those trained last first, and the others' faults by name."""
    runs, faults = [], {}
    for path in checkpoint_dir.glob(f"*/{records.FILE}"):
        try:
            runs.append(load_run(path.parent))
        except InputError as error:
            faults[path.parent.name] = str(error)
    return sorted(runs, key=lambda run: run.updated, reverse=True), faults


def _named(checkpoint_dir: pathlib.Path, name: str) -> Run:
    if not (checkpoint_dir / name).is_dir():
        there = sorted(path.parent.name for path in checkpoint_dir.glob(f"*/{records.FILE}"))
        raise InputError(
            f"expected a run in {checkpoint_dir / name}, found none; "
            f"{checkpoint_dir} has {', '.join(there) or 'none'}"
        )
    return load_run(checkpoint_dir / name)


def _newest_checkpoint(run: Run) -> Checkpoint:
    # A run that has exact population statistics was meant to be used with them.
    candidates = run.newest(checkpoints.EXACT, checkpoints.MODEL)
    if not candidates:
        trained_by = lock.holder(run.folder)
        why = "the run was stopped before its first one"
        if trained_by:
            why = f"it is being trained by {trained_by}, and has saved none yet"
        raise InputError(f"{run.folder}: expected a checkpoint, found none: {why}")
    return candidates[0]


def _at(path: str) -> tuple[Run, Checkpoint]:
    # Shells complete the name of a file; a checkpoint's path is the prefix that its files share.
    checkpoint = Checkpoint.at(re.sub(r"\.(index|data-\d+-of-\d+)$", "", path))
    run = load_run(checkpoint.folder)
    if not (checkpoint.name in run.checkpoints or checkpoint.exists()):
        there = [found.name for found in run.newest(*checkpoints.KINDS) if found.exists()]
        raise InputError(
            f"{checkpoint}: expected a checkpoint, found none; "
            f"{run.folder} has {', '.join(there) or 'none'}"
        )
    return run, checkpoint


def _newest_run(checkpoint_dir: pathlib.Path) -> Run:
    runs, faults = readable_runs(checkpoint_dir)
    if faults and not runs:
        raise InputError(next(iter(faults.values())))
    if not runs:
        raise InputError(
            f"--checkpoint_dir: no run in {checkpoint_dir}; train one: python train.py"
        )
    for fault in faults.values():
        note(f"warning: passed over: {fault}")
    return runs[0]
