"""What all tests share: the data."""

import os
import pathlib
import signal

import hypothesis
import pytest

from console import processor
from mnist import datasets
from tests.helpers import DIGITS, made_once, write_digits

# Before any test imports TensorFlow, as the commands do.
processor.use_onednn()
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
# A shell starts what it runs in the background without the one, nohup without the other, and
# commands would inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGHUP, signal.SIG_DFL)
# How long an example takes says how busy the machine is.
hypothesis.settings.register_profile("untimed", deadline=None)
hypothesis.settings.load_profile("untimed")

LONGEST = ["system/test_originals.py", "system/test_reliability.py", "system/test_workers.py"]
MNIST_DIR = os.environ.get("MNIST_DIR")


def pytest_report_header() -> str:
    """Says whether the tests that need real MNIST are run."""
    return f"real MNIST: {MNIST_DIR or 'none; MNIST_DIR names the folder of its four files'}"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Marks the tests that need real MNIST, for `pytest -m mnist`, and runs the longest first.

    At the end, one of pytest's processes would run all of them while another waits.
    """
    longest = [pathlib.Path(__file__).parent / name for name in LONGEST]
    items.sort(key=lambda item: item.path not in longest)
    for item in items:
        if "real_mnist" in getattr(item, "fixturenames", ()):
            item.add_marker("mnist")


def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """Runs one process per core, and half as many more where tests wait: for a kill, a limit.

    Each of them imports TensorFlow. The tests outside of tests/system wait for nothing.
    """
    waits = "tests/system" not in map(str, config.option.ignore or ())
    return processor.cores() * 3 // 2 if waits else processor.cores()


@pytest.fixture(scope="session")
def digits(tmp_path_factory) -> pathlib.Path:
    """A folder of a few drawn digits, in place of MNIST."""
    made = made_once(tmp_path_factory, "data", lambda folder: write_digits(folder / DIGITS))
    return made / DIGITS


@pytest.fixture(scope="session")
def data_flags(digits) -> list[str]:
    """Flags that select these digits."""
    return [f"--data_dir={digits}"]


@pytest.fixture(scope="session")
def dataset(digits) -> datasets.Dataset:
    """These digits, loaded."""
    return datasets.load("mnist", str(digits))


@pytest.fixture(scope="session")
def real_mnist() -> pathlib.Path:
    """The folder of real MNIST; without one, the test is skipped and says so."""
    if not MNIST_DIR:
        pytest.skip("needs real MNIST: set MNIST_DIR to the folder of its four files")
    if not datasets.is_complete(MNIST_DIR):
        pytest.fail(f"MNIST_DIR: expected MNIST's four files in {MNIST_DIR}")
    return pathlib.Path(MNIST_DIR).resolve()
