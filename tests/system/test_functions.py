"""Batch norm in TF2 functions and compiled by XLA: what works, and what says why it can't."""

import functools

import numpy as np
import pytest
import tensorflow as tf2
import tensorflow.compat.v1 as tf

from bn_wrapper import batch_norm_wrapper
from tests.layers import LAYERS, VALUES, gradient_of, moments, plain_gradient, variable

SPEC = tf.TensorSpec([8, 3], tf.float32)
TF2_FUNCTIONS = {
    "function": lambda build: tf2.function(build).get_concrete_function(SPEC),
    "jit": lambda build: tf2.function(build, jit_compile=True).get_concrete_function(SPEC),
    "wrap_function": lambda build: tf.wrap_function(build, [SPEC]),
}


@pytest.mark.parametrize("function", TF2_FUNCTIONS)
@pytest.mark.parametrize(
    "name, flag",
    [("wrapper", "phase_train"), ("contrib", "is_training"), ("tf.layers", "training")],
)
def test_a_function_of_tf2_is_no_place_to_train_in(name, flag, function):
    for phase in (lambda: True, lambda: tf.placeholder_with_default(True, [])):

        def build(inputs, phase=phase):
            return LAYERS[name](inputs, **{flag: phase()})

        with pytest.raises(RuntimeError, match="can't be trained by tf.function or wrap_function"):
            TF2_FUNCTIONS[function](build)


def test_a_wrapped_function_may_infer():
    function = tf.wrap_function(lambda inputs: batch_norm_wrapper(inputs), [SPEC])
    np.testing.assert_allclose(function(tf.constant(VALUES)), VALUES, rtol=1e-4)


def test_a_function_in_a_graph_makes_no_variables():
    with tf.Graph().as_default():
        dataset = tf.data.Dataset.from_tensors(VALUES)
        with pytest.raises(RuntimeError, match="build the layer outside of it first"):
            dataset.map(LAYERS["wrapper"])


def test_a_function_in_a_graph_updates_resources_but_no_references():
    with tf.Graph().as_default(), tf.Session() as session:
        dataset = tf.data.Dataset.from_tensors(VALUES)
        for use_resource in (True, False):
            with tf.variable_scope(f"net{use_resource}", use_resource=use_resource):
                LAYERS["wrapper"](tf.constant(VALUES))
        with tf.variable_scope("netTrue", reuse=True):
            outputs = tf.data.make_initializable_iterator(dataset.map(LAYERS["wrapper"]))
        session.run(tf.global_variables_initializer())
        session.run(outputs.initializer)
        session.run(outputs.get_next())
        pop_mean = next(v for v in tf.global_variables() if v.op.name == "netTrue/bn/pop_mean")
        np.testing.assert_allclose(session.run(pop_mean), VALUES.mean(0), rtol=1e-5)
        with tf.variable_scope("netFalse", reuse=True):
            with pytest.raises(RuntimeError, match="is a reference .* use_resource=True"):
                dataset.map(LAYERS["wrapper"])


@pytest.mark.parametrize("name", ["wrapper", "contrib", "tf.layers"])
def test_a_gradient_may_be_recomputed_if_the_second_time_finds_the_variables(name):
    """The batch then counts twice, which does not change the average if it is the first."""
    with tf.Graph().as_default(), tf.Session() as session:
        inputs = tf.placeholder_with_default(VALUES, VALUES.shape)
        with tf.variable_scope("net", use_resource=True):
            layer = functools.partial(LAYERS[name], reuse=tf.AUTO_REUSE)
            gradient = gradient_of(tf2.recompute_grad(layer)(inputs), inputs)
        session.run(tf.global_variables_initializer())
        found = session.run(gradient)
        np.testing.assert_allclose(found, plain_gradient(LAYERS[name]), rtol=1e-4, atol=1e-4)
        if name == "wrapper":
            np.testing.assert_allclose(session.run(variable("pop_mean")), VALUES.mean(0), rtol=1e-5)


@pytest.mark.parametrize("compiled", ["jit_scope", "compile"])
def test_what_xla_compiles_is_not_the_kernel_whose_variance_is_below_zero(compiled):
    """XLA has its own kernel, which turned a variance of 1 into -16 and the outputs into NaN."""
    values = (1e4 + np.random.default_rng(0).normal(size=[64, 8, 8, 4])).astype(np.float32)
    with tf.Graph().as_default(), tf.Session() as session:
        inputs = tf.placeholder_with_default(values, values.shape)
        with tf.variable_scope("net", use_resource=True):
            if compiled == "compile":
                (outputs,) = tf.xla.experimental.compile(
                    lambda x: [batch_norm_wrapper(x, True, name="bn")], [inputs]
                )
            else:
                with tf.xla.experimental.jit_scope():
                    outputs = batch_norm_wrapper(inputs, True, name="bn")
        pop_var = next(v for v in tf.global_variables() if v.op.name.endswith("pop_var"))
        session.run(tf.global_variables_initializer())
        outputs = session.run(outputs)
        found = session.run(pop_var)
    _, var = moments(values)
    np.testing.assert_allclose(outputs.std((0, 1, 2)), 1, rtol=1e-3)
    np.testing.assert_allclose(found, var, rtol=1e-3)
