"""What the tests of the layers share: small batches, the formulas, and a layer's variables."""

import functools

import numpy as np
import tensorflow.compat.v1 as tf

import bn_compat
from bn_wrapper import batch_norm_wrapper

VALUES = np.random.default_rng(0).normal(3.0, 2.0, [8, 3]).astype(np.float32)

LAYERS = {
    "wrapper": functools.partial(batch_norm_wrapper, phase_train=True, name="bn"),
    "wrapper of moments": functools.partial(
        batch_norm_wrapper, phase_train=True, fused=False, name="bn"
    ),
    "contrib": functools.partial(bn_compat.batch_norm, updates_collections=None, scope="bn"),
    "tf.layers": functools.partial(bn_compat.batch_normalization, training=True, name="bn"),
}


def batch_of(shape, seed=0):
    """Values whose channels differ in mean and spread."""
    channels = np.arange(1, shape[-1] + 1)
    return (np.random.default_rng(seed).normal(size=shape) * channels + channels).astype(np.float32)


def moments(values):
    """The paper's batch statistics, in float64."""
    axes = tuple(range(values.ndim - 1))
    return values.mean(axes, dtype=np.float64), values.var(axes, dtype=np.float64)


def normalized(values, mean, var, scale=1.0, beta=0.0, epsilon=1e-5):
    """The paper's formula."""
    return scale * (values - mean) / np.sqrt(var + epsilon) + beta


def variable(name):
    """The only variable of the graph with this name, or with this last part of its name."""
    (found,) = [
        v
        for v in tf.global_variables()
        if v.op.name == name or "/" not in name and v.op.name.endswith(f"/{name}")
    ]
    return found


def run_once(values, fetch_gradients=True, **options):
    """Runs one training step; returns outputs, gradients of a cubic loss, and all variables."""
    with tf.Graph().as_default(), tf.Session() as session:
        inputs = tf.constant(values)
        outputs = batch_norm_wrapper(inputs, phase_train=True, name="layer", **options)
        weights = tf.constant(batch_of(values.shape, seed=1), tf.float32)
        loss = tf.reduce_sum(weights * tf.cast(outputs, tf.float32) ** 3)
        sources = [inputs, *tf.trainable_variables()] if fetch_gradients else []
        gradients = tf.gradients(loss, sources)
        session.run(tf.global_variables_initializer())
        results = session.run([outputs, *gradients])
        variables = {v.op.name.partition("/")[2]: v for v in tf.global_variables()}
        return results, session.run(variables)


def gradient_of(outputs, inputs):
    """The gradient of a loss in which every element of the outputs has a weight of its own."""
    weights = tf.reshape(tf.range(24, dtype=tf.float32), [8, 3])
    return tf.gradients(tf.reduce_sum(weights * tf.square(outputs)), inputs)[0]


@functools.cache
def plain_gradient(layer):
    """That gradient for a layer of `VALUES`, computed once for all tests that compare with it."""
    with tf.Graph().as_default(), tf.Session() as session:
        inputs = tf.constant(VALUES)
        gradient = gradient_of(layer(inputs), inputs)
        session.run(tf.global_variables_initializer())
        return session.run(gradient)
