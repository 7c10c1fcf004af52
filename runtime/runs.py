"""A run's folder, and the JSON file that describes the checkpoints in it."""

import dataclasses
import datetime
import pathlib
import platform
import re
import shutil
from typing import Any

import numpy as np

from dashboard.event_files import has_events
from runtime import checkpoints, processor, records
from runtime.checkpoints import Checkpoint
from runtime.errors import InputError
from runtime.files import make_folder, write_json
from runtime.progress import note

# Flags that may change when a run is resumed, since its weights so far do not depend on them.
FREE_TO_CHANGE = ("eval_every", "save_every", "on_nan")
# What remains if a process is killed while writing a record.
UNFINISHED_RECORD = f".{records.FILE}.*.part"


@dataclasses.dataclass(kw_only=True)
class Run(records.Record):
    """One training run: a folder, and the record that describes the checkpoints in it."""

    folder: pathlib.Path

    @property
    def name(self) -> str:
        """The folder's name."""
        return self.folder.absolute().name

    def was_trained_on(self, dataset: dict[str, Any]) -> bool:
        """Returns whether this describes the data of the run.

        Image size and classes follow from the fingerprint; older records may have others.
        """
        form = {name: self.dataset[name] for name in records.FORM_BEFORE_IT_WAS_RECORDED}
        return self.dataset == dataset | form

    def save(self) -> None:
        """Writes the record; a reader sees either the old one or the new one, never part of one."""
        self.updated = datetime.datetime.now(datetime.timezone.utc).isoformat()
        self.made_with = made_with()
        head = {"format": records.FORMAT, "run": self.name}
        write_json(self.folder / records.FILE, head | self.content())

    def add_checkpoint(self, checkpoint: Checkpoint) -> None:
        """Records the checksums of a checkpoint, and saves the record.

        Checkpoints that the Saver has since deleted are dropped from it. Afterwards, older
        inference checkpoints of the same kind are deleted.
        """
        self.checkpoints[checkpoint.name] = checkpoint.checksums()
        self.checkpoints = {
            name: sums
            for name, sums in self.checkpoints.items()
            if (self.folder / f"{name}.index").exists()
        }
        self.unfinished_points = {
            name: seen for name, seen in self.unfinished_points.items() if name in self.checkpoints
        }
        self.save()
        if checkpoint.kind != checkpoints.MODEL:
            for older in self.newest(checkpoint.kind)[1:]:
                older.remove()

    def remove_strays(self) -> None:
        """Deletes what a killed process left half-written: checkpoints and the record."""
        checkpoints.remove_strays(self.folder, self.checkpoints)
        for part in self.folder.glob(UNFINISHED_RECORD):
            part.unlink()

    def newest(self, *kinds: str) -> list[Checkpoint]:
        """Returns the recorded checkpoints of these kinds, newest first.

        Those of the same step come in the order of `kinds`.
        """
        recorded = [Checkpoint.at(self.folder / name) for name in self.checkpoints]
        chosen = [checkpoint for checkpoint in recorded if checkpoint.kind in kinds]
        return sorted(chosen, key=lambda found: (-found.step, kinds.index(found.kind)))

    def problem(self, checkpoint: Checkpoint) -> str | None:
        """Returns what is wrong with one of the run's checkpoints, or None if nothing is."""
        if checkpoint.name not in self.checkpoints:
            return f"{records.FILE} does not list it, so it can't be verified"
        return checkpoint.problem(self.checkpoints[checkpoint.name])

    def newest_sound(self) -> Checkpoint | None:
        """Returns the newest undamaged checkpoint to resume from, or None if none was written yet.

        Warns about those that it skips.

        Raises:
            InputError: there are checkpoints, but all of them are damaged.
        """
        candidates = self.newest(checkpoints.MODEL)
        for checkpoint in candidates:
            problem = self.problem(checkpoint)
            if problem is None:
                return checkpoint
            note(f"warning: {checkpoint} is passed over: {problem}")
        if candidates:
            raise InputError(
                f"{self.folder}: expected a sound checkpoint, found none; --overwrite starts afresh"
            )
        return None


def made_with() -> dict[str, Any]:
    """Returns the versions and the processor, which determine how sums are rounded."""
    # Not at the top of the file: reporting what is wrong with a run does not need TensorFlow.
    import tensorflow

    return {
        "python": platform.python_version(),
        "tensorflow": tensorflow.__version__,
        "numpy": np.__version__,
        "processor": processor.name(),
        "cores": processor.cores(),
    }


def load_run(folder: pathlib.Path) -> Run:
    """Reads the record of the run in `folder`.

    Raises:
        InputError: there is no record, or this suite did not write it.
    """
    checkpoints.check_path(folder)
    return Run(folder=folder, **records.read(folder / records.FILE).content())


def open_run(
    folder: pathlib.Path,
    flags: dict[str, Any],
    defaults: dict[str, Any],
    dataset: dict[str, Any],
    data_dir: str,
    summary_dir: pathlib.Path,
    *,
    resume: bool,
    overwrite: bool,
) -> Run:
    """Returns the existing run in `folder`, or a new one, which `begin` then writes there.

    A run is a function of its flags, so a run started with other flags is not resumed, with one
    exception: under a constant learning rate a run may be extended, since its first steps are those
    of the longer run.

    Args:
        folder: the run's folder.
        flags: the run's flags.
        defaults: the defaults of flags that an older version of this suite did not have.
        dataset: the dataset's name, sizes and fingerprint.
        data_dir: the dataset's folder.
        summary_dir: the folder of the run's event files.
        resume: whether an existing run may be resumed.
        overwrite: whether a new run should replace an existing one.

    Raises:
        InputError: the run exists and `resume` is false; it was started with other flags or
            other data; the folder is not a run's; or a new run would replace another one's curves.
    """
    checkpoints.check_path(folder)
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
        return Run(folder=folder, flags=flags, dataset=dataset, data_dir=data_dir, checkpoints={})

    run = load_run(folder)
    if not resume:
        raise InputError(
            f"--noresume: the run {folder} exists; "
            "--overwrite starts it afresh, --run=NAME trains another"
        )
    if not run.was_trained_on(dataset):
        raise InputError(
            f"{folder} was trained on {_describe(run.dataset)}, not on {_describe(dataset)}; "
            "--overwrite replaces it, --run=NAME keeps both"
        )
    former = {**defaults, **run.flags}
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
    run.data_dir = data_dir
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
    curves = "" if has_events(summary_dir) else f", but its curves are not in {summary_dir}"
    return (
        f"{run.folder} is finished at step {run.flags['train_steps']}{curves}. To start afresh: "
        f"--overwrite; to train another: --run=NAME; to train longer: {longer}"
    )


def find(checkpoint_dir: str, name: str | None, path: str | None) -> tuple[Run, Checkpoint]:
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


def _newest_run(checkpoint_dir: pathlib.Path) -> Run:
    paths = sorted(
        checkpoint_dir.glob(f"*/{records.FILE}"), key=lambda path: records.read(path).updated
    )
    if not paths:
        raise InputError(
            f"--checkpoint_dir: no run in {checkpoint_dir}; train one: python train.py"
        )
    return load_run(paths[-1].parent)


def _can_be_extended(former: dict[str, Any], flags: dict[str, Any]) -> bool:
    return flags["lr_schedule"] == "constant" and flags["train_steps"] > former["train_steps"]


def _describe(dataset: dict[str, Any]) -> str:
    return (
        f"{dataset['name']} ({dataset['train']} images, fingerprint {dataset['fingerprint'][:8]})"
    )
