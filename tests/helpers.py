"""Running the suite's commands, and reading what they wrote."""

import fcntl
import gzip
import os
import pathlib
import shutil
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Sequence

import numpy as np

from mnist import synthetic
from tests import processes

PROJECT = pathlib.Path(__file__).parents[1]


# What results call the digits that most tests train on, after their folder.
DIGITS = "digits"


def command(*arguments: object) -> list[str]:
    """Returns the argument list of a command of the suite, such as `train.py --seed=1`."""
    script, *flags = map(str, arguments)
    return [sys.executable, str(PROJECT / script), *flags]


def write_idx(folder, train, test):
    """Writes a data set of IDX files; each half is images, uint8 [n, height, width], and labels."""
    folder.mkdir()
    for prefix, (images, labels) in (("train", train), ("t10k", test)):
        header = struct.pack(">4I", 0x803, *images.shape)
        with gzip.open(folder / f"{prefix}-images-idx3-ubyte.gz", "wb", 1) as file:
            file.write(header + images.tobytes())
        header = struct.pack(">2I", 0x801, len(labels))
        (folder / f"{prefix}-labels-idx1-ubyte").write_bytes(header + labels.tobytes())
    return folder


def write_noise(folder, size=(28, 28), classes=10):
    """Writes a well-formed set of 120 training and 20 test images with nothing to learn."""
    random = np.random.default_rng(0)

    def noise(count):
        images = random.integers(0, 256, [count, *size], np.uint8)
        return images, np.arange(count, dtype=np.uint8) % classes

    return write_idx(folder, noise(120), noise(20))


def write_digits(folder):
    """Writes a set of 1,200 and 300 drawn digits: enough to learn from, and quick to read."""
    return write_idx(
        folder, synthetic.draw_digits(1200, seed=1), synthetic.draw_digits(300, seed=2)
    )


def run_command(*arguments: object, cwd: pathlib.Path, **environment: str):
    """Runs a command to completion in a folder of the test; returns what it printed."""
    return processes.run(command(*arguments), cwd, {**os.environ, **environment})


def start_command(*arguments: object, cwd: pathlib.Path, **environment: str) -> processes.Process:
    """Starts a command that the test is going to stop or to kill."""
    # A killed process loses its coverage data; until then, measuring it slows the process.
    untraced = {**os.environ, "COVERAGE_PROCESS_CONFIG": ""}
    return processes.Process(command(*arguments), cwd, {**untraced, **environment})


def run_from_nothing(*arguments: object, cwd: pathlib.Path, **environment: str):
    """The same in a process that does all its own imports."""
    return subprocess.run(
        command(*arguments),
        cwd=cwd,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=300,
    )


def made_once(tmp_path_factory, name: str, make: Callable[[pathlib.Path], None]) -> pathlib.Path:
    """Returns a folder that `make` fills, once for all of pytest's processes."""
    base = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        base = base.parent  # each worker has its own folder in there
    folder, unfinished = base / name, base / f"{name}-unfinished"
    with open(base / f"{name}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not folder.exists():
            # Left by a worker that failed, which that worker's test reports.
            shutil.rmtree(unfinished, ignore_errors=True)
            unfinished.mkdir()
            make(unfinished)
            unfinished.rename(folder)
    return folder


def trained_in_one_go(
    tmp_path_factory, name: str, flags: Sequence[object]
) -> tuple[pathlib.Path, str]:
    """Returns a folder with the run `whole`, trained once, and the last line that it printed."""

    def train(folder: pathlib.Path) -> None:
        whole = run_command("train.py", *flags, "--run=whole", cwd=folder)
        (folder / "line").write_text(last_line(whole))

    folder = made_once(tmp_path_factory, name, train)
    return folder, (folder / "line").read_text()


def wait_for(path: pathlib.Path, process: processes.Process) -> None:
    """Waits until a process has written a file or ended."""
    while not path.exists() and process.poll() is None:
        time.sleep(0.005)


def last_line(completed: subprocess.CompletedProcess) -> str:
    """Returns the last line of standard output of a command that must succeed."""
    assert completed.returncode == 0, completed.stderr
    return completed.stdout.splitlines()[-1]


def variables(checkpoint):
    """All values in a checkpoint by name: weights, statistics, optimizer."""
    import tensorflow.compat.v1 as tf

    reader = tf.train.load_checkpoint(str(checkpoint))
    return {name: reader.get_tensor(name) for name in reader.get_variable_to_shape_map()}


def assert_same_variables(one, other):
    one, other = variables(one), variables(other)
    assert one.keys() == other.keys()
    for name in one:
        np.testing.assert_array_equal(one[name], other[name], err_msg=name)


def said(stderr):
    """The lines on standard error, except what every command says of its work and its data."""
    usual = ("well-formed, but not MNIST", "evaluating ")
    return [line for line in stderr.splitlines() if not any(text in line for text in usual)]


def assert_one_line_error(completed, exit_code, *fragments):
    assert completed.returncode == exit_code, completed.stderr
    (line,) = said(completed.stderr)
    assert "Traceback" not in line
    for fragment in fragments:
        assert fragment in line
    assert completed.stdout == ""


def scalars(folder):
    """The points of each curve, as TensorBoard shows them after a restart."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(folder))
    events.Reload()
    return {
        tag: [(event.step, event.value) for event in events.Scalars(tag)]
        for tag in events.Tags()["scalars"]
    }


def events(folder):
    """The events in a folder's event files, up to any record that a kill has cut off."""
    from tensorboard.backend.event_processing.event_file_loader import LegacyEventFileLoader

    for path in sorted(pathlib.Path(folder).glob("events.out.tfevents.*")):
        yield from LegacyEventFileLoader(str(path)).Load()


def sessions(folder):
    """The flags of every HParams session in a run's folder, and how the sessions ended."""
    from tensorboard.plugins.hparams import api_pb2, metadata

    started, ended = [], []
    for value in (value for event in events(folder) for value in event.summary.value):
        content = value.metadata.plugin_data.content
        if value.tag == metadata.SESSION_START_INFO_TAG:
            hparams = metadata.parse_session_start_info_plugin_data(content).hparams
            started.append({k: getattr(v, v.WhichOneof("kind")) for k, v in hparams.items()})
        elif value.tag == metadata.SESSION_END_INFO_TAG:
            status = metadata.parse_session_end_info_plugin_data(content).status
            ended.append(api_pb2.Status.Name(status))
    return started, ended


def traced_steps(folder):
    """Tags of the steps whose ops were timed."""
    return [
        event.tagged_run_metadata.tag
        for event in events(folder)
        if event.HasField("tagged_run_metadata")
    ]
