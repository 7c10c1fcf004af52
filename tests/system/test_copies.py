"""The two files copied into a package, and graphs that one copy saved and another reads."""

import os
import shutil
import subprocess
import sys

import pytest

from tests.helpers import PROJECT

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

PROJECTS = "import bn_wrapper"
COPY = "from mypkg import bn_wrapper"


def run(script, folder):
    completed = subprocess.run(
        [sys.executable, "-c", script],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(folder)},
        capture_output=True,
        text=True,
    )
    assert completed.returncode == 0, completed.stderr[-3000:]


@pytest.mark.parametrize("saved_by, read_by", [(PROJECTS, COPY), (COPY, PROJECTS), (COPY, COPY)])
def test_a_graph_that_was_saved_has_its_gradients_wherever_the_file_lies(
    tmp_path, saved_by, read_by
):
    """The names of gradients had the module's: `No gradient defined for operation IdentityN`."""
    (tmp_path / "mypkg").mkdir()
    (tmp_path / "mypkg" / "__init__.py").touch()
    for folder in (tmp_path, tmp_path / "mypkg"):
        shutil.copy(PROJECT / "bn_wrapper.py", folder)
    run(SAVE.format(imported=saved_by), tmp_path)
    run(READ.format(imported=read_by), tmp_path)
