"""Old programs, run as they are: `bn_compat.install()` and `python -m bn_compat`."""

import json
import os
import subprocess
import sys
import textwrap

import numpy as np
import pytest

from tests import processes
from tests.helpers import PROJECT
from tests.originals import golden, small_mnist

PROGRAMS = PROJECT / "tests" / "programs"


def launch(*arguments, cwd):
    """Runs an old program with the launcher, in a process that has imported TensorFlow."""
    command = [sys.executable, "-m", "bn_compat", *map(str, arguments)]
    return processes.run(command, cwd, dict(os.environ))


def launch_from_nothing(*arguments, cwd, **environment):
    """The same in a process that does all its own imports."""
    return run_python("-m", "bn_compat", *arguments, cwd=cwd, **environment)


def run_python(*arguments, cwd, **environment):
    return subprocess.run(
        [sys.executable, *map(str, arguments)],
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": str(PROJECT), "TF_CPP_MIN_LOG_LEVEL": "3", **environment},
        capture_output=True,
        text=True,
        timeout=300,
    )


def run_program(text, cwd, **environment):
    """Runs a few lines to completion; returns what they printed."""
    if environment:  # which Keras to use, for example: TensorFlow reads that when it is imported
        completed = run_python("-c", textwrap.dedent(text), cwd=cwd, **environment)
    else:
        command = [sys.executable, "-c", textwrap.dedent(text)]
        completed = processes.run(command, cwd, dict(os.environ))
    assert completed.returncode == 0, completed.stderr[-3000:]
    return completed.stdout


def write_program(folder, text):
    path = folder / "old_program.py"
    path.write_text(textwrap.dedent(text))
    return path


def assert_as_on_tf_1_15(name, completed):
    assert completed.returncode == 0, completed.stderr[-3000:]
    found, expected = json.loads(completed.stdout.splitlines()[-1]), golden.programs()[name]
    # The gradient of a bias before batch norm is only rounding error, which Adam turns into steps.
    np.testing.assert_allclose(found.pop("losses"), expected.pop("losses"), atol=1e-4)
    np.testing.assert_allclose(found.pop("evaluated"), expected.pop("evaluated"), atol=0.05)
    assert found == expected


def assert_same_json(name, completed):
    assert completed.returncode == 0, completed.stderr[-3000:]
    assert json.loads(completed.stdout.splitlines()[-1]) == golden.programs()[name]


@pytest.mark.parametrize("name", ["contrib", "slim", "layers", "deep_mnist", "rnn"])
def test_an_old_program_does_what_it_did(tmp_path, name):
    small_mnist.write(tmp_path / "MNIST_data")
    start = launch_from_nothing if name == "slim" else launch
    assert_as_on_tf_1_15(name, start(PROGRAMS / f"{name}.py", cwd=tmp_path))


@pytest.mark.parametrize("name", ["keras_objects", "mnist_reader", "small_parts"])
def test_what_an_old_program_calls_returns_what_it_did(tmp_path, name):
    """Keras's objects; batches of MNIST; contrib's small parts; what TF1 refused and took."""
    small_mnist.write(tmp_path / "MNIST_data")
    assert_same_json(name, launch(PROGRAMS / f"{name}.py", cwd=tmp_path))


@pytest.mark.parametrize(
    "name", ["deep_mnist", "keras_objects", "mnist_reader", "rnn", "small_parts"]
)
def test_the_record_of_an_old_program_is_what_tf_1_15_does(tmp_path, tf115_python, name):
    small_mnist.write(tmp_path / "MNIST_data")
    completed = subprocess.run(
        [tf115_python, PROGRAMS / f"{name}.py"],
        cwd=tmp_path,
        env={**os.environ, "TF2_BEHAVIOR": "0"},
        capture_output=True,
        text=True,
    )
    if name in ("deep_mnist", "rnn"):
        assert_as_on_tf_1_15(name, completed)
    else:
        assert_same_json(name, completed)


def test_with_the_legacy_keras_the_originals_stay(tmp_path):
    pytest.importorskip("tf_keras")
    completed = launch_from_nothing(
        "-v", PROGRAMS / "layers.py", cwd=tmp_path, TF_USE_LEGACY_KERAS="1"
    )
    assert "tf.layers: left alone, it works" in completed.stderr
    assert_as_on_tf_1_15("layers", completed)


def test_contrib_does_without_slim_what_it_can(tmp_path):
    start = "import sys; sys.modules['tf_slim'] = None; import bn_launcher; bn_launcher.main()"
    command = [sys.executable, "-c", start]
    program = str(PROGRAMS / "contrib.py")
    assert_as_on_tf_1_15("contrib", processes.run([*command, program], tmp_path, dict(os.environ)))
    program = write_program(
        tmp_path, "import tensorflow as tf\ntf.contrib.layers.l2_regularizer(0.1)"
    )
    refused = processes.run([*command, str(program)], tmp_path, dict(os.environ))
    assert "tensorflow.contrib.layers has no l2_regularizer" in refused.stderr
    assert "no tf_slim" in refused.stderr and refused.returncode == 1


def test_the_launched_program_is_the_program(tmp_path):
    """Its arguments, its modules, its exit code, its traceback."""
    (tmp_path / "beside_it.py").write_text("import tensorflow as tf\nVERSION = tf.VERSION\n")
    (tmp_path / "elsewhere").mkdir()
    program = """
        import sys
        import tensorflow as tf
        import tensorflow.compat.v1 as tf1
        import beside_it

        main_here = True

        assert tf.layers is tf1.layers is tf.compat.v1.layers
        assert tf.contrib.layers.batch_norm is tf1.contrib.layers.batch_norm
        assert tf.compat.v2.Variable is not tf.Variable
        assert __name__ == "__main__" and sys.modules["__main__"].main_here
        print(sys.argv[1:], beside_it.VERSION == tf.__version__)
        if sys.argv[1] == "exit":
            sys.exit(3)
        tf.layers.batch_normalization(tf.zeros([4]))
    """
    path = write_program(tmp_path, program)
    exited = launch(path, "exit", "--flag=1", cwd=tmp_path / "elsewhere")
    assert exited.returncode == 3 and exited.stdout == "['exit', '--flag=1'] True\n"

    failed = launch(path, "fail", cwd=tmp_path / "elsewhere")
    assert failed.returncode == 1
    lines = failed.stderr[failed.stderr.index("Traceback") :].splitlines()
    assert lines[1] == f'  File "{path}", line {len(program.splitlines()) - 1}, in <module>'
    assert lines[-1].startswith("ValueError: inputs must have a rank from 2 to 5")


def test_the_program_finds_its_own_modules_and_never_this_projects(tmp_path):
    """Of these names this project has modules, and Python prefers them to a folder of the program.

    Both where the program is started in a clone, and where a clone is on Python's path.
    """
    (tmp_path / "networks").mkdir()
    (tmp_path / "networks" / "lenet.py").write_text("")
    (tmp_path / "model.py").write_text("")
    program = """
        import importlib

        import bn_tools
        import model
        import networks.lenet

        print(model.__file__, networks.lenet.__file__, bn_tools.__name__)
        for name in ("train", "mnist", "flags"):
            try:
                print(importlib.import_module(name))
            except ImportError as error:
                print(error.name)
    """
    path = write_program(tmp_path, program)
    expected = [tmp_path / "model.py", tmp_path / "networks" / "lenet.py", "bn_tools"]
    expected += ["train", "mnist", "flags"]
    for cwd in (PROJECT, tmp_path):
        completed = launch(path, cwd=cwd)
        assert completed.stdout.split() == list(map(str, expected)), completed.stderr[-3000:]


def test_a_module_of_a_package_is_run_as_python_runs_it(tmp_path):
    package = tmp_path / "package"
    package.mkdir()
    (package / "__init__.py").write_text("import tensorflow as tf\nVERSION = tf.VERSION\n")
    (package / "net.py").write_text(
        "import tensorflow as tf\n"
        "def net(x):\n"
        "    return tf.layers.batch_normalization(x, training=True, name='bn')\n"
    )
    program = """
        import sys
        import tensorflow as tf
        from . import VERSION
        from .net import net

        net(tf.ones([4, 2]))
        print(len(tf.global_variables()), __name__, __package__, __spec__.name, sys.argv)
    """
    for name in ("train", "__main__"):
        (package / f"{name}.py").write_text(textwrap.dedent(program))
    for module, name in (("package.train", "train"), ("package", "__main__")):
        ran = launch("-m", module, "--flag", cwd=tmp_path)
        argv = [str(package / f"{name}.py"), "--flag"]
        assert ran.stdout == f"4 __main__ package package.{name} {argv}\n", ran.stderr[-3000:]
    refused = launch("-m", "package.nowhere", cwd=tmp_path)
    assert refused.returncode == 2
    assert refused.stderr.splitlines()[-1].startswith("bn_compat: can't find the module package.no")


def test_children_that_import_the_program_again_find_tf1_too(tmp_path):
    program = """
        import multiprocessing
        import os
        import sys

        import tensorflow as tf

        def names(_):
            tf.layers.batch_normalization(tf.ones([4, 2]), training=True, name="bn")
            return [v.op.name for v in tf.global_variables()], sys.argv

        if __name__ == "__main__":
            os.chdir("elsewhere")
            for method in ("spawn", "forkserver"):
                with multiprocessing.get_context(method).Pool(1) as pool:
                    print(pool.map(names, [0])[0])
    """
    (tmp_path / "elsewhere").mkdir()
    path = write_program(tmp_path, program)
    completed = launch_from_nothing(path.name, "--flag", cwd=tmp_path)
    variables = [f"bn/{name}" for name in ("gamma", "beta", "moving_mean", "moving_variance")]
    expected = f"({variables}, ['old_program.py', '--flag'])\n"
    assert completed.stdout == 2 * expected, completed.stderr[-3000:]


def test_what_is_gone_for_good_says_since_when_and_what_to_use(tmp_path):
    program = """
        import tensorflow as tf

        for text in (
            "tf.estimator.ModeKeys",
            "import tensorflow.estimator",
            "tf.contrib.seq2seq.BasicDecoder",
            "from tensorflow.contrib import crf",
            "from tensorflow.contrib.opt import AdamWOptimizer",
            "tf.contrib.training.HParams()",
            "tf.contrib.layers.embed_sequence",
            "tf.mul",
            "tf.no_such_name",
        ):
            try:
                exec(text)
            except (AttributeError, ImportError) as error:
                print(type(error).__name__, str(error))
        assert not hasattr(tf.contrib, "tpu") and not hasattr(tf, "estimator")
    """
    completed = launch(write_program(tmp_path, program), cwd=tmp_path)
    assert completed.returncode == 0, completed.stderr[-3000:]
    lines = completed.stdout.splitlines()
    expected = [
        ("AttributeError tensorflow has no estimator", "TensorFlow 2.16 removed tf.estimator: no"),
        ("ModuleNotFoundError No module named 'tensorflow.estimator'", "TensorFlow 2.16 removed"),
        ("AttributeError tensorflow.contrib has no seq2seq", "use tf.nn.raw_rnn"),
        ("ModuleNotFoundError No module named 'tensorflow.contrib.crf'", "TensorFlow 2.0 removed"),
        ("ModuleNotFoundError No module named 'tensorflow.contrib.opt'", "TensorFlow 2.0 removed"),
        ("AttributeError tensorflow.contrib.training has no HParams", "TensorFlow 2.0 removed"),
        (
            "AttributeError tensorflow.contrib.layers has no embed_sequence",
            "is from tf_slim.layers",
        ),
        ("AttributeError tensorflow has no mul", "TensorFlow 1.0 renamed tf.mul"),
        ("AttributeError tensorflow has no no_such_name", "neither in this TensorFlow nor in tf."),
    ]
    for line, (start, told) in zip(lines, expected, strict=True):
        assert line.startswith(f"{start}: ") and told in line


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--help"], "usage: python -m bn_compat [-v] (old_program.py | -m old.module)"),
        (["missing.py"], "can't read the program missing.py"),
    ],
)
def test_what_can_not_be_launched_gets_one_line(tmp_path, arguments, message):
    refused = launch(*arguments, cwd=tmp_path)
    assert refused.returncode == 2
    # TensorFlow prints its own messages first.
    assert message in refused.stderr.splitlines()[-1] and refused.stdout == ""


@pytest.mark.parametrize(
    ("text", "error", "line"),
    [
        ("print 'hello'", "SyntaxError: ", "old_program.py, line 1, is Python 2's"),
        ("for i in xrange(3): pass", "NameError: ", "xrange is Python 2's"),
        ("import cPickle", "ModuleNotFoundError: ", "cPickle is Python 2's"),
        ("from itertools import izip", "ImportError: ", "izip is Python 2's"),
        ("{}.iteritems()", "AttributeError: ", "iteritems is Python 2's"),
        ("{1: 2}.keys()[0]", "TypeError: ", "a list, where Python 3 has dict_keys, is Python 2's"),
        ("import no_such_package", "ModuleNotFoundError: ", None),
        ("raise NameError('of its own')", "NameError: ", None),
    ],
)
def test_a_program_of_python_2_is_said_to_be_one(tmp_path, text, error, line):
    path = write_program(tmp_path, text)
    refused = launch(path, cwd=tmp_path)
    assert refused.returncode == 1 and f'File "{path}", line 1' in refused.stderr
    *_, raised, last = ["", *refused.stderr.splitlines()]
    if line is None:
        assert last.startswith(error) and "bn_compat" not in refused.stderr
    else:
        assert raised.startswith(error) and last.startswith(f"bn_compat: {line}: convert")


@pytest.mark.parametrize(
    ("call", "line"),
    [
        ("concat(1, [[[2]], [[3]]])", "changed the order of the arguments of tf.concat"),
        ("split(1, 2, [[2.0, 3.0]])", "changed the order of the arguments of tf.split"),
        ("train.SummaryWriter", "renamed tf.train.SummaryWriter, of TensorFlow 0.x, to tf.summary"),
    ],
)
def test_what_is_tensorflow_0s_is_said_to_be(tmp_path, call, line):
    refused = launch(write_program(tmp_path, f"import tensorflow as tf; tf.{call}"), cwd=tmp_path)
    assert refused.returncode == 1 and line in refused.stderr.splitlines()[-1]


def test_a_size_that_numpy_2_left_small_is_said_to_be_numpys(tmp_path):
    program = "import numpy as np, tensorflow as tf; tf.random_normal([max(np.uint8([1, 9])) + 1])"
    refused = launch(write_program(tmp_path, program), cwd=tmp_path)
    if np.lib.NumpyVersion(np.__version__) >= "2.0.0":
        assert refused.returncode == 1
        assert "NumPy 2 does not: convert it with int()" in refused.stderr.splitlines()[-1]
    else:
        assert refused.returncode == 0


def test_programs_find_all_that_slim_has_where_it_was_in_contrib(tmp_path):
    program = """
        import tensorflow as tf
        import tensorflow.contrib as contrib
        import tensorflow.contrib.slim as slim
        from tensorflow.contrib import framework, layers
        from tensorflow.contrib.framework import add_arg_scope, arg_scope, model_variable, nest
        from tensorflow.contrib.framework.python.ops import add_arg_scope, arg_scope, variables
        from tensorflow.contrib.framework.python.ops.arg_scope import add_arg_scope
        from tensorflow.contrib.framework.python.ops.variables import get_variables_to_restore
        from tensorflow.contrib.layers.python.layers import initializers, regularizers, utils
        from tensorflow.contrib.layers.python.layers.layers import conv2d
        from tensorflow.contrib.slim import nets
        from tensorflow.contrib.slim.nets import resnet_v1
        from tensorflow.contrib.slim.python.slim.nets import inception_v3, resnet_v2, vgg
        from tensorflow.contrib.slim.python.slim.data import dataset
        from tensorflow.contrib.training import evaluate_once
        from tensorflow.python.layers.normalization import BatchNorm, batch_norm
        import importlib.util
        import tf_slim

        assert importlib.util.find_spec("tensorflow") and tf.__file__
        found = {
            slim.batch_norm,
            tf_slim.batch_norm,
            tf.contrib.slim.batch_norm,
            layers.batch_norm,
            tf.contrib.layers.batch_norm,
            contrib.layers.python.layers.layers.batch_norm,
        }
        assert len(found) == 1, found
        assert arg_scope is slim.arg_scope and conv2d is slim.conv2d
        with arg_scope([slim.batch_norm], decay=0.5, scale=True), arg_scope(
            [model_variable, slim.variable], device="/device:CPU:7"
        ):
            slim.conv2d(tf.zeros([2, 4, 4, 3]), 2, 3, normalizer_fn=slim.batch_norm, scope="conv")
        names = [v.op.name for v in tf.global_variables()]
        assert "conv/BatchNorm/gamma" in names, names
        assert {v.device for v in tf.global_variables()} == {"/device:CPU:7"}
    """
    completed = launch(write_program(tmp_path, program), cwd=tmp_path)
    assert completed.returncode == 0, completed.stderr[-3000:]


def test_install_says_what_it_did_and_uninstall_undoes_it(tmp_path):
    program = """
        import importlib
        import sys

        import tensorflow.compat.v1 as tf

        import bn_compat

        def state():
            slim = sys.modules.get("tf_slim")
            modules = {name for name in sys.modules if "contrib" in name}
            return tf.layers, hasattr(tf, "contrib"), modules, slim and slim.batch_norm

        importlib.import_module("tf_slim")
        before = state()
        lines = bn_compat.install()
        during = state()
        assert bn_compat.install() == lines and state() == during, "once more is no more"
        bn_compat.install(verbosity=1)
        assert during[3] is not before[3] and during[2] > before[2]
        assert tf.layers.batch_normalization is bn_compat.batch_normalization
        assert tf.layers.BatchNormalization is bn_compat.BatchNormalization
        with tf.Graph().as_default():
            assert tf.layers.dense(tf.zeros([2, 3]), 4).shape == (2, 4)
        bn_compat.uninstall()
        assert state() == before
        try:
            importlib.import_module("tensorflow.contrib.layers")
        except ImportError:
            bn_compat.uninstall()
            print("\\n".join(lines))
    """
    lines = run_program(program, tmp_path).splitlines()
    assert [line.partition(":")[0] for line in lines] == [
        "tf.layers",
        "tf.nn.rnn_cell",
        "tf.contrib",
        "tf_slim",
        "tensorflow.examples.tutorials.mnist",
        "tf.train.import_meta_graph",
    ]


def test_everything_takes_the_place_of_originals_that_work(tmp_path):
    pytest.importorskip("tf_keras")
    program = """
        import tensorflow.compat.v1 as tf

        import bn_compat

        original = tf.layers.batch_normalization
        assert "left alone" in bn_compat.install()[0]
        assert tf.layers.batch_normalization is original
        bn_compat.uninstall()
        bn_compat.install(everything=True)
        assert tf.layers.batch_normalization is bn_compat.batch_normalization
        assert tf.layers.dense.__module__.startswith("tf_keras")
    """
    run_program(program, tmp_path, TF_USE_LEGACY_KERAS="1")


@pytest.mark.parametrize("environment", [{}, {"TF_USE_LEGACY_KERAS": "1"}], ids=["3", "legacy"])
def test_a_layer_of_another_keras_that_owns_ours_is_told_so(tmp_path, environment):
    pytest.importorskip("tf_keras")
    program = """
        import tensorflow as tf

        import bn_compat

        class Block(tf.keras.layers.Layer):
            def __init__(self):
                super().__init__()
                self.norm = bn_compat.BatchNormalization()

            def call(self, inputs):
                return self.norm(inputs, training=True)

        with tf.compat.v1.Graph().as_default():
            try:
                Block()(tf.zeros([4, 3]))
            except RuntimeError as error:
                assert "can't own bn_compat.BatchNormalization" in str(error), error
                print("told")
            assert not tf.compat.v1.global_variables()
    """
    assert run_program(program, tmp_path, **environment) == "told\n"
