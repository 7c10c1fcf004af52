"""One process per run: a lock that the operating system releases when its holder exits."""

import contextlib
import datetime
import fcntl
import os
import pathlib
import socket
import time
from collections.abc import Iterator
from typing import IO

from console.errors import InputError
from console.files import make_folder


@contextlib.contextmanager
def only_process(run_folder: pathlib.Path) -> Iterator[None]:
    """Keeps other processes from training the run in `run_folder` while the block runs.

    The lock file is next to the folder, which may be deleted and recreated meanwhile. A file that a
    killed process left behind is not locked.

    Raises:
        InputError: another process holds the lock, or the file can't be written.
    """
    make_folder(run_folder.parent)
    path = _file(run_folder)
    try:
        file = open(path, "a")  # noqa: SIM115, closed below, after the lock is let go of
    except OSError as error:
        raise InputError(f"{path}: expected a writable file: {error.strerror}") from error
    with file:
        try:
            _take(file)
        except BlockingIOError:
            raise InputError(
                f"{run_folder} is being trained by {holder(run_folder) or 'another process'}; "
                "wait for it, stop it, or train another run: --run=NAME"
            ) from None
        except OSError as error:
            raise InputError(
                f"{path}: expected a file system that supports locks: {error.strerror}"
            ) from error
        file.truncate(0)
        file.write(f"process {os.getpid()} on {socket.gethostname()}\n")
        file.flush()
        yield


def _take(file: IO[str]) -> None:
    """Takes the lock, or raises BlockingIOError; waits for a look by `holder` to end."""
    for _ in range(10):
        with contextlib.suppress(BlockingIOError):
            return fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        time.sleep(0.02)
    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


def holder(run_folder: pathlib.Path) -> str | None:
    """Returns which process trains a run, and since when; None if none does."""
    try:
        with open(_file(run_folder)) as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        path = _file(run_folder)
        since = datetime.datetime.fromtimestamp(path.stat().st_mtime)
        return f"{path.read_text().strip()} since {since:%H:%M:%S}"
    except OSError:
        return None  # There is no such file, or no way to lock it: then nothing holds it.
    return None


def _file(run_folder: pathlib.Path) -> pathlib.Path:
    run_folder = run_folder.absolute()
    return run_folder.parent / f".{run_folder.name}.lock"
