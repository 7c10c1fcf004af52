"""Runs an old program unedited, on a TensorFlow that has what the program looks for.

    python -m bn_compat [-v] old_program.py [ARGUMENTS OF THE PROGRAM]

`bn_revive.install` puts back what was removed from TensorFlow; here, `import tensorflow as tf`
gives the program TF1's names besides. Like `bn_wrapper.py`, it runs on TF 1.15 (Python 3.7) and on
current TensorFlow; copy it beside that one, `bn_compat.py` and `bn_revive.py`.
"""

from __future__ import annotations

import functools
import os
import sys
import tokenize
import types
from collections.abc import Callable
from typing import TYPE_CHECKING, NoReturn

import tensorflow.compat.v1 as tf

if TYPE_CHECKING or not __package__:
    import bn_revive
else:  # The files were copied into a package.
    from . import bn_revive

__all__ = ["main"]


def main() -> None:
    """Runs the program that the command line names; exits with 2 if it can't be read."""
    verbosity, arguments = _parsed(sys.argv[1:])
    program = arguments[0]
    source = _read(program)
    tf.disable_v2_behavior()
    bn_revive.install(verbosity=verbosity)
    if not tf.version.VERSION.startswith("1."):
        sys.modules["tensorflow"] = _with_names_of_tf1(sys.modules["tensorflow"])
    sys.argv = arguments
    if not getattr(sys.flags, "safe_path", False):
        sys.path[0] = os.path.dirname(os.path.abspath(program))
    main_module = types.ModuleType("__main__")
    main_module.__file__ = program
    sys.modules["__main__"] = main_module
    sys.excepthook = functools.partial(_print_from_program, program, sys.excepthook)
    exec(compile(source, program, "exec", dont_inherit=True), vars(main_module))


def _parsed(arguments: list[str]) -> tuple[int, list[str]]:
    """Returns the verbosity, and the program with its own arguments."""
    verbosity = 0
    while arguments and arguments[0] in ("-v", "--verbosity=1"):
        verbosity = 1
        arguments = arguments[1:]
    if not arguments or arguments[0].startswith("-"):
        _refuse("usage: python -m bn_compat [-v] old_program.py [ARGUMENTS OF THE PROGRAM]")
    return verbosity, arguments


def _read(program: str) -> str:
    try:
        with tokenize.open(program) as file:
            return file.read()
    except (OSError, SyntaxError, UnicodeDecodeError) as error:
        _refuse("bn_compat: can't read the program %s: %s" % (program, error))


def _with_names_of_tf1(tensorflow: types.ModuleType) -> types.ModuleType:
    """Returns a stand-in for TensorFlow 2 in which TF1's names come first."""
    stand_in = bn_revive.Overlay("tensorflow", tf, tensorflow, compat=tensorflow.compat)
    for name in ("__path__", "__spec__", "__file__"):
        setattr(stand_in, name, getattr(tensorflow, name))
    return stand_in


def _refuse(message: str) -> NoReturn:
    print(message, file=sys.stderr)
    sys.exit(2)


def _print_from_program(
    program: str,
    hook: Callable,
    kind: type,
    error: BaseException,
    traceback: types.TracebackType | None,
) -> None:
    """Prints an error as if raised by the program alone, without the frames that called it."""
    first = traceback
    while first is not None and first.tb_frame.f_code.co_filename != program:
        first = first.tb_next
    hook(kind, error.with_traceback(first), first)


if __name__ == "__main__":
    main()
