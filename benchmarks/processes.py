"""Whole commands: how long they take to start, and how much memory they use."""

import json
import statistics
import subprocess
import sys
import tempfile
from typing import NamedTuple

from console.markdown import table

ROUNDS = 5
ALONE = "`import tensorflow` alone"
IMPORT = ["-c", "import tensorflow"]
# Linux counts the forking parent's memory in a process's peak, so a small process starts it.
LAUNCHER = """
import json, resource, subprocess, sys, time
started = time.perf_counter()
subprocess.run(sys.argv[1:], check=True, capture_output=True)
seconds = time.perf_counter() - started
peak_kib = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
print(json.dumps([seconds, peak_kib / 1024]))
"""


class Usage(NamedTuple):
    """The time and memory that one process used."""

    seconds: float
    peak_mib: float


def usage(*arguments: str) -> Usage:
    """Runs this Python with the arguments until it exits.

    Raises:
        subprocess.CalledProcessError: it failed.
    """
    command = [sys.executable, "-c", LAUNCHER, sys.executable, *arguments]
    completed = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return Usage(*json.loads(completed.stdout))


def section(data_dir: str) -> str:
    """Returns the table of seconds and memory, each beside `import tensorflow` alone."""
    with tempfile.TemporaryDirectory() as folder:
        folders = [f"--checkpoint_dir={folder}/c"]
        train = ["train.py", f"--data_dir={data_dir}", f"--summary_dir={folder}/s", *folders]
        commands = {
            ALONE: IMPORT,
            "`train.py --train_steps=1`": [*train, "--train_steps=1", "--overwrite"],
            "`evaluate.py`": ["evaluate.py", *folders],
        }
        rounds = [{name: usage(*c) for name, c in commands.items()} for _ in range(ROUNDS)]
        whole_run = usage(*train, "--overwrite")

    baseline = statistics.median(r[ALONE].peak_mib for r in rounds)
    rows = []
    for name in commands:
        seconds = statistics.median(r[name].seconds for r in rounds)
        beyond = statistics.median(r[name].seconds - r[ALONE].seconds for r in rounds)
        peak = statistics.median(r[name].peak_mib for r in rounds)
        rows.append([name, f"{seconds:.1f}", f"{beyond:+.1f}", f"{peak:.0f}"])
        rows[-1].append(f"{peak - baseline:+.0f}")
    rows.append(
        [
            "`train.py`, three epochs",
            f"{whole_run.seconds:.1f}",
            "",
            f"{whole_run.peak_mib:.0f}",
            f"{whole_run.peak_mib - baseline:+.0f}",
        ]
    )
    header = ["command", "seconds", "beyond the import", "peak MiB", "beyond the import"]
    return (
        "Each from the start of the process to its end, so the first step of `train.py` is taken "
        "sooner than its row says, which has an evaluation of 15,000 images in it.\n\n"
        + table(header, rows)
    )
