"""What the tests share: the data, and a few trained runs."""

import json
import os
import pathlib

import pytest

from runtime import processor
from tests.helpers import MNIST_DIR, last_line, made_once, run_command

# Before any test imports TensorFlow, as the commands do.
processor.use_onednn()
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")


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


@pytest.fixture(scope="session")
def trained_runs(tmp_path_factory, data_flags) -> tuple[pathlib.Path, dict[str, str]]:
    """A folder in which each network was trained for a few steps, with and without batch norm.

    Also returns the last line that each `train.py` printed, by the run's name.
    """

    def train(folder: pathlib.Path) -> None:
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
        (folder / "lines.json").write_text(json.dumps(lines))

    folder = made_once(tmp_path_factory, "trained", train)
    return folder, json.loads((folder / "lines.json").read_text())
