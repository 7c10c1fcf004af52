"""What the commands have in common: flags in, one line for an error, the exit code."""

import contextlib
import logging
import os
import pathlib
import shlex
import sys
import tempfile
from collections.abc import Callable, Iterator
from typing import Any, NoReturn

from absl import app
from absl import flags as absl_flags

from runtime import classification, processor
from runtime.errors import CommandError, InputError
from runtime.files import write_json


def run(main: Callable[[], None]) -> None:
    """Parses the command line, runs `main`, and exits.

    Exit codes: 0 done, 1 a failure while running, 2 wrong input, 130 Ctrl-C, 143 SIGTERM. An
    error that a user can do something about is one line on standard error.
    """

    def checked_main(_: list[str]) -> None:
        try:
            processor.use_onednn()
            main()
        except CommandError as error:
            fail(str(error), error.exit_code)
        except KeyboardInterrupt:
            fail("stopped by Ctrl-C", 130)

    app.run(checked_main, flags_parser=parse_flags)


def check_json_flag(path: str | None) -> None:
    """Finds out before the work, not after it, that the result could not be written.

    Raises:
        InputError: `path` is in a folder that can't be written to, or is a folder itself.
    """
    if not path:
        return
    try:
        tempfile.TemporaryFile(dir=pathlib.Path(path).parent).close()
        can_be_written = not pathlib.Path(path).is_dir()
    except OSError:
        can_be_written = False
    if not can_be_written:
        raise InputError(f"--json: expected a file that can be written, found {path}")


def finish(facts: dict[str, Any], json_path: str | None) -> None:
    """Prints the result, its line as the command's last on standard output, and writes it as JSON.

    Of several runs together, each has a line as well.
    """
    for member in facts.get("members", []):
        print(f"{classification.result_line(member)}; {classification.interval_line(member)}")
    print(classification.interval_line(facts))
    print(classification.result_line(facts), flush=True)
    if json_path:
        write_json(pathlib.Path(json_path), facts)


def line(*arguments: str) -> str:
    """Returns what to type for the Python that runs to take these arguments."""
    executable = pathlib.Path(sys.executable)
    if executable.is_relative_to(pathlib.Path.cwd()):
        python = str(executable.relative_to(pathlib.Path.cwd()))
    else:
        python = executable.name
    return shlex.join([python, *arguments])


def tensorboard(logdir: str | pathlib.Path) -> str:
    """Returns what to type to see the curves in a folder."""
    return line("-m", "tensorboard.main", f"--logdir={logdir}")


def fail(message: str, exit_code: int) -> NoReturn:
    """Prints one line that begins with the command's name, and exits."""
    print(f"{os.path.basename(sys.argv[0])}: {message}", file=sys.stderr)
    sys.exit(exit_code)


def parse_flags(arguments: list[str]) -> list[str]:
    """Parses a command line; exits with one line where it is wrong."""
    try:
        rest = absl_flags.FLAGS(arguments)
    except absl_flags.Error as error:
        fail(f"{' '.join(str(error).split())} (--help lists the flags)", 2)
    if len(rest) > 1:
        fail(f"expected flags only, found {rest[1]!r} (--help lists the flags)", 2)
    return rest


def import_tensorflow() -> None:
    """Imports TensorFlow, without its page of advice to developers unless --verbosity asks for it.

    For commands to call when they have checked what can be checked without: it takes seconds. A
    third of them would be Keras, which TensorFlow imports by itself where there is one, and which
    no graph here uses: so this process has none.
    """
    sys.modules["keras"] = None  # type: ignore[assignment]  # documented: its import fails
    with contextlib.ExitStack() as quiet:
        if not (absl_flags.FLAGS.is_parsed() and absl_flags.FLAGS.verbosity > 0):
            os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
            logging.getLogger("tensorflow").setLevel(logging.ERROR)
            quiet.enter_context(_held_back_stderr())
        import tensorflow

        # What it has to say where there is no GPU, it says when it first looks for one.
        tensorflow.config.list_physical_devices()


@contextlib.contextmanager
def _held_back_stderr() -> Iterator[None]:
    """Keeps what even C++ code writes to standard error; shows it only if the block fails."""
    sys.stderr.flush()
    stderr = os.dup(2)
    with tempfile.TemporaryFile() as kept:
        os.dup2(kept.fileno(), 2)
        try:
            yield
        except Exception:
            kept.seek(0)
            os.write(stderr, kept.read())
            raise
        finally:
            os.dup2(stderr, 2)
            os.close(stderr)
