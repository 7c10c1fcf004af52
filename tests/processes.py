"""Runs a command in its own process, forked from one that has imported TensorFlow.

That import takes longer than everything else that most tests need from a command, so it is shared;
the command's own modules are imported and run as usual, and the process can be stopped and killed
like any other. Tests of the import itself, and of what happens during it, start from scratch.
"""

import atexit
import multiprocessing
import os
import pathlib
import runpy
import signal
import subprocess
import sys
import tempfile
import time
import types
import weakref

import coverage

_SECONDS = 300

_forkserver = multiprocessing.get_context("forkserver")
_forkserver.set_forkserver_preload(["tests.preloaded"])
_running: "weakref.WeakSet[Process]" = weakref.WeakSet()


class Process:
    """A command that runs, with what tests need of `subprocess.Popen`.

    What it prints goes to files, so it never waits for a reader, as it might for that of a pipe.
    """

    def __init__(
        self,
        command: list[str],
        cwd: pathlib.Path,
        environment: dict[str, str],
        *,
        in_own_group: bool = False,
        stdin: pathlib.Path | str = os.devnull,
        stdout: pathlib.Path | str | None = None,
        stderr: pathlib.Path | str | None = None,
    ):
        """Starts `command`: a Python; a script, `-m` and a module, or `-c` and a text; arguments.

        Environment variables that Python or TensorFlow reads at startup have no effect. The streams
        may be files, or what has a name like one: a terminal, a device, a named pipe that is read.
        """
        self.args = command
        self._files = [tempfile.NamedTemporaryFile("r", encoding="utf-8") for _ in range(2)]
        written = [n or f.name for n, f in zip((stdout, stderr), self._files, strict=True)]
        names = [str(name) for name in (stdin, *written)]
        self._process = _forkserver.Process(
            target=_become, args=(command[1:], str(cwd), environment, names, in_own_group)
        )
        self._process.start()
        self.pid: int = self._process.pid
        _running.add(self)

    @property
    def returncode(self) -> int | None:
        """The exit code, negative for a signal; None while the process runs."""
        return self._process.exitcode

    poll = returncode.fget

    def wait(self, timeout: float | None = None) -> int:
        """Waits for the end, for some seconds at most; returns the exit code."""
        self._process.join(timeout)
        if self.returncode is None:
            raise subprocess.TimeoutExpired(self.args, timeout, *self.printed())
        return self.returncode

    def communicate(self, timeout: float | None = None) -> tuple[str, str]:
        """Waits for the end likewise; returns what was printed."""
        self.wait(timeout)
        return self.printed()

    def printed(self) -> tuple[str, str]:
        """Returns what is on standard output and on standard error by now."""
        for file in self._files:
            file.seek(0)
        return self._files[0].read(), self._files[1].read()

    def wait_for_message(self, text: str) -> None:
        """Waits until standard error has a text."""
        while text not in self.printed()[1]:
            assert self.returncode is None, self.printed()[1]
            time.sleep(0.02)

    def send_signal(self, number: int) -> None:
        """Sends a signal, unless the process has ended."""
        if self.returncode is None:
            os.kill(self.pid, number)

    def terminate(self) -> None:
        """Asks the process to end."""
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """Ends the process at once."""
        self.send_signal(signal.SIGKILL)


@atexit.register
def _end_those_left() -> None:
    """A test that failed may have left some, for which multiprocessing would wait."""
    for process in list(_running):
        process.kill()


def run(
    command: list[str], cwd: pathlib.Path, environment: dict[str, str], seconds: float = _SECONDS
):
    """Runs a command to completion; returns what `subprocess.run` would."""
    process = Process(command, cwd, environment)
    try:
        stdout, stderr = process.communicate(seconds)
    finally:
        process.kill()
    return subprocess.CompletedProcess(command, process.returncode, stdout, stderr)


def _become(
    arguments: list[str], cwd: str, environment: dict[str, str], names: list[str], own_group: bool
) -> None:
    """Turns this process into that of a command."""
    if own_group:
        os.setsid()
    for descriptor, name in enumerate(names):
        mode = os.O_WRONLY | os.O_APPEND if descriptor else os.O_RDONLY
        os.dup2(os.open(name, mode), descriptor)
    sys.stdin = open(0, closefd=False)
    running = coverage.Coverage.current()
    if running is not None and environment.get("COVERAGE_PROCESS_CONFIG") == "":
        running.stop()
    assert "tests.preloaded" in sys.modules, "pytest has to be run in the project's folder"
    os.chdir(cwd)
    os.environ.clear()
    os.environ.update(environment)
    try:
        _run_as_main(arguments)
    except Exception:
        # Where multiprocessing would print something of its own.
        sys.excepthook(*sys.exc_info())
        sys.exit(1)


def _run_as_main(arguments: list[str]) -> None:
    """Runs a program as Python runs it with these arguments."""
    if arguments[0] == "-m":
        sys.argv = arguments[1:]
        sys.path[0] = os.getcwd()
        runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
    elif arguments[0] == "-c":
        sys.argv = ["-c", *arguments[2:]]
        sys.path[0] = os.getcwd()
        sys.modules["__main__"] = types.ModuleType("__main__")
        exec(compile(arguments[1], "<string>", "exec"), vars(sys.modules["__main__"]))
    else:
        sys.argv = arguments
        sys.path[0] = str(pathlib.Path(arguments[0]).parent)
        runpy.run_path(arguments[0], run_name="__main__")
