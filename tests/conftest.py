"""Real data, real commands: what the tests share."""

import os
import pathlib
import subprocess
import sys

import pytest

PROJECT = pathlib.Path(__file__).parents[1]
# The dialect of the tests: graphs and sessions, as the suite's own.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")


def _find_mnist() -> pathlib.Path | None:
    for folder in (os.environ.get("MNIST_DIR"), PROJECT.parent / "shared" / "mnist"):
        if folder and pathlib.Path(folder, "train-images-idx3-ubyte.gz").exists():
            return pathlib.Path(folder).resolve()
    return None


MNIST_DIR = _find_mnist()


def pytest_report_header() -> str:
    """Says which data the tests of this run used."""
    if MNIST_DIR:
        return f"data: real MNIST from {MNIST_DIR}"
    return "data: NOT real MNIST but drawn digits; set MNIST_DIR to the folder of its four files"


@pytest.fixture(scope="session")
def data_flags() -> list[str]:
    """Flags that choose the data: real MNIST where there is one."""
    return ["--dataset=mnist", f"--data_dir={MNIST_DIR}"] if MNIST_DIR else ["--dataset=synthetic"]


@pytest.fixture(scope="session")
def data_name() -> str:
    """What the results call that data."""
    return "mnist" if MNIST_DIR else "synthetic"


@pytest.fixture(scope="session")
def real_mnist() -> pathlib.Path:
    """The folder of real MNIST; a test that can't do without is skipped, and says so."""
    if MNIST_DIR is None:
        pytest.skip("needs real MNIST: set MNIST_DIR to the folder of its four files")
    return MNIST_DIR


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


def last_line(completed) -> str:
    """Returns the last line of standard output of a command that has to succeed."""
    assert completed.returncode == 0, completed.stderr
    return completed.stdout.splitlines()[-1]


@pytest.fixture(scope="session")
def trained_runs(tmp_path_factory, data_flags):
    """A folder in which each network was trained for a few steps, with and without batch norm.

    Also returns the last line that each `train.py` printed, by the run's name.
    """
    folder = tmp_path_factory.mktemp("trained")
    lines = {}
    for network in ("cnn", "mlp"):
        for suffix, batch_norm in (("bn", "--batch_norm"), ("nobn", "--nobatch_norm")):
            completed = run_command(
                "train.py",
                f"--model={network}",
                batch_norm,
                "--train_steps=40",
                "--eval_every=20",
                *data_flags,
                cwd=folder,
            )
            lines[f"{network}-{suffix}"] = last_line(completed)
    return folder, lines
