"""Brings old programs up: puts what TensorFlow has removed back where they look for it.

    bn_compat.install()                      # the same as bn_revive.install(), in a program to edit
    python -m bn_compat old_program.py       # a program that nobody edits, by `bn_launcher.py`

Like `bn_wrapper.py`, it runs on TF 1.15 (Python 3.7) and on current TensorFlow; copy it beside that
one and `bn_compat.py`, which has the batch norms.
"""

from __future__ import annotations

import functools
import importlib
import importlib.machinery
import importlib.util
import operator
import sys
import types
from typing import TYPE_CHECKING

import tensorflow.compat.v1 as tf

if TYPE_CHECKING or not __package__:
    import bn_compat
else:  # The files were copied into a package.
    from . import bn_compat

__all__ = ["Overlay", "install", "uninstall"]

# Where slim has contrib's modules: paths below `tensorflow.contrib`, and slim's modules. Submodules
# correspond likewise, such as `slim.python.slim.nets.resnet_v1` to `tf_slim.nets.resnet_v1`.
_IN_SLIM = (
    ("framework", "tf_slim"),
    ("framework.python.ops", "tf_slim"),
    ("framework.python.ops", "tf_slim.ops"),
    ("layers", "tf_slim.layers"),
    ("layers.python.layers", "tf_slim.layers"),
    ("losses", "tf_slim.losses"),
    ("metrics", "tf_slim.metrics"),
    ("slim", "tf_slim"),
    ("slim.python.slim", "tf_slim"),
    ("training", "tf_slim.training.evaluation"),
    ("training", "tf_slim.training.training"),
)

# What `install` reports, and the functions that `uninstall` calls, last first: the only state of
# this file, since where programs look for TensorFlow's modules is one place for the whole process.
_report: list = []
_undo: list = []


class Overlay(types.ModuleType):
    """A module with some names of its own that looks up the others in the modules it overlays."""

    def __init__(self, name, *below, **own):
        super().__init__(name)
        self._below = below
        self.__path__ = []
        self.__spec__ = importlib.machinery.ModuleSpec(name, None, is_package=True)
        self.__dict__.update(own)

    def __getattr__(self, name):
        for module in self._below:
            if _has(module, name):
                return getattr(module, name)
        raise AttributeError(
            "%s has no %s: it is not TensorFlow's, but bn_compat.install() has put there what it "
            "found in %s"
            % (self.__name__, name, ", ".join(module.__name__ for module in self._below) or "none")
        )

    def __dir__(self):
        return sorted(set(super().__dir__()).union(*map(dir, self._below)))


def install(everything=False, verbosity=0):
    """Puts removed APIs back where old programs look for them, so that these run unedited.

    If this TensorFlow has no `tf.layers`, as with Keras 3, provides bn_compat's
    `batch_normalization` and `BatchNormalization`, and TensorFlow's own other layers.

    If it has no contrib, provides `tf.contrib.layers` with bn_compat's `batch_norm`, `conv2d` and
    `fully_connected`. If tf_slim is installed, instead provides slim's `tf.contrib.layers`,
    `.slim`, `.framework`, `.losses`, `.metrics` and `.training`, which have most of what was there.
    In all of slim's modules, `batch_norm` is then bn_compat's, and works with `arg_scope`.

    Leaves alone whatever works, such as tf.layers with the legacy Keras. Calling it again changes
    nothing; `uninstall` undoes it.

    Args:
        everything: put bn_compat's batch norms even where the originals work.
        verbosity: 1 prints to standard error what was put where, and what was left alone.

    Returns:
        A list of the lines that `verbosity=1` prints.
    """
    if not _report:
        try:
            _install_layers(everything)
            _install_contrib(everything)
        except BaseException:
            uninstall()
            raise
    if verbosity >= 1:
        print("\n".join(_report), file=sys.stderr)
    return list(_report)


def uninstall():
    """Undoes `install`."""
    del _report[:]
    while _undo:
        _undo.pop()()


def _install_layers(everything):
    works = _has(tf.layers, "batch_normalization")
    if works and not everything:
        layers = tf.layers
        _report.append("tf.layers: left alone, it works")
    else:
        others = tf.layers if works else importlib.import_module("tensorflow.python.layers.layers")
        layers = Overlay(
            "tensorflow.layers",
            others,
            batch_normalization=bn_compat.batch_normalization,
            BatchNormalization=bn_compat.BatchNormalization,
        )
        for root, path in _roots():
            _set_attribute(root, "layers", layers)
            _set_module(path + ".layers", layers)
        _report.append(
            "tf.layers: batch normalization is bn_compat's, the others are TensorFlow's (%s)"
            % others.__name__
        )
    path = "tensorflow.python.layers.normalization"
    if everything or not _has(importlib.import_module(path), "BatchNormalization"):
        # With Keras 3 the layer is gone; with the legacy Keras it is looked for in the wrong place.
        normalization = Overlay(
            path,
            batch_norm=layers.batch_normalization,
            batch_normalization=layers.batch_normalization,
            BatchNorm=layers.BatchNormalization,
            BatchNormalization=layers.BatchNormalization,
        )
        _set_attribute(sys.modules["tensorflow.python.layers"], "normalization", normalization)
        _set_module(path, normalization)


def _has(module, name):
    try:
        getattr(module, name)
    except (AttributeError, ImportError):
        return False
    return True


def _install_contrib(everything):
    is_there = hasattr(sys.modules["tensorflow"], "contrib")
    if is_there and not everything:
        _report.append("tf.contrib: left alone, it works")
        return
    if is_there:
        contrib = importlib.import_module("tensorflow.contrib")
        importlib.import_module("tensorflow.contrib.slim")
        ours = contrib.framework.add_arg_scope(bn_compat.batch_norm)
        _replace_everywhere(contrib.layers.batch_norm, ours)
        _report.append("tf.contrib: batch_norm is bn_compat's, the others are TensorFlow's")
        return
    if importlib.util.find_spec("tf_slim"):
        contrib = _contrib_of_slim()
        _report.append("tf.contrib: batch_norm is bn_compat's, the others are tf_slim's")
        _report.append("tf_slim: batch_norm is bn_compat's")
    else:
        contrib = _contrib_of_ours()
        _report.append(
            "tf.contrib.layers: batch_norm, conv2d and fully_connected are bn_compat's; install "
            "tf_slim to have the others"
        )
    for root, _ in _roots():
        _set_attribute(root, "contrib", contrib)
    _register([path + ".contrib" for _, path in _roots()], contrib)


def _contrib_of_ours():
    contrib = Overlay("tensorflow.contrib")
    ours = Overlay(
        "bn_compat (no tf_slim is installed)",
        batch_norm=bn_compat.batch_norm,
        conv2d=bn_compat.conv2d,
        convolution2d=bn_compat.convolution2d,
        fully_connected=bn_compat.fully_connected,
    )
    for path in ("layers", "layers.python.layers", "layers.python.layers.layers"):
        _put_below(contrib, path, ours)
    return contrib


def _contrib_of_slim():
    """Makes a `tf.contrib` from tf_slim, after replacing `batch_norm` in all of slim's modules."""
    for name in ("tf_slim", "tf_slim.nets"):
        importlib.import_module(name)
    slim = sys.modules["tf_slim"]
    _replace_everywhere(slim.batch_norm, slim.add_arg_scope(bn_compat.batch_norm))
    of_slim = {
        name: module
        for name, module in sorted(sys.modules.items())
        if name.split(".")[0] == "tf_slim" and module is not None
    }
    contrib = Overlay("tensorflow.contrib")
    for path, of_path in _IN_SLIM:
        for name, module in of_slim.items():
            if name == of_path or name.startswith(of_path + "."):
                _put_below(contrib, path + name[len(of_path) :], module)
    contrib.framework.nest = importlib.import_module("tensorflow.python.util.nest")
    return contrib


def _replace_everywhere(original, ours):
    """Replaces the `original` batch_norm with `ours` in all modules that have imported it."""
    for module in list(sys.modules.values()):
        if isinstance(module, types.ModuleType) and vars(module).get("batch_norm") is original:
            _set_attribute(module, "batch_norm", ours)


def _put_below(overlay, path, module):
    """Adds `module` to the overlay at this path below `overlay`; creates overlays on the way."""
    for part in path.split("."):
        if not isinstance(vars(overlay).get(part), Overlay):
            setattr(overlay, part, Overlay("%s.%s" % (overlay.__name__, part)))
        overlay = vars(overlay)[part]
    overlay._below += (module,)


def _register(paths, overlay):
    """Makes an overlay and those below it importable by these paths."""
    for path in paths:
        _set_module(path, overlay)
    for name, below in sorted(vars(overlay).items()):
        if isinstance(below, Overlay):
            _register(["%s.%s" % (path, name) for path in paths], below)
            # If a module and a function share a name, such as `arg_scope`, the attribute is the
            # function, and `import` still finds the module.
            if any(callable(getattr(module, name, None)) for module in overlay._below):
                delattr(overlay, name)


def _roots():
    """Returns the modules that programs use as `tf`, each with the name they import it by."""
    roots = [(tf, "tensorflow.compat.v1")]
    if tf.version.VERSION.startswith("1."):
        return roots + [(sys.modules["tensorflow"], "tensorflow")]
    # TF2's `tensorflow` gets only submodules, which Python imports by name, and no attributes.
    return roots + [(types.ModuleType("unused"), "tensorflow")]


def _set_attribute(module, name, value):
    if hasattr(module, name):
        _undo.append(functools.partial(setattr, module, name, getattr(module, name)))
    else:
        _undo.append(functools.partial(delattr, module, name))
    setattr(module, name, value)


def _set_module(name, module):
    if name in sys.modules:
        _undo.append(functools.partial(operator.setitem, sys.modules, name, sys.modules[name]))
    else:
        _undo.append(functools.partial(sys.modules.pop, name, None))
    sys.modules[name] = module
