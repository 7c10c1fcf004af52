"""Shared by the tests that start commands: a few trained runs, and TF 1.15."""

import fcntl
import json
import os
import pathlib
import shutil
import subprocess

import pytest

from tests.helpers import PROJECT, last_line, made_once, run_command

TF115_VENV = PROJECT / ".venv-tf115"
TF115_REQUIREMENTS = ("tensorflow==1.15.5", "protobuf<3.21", "numpy<1.19")


@pytest.fixture(scope="session")
def trained_once(tmp_path_factory, data_flags) -> pathlib.Path:
    """A folder with two networks trained for a few steps, with and without batch norm."""

    def train(folder: pathlib.Path) -> None:
        lines = {}
        for network in ("small", "mlp"):
            for suffix, batch_norm in (("bn", "--batch_norm"), ("nobn", "--nobatch_norm")):
                flags = [f"--model={network}", batch_norm, "--train_steps=40", "--eval_every=20"]
                completed = run_command("train.py", *flags, *data_flags, cwd=folder)
                lines[f"{network}-{suffix}"] = last_line(completed)
        (folder / "lines.json").write_text(json.dumps(lines))

    return made_once(tmp_path_factory, "trained", train)


@pytest.fixture(scope="module")
def trained_runs(trained_once, tmp_path_factory) -> tuple[pathlib.Path, dict[str, str]]:
    """A copy of that folder, and the last line that each `train.py` printed, by the run's name."""
    folder = tmp_path_factory.mktemp("trained")
    shutil.copytree(trained_once, folder, dirs_exist_ok=True)
    return folder, json.loads((folder / "lines.json").read_text())


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 6 MB: room for two checkpoints of the small network."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=6m", "tmpfs", folder], capture_output=True
    )
    if mounted.returncode:
        pytest.skip("needs the right to mount a small file system")
    yield folder
    subprocess.run(["umount", "-l", folder], check=True)


@pytest.fixture(scope="session")
def tf115_python(request):
    """Path of a Python with TF 1.15; where there is none, the test is skipped.

    Installing it takes minutes, so only a run of all tests tries to.
    """
    installed = TF115_VENV / "installed"
    with open(PROJECT / ".venv-tf115.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not installed.exists():
            if "not long" in request.config.option.markexpr:
                pytest.skip("compared with recorded results only: make test-long runs TF 1.15")
            install_tf115()
            installed.touch()
    return TF115_VENV / "bin" / "python"


def install_tf115():
    python37 = find_python37()
    if python37 is None:
        pytest.skip("compared with recorded results only: no Python 3.7 found, set PYTHON37")
    shutil.rmtree(TF115_VENV, ignore_errors=True)
    subprocess.run([python37, "-m", "venv", TF115_VENV], check=True)
    pip = [TF115_VENV / "bin" / "pip", "install", "--quiet", "--retries=1"]
    # Constraints on this Python's packages do not apply to that one's.
    environment = {**os.environ, "PIP_CONSTRAINT": ""}
    made = subprocess.run(
        [*pip, *TF115_REQUIREMENTS], env=environment, capture_output=True, text=True
    )
    if made.returncode != 0:
        pytest.skip(f"compared with recorded results only: no TF 1.15: {made.stderr[-300:]}")


def is_python37(python):
    check = "import sys; sys.exit(sys.version_info[:2] != (3, 7))"
    return (
        bool(python) and subprocess.run([python, "-c", check], capture_output=True).returncode == 0
    )


def find_python37():
    pyenv = sorted(pathlib.Path.home().glob(".pyenv/versions/3.7.*/bin/python"))
    candidates = [os.environ.get("PYTHON37"), shutil.which("python3.7"), *map(str, pyenv[::-1])]
    return next(filter(is_python37, candidates), None)
