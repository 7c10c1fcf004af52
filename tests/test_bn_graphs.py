"""Batch norm in copied graphs, in branches and loops, and where there is no graph."""

import functools

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

import bn_compat
from bn_wrapper import batch_norm_wrapper
from tests.layers import LAYERS, VALUES, gradient_of, plain_gradient, variable

of_every_layer = pytest.mark.parametrize("layer", LAYERS.values(), ids=LAYERS)


@of_every_layer
def test_a_graph_that_was_imported_has_gradients_of_its_own(tmp_path, layer):
    with tf.Graph().as_default():
        inputs = tf.placeholder(tf.float32, [None, 3], name="inputs")
        tf.identity(layer(inputs), name="outputs")
        tf.train.export_meta_graph(str(tmp_path / "graph.meta"))

    with tf.Graph().as_default() as graph, tf.Session() as session:
        # If gradients were numbered, a layer built first would take the number of an imported one.
        LAYERS["wrapper of moments"](tf.constant(VALUES * VALUES))
        tf.train.import_meta_graph(str(tmp_path / "graph.meta"), import_scope="old")
        inputs = graph.get_tensor_by_name("old/inputs:0")
        outputs = graph.get_tensor_by_name("old/outputs:0")
        gradient = gradient_of(outputs, inputs)
        session.run(tf.global_variables_initializer())
        found = session.run(gradient, {inputs: VALUES})
    np.testing.assert_allclose(found, plain_gradient(layer), rtol=1e-4, atol=1e-4)


@of_every_layer
def test_a_layer_in_a_branch_has_its_gradient(layer):
    with tf.Graph().as_default(), tf.Session() as session:
        inputs, is_wanted = tf.constant(VALUES), tf.placeholder(tf.bool, [])
        outputs = tf.cond(is_wanted, lambda: layer(inputs), lambda: tf.identity(inputs))
        gradient = gradient_of(outputs, inputs)
        session.run(tf.global_variables_initializer())
        found = session.run(gradient, {is_wanted: True})
        without = session.run(gradient, {is_wanted: False})
    np.testing.assert_allclose(found, plain_gradient(layer), rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(without, 2 * VALUES * np.arange(24).reshape(8, 3), rtol=1e-5)


@pytest.mark.parametrize("fused", [None, False])
def test_a_layer_in_a_loop_averages_every_round(fused):
    layer = functools.partial(
        batch_norm_wrapper, phase_train=True, decay=0.5, fused=fused, name="bn"
    )
    with tf.Graph().as_default(), tf.Session() as session:
        start = tf.constant(VALUES)
        with tf.variable_scope("net", use_resource=True):
            layer(start)
        with tf.variable_scope("net", use_resource=True, reuse=True):
            outputs = tf.while_loop(
                lambda i, _: i < 3, lambda i, x: (i + 1, 2.0 * layer(x) + 1.0), [0, start]
            )[1]
        gradient = tf.gradients(tf.reduce_sum(outputs**3), start)[0]
        initializer = tf.global_variables_initializer()
        statistics = variable("pop_weight"), variable("pop_mean")
        means = [VALUES.mean(0), 1.0, 1.0]
        expected = np.average(np.broadcast_arrays(*means), axis=0, weights=[1, 2, 4])
        for wanted in (outputs, gradient):
            session.run(initializer)
            assert np.isfinite(session.run(wanted)).all()
            pop_weight, pop_mean = session.run(statistics)
            assert pop_weight == 1 - 0.5**3
            np.testing.assert_allclose(pop_mean, expected, rtol=1e-4)


@pytest.mark.parametrize("use_resource", [False, True])
def test_all_variables_are_of_the_kind_that_the_scope_asks_for(use_resource):
    with tf.Graph().as_default():
        with tf.variable_scope("net", use_resource=use_resource):
            batch_norm_wrapper(tf.constant(VALUES), True)
        kinds = {v.op.name: v.dtype == v.dtype.base_dtype for v in tf.global_variables()}
    assert len(kinds) == 5 and set(kinds.values()) == {use_resource}, kinds


def test_without_a_graph_it_says_what_to_do():
    with pytest.raises(RuntimeError, match="disable_v2_behavior"):
        batch_norm_wrapper(tf.constant(VALUES))


@pytest.mark.parametrize("options", [{}, {"renorm": True}])
def test_a_custom_getter_sees_every_variable(options):
    with tf.Graph().as_default():
        seen = []

        def watch(getter, name, *args, **kwargs):
            seen.append(name)
            return getter(name, *args, **kwargs)

        with tf.variable_scope("net", custom_getter=watch):
            batch_norm_wrapper(tf.constant(VALUES), True, **options)
            if not options:
                bn_compat.batch_norm(tf.constant(VALUES), zero_debias_moving_mean=True, fused=False)
        assert {v.op.name for v in tf.global_variables()} == set(seen)


def test_a_layer_of_float32_refuses_float64():
    with tf.Graph().as_default():
        layer = bn_compat.BatchNormalization()
        layer(tf.constant(VALUES), training=True)
        with pytest.raises(TypeError, match="float32, and can't take inputs of float64"):
            layer(tf.constant(VALUES, tf.float64), training=True)
        layer = bn_compat.BatchNormalization(dtype=tf.float64)
        layer(tf.constant(VALUES, tf.float64), training=True)
        batch_norm_wrapper(tf.constant(VALUES), name="bn")
        with pytest.raises(ValueError, match="bn/scale.* float64 .* float32"):
            batch_norm_wrapper(tf.constant(VALUES, tf.float64), name="bn", reuse=True)


def test_an_epsilon_that_is_zero_in_float32_is_refused():
    for layer in (batch_norm_wrapper, bn_compat.batch_norm, bn_compat.batch_normalization):
        with tf.Graph().as_default():
            with pytest.raises(ValueError, match="epsilon must not be 0 in float32, as 1e-50 is"):
                layer(tf.zeros([2, 3, 3, 4]), epsilon=1e-50)
            layer(tf.zeros([2, 3, 3, 4], tf.float64), epsilon=1e-50)


@pytest.mark.parametrize("name", ["contrib", "tf.layers"])
def test_an_epsilon_that_is_a_tensor_is_taken_without_the_kernel(name):
    images = np.random.default_rng(0).normal(size=[4, 5, 5, 3]).astype(np.float32)
    with tf.Graph().as_default(), tf.Session() as session:
        outputs = LAYERS[name](tf.constant(images), epsilon=tf.constant(0.5))
        session.run(tf.global_variables_initializer())
        expected = (images - images.mean((0, 1, 2))) / np.sqrt(images.var((0, 1, 2)) + 0.5)
        np.testing.assert_allclose(session.run(outputs), expected, atol=1e-5)


def test_references_are_updated_beside_tf2s_control_flow_and_that_stays_on(monkeypatch):
    """It used to be off for a moment: a thread that built a graph meanwhile got TF1's."""
    was_v2 = tf.control_flow_v2_enabled()
    tf.enable_control_flow_v2()
    monkeypatch.setattr(tf, "disable_control_flow_v2", lambda: pytest.fail("switched off"))
    try:
        with tf.Graph().as_default(), tf.Session() as session:
            phase_train = tf.placeholder(tf.bool, [])
            with tf.variable_scope("net", use_resource=False):
                outputs = batch_norm_wrapper(tf.constant(VALUES), phase_train, fused=False)
            step = gradient_of(outputs, variable("scale"))
            session.run(tf.global_variables_initializer())
            session.run(step, {phase_train: False})
            assert session.run(variable("pop_weight")) == 0
            session.run(step, {phase_train: True})
            pop_mean, pop_weight = session.run([variable("pop_mean"), variable("pop_weight")])
        np.testing.assert_allclose(pop_mean, VALUES.mean(0), rtol=1e-5)
        np.testing.assert_allclose(pop_weight, 0.01, rtol=1e-5)
    finally:
        monkeypatch.undo()
        (tf.enable_control_flow_v2 if was_v2 else tf.disable_control_flow_v2)()
