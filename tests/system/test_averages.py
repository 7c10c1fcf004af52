"""The moving averages in every face, kind of variables, control flow and phase: too many for
`make check`, which asks tests/test_bn_averages.py.
"""

import contextlib
import functools
import itertools

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

from bn_wrapper import batch_norm_wrapper
from tests.test_bn_averages import DEBIASED, FACES, Reference, batch_with, of_statistics


@contextlib.contextmanager
def control_flow(version):
    """TF1's kind, 1, or TF2's, 2, of what `tf.cond` and `tf.while_loop` build."""
    was_v2 = tf.control_flow_v2_enabled()
    (tf.enable_control_flow_v2 if version == 2 else tf.disable_control_flow_v2)()
    try:
        yield
    finally:
        (tf.enable_control_flow_v2 if was_v2 else tf.disable_control_flow_v2)()


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("is_placeholder", [False, True], ids=["constant", "placeholder"])
def test_calls_in_one_step_leave_the_range_of_what_they_saw_in_no_order(is_placeholder, version):
    """Each of up to six calls may read before the others write."""
    layers = list(itertools.product(FACES, ((2, 0.5), (6, 0.9)), (False, True)))
    with control_flow(version), tf.Graph().as_default(), tf.Session() as session:
        phase = tf.placeholder_with_default(True, []) if is_placeholder else True
        batches = tf.placeholder(tf.float32, [6, None, 1])
        calls = []
        for i, (face, (count, decay), use_resource) in enumerate(layers):
            with tf.variable_scope(f"net{i}", use_resource=use_resource):
                for batch in tf.unstack(batches)[:count]:
                    calls.append(call_with_phase(face, batch, decay, phase))
        session.run(tf.global_variables_initializer())
        feed = {batches: np.stack([batch_with(3.0 + i / 5, 4.0) for i in range(6)])}
        for _ in range(4):
            session.run(calls, feed)
            statistics = np.reshape(of_statistics(session), [len(layers), 2])
            for (face, *_), (mean, var) in zip(layers, statistics, strict=True):
                lowest = (3.0, 4.0) if face in DEBIASED else (0.0, 1.0)
                assert lowest[0] - 1e-5 <= mean <= 4 + 1e-5, face
                assert lowest[1] - 1e-5 <= var <= 4 + 1e-5, face


def call_with_phase(face, inputs, decay, phase):
    if face == "contrib":
        return FACES[face](inputs, decay, is_training=phase)
    options = {
        "wrapper": {},
        "wrapper, not debiased": {"zero_debias": False},
        "renorm": {"renorm": True, "renorm_decay": decay},
    }[face]
    return batch_norm_wrapper(inputs, phase, decay, name="bn", reuse=tf.AUTO_REUSE, **options)


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("is_placeholder", [False, True], ids=["constant", "placeholder"])
def test_calls_that_wait_for_each_other_are_averaged_in_their_order(is_placeholder, version):
    decays, means = (0.9, 0.0, 0.99, 0.5), (3.0, 5.0, 1.0, 9.0)
    layers = list(itertools.product(FACES, (False, True)))
    with control_flow(version), tf.Graph().as_default(), tf.Session() as session:
        phase = tf.placeholder_with_default(True, []) if is_placeholder else True
        last = []
        for i, (face, use_resource) in enumerate(layers):
            before = []
            with tf.variable_scope(f"net{i}", use_resource=use_resource):
                for decay, mean in zip(decays, means, strict=True):
                    with tf.control_dependencies(before):
                        inputs = tf.identity(tf.constant(batch_with(mean, 4.0)))
                    before = [call_with_phase(face, inputs, decay, phase)]
            last += before
        session.run(tf.global_variables_initializer())
        session.run(last)
        found = np.reshape(of_statistics(session), [len(layers), 2])
    for (face, use_resource), statistics in zip(layers, found, strict=True):
        reference = Reference([0, 1], weight=0 if face in DEBIASED else 1)
        for decay, mean in zip(decays, means, strict=True):
            reference.update([mean, 4.0], decay)
        message = f"{face}, {'resource' if use_resource else 'reference'}"
        np.testing.assert_allclose(statistics, reference.values, 1e-6, err_msg=message)


def in_a_map(layer, batches):
    return tf.map_fn(layer, batches, parallel_iterations=1)


def in_a_scan(layer, batches):
    return tf.scan(
        lambda _, batch: layer(batch),
        batches,
        tf.zeros(batches.shape[1:]),
        parallel_iterations=1,
    )


def with_a_caching_device(layer, batches):
    outputs = []
    with tf.variable_scope(tf.get_variable_scope(), caching_device="/cpu:0"):
        for batch in tf.unstack(batches):
            with tf.control_dependencies(outputs[-1:]):
                outputs.append(layer(tf.identity(batch)))
    return tf.stack(outputs)


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("loop", [in_a_map, in_a_scan, with_a_caching_device])
def test_a_loop_that_caches_variables_averages_as_it_would_unrolled(loop, version):
    """Each round read what the variable was before the loop: a mean of 30, a variance of -1.3."""
    batches = np.random.default_rng(0).normal(10.0, 0.5, [6, 16, 2]).astype(np.float32)
    layers = list(itertools.product(FACES, (False, True)))
    with control_flow(version), tf.Graph().as_default(), tf.Session() as session:
        outputs = []
        for i, (face, use_resource) in enumerate(layers):
            layer = functools.partial(FACES[face], decay=0.9, fused=False)
            with tf.variable_scope(f"net{i}", use_resource=use_resource):
                outputs.append(loop(layer, tf.constant(batches)))
        session.run(tf.global_variables_initializer())
        assert np.isfinite(session.run(outputs)).all()
        found = np.reshape(of_statistics(session), [len(layers), 2, 2])
    for (face, use_resource), statistics in zip(layers, found, strict=True):
        reference = Reference([[0, 0], [1, 1]], weight=0 if face in DEBIASED else 1)
        for batch in batches:
            reference.update([batch.mean(0), batch.var(0)], 0.9)
        message = f"{face}, {'resource' if use_resource else 'reference'}"
        np.testing.assert_allclose(statistics, reference.values, 1e-5, err_msg=message)


def test_a_loop_whose_rounds_overlap_leaves_the_range_of_what_it_saw_in_no_order():
    batches = np.stack([batch_with(3.0 + i / 30, 4.0) for i in range(30)])
    with tf.Graph().as_default(), tf.Session() as session:
        with tf.variable_scope("net", use_resource=True):
            outputs = tf.map_fn(functools.partial(FACES["wrapper"], decay=0.5), batches)
        session.run(tf.global_variables_initializer())
        session.run(outputs)
        mean, var = of_statistics(session)
    assert 3 <= mean <= 4
    np.testing.assert_allclose(var, 4, rtol=1e-5)
