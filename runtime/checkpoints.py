"""A run's folder: the Saver's checkpoints, and beside them the JSON file that explains them."""

import datetime
import json
import os
import pathlib
import platform
import re
import shutil
import tempfile
from typing import Any

import numpy as np
import tensorflow.compat.v1 as tf

from runtime.errors import InputError

RUN_FILE = "run.json"
FORMAT = 1
CHECKPOINT = "model.ckpt"
CHECKPOINTS_KEPT = 3
# Checkpoints for inference only, each kind in a list of its own beside the Saver's `checkpoint`.
BEST = "best"  # by validation accuracy
EXACT = "exact"  # with the statistics of all training images in place of moving averages


class Run:
    """One training run: a folder, and the record that explains what lies in it.

    Attributes:
        folder: where the checkpoints are.
        flags: the flags that the weights and the curves follow from.
        dataset: name, sizes and fingerprint of the data.
        data_dir: where the data was found.
        best: step, validation accuracy and file of the best checkpoint, or None.
        evaluated_step: the last step that was evaluated.
        result: what the finished run reached on the test set, or None.
    """

    def __init__(
        self, folder: pathlib.Path, flags: dict[str, Any], dataset: dict[str, Any], data_dir: str
    ):
        """Describes a new run; `save` writes it down."""
        self.folder = folder
        self.flags = flags
        self.dataset = dataset
        self.data_dir = data_dir
        self.best: dict[str, Any] | None = None
        self.evaluated_step = 0
        self.result: dict[str, Any] | None = None

    @property
    def name(self) -> str:
        """The folder's name."""
        return self.folder.name

    def save(self) -> None:
        """Writes the record; a reader sees the old one or the new one, never a part."""
        record = {
            "format": FORMAT,
            "run": self.name,
            "updated": datetime.datetime.now(datetime.timezone.utc).isoformat(),
            "flags": self.flags,
            "dataset": self.dataset,
            "data_dir": self.data_dir,
            "best": self.best,
            "evaluated_step": self.evaluated_step,
            "result": self.result,
            "versions": {
                "python": platform.python_version(),
                "tensorflow": tf.__version__,
                "numpy": np.__version__,
            },
        }
        write_json(self.folder / RUN_FILE, record)

    def latest_checkpoint(self) -> str | None:
        """Returns the path of the newest checkpoint, or None before the first."""
        return tf.train.latest_checkpoint(str(self.folder))

    def checkpoint_to_evaluate(self) -> str | None:
        """Returns the newest checkpoint, with exact population statistics if the run has them."""
        return (
            tf.train.latest_checkpoint(str(self.folder), latest_filename=EXACT)
            or self.latest_checkpoint()
        )


def load_run(folder: pathlib.Path) -> Run:
    """Reads the record of the run in `folder`.

    Raises:
        InputError: there is no record, or it is not one that this suite wrote.
    """
    path = folder / RUN_FILE
    record = _read_record(path)
    run = Run(folder, record["flags"], record["dataset"], record["data_dir"])
    run.best = record["best"]
    run.evaluated_step = record["evaluated_step"]
    run.result = record["result"]
    return run


def open_run(
    folder: pathlib.Path,
    flags: dict[str, Any],
    dataset: dict[str, Any],
    data_dir: str,
    *,
    resume: bool,
    overwrite: bool,
) -> Run:
    """Starts a run in `folder`, or takes up the one that is there.

    A run is a function of its flags, so one that was started with others is not taken up. There
    is one exception: under a constant learning rate a run may be made longer, since its first
    steps are those of the longer run.

    Raises:
        InputError: the run exists and `resume` is false; it was started with other flags or
            other data; or the folder is not a run's.
    """
    if overwrite:
        remove_run(folder)
    make_folder(folder)
    if not any(folder.iterdir()):
        run = Run(folder, flags, dataset, data_dir)
        run.save()
        return run

    run = load_run(folder)
    if not resume:
        raise InputError(
            f"--noresume: the run {folder} exists; "
            "--overwrite starts it afresh, --run=NAME trains another"
        )
    if run.dataset != dataset:
        raise InputError(
            f"{folder} was trained on {_describe(run.dataset)}, not on {_describe(dataset)}; "
            "--overwrite starts afresh, --run=NAME trains another"
        )
    differing = [name for name in flags if run.flags.get(name) != flags[name]]
    if differing == ["train_steps"] and _can_be_extended(run.flags, flags):
        run.flags = flags
        run.result = None
    elif differing:
        details = "; ".join(
            f"--{name} was {run.flags.get(name)}, now {flags[name]}" for name in differing
        )
        raise InputError(
            f"{folder} was started with other flags: {details}. "
            "--overwrite starts afresh, --run=NAME trains another"
        )
    run.data_dir = data_dir
    return run


def how_to_go_on(run: Run) -> str:
    """Returns what makes a finished run longer."""
    if run.flags["lr_schedule"] == "constant":
        return "a larger --train_steps or --epochs"
    return (
        f"not possible, since the {run.flags['lr_schedule']} schedule has come to its end "
        "(under --lr_schedule=constant it is)"
    )


def find(checkpoint_dir: str, name: str | None, checkpoint: str | None) -> tuple[Run, str]:
    """Finds a checkpoint, and the run that it belongs to.

    Args:
        checkpoint_dir: the folder of the runs.
        name: the run whose newest checkpoint is wanted; None is the run that was trained last.
        checkpoint: the path of one certain checkpoint, which needs no name.

    Raises:
        InputError: there is no such run, or it has no checkpoint.
    """
    if checkpoint:
        # What a shell completes is a file of the checkpoint; what TensorFlow wants is its prefix.
        checkpoint = re.sub(r"\.(index|data-\d+-of-\d+)$", "", checkpoint)
        return load_run(pathlib.Path(checkpoint).parent), checkpoint
    folder = pathlib.Path(checkpoint_dir)
    run = load_run(folder / name) if name else _newest_run(folder)
    latest = run.checkpoint_to_evaluate()
    if latest is None:
        raise InputError(
            f"{run.folder}: expected a checkpoint, found none: it was stopped too soon"
        )
    return run, latest


def remove_run(folder: pathlib.Path) -> None:
    """Deletes a run's folder, if there is one.

    Raises:
        InputError: the folder holds something else than a run; nothing is deleted.
    """
    if folder.exists() and any(folder.iterdir()):
        _read_record(folder / RUN_FILE)
        shutil.rmtree(folder)


def step_of(checkpoint: str) -> int:
    """Returns the step in a checkpoint's name: 1287 for `.../model.ckpt-1287`.

    Raises:
        InputError: the name does not end in a step.
    """
    match = re.search(r"-(\d+)$", checkpoint)
    if not match:
        raise InputError(f"{checkpoint}: expected a checkpoint's name, such as model.ckpt-1287")
    return int(match.group(1))


def restore(saver: tf.train.Saver, session: tf.Session, checkpoint: str) -> None:
    """Restores the saver's variables.

    Raises:
        InputError: the checkpoint is missing, damaged, or of another network.
    """
    _check_existence(checkpoint)
    try:
        saver.restore(session, checkpoint)
    except (tf.errors.OpError, ValueError) as error:
        reason = str(error).strip().splitlines()[0]
        raise InputError(f"{checkpoint}: can't be restored into this network: {reason}") from error


def read(checkpoint: str) -> dict[str, np.ndarray]:
    """Returns the values of all variables in a checkpoint, by name.

    Raises:
        InputError: the checkpoint is missing or damaged.
    """
    _check_existence(checkpoint)
    try:
        reader = tf.train.load_checkpoint(checkpoint)
        return {name: reader.get_tensor(name) for name in reader.get_variable_to_shape_map()}
    except (tf.errors.OpError, ValueError) as error:
        reason = str(error).strip().splitlines()[0]
        raise InputError(f"{checkpoint}: can't be read: {reason}") from error


def _check_existence(checkpoint: str) -> None:
    if not tf.train.checkpoint_exists(checkpoint):
        raise InputError(f"{checkpoint}: expected a checkpoint, found no such file")


def make_folder(folder: pathlib.Path) -> None:
    """Makes a folder, unless it is there.

    Raises:
        InputError: it can't be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(
            f"{folder}: expected a folder that can be written to, found: {error.strerror}"
        ) from error


def write_json(path: pathlib.Path, content: dict[str, Any]) -> None:
    """Writes `content` to `path` by way of a temporary file that is renamed when complete."""
    with tempfile.NamedTemporaryFile(
        "w", dir=path.parent, prefix=f".{path.name}.", suffix=".part", delete=False
    ) as file:
        try:
            json.dump(content, file, indent=2)
            file.write("\n")
            file.flush()
            os.fsync(file.fileno())
            # Temporary files are private; the finished one follows the user's umask.
            umask = os.umask(0)
            os.umask(umask)
            os.chmod(file.name, 0o666 & ~umask)
            os.replace(file.name, path)
        except BaseException:
            os.unlink(file.name)
            raise


def _newest_run(checkpoint_dir: pathlib.Path) -> Run:
    records = sorted(checkpoint_dir.glob(f"*/{RUN_FILE}"), key=lambda p: _read_record(p)["updated"])
    if not records:
        raise InputError(
            f"--checkpoint_dir: no run in {checkpoint_dir}; train one: python train.py"
        )
    return load_run(records[-1].parent)


def _read_record(path: pathlib.Path) -> dict[str, Any]:
    try:
        record = json.loads(path.read_text())
    except FileNotFoundError:
        raise InputError(
            f"{path.parent}: expected a run of this suite, found no {RUN_FILE}"
        ) from None
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: expected a run's record in JSON, found: {error}") from None
    if not isinstance(record, dict) or record.get("format") != FORMAT:
        raise InputError(f"{path}: expected a run's record of format {FORMAT}, found another")
    expected = {"updated", "flags", "dataset", "data_dir", "best", "evaluated_step", "result"}
    missing = expected - set(record)
    if missing:
        raise InputError(f"{path}: a run's record should have {', '.join(sorted(missing))}")
    return record


def _can_be_extended(former: dict[str, Any], flags: dict[str, Any]) -> bool:
    return flags["lr_schedule"] == "constant" and flags["train_steps"] > former["train_steps"]


def _describe(dataset: dict[str, Any]) -> str:
    return (
        f"{dataset['name']} ({dataset['train']} images, fingerprint {dataset['fingerprint'][:8]})"
    )
