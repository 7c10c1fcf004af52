"""A run's folder, and the JSON file that describes the checkpoints in it."""

import dataclasses
import datetime
import pathlib
import platform
from typing import Any

import numpy as np

from console import processor
from console.errors import InputError
from console.files import write_json
from console.progress import note
from storage import checkpoints, records
from storage.checkpoints import Checkpoint

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

    def begin_at(self, step: int, workers: int) -> None:
        """Notes how many workers train it after a step.

        If a damaged checkpoint was passed over, workers and evaluations of later steps are
        forgotten.
        """
        self.workers = [[since, count] for since, count in self.workers if since < step]
        if workers != (self.workers[-1][1] if self.workers else 1):
            self.workers.append([step, workers])
        self.evaluated_step = min(self.evaluated_step, step)

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

    def missing(self) -> list[str]:
        """Returns the names of recorded checkpoints whose files should be there, but are gone."""
        # Of the other kinds, older ones are deleted once a newer one is recorded.
        expected = [
            *self.newest(checkpoints.MODEL),
            *self.newest(checkpoints.BEST)[:1],
            *self.newest(checkpoints.EXACT)[:1],
        ]
        return [checkpoint.name for checkpoint in expected if not checkpoint.exists()]

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
    run = Run(folder=folder, **records.read(folder / records.FILE).content())
    if run.result:
        # The folder may have been moved or renamed since.
        run.result["checkpoint"] = str(folder / pathlib.Path(run.result["checkpoint"]).name)
    return run
