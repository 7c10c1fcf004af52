"""Finding a run by its name, and a checkpoint of it."""

import pathlib
import re

from console.errors import InputError
from storage import checkpoints, records
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
        # A run that has exact population statistics was meant to be used with them.
        candidates = run.newest(checkpoints.EXACT, checkpoints.MODEL)
        if not candidates:
            raise InputError(
                f"{run.folder}: expected a checkpoint, found none: "
                "the run was stopped before its first one"
            )
        checkpoint = candidates[0]
    problem = run.problem(checkpoint)
    if problem:
        raise InputError(
            f"{checkpoint}: can't be trusted: {problem}; --checkpoint=PATH selects another"
        )
    return run, checkpoint


def _named(checkpoint_dir: pathlib.Path, name: str) -> Run:
    if not (checkpoint_dir / name).is_dir():
        there = sorted(path.parent.name for path in checkpoint_dir.glob(f"*/{records.FILE}"))
        raise InputError(
            f"--run: expected a run in {checkpoint_dir / name}, found none; "
            f"{checkpoint_dir} has {', '.join(there) or 'none'}"
        )
    return load_run(checkpoint_dir / name)


def _at(path: str) -> tuple[Run, Checkpoint]:
    # Shells complete the name of a file; a checkpoint's path is the prefix that its files share.
    checkpoint = Checkpoint.at(re.sub(r"\.(index|data-\d+-of-\d+)$", "", path))
    run = load_run(checkpoint.folder)
    if not (checkpoint.name in run.checkpoints or checkpoint.exists()):
        there = [found.name for found in run.newest(*checkpoints.KINDS)]
        raise InputError(
            f"{checkpoint}: expected a checkpoint, found none; "
            f"{run.folder} has {', '.join(there) or 'none'}"
        )
    return run, checkpoint


def _newest_run(checkpoint_dir: pathlib.Path) -> Run:
    paths = sorted(
        checkpoint_dir.glob(f"*/{records.FILE}"), key=lambda path: records.read(path).updated
    )
    if not paths:
        raise InputError(
            f"--checkpoint_dir: no run in {checkpoint_dir}; train one: python train.py"
        )
    return load_run(paths[-1].parent)
