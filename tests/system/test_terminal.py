"""What is printed is a courtesy: whatever happens to a terminal, work is done and recorded.

What Python or TensorFlow's import make of the streams is tried with a process of its own.
"""

import fcntl
import json
import os
import pathlib
import pty
import select
import signal
import struct
import subprocess
import sys
import termios
import time

import pytest

from tests import processes
from tests.helpers import PROJECT, command

FLAGS = ("--model=mlp", "--batch_size=50", "--run=r")
COMMANDS = [
    "train.py",
    "evaluate.py",
    "predict.py",
    "export.py",
    "compare.py",
    "doctor.py",
    "runs.py",
]


def start(*arguments, cwd, **options):
    return subprocess.Popen(command(*arguments), cwd=cwd, text=True, **options)


def record(folder, name="r"):
    return json.loads((folder / "checkpoints" / name / "run.json").read_text())


RUN = """
import runpy, sys
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def fork(*arguments, cwd, prelude="", **options):
    """Starts a command in a forked process, after some lines of Python."""
    python, *rest = command(*arguments)
    return processes.Process([python, "-c", prelude + RUN, *rest], cwd, dict(os.environ), **options)


def test_training_goes_on_when_whoever_read_its_messages_is_gone(tmp_path, data_flags):
    """As `train.py 2>&1 | head -1` does, or a pager that is quit."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    flags = [*FLAGS, *data_flags, "--train_steps=50"]
    trained = fork("train.py", *flags, cwd=tmp_path, stdout=pipe, stderr=pipe)
    with open(pipe) as reader:
        assert "well-formed, but not MNIST" in next(reader)
    assert trained.wait(120) == 0
    assert record(tmp_path)["result"]["step"] == 50


@pytest.mark.parametrize(("last_seen", "steps"), [("building the graphs (", 20), ("/300", 300)])
def test_training_goes_on_when_its_terminal_is_closed_and_hangups_are_ignored(
    tmp_path, data_flags, last_seen, steps
):
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("4H", 24, 80, 0, 0))
    terminal = os.ttyname(slave)
    trained = fork(
        "train.py",
        *FLAGS,
        *data_flags,
        f"--train_steps={steps}",
        cwd=tmp_path,
        prelude="import signal; signal.signal(signal.SIGHUP, signal.SIG_IGN)",
        in_own_group=True,
        stdout=terminal,
        stderr=terminal,
    )
    seen = b""
    while last_seen.encode() not in seen:
        assert select.select([master], [], [], 60)[0]
        seen += os.read(master, 65536)
    assert b"importing TensorFlow" in seen
    os.close(slave)
    os.close(master)
    assert trained.wait(120) == 0
    assert record(tmp_path)["result"]["step"] == steps


def test_training_does_without_any_streams(tmp_path, data_flags):
    """As a daemon starts it. What is printed must not end up in the next file that is opened."""
    trained = start(
        "train.py",
        *FLAGS,
        *data_flags,
        "--train_steps=20",
        cwd=tmp_path,
        preexec_fn=lambda: os.closerange(0, 3),
    )
    assert trained.wait(120) == 0
    assert record(tmp_path)["result"]["step"] == 20


def test_a_result_that_can_not_be_written_is_recorded_and_said(tmp_path, data_flags):
    flags = [*FLAGS, *data_flags, "--train_steps=20"]
    trained = fork("train.py", *flags, cwd=tmp_path, stdout="/dev/full")
    assert trained.wait(120) == 1
    _, stderr = trained.printed()
    assert "Traceback" not in stderr
    said = "train.py: standard output: can't be written: No space left on device"
    assert stderr.splitlines()[-1] == said
    assert record(tmp_path)["result"]["step"] == 20


def test_letters_that_a_stream_lacks_are_escaped(tmp_path, data_flags):
    trained = fork(
        "train.py",
        *FLAGS,
        *data_flags,
        "--train_steps=20",
        "--run=数字",
        cwd=tmp_path,
        prelude="import sys; sys.stdout.reconfigure(encoding='latin-1')",
    )
    stdout, stderr = trained.communicate(timeout=120)
    assert trained.returncode == 0, stderr
    assert stdout.splitlines()[-1].endswith(r"checkpoints/\u6570\u5b57/model.ckpt-20")


@pytest.mark.parametrize("arguments", [["runs.py"], ["train.py", "--help"]], ids=" ".join)
def test_a_reader_that_has_seen_enough_is_no_failure(trained_runs, arguments):
    folder, _ = trained_runs
    listed = start(*arguments, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    listed.stdout.close()
    assert listed.wait(60) == 0
    assert listed.stderr.read() == ""


@pytest.mark.parametrize("library", ["_multiarray_umath", "_pywrap_tensorflow"])
def test_ctrl_c_while_modules_are_imported_gets_one_line(tmp_path, data_flags, library):
    trained = start("train.py", *FLAGS, *data_flags, cwd=tmp_path, stderr=subprocess.PIPE)
    # Not after a number of seconds: Python itself, before the first import, can't be told what to
    # print, and takes its time on a busy machine.
    while library not in pathlib.Path(f"/proc/{trained.pid}/maps").read_text():
        time.sleep(0.001)
    trained.send_signal(signal.SIGINT)
    _, stderr = trained.communicate(timeout=60)
    assert trained.returncode == 130
    assert "Traceback" not in stderr and stderr.splitlines()[-1].startswith("train.py: stopped by")


def test_without_a_folder_for_temporary_files_training_goes_on(tmp_path, data_flags):
    """As on a system that is read-only but for the folder of the results."""
    own_mounts = ["unshare", "--mount", *([] if os.getuid() == 0 else ["--map-root-user"])]
    read_only = "for d in /tmp /var/tmp; do mount --bind $d $d && mount -o remount,bind,ro $d; done"
    bind = f"mount --bind {tmp_path} /mnt"
    script = f'{bind} && {read_only} && cd /proc && exec "$@"'
    if subprocess.run(
        [*own_mounts, "sh", "-c", script, "sh", "true"], capture_output=True
    ).returncode:
        pytest.skip("needs a mount namespace of its own")
    folders = ["--checkpoint_dir=/mnt/checkpoints", "--summary_dir=/mnt/summaries"]
    flags = [*FLAGS, *data_flags, *folders, "--train_steps=20"]
    environment = {name: value for name, value in os.environ.items() if name != "TMPDIR"}
    trained = subprocess.run(
        [*own_mounts, "sh", "-c", script, "sh", *command("train.py", *flags)],
        capture_output=True,
        text=True,
        # A clone in /tmp can't be written to either, and coverage would write there.
        env={**environment, "COVERAGE_PROCESS_CONFIG": ""},
    )
    assert trained.returncode == 0, trained.stderr
    assert "Traceback" not in trained.stderr
    assert record(tmp_path)["result"]["step"] == 20


@pytest.mark.parametrize("name", COMMANDS)
def test_a_python_that_leaves_out_the_folder_of_its_script_finds_the_rest(name, tmp_path):
    """As `python -I`, or with PYTHONSAFEPATH."""
    helped = subprocess.run(
        [sys.executable, "-I", PROJECT / name, "--help"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert helped.returncode == 0 and "--checkpoint_dir" in helped.stdout, helped.stderr


@pytest.mark.parametrize("name", COMMANDS)
def test_a_python_that_is_too_old_gets_one_line(name):
    """It has to get as far as the first import, so a command keeps to what Python 3.7 can read."""
    program = f"""
import ast, sys
for name in ("{name}", "console/first.py"):
    ast.parse(open(name).read(), feature_version=(3, 7))
sys.version_info = (3, 7, 16, "final", 0)
sys.argv = ["{name}"]
import runpy
runpy.run_path("{name}", run_name="__main__")
"""
    refused = subprocess.run(
        [sys.executable, "-c", program], cwd=PROJECT, capture_output=True, text=True
    )
    assert refused.returncode == 1
    assert "expected Python 3.10 to 3.13, found 3.7" in refused.stderr
