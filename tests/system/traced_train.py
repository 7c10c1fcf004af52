"""`train.py` with a trace: what it flushes to the disk, and each record that it puts in place.

A line for each, as JSON: ["flushed", path] or ["record", the checkpoints that it names].
"""

import json
import os
import pathlib
import stat
import sys

import train
from runtime import commands

trace = open(sys.argv.pop(1), "w")  # noqa: SIM115, until the process ends
fsync, replace = os.fsync, os.replace


def traced_fsync(file):
    """Flushes, and writes which file or folder."""
    fsync(file)
    descriptor = file if isinstance(file, int) else file.fileno()
    path = os.readlink(f"/proc/self/fd/{descriptor}")
    is_folder = stat.S_ISDIR(os.fstat(descriptor).st_mode)
    print(json.dumps(["flushed", f"{path}/" if is_folder else path]), file=trace, flush=True)


def traced_replace(source, target):
    """Renames, and writes what a record names."""
    if pathlib.Path(target).name == "run.json":
        names = json.loads(pathlib.Path(source).read_text())["checkpoints"]
        folder = pathlib.Path(target).resolve().parent
        files = [str(folder / file) for sums in names.values() for file in sums]
        print(json.dumps(["record", files]), file=trace, flush=True)
    replace(source, target)


if __name__ == "__main__":
    os.fsync, os.replace = traced_fsync, traced_replace
    commands.run(train.main)
