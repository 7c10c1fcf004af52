"""Batch norm over replicas, and in graphs that users distribute: the same as over a whole batch."""

import socket

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

import bn_compat
from bn_tools import layers_of
from bn_wrapper import batch_norm_wrapper
from cluster.collectives import Exchange

SHAPE = [12, 3, 3, 4]


def exchange(replicas):
    """A `cross_replica` among towers of one process, by TensorFlow's collective ops."""
    keys = iter(range(100))

    def gather(vector):
        return tf.raw_ops.CollectiveGatherV2(
            input=vector[tf.newaxis],
            group_size=replicas,
            group_key=1,
            instance_key=next(keys),
            ordering_token=[],
        )

    return gather


def train(parts, inputs, weights, **options):
    """Trains towers with these numbers of examples; returns outputs, gradients and variables."""
    bounds = np.cumsum([0, *parts])
    outputs, gradients, variables = [], [], []
    with tf.Graph().as_default():
        for tower, (begin, end) in enumerate(zip(bounds, bounds[1:], strict=False)):
            with tf.device(f"/cpu:{tower}"), tf.variable_scope(f"tower{tower}"):
                part = tf.placeholder_with_default(inputs[begin:end], [None, *SHAPE[1:]])
                over = exchange(len(parts)) if len(parts) > 1 else None
                outputs.append(
                    batch_norm_wrapper(part, True, fused=False, cross_replica=over, **options)
                )
                loss = tf.reduce_sum(weights[begin:end] * (outputs[-1] + tf.square(outputs[-1])))
                scope = tf.get_variable_scope().name
                gradients.append(tf.gradients(loss, [part, *tf.trainable_variables(scope)]))
                variables.append(tf.global_variables(scope))
        with tf.Session(config=tf.ConfigProto(device_count={"CPU": 4})) as session:
            session.run(tf.global_variables_initializer())
            outputs, gradients = session.run((outputs, gradients))
            variables = session.run(variables)
    of_inputs, of_scale, of_beta = zip(*gradients, strict=True)
    return {
        "outputs": np.concatenate(outputs),
        "of_inputs": np.concatenate(of_inputs),
        "of_scale": sum(of_scale),
        "of_beta": sum(of_beta),
    }, variables


@pytest.mark.parametrize("parts", [[6, 6], [11, 0, 1], [5, 4, 2, 1]], ids=str)
@pytest.mark.parametrize(
    ("dtype", "limit", "mean", "options"),
    [
        ("float64", 1e-12, 1e4, {}),
        ("float64", 1e-12, 0.0, {"unbiased": True, "renorm": True}),
        ("float32", 1e-5, 0.0, {}),
        ("float32", 1e-5, 1e4, {}),
    ],
)
def test_replicas_compute_what_one_does_with_the_whole_batch(parts, dtype, limit, mean, options):
    random = np.random.default_rng(0)
    # The parts differ in their means: each by itself would be normalized otherwise.
    inputs = random.normal(mean, 1, SHAPE) + random.normal(0, 3, [12, 1, 1, 1])
    inputs, weights = inputs.astype(dtype), random.normal(0, 1, SHAPE).astype(dtype)
    whole, (of_one,) = train([12], inputs, weights, **options)
    together, of_all = train(parts, inputs, weights, **options)
    for name, value in whole.items():
        largest = np.abs(value).max()
        np.testing.assert_allclose(
            together[name], value, rtol=0, atol=limit * largest, err_msg=name
        )
    for of_tower in of_all:
        for value, first, expected in zip(of_tower, of_all[0], of_one, strict=True):
            np.testing.assert_array_equal(value, first, "all replicas have the same bits")
            np.testing.assert_allclose(value, expected, rtol=limit, atol=limit)


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"batch_weights": np.ones(12)}, "batch_weights"),
        ({"virtual_batch_size": 4}, "virtual_batch_size"),
        ({"adjustment": lambda shape: (1.0, 0.0)}, "adjustment"),
        ({"fused": True}, "cross_replica"),
    ],
)
def test_what_does_not_go_with_replicas_is_refused(options, named):
    with tf.Graph().as_default(), pytest.raises(ValueError, match=f"not go with .*{named}"):
        batch_norm_wrapper(tf.zeros(SHAPE), True, cross_replica=lambda v: v[None], **options)


def test_an_exchange_is_a_function():
    with tf.Graph().as_default(), pytest.raises(TypeError, match="cross_replica"):
        batch_norm_wrapper(tf.zeros(SHAPE), True, cross_replica="workers")


@pytest.mark.parametrize("dtype", [tf.float64, tf.float32, tf.bfloat16])
def test_rows_of_all_workers_arrive_by_rank_whatever_their_number(dtype):
    gathered = []
    with tf.Graph().as_default():
        for rank, part in enumerate([[[1, 2], [3, 4], [5, 6]], [[7, 8]]]):
            with tf.device(f"/cpu:{rank}"):
                rows = tf.placeholder_with_default(tf.cast(part, dtype), [None, 2])
                gathered.append(Exchange(2, rank, first_key=1).gather_rows(rows, most=3))
        with tf.Session(config=tf.ConfigProto(device_count={"CPU": 2})) as session:
            expected = [[1, 2], [3, 4], [5, 6], [7, 8], [0, 0], [0, 0]]
            for rows in session.run(gathered):
                assert rows.dtype == dtype
                np.testing.assert_array_equal(rows, expected)


def servers(**jobs):
    """TensorFlow's servers of these jobs, all in this process."""
    free = [socket.create_server(("127.0.0.1", 0)) for _ in range(sum(jobs.values()))]
    addresses = ["{}:{}".format(*each.getsockname()) for each in free]
    for each in free:
        each.close()
    rest = iter(addresses)
    cluster = tf.train.ClusterSpec({job: [next(rest) for _ in range(n)] for job, n in jobs.items()})
    return cluster, {
        (job, task): tf.train.Server(cluster, job, task)
        for job, count in jobs.items()
        for task in range(count)
    }


@pytest.mark.parametrize("normalize", [batch_norm_wrapper, bn_compat.batch_normalization])
def test_a_parameter_server_keeps_the_variables_of_a_layer(normalize):
    cluster, started = servers(ps=2, worker=1)
    batches = np.random.default_rng(0).normal(3, 2, [20, 64, 4]).astype(np.float32)
    with tf.Graph().as_default():
        with tf.device(tf.train.replica_device_setter(cluster=cluster)):
            inputs = tf.placeholder(tf.float32, [None, 4])
            if normalize is batch_norm_wrapper:
                outputs = normalize(inputs, True, decay=0.5)
            else:
                outputs = normalize(inputs, training=True, momentum=0.5)
            updates = tf.get_collection(tf.GraphKeys.UPDATE_OPS)
            with tf.control_dependencies(updates):
                loss = tf.reduce_mean(tf.square(outputs - 1.0))
                step = tf.train.GradientDescentOptimizer(0.01).minimize(loss)
        places = {variable.device for variable in tf.global_variables()}
        assert places == {"/job:ps/task:0", "/job:ps/task:1"}
        with tf.Session(started["worker", 0].target) as session:
            session.run(tf.global_variables_initializer())
            for batch in batches:
                session.run(step, {inputs: batch})
            mean, var = session.run(tf.global_variables()[2:4])
    weights = 0.5 ** np.arange(20)[::-1] / 2
    np.testing.assert_allclose(mean, weights @ batches.mean(1), atol=1e-4)
    np.testing.assert_allclose(var, weights @ batches.var(1), atol=1e-4)


def test_towers_share_a_layer_and_its_averages_are_those_of_their_batches():
    batches = np.random.default_rng(0).normal(3, 2, [2, 64, 4]).astype(np.float32)
    with tf.Graph().as_default():
        losses = []
        for tower in range(2):
            with (
                tf.device(f"/cpu:{tower}"),
                tf.variable_scope("network", reuse=tower > 0, use_resource=True),
            ):
                outputs = batch_norm_wrapper(tf.constant(batches[tower]), True, name="norm")
                losses.append(tf.reduce_mean(tf.square(outputs - 1.0)))
        step = tf.train.GradientDescentOptimizer(0.01).minimize(tf.add_n(losses))
        (layer, _) = layers_of(tf.get_default_graph())
        with tf.Session(config=tf.ConfigProto(device_count={"CPU": 2})) as session:
            session.run(tf.global_variables_initializer())
            session.run(step)
            mean, weight = session.run((layer.variables.pop_mean, layer.variables.pop_weight))
    means = batches.mean(1)
    # Of updates that run at the same moment, one may be lost; docs/batch_norm.md says so.
    assert any(weight == pytest.approx(1 - 0.99**updates, abs=1e-4) for updates in (1, 2))
    assert (mean >= means.min(0) - 1e-5).all() and (mean <= means.max(0) + 1e-5).all()
