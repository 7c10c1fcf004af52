"""`train.py` with a trace of what it brings to the disk, from which a test rebuilds that disk.

Takes the folder of the trace first, then the flags. `moments` in there has a line of JSON for each
moment: before and after each flush, renaming and deletion by our code, with

- names: the inode of each file in the working folder, 0 for a folder. What TensorFlow's C++ code
  has written, renamed and deleted since the moment before shows here.
- flushed: the inodes and the folders that have just been brought to the disk.

The other files in the folder are what was in the flushed files by then, named by inode.
"""

import functools
import json
import os
import pathlib
import shutil
import sys

import train
from console import commands

trace = pathlib.Path(sys.argv.pop(1))
moments = open(trace / "moments", "w")  # noqa: SIM115, until the process ends
kept_open = []  # so that no other file gets the inode of a flushed one
fsync = os.fsync


def write_moment(*flushed):
    """Writes which names there are, and what was flushed: inodes and folders."""
    names = {
        str(path): 0 if path.is_dir() else path.stat().st_ino for path in pathlib.Path().rglob("*")
    }
    print(json.dumps({"names": names, "flushed": flushed}), file=moments, flush=True)


def keep(file):
    """Copies what is in a file, which has just been flushed; returns its inode."""
    kept_open.append(os.open(file, os.O_RDONLY))
    inode = os.fstat(kept_open[-1]).st_ino
    shutil.copyfile(file, trace / str(inode))
    return inode


def traced_fsync(file):
    """Flushes a file or a folder."""
    write_moment()
    fsync(file)
    descriptor = file if isinstance(file, int) else file.fileno()
    path = pathlib.Path(f"/proc/self/fd/{descriptor}")
    if path.is_dir():
        write_moment(os.path.relpath(path.resolve()))
    else:
        write_moment(keep(path))


def traced(operation):
    """Returns a renaming or a deletion between two moments."""

    @functools.wraps(operation)
    def between_moments(*arguments, **options):
        write_moment()
        operation(*arguments, **options)
        write_moment()

    return between_moments


if __name__ == "__main__":
    before = list(pathlib.Path().rglob("*"))
    # What there was before is on the disk.
    write_moment(
        ".",
        *[str(path) for path in before if path.is_dir()],
        *[keep(path) for path in before if path.is_file()],
    )
    os.fsync, os.replace, os.unlink = traced_fsync, traced(os.replace), traced(os.unlink)
    commands.run(train.main)
