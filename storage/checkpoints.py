"""Checkpoints: the files that the Saver writes, and the checksums that verify them later."""

import dataclasses
import hashlib
import os
import pathlib
import re
from collections.abc import Iterable

from console.errors import InputError
from console.files import check_is_utf8, flush_folder

MODEL = "model.ckpt"
# Checkpoints for inference only.
BEST = "best.ckpt"  # by validation accuracy
EXACT = "exact.ckpt"  # with the statistics of all training images instead of moving averages
KINDS = (MODEL, BEST, EXACT)
# Two `MODEL` checkpoints, so that a damaged one does not end a run; one of each other kind.
KEPT = 2

NAME = re.compile(rf"({'|'.join(map(re.escape, KINDS))})-(\d{{1,18}})")

# The SHA-256 of each of a checkpoint's files, by file name.
Checksums = dict[str, str]


@dataclasses.dataclass(frozen=True)
class Checkpoint:
    """The files `FOLDER/KIND-STEP.*`. `str` gives the path that the Saver takes."""

    folder: pathlib.Path
    kind: str  # `MODEL`, `BEST` or `EXACT`
    step: int

    @classmethod
    def at(cls, path: str | pathlib.Path) -> "Checkpoint":
        """Returns the checkpoint at a path such as `checkpoints/cnn-bn/model.ckpt-1287`.

        Raises:
            InputError: the path does not name a checkpoint.
        """
        path = pathlib.Path(path)
        match = NAME.fullmatch(path.name)
        if not match:
            raise InputError(f"{path}: expected a checkpoint's name, such as model.ckpt-1287")
        return cls(path.parent, match.group(1), int(match.group(2)))

    @property
    def name(self) -> str:
        """The path without the folder: `model.ckpt-1287`."""
        return f"{self.kind}-{self.step}"

    def __str__(self) -> str:
        return str(self.folder / self.name)

    def exists(self) -> bool:
        """Returns whether its files exist."""
        index, *data = self._files()
        return index.exists() and len(data) > 0

    def checksums(self) -> Checksums:
        """Flushes its files to disk and returns their checksums."""
        result = {}
        for path in self._files():
            with path.open("rb") as file:
                # The Saver does not, so a power cut could leave files full of zeros.
                os.fsync(file.fileno())
                result[path.name] = hashlib.sha256(file.read()).hexdigest()
        flush_folder(self.folder)
        return result

    def problem(self, expected: Checksums | None) -> str | None:
        """Returns what is wrong with its files, or None if nothing is.

        Args:
            expected: the checksums recorded when it was written; None if unknown.
        """
        if expected is None:
            return None if self.exists() else "its files are missing"
        for name, checksum in expected.items():
            try:
                found = hashlib.sha256((self.folder / name).read_bytes()).hexdigest()
            except OSError as error:
                return f"{name}: {error.strerror}"
            if found != checksum:
                return f"{name} has changed since it was written (its checksum differs)"
        return None

    def remove(self) -> None:
        """Deletes its files."""
        for path in self._files():
            path.unlink(missing_ok=True)

    def _files(self) -> list[pathlib.Path]:
        return [self.folder / f"{self.name}.index", *self.folder.glob(f"{self.name}.data-*")]


def check_path(folder: pathlib.Path) -> None:
    """Rejects a folder where TensorFlow would write checkpoints but not find them again.

    Raises:
        InputError: the path contains a wildcard, or is not UTF-8.
    """
    check_is_utf8(folder)
    found = sorted(set(str(folder)) & set("*?[]\\"))
    if found:
        raise InputError(
            f"{folder}: expected a path without any of * ? [ ] \\, which TensorFlow takes for a "
            f"pattern, found {' '.join(found)}"
        )


def remove_strays(folder: pathlib.Path, known: Iterable[str]) -> None:
    """Deletes the files of checkpoints not named in `known`, such as a half-written one."""
    for path in folder.iterdir():
        match = NAME.match(path.name)
        if match and match.group(0) not in known:
            path.unlink()
