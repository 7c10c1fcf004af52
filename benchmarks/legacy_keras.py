"""Runs a TF1 program on legacy Keras and on `bn_compat.install()`, in turns.

python -m benchmarks.legacy_keras

Prints the table in docs/migrating.md: the time from start-up to the first layer, the time per step
of a tf.layers conv net, and which inputs batch norm refuses on a CPU.
"""

import json
import os
import statistics
import subprocess
import sys

from console.markdown import table

ROUNDS = 5
# Run with legacy Keras, where `install` leaves tf.layers alone, or Keras 3, where it provides it.
PROGRAM = """
import json, sys, time
started = time.perf_counter()
import tensorflow.compat.v1 as tf
import bn_compat
tf.disable_v2_behavior()
bn_compat.install()
tf.layers.batch_normalization(tf.zeros([4, 3]), training=True)
seconds = time.perf_counter() - started

tf.reset_default_graph()
net = tf.random.stateless_normal([128, 28, 28, 8], [0, 0])
for filters in (16, 32, 32):
    net = tf.layers.conv2d(net, filters, 3, padding="same", use_bias=False)
    net = tf.nn.relu(tf.layers.batch_normalization(net, training=True))
loss = tf.reduce_mean(net ** 2)
with tf.control_dependencies(tf.get_collection(tf.GraphKeys.UPDATE_OPS)):
    train_op = tf.train.GradientDescentOptimizer(0.1).minimize(loss)
times = []
with tf.Session() as session:
    session.run(tf.global_variables_initializer())
    for _ in range(22):
        step = time.perf_counter()
        session.run(train_op)
        times.append(1000 * (time.perf_counter() - step))

def can_train(shape, dtype, **options):
    try:
        with tf.Graph().as_default(), tf.Session() as session:
            inputs = tf.zeros(shape, dtype)
            outputs = tf.layers.batch_normalization(inputs, training=True, **options)
            gradients = tf.gradients(outputs, tf.trainable_variables())
            session.run(tf.global_variables_initializer())
            session.run([outputs, gradients])
    except (ValueError, TypeError, tf.errors.OpError):
        return False
    return True

print(json.dumps({
    "seconds": seconds,
    "milliseconds": sorted(times[2:])[10],
    "NCHW": can_train([8, 3, 4, 4], tf.float32, axis=1),
    "float64": can_train([8, 4, 4, 3], tf.float64),
}))
"""


def main() -> None:
    """Runs both in turns, and prints the medians."""
    contestants = {"tf.layers on the legacy Keras": "1", "`bn_compat.install()` on Keras 3": "0"}
    found: dict[str, list[dict]] = {name: [] for name in contestants}
    for number in range(ROUNDS):
        for name, legacy in contestants.items():
            print(f"round {number + 1} of {ROUNDS}: {name}", file=sys.stderr)
            found[name].append(_run(legacy))
    rows = []
    for name, rounds in found.items():
        median = {key: statistics.median(r[key] for r in rounds) for key in rounds[0]}
        rows.append(
            [
                name,
                f"{median['seconds']:.1f}",
                f"{median['milliseconds']:.0f}",
                "yes" if median["NCHW"] else "refused",
                "yes" if median["float64"] else "refused",
            ]
        )
    header = ["", "seconds to the first layer", "ms a step", "`axis=1` on a CPU", "float64, rank 4"]
    print(table(header, rows))


def _run(legacy: str) -> dict:
    environment = {**os.environ, "TF_USE_LEGACY_KERAS": legacy, "TF_CPP_MIN_LOG_LEVEL": "3"}
    command = [sys.executable, "-c", PROGRAM]
    completed = subprocess.run(
        command, env=environment, check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    return json.loads(completed.stdout.splitlines()[-1])


if __name__ == "__main__":
    main()
