"""Checkpoint files: what the Saver writes, and the checksums by which it is recognized later."""

import hashlib
import os
import pathlib
import re
from collections.abc import Iterable

from runtime.errors import InputError

MODEL = "model.ckpt"
# Checkpoints for inference only.
BEST = "best.ckpt"  # by validation accuracy
EXACT = "exact.ckpt"  # with the statistics of all training images in place of moving averages
KINDS = (MODEL, BEST, EXACT)
KEPT = 3  # of `MODEL`; of the others, one

NAME = re.compile(rf"({'|'.join(map(re.escape, KINDS))})-(\d+)")


def check_path(folder: pathlib.Path) -> None:
    """Refuses a folder in which TensorFlow would write checkpoints and not find them again.

    Raises:
        InputError: the path has a character of a pattern.
    """
    found = sorted(set(str(folder)) & set("*?[]\\"))
    if found:
        raise InputError(
            f"{folder}: expected a path without any of * ? [ ] \\, which TensorFlow takes for a "
            f"pattern, found {' '.join(found)}"
        )


def step_of(checkpoint: str) -> int:
    """Returns the step in a checkpoint's name: 1287 for `.../model.ckpt-1287`.

    Raises:
        InputError: it is not the name of a checkpoint.
    """
    match = NAME.fullmatch(pathlib.Path(checkpoint).name)
    if not match:
        raise InputError(f"{checkpoint}: expected a checkpoint's name, such as model.ckpt-1287")
    return int(match.group(2))


def kind_of(checkpoint: str) -> str:
    """Returns `MODEL`, `BEST` or `EXACT`."""
    step_of(checkpoint)
    return pathlib.Path(checkpoint).name.rpartition("-")[0]


def exists(checkpoint: str) -> bool:
    """Returns whether the files of a checkpoint are there."""
    index, *data = _files(checkpoint)
    return index.exists() and len(data) > 0


def checksums(checkpoint: str) -> dict[str, str]:
    """Brings the files of a checkpoint to disk; returns the SHA-256 of each, by file name."""
    result = {}
    for path in _files(checkpoint):
        with path.open("rb") as file:
            # The Saver leaves this to the system: a power cut would leave files of zeros.
            os.fsync(file.fileno())
            result[path.name] = hashlib.sha256(file.read()).hexdigest()
    return result


def problem(checkpoint: str, expected: dict[str, str] | None) -> str | None:
    """Returns what is wrong with the files of a checkpoint, or None if nothing is.

    Args:
        checkpoint: the path of the checkpoint.
        expected: what `checksums` returned when it was written; None if that is not known.
    """
    if expected is None:
        return None if exists(checkpoint) else "its files are missing"
    folder = pathlib.Path(checkpoint).parent
    for name, checksum in expected.items():
        try:
            found = hashlib.sha256((folder / name).read_bytes()).hexdigest()
        except OSError as error:
            return f"{name}: {error.strerror}"
        if found != checksum:
            return f"{name} is not what was written (its checksum differs)"
    return None


def remove_strays(folder: pathlib.Path, known: Iterable[str]) -> None:
    """Deletes files of checkpoints that are not `known`, such as one that was never finished."""
    for path in folder.iterdir():
        match = NAME.match(path.name)
        if match and match.group(0) not in known:
            path.unlink()


def remove(checkpoint: str) -> None:
    """Deletes the files of a checkpoint."""
    for path in _files(checkpoint):
        path.unlink(missing_ok=True)


def _files(checkpoint: str) -> list[pathlib.Path]:
    path = pathlib.Path(checkpoint)
    return [path.with_name(f"{path.name}.index"), *path.parent.glob(f"{path.name}.data-*")]
