"""Runs a command in its own process, forked from one that has imported TensorFlow.

That import takes longer than everything else that most tests need from a command, so it is shared;
the command's own modules are imported and run as usual. Tests of the import itself, of what is
printed during it, and of kills start their processes from scratch.
"""

import multiprocessing
import os
import pathlib
import runpy
import signal
import subprocess
import sys
import tempfile

_SECONDS = 300

_forkserver = multiprocessing.get_context("forkserver")
_forkserver.set_forkserver_preload(["tests.preloaded"])


def run(command: list[str], cwd: pathlib.Path, environment: dict[str, str]):
    """Runs `command`, whose first item is a Python; returns what `subprocess.run` would.

    Environment variables that Python or TensorFlow reads at startup have no effect.
    """
    with tempfile.TemporaryDirectory() as folder:
        outputs = [pathlib.Path(folder, name) for name in ("stdout", "stderr")]
        for path in outputs:
            path.touch()
        process = _forkserver.Process(
            target=_become, args=(command[1:], str(cwd), environment, outputs)
        )
        process.start()
        process.join(_SECONDS)
        if process.exitcode is None:
            process.kill()
            process.join()
        stdout, stderr = [path.read_text() for path in outputs]
    if process.exitcode == -signal.SIGKILL:
        raise subprocess.TimeoutExpired(command, _SECONDS, stdout, stderr)
    return subprocess.CompletedProcess(command, process.exitcode, stdout, stderr)


def _become(
    arguments: list[str], cwd: str, environment: dict[str, str], outputs: list[pathlib.Path]
) -> None:
    """Turns this process into that of a command."""
    for descriptor, path in enumerate(outputs, start=1):
        os.dup2(os.open(path, os.O_WRONLY), descriptor)
    assert "tests.preloaded" in sys.modules, "pytest has to be run in the project's folder"
    os.chdir(cwd)
    os.environ.clear()
    os.environ.update(environment)
    sys.argv = arguments
    sys.path[0] = str(pathlib.Path(arguments[0]).parent)
    runpy.run_path(arguments[0], run_name="__main__")
