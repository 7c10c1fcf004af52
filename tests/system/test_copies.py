"""The files installed, or copied into a package; graphs that one copy saves, another reads."""

import os
import shutil
import subprocess
import sys

import pytest

from tests import processes
from tests.helpers import PROJECT

FILES = (
    "bn_wrapper.py",
    "bn_tools.py",
    "bn_compat.py",
    "bn_revive.py",
    "bn_mnist.py",
    "bn_launcher.py",
)

SAVE = """
import sys
import numpy as np
import tensorflow as tf2, tensorflow.compat.v1 as tf
{imported}
with tf.Graph().as_default(), tf.Session() as session:
    inputs = tf.placeholder(tf.float32, [None, 3], name="inputs")
    outputs = bn_wrapper.batch_norm_wrapper(inputs, True, fused=False)
    outputs = tf.identity(bn_wrapper.batch_norm_wrapper(outputs, True), name="outputs")
    gradient = tf.gradients(tf.reduce_sum(outputs**3), inputs)[0]
    session.run(tf.global_variables_initializer())
    values = np.random.default_rng(0).normal(size=[8, 3]).astype(np.float32)
    np.save("gradient.npy", session.run(gradient, {{inputs: values}}))
    tf.train.export_meta_graph("graph.meta", graph=tf.get_default_graph())
with tf.Graph().as_default(), tf.Session() as session:
    with tf.variable_scope("", use_resource=True):
        inputs = tf.placeholder(tf.float32, [None, 3], name="inputs")
        outputs = bn_wrapper.batch_norm_wrapper(inputs, True, fused=False)
        outputs = bn_wrapper.batch_norm_wrapper(outputs, True)
    session.run(tf.global_variables_initializer())
    tf.saved_model.simple_save(session, "saved", {{"inputs": inputs}}, {{"outputs": outputs}})
"""

READ = """
import numpy as np
import tensorflow as tf2, tensorflow.compat.v1 as tf
{imported}
values = np.random.default_rng(0).normal(size=[8, 3]).astype(np.float32)
expected = np.load("gradient.npy")
with tf.Graph().as_default(), tf.Session() as session:
    tf.train.import_meta_graph("graph.meta")
    graph = tf.get_default_graph()
    inputs, outputs = map(graph.get_tensor_by_name, ["inputs:0", "outputs:0"])
    gradient = tf.gradients(tf.reduce_sum(outputs**3), inputs)[0]
    session.run(tf.global_variables_initializer())
    np.testing.assert_allclose(session.run(gradient, {{inputs: values}}), expected, atol=1e-4)
function = tf2.saved_model.load("saved").signatures["serving_default"]
inputs = tf2.constant(values)
with tf2.GradientTape() as tape:
    tape.watch(inputs)
    loss = tf2.reduce_sum(function(inputs=inputs)["outputs"] ** 3)
np.testing.assert_allclose(tape.gradient(loss, inputs).numpy(), expected, atol=1e-4)
"""


# Where the other files are looked for: beside the copy, not in this project.
ALONE = f"import sys; sys.path = [path for path in sys.path if path != {str(PROJECT)!r}]\n"


def run(script, folder):
    """Runs lines of Python that find modules in a folder; returns what they printed."""
    completed = processes.run([sys.executable, "-c", ALONE + script], folder, dict(os.environ))
    assert completed.returncode == 0, completed.stderr[-3000:]
    return completed.stdout


def test_a_graph_that_was_saved_has_its_gradients_wherever_the_file_lies(tmp_path):
    """Gradient names used to include the module: `No gradient defined for operation IdentityN`."""
    (tmp_path / "mypkg").mkdir()
    (tmp_path / "mypkg" / "__init__.py").touch()
    for folder in (tmp_path, tmp_path / "mypkg"):
        shutil.copy(PROJECT / "bn_wrapper.py", folder)
    run(SAVE.format(imported="import bn_wrapper"), tmp_path)
    run(READ.format(imported="from mypkg import bn_wrapper"), tmp_path)


USE = """
import numpy as np
import tensorflow.compat.v1 as tf
{imported}
tf.disable_v2_behavior()
for layer in (
    lambda x: bn_wrapper.batch_norm_wrapper(x, True, decay=0.0),
    lambda x: bn_compat.batch_norm(x, decay=0.0, updates_collections=None, fused=False),
):
    with tf.Graph().as_default(), tf.Session() as session:
        values = np.float32([[1.0], [5.0]])
        outputs = layer(tf.constant(values))
        session.run(tf.global_variables_initializer())
        assert np.allclose(session.run(outputs), [[-1.0], [1.0]], atol=1e-3)
        means = [v for v in tf.global_variables() if v.op.name.endswith("_mean")]
        assert session.run(means[0]).tolist() == [3.0]
        (found,) = bn_tools.layers_of(tf.get_default_graph())
        assert found.variables.pop_mean is means[0]
        bn_tools.population_statistics(session, [found], lambda: [{{}}])
        assert session.run(found.variables.pop_var).tolist() == [8.0]
print(bn_wrapper.__version__, bn_wrapper.__file__)
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """Built as `pip install .` does, from the files of a clone."""
    folder = tmp_path_factory.mktemp("wheel")
    for name in ("pyproject.toml", "README.md", "LICENSE", *FILES):
        shutil.copy(PROJECT / name, folder)
    pip = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "."]
    made = subprocess.run(pip, cwd=folder, capture_output=True, text=True)
    assert made.returncode == 0, made.stderr[-3000:]
    (path,) = folder.glob("*.whl")
    return path


@pytest.mark.parametrize("tensorflow", ["today", "1.15"])
def test_what_is_installed_is_the_files_to_copy_whatever_the_python(
    wheel, tmp_path, tensorflow, request
):
    python = sys.executable if tensorflow == "today" else request.getfixturevalue("tf115_python")
    pip = [python, "-m", "pip", "install", "--no-deps", "--no-index", "--target=installed", wheel]
    subprocess.run(pip, cwd=tmp_path, check=True, capture_output=True)
    installed = {p.name for p in (tmp_path / "installed").glob("*.py")}
    assert installed == set(FILES)
    script = USE.format(imported="import bn_compat, bn_tools, bn_wrapper")
    printed = run_on(python, script, tmp_path / "installed")
    assert printed.split() == ["1.0.0", str(tmp_path / "installed" / "bn_wrapper.py")]


def run_on(python, script, folder):
    """The same on any TensorFlow."""
    if python == sys.executable:
        return run(script, folder)
    completed = subprocess.run(
        [python, "-c", script],
        cwd=folder,
        env={**os.environ, "TF2_BEHAVIOR": "0"},
        capture_output=True,
        text=True,
    )
    assert completed.returncode == 0, completed.stderr[-3000:]
    return completed.stdout


@pytest.mark.parametrize("tensorflow", ["today", "1.15"])
def test_copied_into_a_package_they_are_its_modules(tmp_path, tensorflow, request):
    """`import mypkg.bn_compat` used to look for a `bn_wrapper` outside the package."""
    python = sys.executable if tensorflow == "today" else request.getfixturevalue("tf115_python")
    package = tmp_path / "mypkg"
    package.mkdir()
    (package / "__init__.py").touch()
    for name in FILES:
        shutil.copy(PROJECT / name, package)
    imported = "from mypkg import bn_compat, bn_tools, bn_wrapper"
    assert str(package) in run_on(python, USE.format(imported=imported), tmp_path)

    (tmp_path / "old.py").write_text(
        "import tensorflow as tf\nprint(tf.contrib.layers.batch_norm)\n"
    )
    for module in ("mypkg.bn_compat", "mypkg.bn_launcher"):
        as_main = f"sys.argv[1:] = ['old.py']; runpy.run_module('{module}', None, '__main__', True)"
        printed = run_on(python, f"import runpy, sys; {as_main}", tmp_path)
        assert printed.startswith("<function")


WITHOUT = """
import runpy
import tensorflow.compat.v1 as tf
import bn_compat
with tf.Graph().as_default():
    print(bn_compat.batch_norm(tf.zeros([4, 3])).shape)
try:
    bn_compat.install()
except ImportError as error:
    print(error)
runpy.run_module("bn_compat", run_name="__main__")
"""


def test_a_file_that_was_not_copied_is_asked_for_where_it_is_needed(tmp_path):
    for name in ("bn_wrapper.py", "bn_compat.py"):
        shutil.copy(PROJECT / name, tmp_path)
    command = [sys.executable, "-c", ALONE + WITHOUT]
    completed = processes.run(command, tmp_path, dict(os.environ))
    needed = "bn_compat.install needs bn_revive.py beside bn_compat.py"
    assert completed.stdout == f"(4, 3)\n{needed}\n", completed.stderr
    last = completed.stderr.splitlines()[-1]
    assert last == "python -m bn_compat needs bn_launcher.py and bn_revive.py beside bn_compat.py"
    assert completed.returncode == 2
