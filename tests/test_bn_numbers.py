"""Inputs at numerical extremes, compared with the same formula in float64."""

import functools

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

import bn_compat
from bn_wrapper import batch_norm_wrapper

GENERATOR = np.random.default_rng(0)
NORMAL = GENERATOR.normal(size=(8, 5, 5, 3))
INPUTS = {
    "one image": NORMAL[:1],
    "one vector": NORMAL[:1, 0, 0],
    "two vectors": NORMAL[:2, 0, 0],
    "constant": np.full([8, 5, 5, 3], 3.7),
    "zero": np.zeros([8, 3]),
    "large": NORMAL * 1e4,
    "small": NORMAL * 1e-4,
    "far from zero": NORMAL + 1e4,
    "large and far from zero": NORMAL * 1e2 + 1e6,
}
EPSILON = 1e-5
# A single replica has the statistics of all.
MOMENTS = [{"fused": False}, {"cross_replica": lambda vector: vector[tf.newaxis]}]


@functools.cache
def trained(shape, dtype, **options):
    """A graph that trains: inputs, outputs, the gradients of a weighted sum, and statistics.

    Built once for all inputs of a shape, which takes longer than running it.
    """
    with tf.Graph().as_default() as graph:
        inputs = tf.placeholder(dtype, shape)
        outputs = batch_norm_wrapper(inputs, True, epsilon=EPSILON, name="bn", **options)
        weights = np.random.default_rng(1).normal(size=shape)
        loss = tf.reduce_sum(tf.cast(outputs, tf.float32) * weights)
        gradients = tf.gradients(loss, [inputs, *tf.trainable_variables()])
        statistics = [
            v for v in tf.global_variables() if v.op.name in ("bn/pop_mean", "bn/pop_var")
        ]
        initializer = tf.global_variables_initializer()
    graph.finalize()
    return graph, initializer, inputs, (outputs, *gradients), statistics


def train_once(values, **options):
    """Outputs, the gradients of a weighted sum, `pop_mean` and `pop_var`; all in float64."""
    graph, initializer, inputs, results, statistics = trained(
        values.shape, tf.as_dtype(values.dtype), **options
    )
    with tf.Session(graph=graph) as session:
        session.run(initializer)
        seen = session.run(results, {inputs: values})
        return [np.asarray(r, np.float64) for r in (*seen, *session.run(statistics))]


def reference(values):
    """The paper's Algorithm 1 in float64."""
    axes = tuple(range(values.ndim - 1))
    mean, var = values.mean(axes), values.var(axes)
    return (values - mean) / np.sqrt(var + EPSILON), mean, var


@pytest.mark.parametrize("fused", [False, True])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("name", INPUTS)
def test_outputs_and_statistics_are_finite_and_right(name, dtype, fused):
    values = INPUTS[name].astype(tf.as_dtype(dtype).as_numpy_dtype)
    outputs, *gradients, pop_mean, pop_var = train_once(values, fused=fused)
    exact = values.astype(np.float64)
    expected, mean, var = reference(exact)

    for each in (outputs, *gradients):
        assert np.all(np.isfinite(each))
    # A sum of float32 numbers is off by some units in the last place; the rest follows.
    unit = 32 * 2.0**-23 * np.abs(exact).max()
    np.testing.assert_allclose(pop_mean, mean, atol=unit)
    np.testing.assert_allclose(pop_var, var, rtol=1e-5, atol=unit**2 + unit * np.sqrt(var).max())
    rounding = 2.0**-8 if dtype == "bfloat16" else 1e-5
    off = unit / np.sqrt(var + EPSILON)
    tolerance = rounding * max(1, np.abs(expected).max()) + off.max() * (1 + np.abs(expected).max())
    np.testing.assert_allclose(outputs, expected, atol=tolerance)


@pytest.mark.parametrize("options", MOMENTS, ids=["one", "replica"])
def test_the_moments_keep_a_variance_that_is_small_beside_the_mean(options):
    """The mean of squares minus the squared mean would be 0 or less: a 1 is lost beside 1e12.

    Nor may rounding in a sum over many values shift the mean by more than their spread, as it did
    in `tf.nn.moments`, which gave a variance of 56 in the second case.
    """
    for shape, far in (((8, 5, 5, 3), 1e6), ((128, 28, 28, 3), 1e4)):
        values = (np.random.default_rng(0).normal(size=shape) + far).astype(np.float32)
        _, mean, var = reference(values.astype(np.float64))
        *_, pop_mean, pop_var = train_once(values, **options)
        np.testing.assert_allclose(pop_mean, mean, rtol=2e-7)
        np.testing.assert_allclose(pop_var, var, rtol=0.02)


@pytest.mark.parametrize("options", MOMENTS, ids=["one", "replica"])
@pytest.mark.parametrize("shape", [(64, 4), (16, 8, 8, 4)])
def test_far_from_zero_the_moments_lose_nothing_of_outputs_and_gradients(shape, options):
    """They used to keep only two digits of the gradient of scale, and of the others two fewer than
    the kernel.
    """
    random = np.random.default_rng(0)
    normal, weights = random.normal(size=shape), random.normal(size=shape)
    batches = {far: (normal + far).astype(np.float32) for far in (0.0, 10.0, 1e3, 1e5)}
    results = []
    for dtype in (np.float32, np.float64):
        with tf.Graph().as_default(), tf.Session() as session:
            inputs = tf.placeholder(dtype, shape)
            outputs = batch_norm_wrapper(inputs, True, **options)
            loss = tf.reduce_sum(outputs**3 * weights.astype(dtype))
            gradients = tf.gradients(loss, [inputs, *tf.trainable_variables()])
            session.run(tf.global_variables_initializer())
            # A batch's outputs and gradients do not depend on the batches before it.
            fetches = [outputs, *gradients]
            results.append([session.run(fetches, {inputs: batches[far]}) for far in batches])
    for far, *of_batch in zip(batches, *results, strict=True):
        for found, exact in zip(*of_batch, strict=True):
            limit = 1e-5 * np.abs(exact).max()
            np.testing.assert_allclose(found, exact, atol=limit, err_msg=f"far by {far}")


def infer(normalize, shape, cases):
    """Outputs of a layer for each of the cases: inputs, and population statistics."""
    with tf.Graph().as_default(), tf.Session() as session:
        inputs = tf.placeholder(tf.float32, shape)
        outputs = normalize(inputs)
        session.run(tf.global_variables_initializer())
        results = []
        for values, mean, var in cases:
            loaded = {"mean": mean, "var": var}
            for variable in tf.global_variables():
                kind = variable.op.name.rpartition("_")[2].replace("variance", "var")
                if kind in loaded:
                    variable.load(loaded[kind], session)
            results.append(session.run(outputs, {inputs: values}).astype(np.float64))
        return results


@pytest.mark.parametrize(
    "normalize",
    [
        lambda x: batch_norm_wrapper(x, epsilon=EPSILON, fused=False),
        lambda x: batch_norm_wrapper(x, epsilon=EPSILON),
        lambda x: batch_norm_wrapper(x, epsilon=EPSILON, axis=1),
        lambda x: bn_compat.batch_norm(x, is_training=False, fused=False, epsilon=EPSILON),
        lambda x: bn_compat.batch_normalization(x, fused=False, epsilon=EPSILON),
    ],
    ids=["moments", "default", "axis 1", "contrib", "layers"],
)
def test_inference_keeps_what_is_left_far_from_zero(normalize):
    """Training subtracts first; x * factor + offset used to lose four digits in inference."""
    normal = np.random.default_rng(2).normal(size=(64, 8))
    cases = []
    for offset in (0.0, 1e4, 1e6):
        values = (normal + offset).astype(np.float32)
        exact = values.astype(np.float64)
        cases.append((values, exact.mean(0).astype(np.float32), exact.var(0).astype(np.float32)))
    for (values, mean, var), outputs in zip(
        cases, infer(normalize, normal.shape, cases), strict=True
    ):
        expected = (values.astype(np.float64) - mean) / np.sqrt(var.astype(np.float64) + EPSILON)
        # The difference of two float32 numbers this close is exact; a few roundings follow.
        limit = 16 * 2.0**-23 * np.abs(expected).max()
        np.testing.assert_allclose(outputs, expected, rtol=0, atol=limit)
