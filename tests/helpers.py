"""Running the suite's commands as a user does, on real data where there is some."""

import os
import pathlib
import subprocess
import sys

PROJECT = pathlib.Path(__file__).parents[1]


def _find_mnist() -> pathlib.Path | None:
    for folder in (os.environ.get("MNIST_DIR"), PROJECT.parent / "shared" / "mnist"):
        if folder and pathlib.Path(folder, "train-images-idx3-ubyte.gz").exists():
            return pathlib.Path(folder).resolve()
    return None


MNIST_DIR = _find_mnist()


def command(*arguments: object) -> list[str]:
    """Returns the argument list of a command of the suite, such as `train.py --seed=1`."""
    script, *flags = map(str, arguments)
    return [sys.executable, str(PROJECT / script), *flags]


def run_command(*arguments: object, cwd: pathlib.Path, **environment: str):
    """Runs a command to its end, in a folder of the test, and returns what it printed."""
    return subprocess.run(
        command(*arguments),
        cwd=cwd,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=300,
    )


def last_line(completed: subprocess.CompletedProcess) -> str:
    """Returns the last line of standard output of a command that has to succeed."""
    assert completed.returncode == 0, completed.stderr
    return completed.stdout.splitlines()[-1]
