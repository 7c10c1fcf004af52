"""Standard output and standard error that never end the work they report on.

Messages and progress are a courtesy: where nobody can read them any more (a pager was quit, a
terminal closed, a daemon started without them), the work goes on and they go nowhere.
"""

import errno
import io
import os
import sys
from typing import TextIO

from console.errors import CommandError

# What a write fails with once its reader is gone: a pipe's, a terminal's.
READER_IS_GONE = (errno.EPIPE, errno.EIO)


def make_forgiving() -> None:
    """Makes both streams of this process forgiving, also for what C++ code writes to them.

    Letters that a stream's encoding lacks are written as escapes. If standard output fails for
    another reason than that its reader is gone, such as a full disk, a result would be lost: that
    is a `CommandError`.
    """
    _open_missing_descriptors()
    sys.stdout = _forgiving(_Results(1, "w", closefd=False), sys.stdout)
    sys.stderr = _forgiving(_Messages(2, "w", closefd=False), sys.stderr)


def copy_of_stderr() -> TextIO:
    """Returns a forgiving stream to where standard error goes now, to be closed by the caller."""
    return _forgiving(_Messages(os.dup(2), "w"), sys.stderr)


def _open_missing_descriptors() -> None:
    """Opens the null device in place of those that were closed when the process was started.

    Otherwise the next file to be opened, such as a checkpoint, would get what is printed.
    """
    descriptor = 0
    while descriptor <= 2:
        descriptor = os.open(os.devnull, os.O_RDWR)
    os.close(descriptor)


def _forgiving(file: io.FileIO, former: TextIO | None) -> TextIO:
    if former is not None:
        former.flush()
    return io.TextIOWrapper(
        io.BufferedWriter(file),
        encoding=getattr(former, "encoding", "utf-8"),
        errors="backslashreplace",
        line_buffering=True,
    )


class _Messages(io.FileIO):
    """A descriptor that turns into the null device when it can't be written to."""

    def write(self, content: bytes) -> int | None:  # type: ignore[override]
        try:
            return super().write(content)
        except OSError as error:
            null = os.open(os.devnull, os.O_WRONLY)
            os.dup2(null, self.fileno())
            os.close(null)
            self.tell_failure(error)
        return len(content)

    def tell_failure(self, error: OSError) -> None:
        """Messages are a courtesy."""


class _Results(_Messages):
    """The same for results, which a reader may leave unread, but which may not be lost."""

    def tell_failure(self, error: OSError) -> None:
        if error.errno not in READER_IS_GONE:
            raise CommandError(f"standard output: can't be written: {error.strerror}") from error
