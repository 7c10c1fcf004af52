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
import re
import sys
import types
from typing import TYPE_CHECKING

import tensorflow.compat.v1 as tf

if TYPE_CHECKING or not __package__:
    import bn_compat
else:  # The files were copied into a package.
    from . import bn_compat

__all__ = [
    "Overlay",
    "import_meta_graph",
    "install",
    "remove_stale_shapes",
    "uninstall",
    "what_happened",
]

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
        found = ", ".join(module.__name__ for module in self._below)
        raise AttributeError(
            "%s has no %s: %s" % (self.__name__, name, what_happened(self.__name__, name, found))
        )

    def __dir__(self):
        return sorted(set(super().__dir__()).union(*map(dir, self._below)))


# What was removed for good, by path in `tensorflow`: in which version, and what to use instead.
_REMOVED = {
    "contrib": (
        "2.0",
        "see what tf_slim has of it, or TensorFlow Addons, which ended with TensorFlow 2.15",
    ),
    "contrib.crf": ("2.0", "TensorFlow Addons had it, as tfa.text, up to TensorFlow 2.15"),
    "contrib.cudnn_rnn": ("2.0", "use the cells of tf.nn.rnn_cell"),
    "contrib.data": ("2.0", "use tf.data and tf.data.experimental"),
    "contrib.distributions": ("2.0", "use tf.distributions or the package tensorflow-probability"),
    "contrib.learn": ("2.0", "of its parts only the MNIST reader is here, in bn_mnist.py"),
    "contrib.legacy_seq2seq": (
        "2.0",
        "use tf.nn.static_rnn, or tf.nn.raw_rnn to feed outputs back",
    ),
    "contrib.lookup": ("2.0", "use tf.lookup"),
    "contrib.opt": (
        "2.0",
        "use tf.train's optimizers; TensorFlow Addons had others, up to TensorFlow 2.15",
    ),
    "contrib.rnn": ("2.0", "use the cells of tf.nn.rnn_cell, or write this one from its source"),
    "contrib.seq2seq": (
        "2.0",
        "use tf.nn.raw_rnn for the decoding loop; TensorFlow Addons had it, as tfa.seq2seq, up "
        "to TensorFlow 2.15",
    ),
    "contrib.tpu": ("2.0", "use tf.compat.v1.tpu and tf.distribute.TPUStrategy"),
    "contrib.training.HParams": ("2.0", "use types.SimpleNamespace or argparse"),
    "estimator": (
        "2.16",
        "no package has it for later ones; call the model_fn, and run its ops in a session such as "
        "tf.train.MonitoredTrainingSession",
    ),
    "examples": ("2.0", "for tutorials.mnist, copy bn_mnist.py beside bn_revive.py"),
}
# Names of TensorFlow 0.x, and today's.
_RENAMED = {
    "batch_matmul": "matmul",
    "batch_matrix_inverse": "matrix_inverse",
    "complex_abs": "abs",
    "histogram_summary": "summary.histogram",
    "image.per_image_whitening": "image.per_image_standardization",
    "image_summary": "summary.image",
    "initialize_all_variables": "global_variables_initializer",
    "inv": "reciprocal",
    "merge_all_summaries": "summary.merge_all",
    "merge_summary": "summary.merge",
    "mul": "multiply",
    "neg": "negative",
    "nn.bidirectional_rnn": "nn.static_bidirectional_rnn",
    "nn.rnn": "nn.static_rnn",
    "pack": "stack",
    "scalar_summary": "summary.scalar",
    "select": "where",
    "sub": "subtract",
    "train.SummaryWriter": "summary.FileWriter",
    "unpack": "unstack",
}


def what_happened(module, name, found=""):
    """Returns in one line why TensorFlow has no `name` in `module`, and what to use instead.

    Args:
        module: "tensorflow", or a module's path that begins with it.
        name: of a module, class or function of TF1 in there.
        found: names of the modules that other names of `module` come from.
    """
    within = module.replace("tensorflow.compat.v1", "tensorflow", 1).partition(".")[2]
    path = "%s.%s" % (within, name) if within else name
    if path in _RENAMED:
        return "TensorFlow 1.0 renamed tf.%s, of TensorFlow 0.x, to tf.%s" % (path, _RENAMED[path])
    known = [part for part in _REMOVED if (path + ".").startswith(part + ".")]
    if not known:
        return "it is neither in this TensorFlow nor in tf.compat.v1"
    removed = max(known, key=len)
    version, instead = _REMOVED[removed]
    line = "TensorFlow %s removed tf.%s" % (version, removed)
    if found and removed != path:
        return "%s, and what bn_compat.install() found of it is from %s" % (line, found)
    return "%s: %s" % (line, instead)


class _FinderOfNothing:
    """The last of Python's finders, which says why a module of TF1's is not there."""

    def find_spec(self, fullname, path=None, target=None):
        """Raises ModuleNotFoundError for a module that TensorFlow has removed."""
        parent, _, name = fullname.rpartition(".")
        root = fullname.replace("tensorflow.compat.v1.", "tensorflow.", 1).split(".")[:2]
        if root[0] == "tensorflow" and root[1:] and root[1] in _REMOVED:
            # With `name`, `from tensorflow.contrib import crf` would drop this message.
            raise ModuleNotFoundError(
                "No module named %r: %s" % (fullname, what_happened(parent, name))
            )


def install(everything=False, verbosity=0):
    """Puts removed APIs back where old programs look for them, so that these run unedited.

    If this TensorFlow has no `tf.layers`, as with Keras 3, provides bn_compat's
    `batch_normalization` and `BatchNormalization`, and TensorFlow's own other layers.

    If it has no contrib, provides `tf.contrib.layers` with bn_compat's `batch_norm`, `conv2d` and
    `fully_connected`. If tf_slim is installed, instead provides slim's `tf.contrib.layers`,
    `.slim`, `.framework`, `.losses`, `.metrics` and `.training`, which have most of what was there.
    In all of slim's modules, `batch_norm` is then bn_compat's, and works with `arg_scope`. Besides
    these, contrib gets what TensorFlow and TensorBoard still have of it, such as the RNN cells.

    If it has no `tensorflow.examples.tutorials.mnist`, provides `bn_mnist.py`, if that was copied,
    there and where `tf.contrib.learn` had it.

    The error for anything else says when TensorFlow removed it, and what to use instead.

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
            _install_cells()
            _install_contrib(everything)
            _install_tutorials()
            _install_importing()
        except BaseException:
            uninstall()
            raise
    if verbosity >= 1:
        print("\n".join(_report), file=sys.stderr)
    return list(_report)


# ---- Graphs that TF1 exported ----

_STALE = re.compile(r"Node '(.+?)' has an _output_shapes attribute inconsistent")
# Taken before `install` puts `import_meta_graph` in its place.
_import_meta_graph = tf.train.import_meta_graph


def import_meta_graph(meta_graph_or_file, clear_devices=False, import_scope=None, **kwargs):
    """Imports a graph that a `Saver` of TF1 exported: `tf.train.import_meta_graph` of TF 1.15.

    TensorFlow refuses graphs that 1.15 exported with the gradients of a fused batch norm: "has an
    _output_shapes attribute inconsistent with the GraphDef".

    Args:
        meta_graph_or_file: a MetaGraphDef, which stays unchanged, or a path.
        The others are as in `tf.train.import_meta_graph`.

    Returns:
        A Saver, or None if the graph has no variables.

    Raises:
        OSError: the file can't be read.
        ValueError: the graph can't be imported.
    """
    meta_graph = tf.MetaGraphDef()
    if isinstance(meta_graph_or_file, tf.MetaGraphDef):
        meta_graph.CopyFrom(meta_graph_or_file)
    else:
        reader = importlib.import_module("tensorflow.python.framework.meta_graph")
        meta_graph.CopyFrom(reader.read_meta_graph_file(meta_graph_or_file))
    remove_stale_shapes(meta_graph.graph_def)
    return _import_meta_graph(meta_graph, clear_devices, import_scope, **kwargs)


def remove_stale_shapes(graph_def):
    """Removes from a GraphDef the recorded shapes that this TensorFlow refuses; keeps the others.

    Others may say more than TensorFlow can infer, such as what `set_shape` was told.
    """
    nodes = list(graph_def.node)
    nodes += [node for function in graph_def.library.function for node in function.node_def]
    for node in nodes:
        if node.op.startswith("FusedBatchNorm"):
            node.attr.pop("_output_shapes", None)
    while True:
        with tf.Graph().as_default():
            try:
                tf.import_graph_def(graph_def, name="")
                return
            except (ValueError, tf.errors.OpError) as error:
                stale = _STALE.search(str(error))
        if stale is None:
            return  # There is something else, which importing it will say.
        for node in nodes:
            if node.name == stale.group(1):
                node.attr.pop("_output_shapes", None)


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
        _put("layers", layers)
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


# The cells of `tf.nn.rnn_cell`, which were contrib's too.
_CELLS = (
    "BasicLSTMCell",
    "BasicRNNCell",
    "DeviceWrapper",
    "DropoutWrapper",
    "GRUCell",
    "LSTMCell",
    "LSTMStateTuple",
    "MultiRNNCell",
    "RNNCell",
    "ResidualWrapper",
)


_OF_RNN = ("static_bidirectional_rnn", "static_rnn", "static_state_saving_rnn")
# What of `tf.contrib.framework` is in `tf` and in `tf.train`.
_OF_FRAMEWORK = (
    "TensorSpec",
    "argsort",
    "assert_global_step",
    "create_global_step",
    "get_global_step",
    "get_or_create_global_step",
    "init_from_checkpoint",
    "is_tensor",
    "list_variables",
    "load_checkpoint",
    "load_variable",
    "py_func",
    "sort",
)


def _install_cells():
    """With Keras 3, `tf.nn.rnn_cell` refuses to give the cells that TensorFlow still has."""
    if _has(tf.nn.rnn_cell, "GRUCell"):
        _report.append("tf.nn.rnn_cell: left alone, it works")
        return
    cells = importlib.import_module("tensorflow.python.keras.layers.legacy_rnn.rnn_cell_impl")
    overlay = Overlay("tensorflow.nn.rnn_cell", **{name: getattr(cells, name) for name in _CELLS})
    _set_attribute(tf.nn, "rnn_cell", overlay)
    for _, path in _roots():
        _set_module(path + ".nn.rnn_cell", overlay)
    _report.append("tf.nn.rnn_cell: the cells are TensorFlow's own (%s)" % cells.__name__)


def _install_tutorials():
    if tf.version.VERSION.startswith("1."):
        _report.append("tensorflow.examples.tutorials.mnist: left alone, it works")
    elif not _mnist():
        _report.append("tensorflow.examples.tutorials.mnist: copy bn_mnist.py to have it")
    else:
        examples = Overlay("tensorflow.examples")
        for name in ("input_data", "mnist"):
            _put_below(examples, "tutorials.mnist." + name, _mnist())
        _put("examples", examples)
        _report.append("tensorflow.examples.tutorials.mnist: the reader is bn_mnist's")


def _install_importing():
    if not tf.version.VERSION.startswith("1."):
        _set_attribute(tf.train, "import_meta_graph", import_meta_graph)
        _report.append("tf.train.import_meta_graph: takes graphs that TF1 exported")


def _mnist():
    """Returns the module `bn_mnist`, or None if it was not copied."""
    path = "%s.bn_mnist" % __package__ if __package__ else "bn_mnist"
    return importlib.import_module(path) if importlib.util.find_spec(path) else None


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
    for path, names in _still_there().items():
        _put_below(contrib, path, _module_of(path, names))
    if _mnist():
        for path in ("learn.datasets", "learn.python.learn.datasets"):
            _put_below(
                contrib, path, _module_of(path, {"DATASETS": {"mnist": _mnist().load_mnist}})
            )
            for name in ("", ".mnist", ".base"):
                _put_below(contrib, path + name, _mnist())
    _put("contrib", contrib)
    finder = _FinderOfNothing()
    sys.meta_path.append(finder)
    _undo.append(functools.partial(sys.meta_path.remove, finder))


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
    return contrib


def _still_there():
    """Returns what TensorFlow and TensorBoard still have of contrib: names by path in contrib.

    It comes after slim's. Whether it is there at all depends on their version.
    """
    framework = {"nest": importlib.import_module("tensorflow.python.util.nest")}
    framework.update(_taken(tf, _OF_FRAMEWORK))
    framework.update(_taken(tf.train, _OF_FRAMEWORK))
    rnn = _taken(tf.nn.rnn_cell, _CELLS)
    rnn.update(_taken(tf.nn, _OF_RNN))
    ops = importlib.import_module("tensorflow.python.ops.rnn")
    for name in ("transpose_batch_time", "best_effort_input_batch_size"):
        rnn[name] = getattr(ops, "_" + name)
    found = {
        "distributions": vars(tf.distributions),
        "framework": framework,
        "rnn": rnn,
        "rnn.python.ops.core_rnn": rnn,
        "rnn.python.ops.core_rnn_cell": rnn,
        "rnn.python.ops.core_rnn_cell_impl": rnn,
        "rnn.python.ops.rnn": rnn,
        "rnn.python.ops.rnn_cell": rnn,
    }
    if importlib.util.find_spec("tensorboard"):
        projector = importlib.import_module("tensorboard.plugins.projector")
        found["tensorboard.plugins.projector"] = vars(projector)
    return found


def _taken(module, names):
    return {name: getattr(module, name) for name in names if _has(module, name)}


def _module_of(path, names):
    module = types.ModuleType("TensorFlow's own " + path.rpartition(".")[2])
    module.__dict__.update({name: value for name, value in names.items() if name[:2] != "__"})
    return module


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


def _put(name, overlay):
    """Puts an overlay, with those below it, where programs look for `tf.NAME`."""
    for root, _ in _roots():
        _set_attribute(root, name, overlay)
    _register(["%s.%s" % (path, name) for _, path in _roots()], overlay)


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
