"""What the commands share: flag parsing, one-line errors, exit codes."""

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
from runtime.progress import note


def run(main: Callable[[], None]) -> None:
    """Parses the command line, runs `main`, and exits.

    Exit codes: 0 success, 1 failure while running, 2 invalid input, 130 Ctrl-C, 143 SIGTERM. An
    error that the user can do something about is reported in one line on standard error.
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
    """Checks, before the work rather than after it, that the result can be written.

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
        raise InputError(f"--json: expected a writable file, found {path}")


def finish(facts: dict[str, Any], json_path: str | None) -> None:
    """Prints the result, ending standard output with the result line, and writes it as JSON.

    If several runs were combined, each of them gets a line of its own first.
    """
    for member in facts.get("members", []):
        print(f"{classification.result_line(member)}; {classification.interval_line(member)}")
    print(classification.interval_line(facts))
    print(classification.result_line(facts), flush=True)
    if json_path:
        write_json(pathlib.Path(json_path), facts)


def line(*arguments: str) -> str:
    """Returns the shell command that runs this Python with these arguments."""
    executable = pathlib.Path(sys.executable)
    if executable.is_relative_to(pathlib.Path.cwd()):
        python = str(executable.relative_to(pathlib.Path.cwd()))
    else:
        python = executable.name
    return shlex.join([python, *arguments])


def tensorboard(logdir: str | pathlib.Path) -> str:
    """Returns the shell command that shows the curves in a folder."""
    return line("-m", "tensorboard.main", f"--logdir={logdir}")


def note_next(run: str, summary_dir: str, checkpoint_dir: str) -> None:
    """Writes what to type after a training."""
    is_default = absl_flags.FLAGS["checkpoint_dir"].using_default_value
    where = [] if is_default else [f"--checkpoint_dir={checkpoint_dir}"]
    note(f"to see the curves: {tensorboard(summary_dir)}")
    note(f"to evaluate again: {line('evaluate.py', f'--run={run}', *where)}")


def fail(message: str, exit_code: int) -> NoReturn:
    """Prints one line that begins with the command's name, and exits."""
    print(f"{os.path.basename(sys.argv[0])}: {message}", file=sys.stderr)
    sys.exit(exit_code)


def parse_flags(arguments: list[str]) -> list[str]:
    """Parses a command line; exits with a one-line message if it is invalid."""
    try:
        rest = absl_flags.FLAGS(arguments)
    except absl_flags.Error as error:
        fail(f"{' '.join(str(error).split())} (--help lists the flags)", 2)
    if len(rest) > 1:
        fail(f"expected flags only, found {rest[1]!r} (--help lists the flags)", 2)
    return rest


def import_tensorflow() -> None:
    """Imports TensorFlow, hiding its page of advice to developers unless --verbosity asks for it.

    This takes seconds, so commands call it once they have checked everything that they can without
    it. A third of that time would go to Keras, which TensorFlow imports if it is installed and no
    graph here uses, so Keras is blocked in this process.
    """
    sys.modules["keras"] = None  # type: ignore[assignment]  # documented: its import fails
    with contextlib.ExitStack() as quiet:
        if not (absl_flags.FLAGS.is_parsed() and absl_flags.FLAGS.verbosity > 0):
            os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
            logging.getLogger("tensorflow").setLevel(logging.ERROR)
            quiet.enter_context(_held_back_stderr())
        import tensorflow

        # TensorFlow complains about a missing GPU when it first looks for one: let it look now.
        tensorflow.config.list_physical_devices()


@contextlib.contextmanager
def _held_back_stderr() -> Iterator[None]:
    """Holds back standard error, even from C++ code, and shows it only if the block fails."""
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
