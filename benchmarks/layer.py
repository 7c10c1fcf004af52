"""One batch norm layer, forward and backward, by each way to compute it."""

import statistics
import time

import tensorflow.compat.v1 as tf

from bn_wrapper import batch_norm_wrapper
from console.markdown import table

SHAPE = [128, 28, 28, 32]  # the output of the network's first convolution
ROUNDS, RUNS_A_ROUND = 12, 10


def section() -> str:
    """Returns the table of milliseconds for each way."""
    rows = []
    for dtype in ("float32", "bfloat16"):
        milliseconds = _race(dtype)
        slowest = milliseconds["`tf.nn.moments`, derivatives by TensorFlow"]
        rows += [
            [name, dtype, f"{statistics.median(each):.2f}", f"{min(each):.2f} to {max(each):.2f}"]
            + [f"{statistics.median(slowest) / statistics.median(each):.1f}"]
            for name, each in milliseconds.items()
        ]
    header = ["computed by", "dtype", "ms", "spread", "times as fast as the last"]
    return f"Inputs of {SHAPE}.\n\n{table(header, rows)}"


def _race(dtype: str) -> dict[str, list[float]]:
    """Returns the milliseconds of a forward and backward pass in each round."""
    ways = {
        "the kernel, `fused=None`": lambda x: batch_norm_wrapper(x, True),
        "`tf.nn.moments`, closed-form gradient, `fused=False`": (
            lambda x: batch_norm_wrapper(x, True, fused=False)
        ),
        "`tf.nn.moments`, derivatives by TensorFlow": _op_by_op,
    }
    steps = {}
    for name, layer in ways.items():
        with tf.Graph().as_default():
            inputs = tf.get_variable("inputs", SHAPE, dtype, tf.zeros_initializer())
            outputs = layer(inputs.read_value())
            gradients = tf.gradients(outputs, tf.trainable_variables(), [inputs.read_value()])
            session = tf.Session()
            session.run(tf.global_variables_initializer())
            # The ops, not their values, which TensorFlow would copy.
            steps[name] = session.make_callable([tensor.op for tensor in [outputs, *gradients]])
    milliseconds: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(ROUNDS + 1):
        for name, step in steps.items():
            started = time.perf_counter()
            for _ in range(RUNS_A_ROUND):
                step()
            milliseconds[name].append(1000 * (time.perf_counter() - started) / RUNS_A_ROUND)
    # The first round was the warm-up.
    return {name: each[1:] for name, each in milliseconds.items()}


def _op_by_op(inputs: tf.Tensor) -> tf.Tensor:
    scale = tf.get_variable("scale", SHAPE[-1:], initializer=tf.ones_initializer())
    beta = tf.get_variable("beta", SHAPE[-1:], initializer=tf.zeros_initializer())
    values = tf.cast(inputs, tf.float32)
    mean, var = tf.nn.moments(values, [0, 1, 2])
    outputs = tf.nn.batch_normalization(values, mean, var, beta, scale, 1e-5)
    return tf.cast(outputs, inputs.dtype)
