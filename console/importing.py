"""Importing TensorFlow as the commands need it. It takes seconds, so they put it off."""

import contextlib
import logging
import os
import sys
import tempfile
from collections.abc import Iterator

from absl import logging as absl_logging

from console.errors import CommandError
from console.progress import doing


def import_tensorflow() -> None:
    """Imports TensorFlow, hiding its page of advice to developers unless --verbosity asks for it.

    This takes seconds, so commands call it once they have checked everything that they can without
    it. A third of that time would go to Keras, which TensorFlow imports if it is installed and no
    graph here uses, so Keras is blocked in this process.
    """
    if "tensorflow" not in sys.modules:
        sys.modules["keras"] = None  # type: ignore[assignment]  # documented: its import fails
    with contextlib.ExitStack() as quiet:
        quiet.enter_context(doing("importing TensorFlow"))
        if is_quiet():
            # Its errors, too: they are raised as well, and their page hides the line that helps.
            os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
            logging.getLogger("tensorflow").setLevel(logging.ERROR)
            quiet.enter_context(held_back_stderr())
        import tensorflow

        # TensorFlow complains about a missing GPU when it first looks for one: let it look now.
        tensorflow.config.list_physical_devices()


def is_quiet() -> bool:
    """Returns whether --verbosity asks for nothing of what libraries say."""
    return absl_logging.get_verbosity() <= 0


@contextlib.contextmanager
def held_back_stderr() -> Iterator[None]:
    """Holds back standard error, even from C++ code, and shows it only if the block fails.

    Not if it fails with a `CommandError`, which says what is wrong.
    """
    try:
        file = tempfile.TemporaryFile()  # noqa: SIM115, closed below
    except FileNotFoundError:  # There is no folder for it: a file system that is read-only.
        # TensorFlow's import asks for the folder's name, but writes nothing there.
        tempfile.tempdir = os.curdir
        yield
        return
    sys.stderr.flush()
    stderr = os.dup(2)
    with file as kept:
        os.dup2(kept.fileno(), 2)
        try:
            yield
        except CommandError:
            raise
        except Exception:
            kept.seek(0)
            os.write(stderr, kept.read())
            raise
        finally:
            os.dup2(stderr, 2)
            os.close(stderr)
