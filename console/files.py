"""Making folders, and writing files either completely or not at all."""

import contextlib
import errno
import json
import os
import pathlib
import tempfile
from collections.abc import Iterator
from typing import Any

from console.errors import CommandError, InputError, reason


def make_folder(folder: pathlib.Path) -> None:
    """Makes a folder if it does not exist, on the disk too, and checks that it can be written to.

    Raises:
        InputError: it can't be made or written to.
    """
    try:
        missing = [path for path in (folder, *folder.parents) if not path.exists()]
        folder.mkdir(parents=True, exist_ok=True)
        for path in missing:
            # Or a power failure could take the folder, and with it files that were flushed.
            flush_folder(path.parent)
        tempfile.TemporaryFile(dir=folder).close()
    except OSError as error:
        raise InputError(
            f"{folder}: expected a folder that can be written to, found: {error.strerror}"
        ) from error


def check_is_utf8(path: str | pathlib.Path) -> None:
    """Refuses a path that neither TensorFlow nor a record in JSON can hold.

    Raises:
        InputError: it is not UTF-8.
    """
    try:
        str(path).encode()
    except UnicodeEncodeError:
        raise InputError(f"{path}: expected a path in UTF-8, found other bytes in it") from None


def write_json(path: pathlib.Path, content: dict[str, Any]) -> None:
    """Writes `content` as JSON; see `write_text`."""
    write_text(path, json.dumps(content, indent=2) + "\n")


def write_text(path: pathlib.Path, text: str) -> None:
    """Writes `text`; see `write_bytes`."""
    write_bytes(path, text.encode())


def write_bytes(path: pathlib.Path, content: bytes) -> None:
    """Writes a file through a temporary one, renamed when complete.

    Raises:
        CommandError: it can't be written.
    """
    with (
        writing(path),
        tempfile.NamedTemporaryFile(
            dir=path.parent, prefix=f".{path.name}.", suffix=".part", delete=False
        ) as file,
    ):
        try:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
            # Temporary files are private; the finished one follows the user's umask.
            umask = os.umask(0)
            os.umask(umask)
            os.chmod(file.name, 0o666 & ~umask)
            os.replace(file.name, path)
            flush_folder(path.parent)
        except BaseException:
            # An interruption right after the renaming finds no temporary file any more.
            pathlib.Path(file.name).unlink(missing_ok=True)
            raise


def flush_folder(folder: pathlib.Path) -> None:
    """Brings the names of a folder's files to the disk: a file's own flush does not."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # Some file systems can't.
            raise
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def writing(path: pathlib.Path, *failures: type[Exception]) -> Iterator[None]:
    """Turns a failure to write, such as to a full disk, into a one-line error.

    Args:
        path: what is being written.
        failures: what the writer raises besides `OSError`.

    Raises:
        CommandError: writing failed.
    """
    expected: tuple[type[Exception], ...] = (OSError, *failures)
    try:
        yield
    except expected as error:
        raise CommandError(
            f"{path}: can't be written: {reason(error).removeprefix(f'{path}; ')}. "
            "What was written before is intact: "
            "with room and the right to write there, the same command (without --overwrite) goes on"
        ) from error
