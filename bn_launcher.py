"""Runs an old program unedited, on a TensorFlow that has what the program looks for.

    python -m bn_compat [-v] old_program.py [ARGUMENTS OF THE PROGRAM]
    python -m bn_compat [-v] -m package.train [ARGUMENTS OF THE PROGRAM]

`bn_revive.install` puts back what was removed from TensorFlow; here, `import tensorflow as tf`
gives the program TF1's names besides, and what TensorFlow still has but takes otherwise is as it
was. Like `bn_wrapper.py`, it runs on TF 1.15 (Python 3.7) and on current TensorFlow; copy it beside
that one, `bn_compat.py` and `bn_revive.py`.
"""

from __future__ import annotations

import functools
import importlib.machinery
import importlib.util
import inspect
import json
import multiprocessing.spawn
import os
import re
import sys
import tokenize
import types
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn

import numpy as np
import tensorflow.compat.v1 as tf

if TYPE_CHECKING or not __package__:
    import bn_revive
else:  # The files were copied into a package.
    from . import bn_revive

__all__ = ["main"]

_USAGE = (
    "usage: python -m bn_compat [-v] (old_program.py | -m old.module) [ARGUMENTS OF THE PROGRAM]"
)
# How a child that multiprocessing has spawned learns what its parent runs: JSON of a `_Program`.
_IN_CHILDREN = "BN_LAUNCHER_PROGRAM"
_FOLDER = os.path.dirname(os.path.abspath(__file__))


class _Program(NamedTuple):
    name: str  # a path or, with `-m`, a module
    is_module: bool


def main() -> None:
    """Runs the program that the command line names; exits with 2 if it can't be read."""
    program, verbosity, arguments = _parsed(sys.argv[1:])
    folder = os.getcwd() if program.is_module else os.path.dirname(os.path.abspath(program.name))
    if not getattr(sys.flags, "safe_path", False):
        sys.path[0] = folder
    _hide_this_project(folder)
    _make_tensorflow_1(verbosity)
    source, path, spec = _read(program)
    sys.argv = [path, *arguments]
    if not program.is_module:
        program = program._replace(name=os.path.abspath(path))
    os.environ[_IN_CHILDREN] = json.dumps(program)
    multiprocessing.spawn.get_preparation_data = _for_a_child(  # type: ignore[attr-defined]
        multiprocessing.spawn.get_preparation_data
    )
    sys.excepthook = functools.partial(_print_from_program, path, sys.excepthook)
    _run(source, "__main__", path, spec)


def _parsed(arguments: list[str]) -> tuple[_Program, int, list[str]]:
    """Returns the program, the verbosity, and the program's own arguments."""
    verbosity = 0
    while arguments and arguments[0] in ("-v", "--verbosity=1"):
        verbosity = 1
        arguments = arguments[1:]
    is_module = arguments[:1] == ["-m"]
    if is_module:
        arguments = arguments[1:]
    if not arguments or arguments[0].startswith("-"):
        _refuse(_USAGE)
    return _Program(arguments[0], is_module), verbosity, arguments[1:]


def _read(program: _Program) -> tuple[str, str, importlib.machinery.ModuleSpec | None]:
    """Returns a program's text, its path and, if it is a module, how Python finds it."""
    spec = _spec(program.name) if program.is_module else None
    path = program.name if spec is None else spec.origin or ""
    try:
        with tokenize.open(path) as file:
            return file.read(), path, spec
    except (OSError, SyntaxError, UnicodeDecodeError) as error:
        _refuse("bn_compat: can't read the program %s: %s" % (path, error))


def _spec(name: str) -> importlib.machinery.ModuleSpec:
    """Finds a module as `python -m` does, which takes a package's `__main__`."""
    try:
        spec = importlib.util.find_spec(name)
        if spec is not None and spec.submodule_search_locations is not None:
            name += ".__main__"
            spec = importlib.util.find_spec(name)
    except ModuleNotFoundError as error:
        # A package above it; but an error in that package is the program's own.
        if error.name is None or not (name + ".").startswith(error.name + "."):
            raise
        spec = None
    if spec is None or not spec.has_location:
        _refuse("bn_compat: can't find the module %s in %s" % (name, sys.path[0]))
    return spec


def _run(
    source: str, name: str, path: str, spec: importlib.machinery.ModuleSpec | None
) -> dict[str, Any]:
    """Runs a program as the module `name`; returns what is in that at the end."""
    module = types.ModuleType(name)
    module.__file__ = path
    if spec is not None:
        module.__spec__, module.__loader__ = spec, spec.loader
        module.__package__ = spec.parent
    sys.modules[name] = module
    exec(compile(source, path, "exec", dont_inherit=True), vars(module))
    return vars(module)


# ---- What the program's modules find ----


class _FilesToCopy:
    """Finds this project's files that programs may import, after `_hide_this_project`."""

    def find_spec(
        self, name: str, path: Any = None, target: Any = None
    ) -> importlib.machinery.ModuleSpec | None:
        """Returns how to load one of them."""
        if not name.startswith("bn_"):
            return None
        return importlib.machinery.PathFinder.find_spec(name, [_FOLDER])


def _hide_this_project(folder: str) -> None:
    """Takes a clone of this project, which has a `model` and a `train` too, from Python's path.

    `folder` stays, since the program's modules are there.
    """
    is_clone = all(os.path.isfile(os.path.join(_FOLDER, n)) for n in ("flags.py", "pyproject.toml"))
    if is_clone and not _is_same(folder, _FOLDER):
        sys.path[:] = [path for path in sys.path if not _is_same(path, _FOLDER)]
        sys.meta_path.append(_FilesToCopy())  # type: ignore[arg-type]


def _is_same(one: str, other: str) -> bool:
    return os.path.realpath(one) == os.path.realpath(other)


def _make_tensorflow_1(verbosity: int = 0) -> None:
    """Makes `import tensorflow` give the program what it gave in TF1."""
    tf.disable_v2_behavior()
    bn_revive.install(verbosity=verbosity)
    if not tf.version.VERSION.startswith("1."):
        for name in ("sigmoid", "softmax", "sparse_softmax"):
            _take_names_only(name + "_cross_entropy_with_logits")
        _refuse_the_order_of_tf0("concat", "values, axis")
        _refuse_the_order_of_tf0("split", "value, num_or_size_splits, axis")
        _take_whole_floats_as_sizes()
        sys.modules["tensorflow"] = _with_names_of_tf1(sys.modules["tensorflow"])


def _take_names_only(name: str) -> None:
    """Has a function of tf.nn refuse labels and logits by their position, as it did in TF1.

    Their order was once the other one, so that programs of TF 0.x pass them swapped.
    """
    original = getattr(tf.nn, name)
    if "_sentinel" in inspect.signature(original).parameters:
        return

    @functools.wraps(original)
    def guarded(_sentinel=None, *args, **kwargs):
        if _sentinel is not None:
            raise ValueError(
                "Only call `%s` with named arguments (labels=..., logits=..., ...)" % name
            )
        return original(*args, **kwargs)

    setattr(tf.nn, name, guarded)


def _refuse_the_order_of_tf0(name: str, order: str) -> None:
    """Has tf.concat or tf.split say that the axis came first in TF 0.x, instead of a type error."""
    original = getattr(tf, name)

    @functools.wraps(original)
    def function(*args, **kwargs):
        if len(args) > 1 and isinstance(args[0], int) and not isinstance(args[-1], int):
            raise TypeError(
                "TensorFlow 1.0 changed the order of the arguments of tf.%s, of TensorFlow 0.x, to "
                "tf.%s(%s)" % (name, name, order)
            )
        return original(*args, **kwargs)

    setattr(tf, name, function)


def _take_whole_floats_as_sizes() -> None:
    """Has shapes take sizes such as `units / 2`, as they did in TF1, if these are whole."""
    dimension = tf.Dimension
    original = dimension.__init__

    @functools.wraps(original)
    def __init__(self, value):
        if isinstance(value, (float, np.floating)):
            if value != int(value):
                raise ValueError("Ambiguous dimension: %s" % value)
            value = int(value)
        original(self, value)

    dimension.__init__ = __init__


def _with_names_of_tf1(tensorflow: types.ModuleType) -> types.ModuleType:
    """Returns a stand-in for TensorFlow 2 in which TF1's names come first."""
    stand_in = bn_revive.Overlay("tensorflow", tf, tensorflow, compat=tensorflow.compat)
    for name in ("__path__", "__spec__", "__file__"):
        setattr(stand_in, name, getattr(tensorflow, name))
    return stand_in


# ---- The program's own children ----


def _for_a_child(original: Callable) -> Callable:
    """Has children that multiprocessing spawns run this file, and with it the program's, again."""

    name = __spec__.name if __spec__ else "bn_launcher"
    folder = _FOLDER
    for _ in range(name.count(".")):
        folder = os.path.dirname(folder)

    @functools.wraps(original)
    def get_preparation_data(process):
        data = original(process)
        data.pop("init_main_from_path", None)
        return dict(data, init_main_from_name=name, sys_path=data["sys_path"] + [folder])

    return get_preparation_data


def _in_child() -> dict[str, Any]:
    """Does in a child what `main` does; returns what the program's module has in the child."""
    program = _Program(*json.loads(os.environ[_IN_CHILDREN]))
    del sys.path[-1]  # It was added for this file.
    _hide_this_project(sys.path[0])
    _make_tensorflow_1()
    source, path, spec = _read(program)
    sys.argv[0] = path
    return _run(source, "__mp_main__", path, spec)


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
    whose = _whose(error)
    if whose:
        print("bn_compat: " + whose, file=sys.stderr)


# ---- Errors that don't say whose they are ----

_OF_PYTHON_2 = {
    NameError: "basestring execfile file long raw_input reduce reload unichr unicode xrange",
    ModuleNotFoundError: (
        "ConfigParser HTMLParser Queue StringIO Tkinter __builtin__ cPickle cStringIO commands "
        "cookielib httplib tkMessageBox urllib2 urlparse"
    ),
    ImportError: "ifilter imap izip izip_longest maketrans urlencode urlopen urlretrieve",
    AttributeError: (
        "getcwdu has_key ifilter imap iteritems iterkeys itervalues izip izip_longest maketrans "
        "maxint urlencode urlopen urlretrieve"
    ),
}
# Python 3's messages for what was right in Python 2: statements, and lists that are none now.
_STATEMENT_OF_PYTHON_2 = re.compile(
    "Missing parentheses in call to|inconsistent use of tabs|leading zeros in decimal integer|"
    "multiple exception types must be parenthesized"
)
_LIST_OF_PYTHON_2 = re.compile(
    r"'(?:dict_\w+|filter|map|zip)' (?:object is not subscriptable|has no len)|"
    r"'(?:dict_\w+|filter|map|zip)' object has no attribute '(?:append|index|sort)'|"
    "'range' object does not support item assignment"
)


# Sizes that were int64 in NumPy 1, such as that of `labels.max() + 1`.
_NUMBER_OF_NUMPY_1 = re.compile(
    "DataType u?int(?:8|16) not in list of allowed values: int32, int64"
)

_NAME_IN_TENSORFLOW = re.compile(
    r"module 'tensorflow\._api\.v2\.compat\.v1\.([\w.]+)' has no attribute '(\w+)'"
)


def _whose(error: BaseException) -> str:
    """Returns in one line whose an error is if neither Python nor `bn_revive` says so, or ""."""
    message = str(error)
    of_tensorflow = _NAME_IN_TENSORFLOW.search(message)
    if of_tensorflow and isinstance(error, AttributeError):
        module, name = of_tensorflow.groups()
        return bn_revive.what_happened("tensorflow." + module, name)
    if _NUMBER_OF_NUMPY_1.search(message):
        return (
            "a size is of a type that NumPy 1 would have made int64, as in labels.max() + 1, but "
            "NumPy 2 does not: convert it with int()"
        )
    found = _of_python_2(error, message)
    if found:
        return (
            "%s is Python 2's: convert the program to Python 3 first, for example with 2to3, which "
            "came with Python up to 3.12" % found
        )
    return ""


def _of_python_2(error: BaseException, message: str) -> str:
    """Returns what Python 3 has refused of what Python 2 took, or ""."""
    if isinstance(error, SyntaxError):
        is_old = _STATEMENT_OF_PYTHON_2.search(message)
        where = "%s, line %s," % (os.path.basename(error.filename or ""), error.lineno)
        return where if is_old else ""
    if _LIST_OF_PYTHON_2.search(message):
        return "a list, where Python 3 has %s," % message.split("'")[1]
    missing = re.search("(?:name|named|attribute) '(\\w+)'", message)
    names = _OF_PYTHON_2.get(type(error), "").split()
    return missing.group(1) if missing and missing.group(1) in names else ""


if __name__ == "__main__":
    main()
elif __name__ == "__mp_main__":
    globals().update(_in_child())
