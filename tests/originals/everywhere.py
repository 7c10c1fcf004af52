"""What must hold on every TensorFlow, in TF1 behaviour.

No step forgets its batch, and whatever is below a layer gets a gradient.

    python -m tests.originals.everywhere              # on any TensorFlow, in the project's root
    python -m tests.originals.everywhere --every=5    # one case in five

TensorFlow's graph optimizer may prune the updates of the averages, since nothing in the step needs
them; a `tf.cond` may have no gradient for a dtype; a kernel may be missing. Prints the cases that
fail, then a line of JSON with their number. Runs on Python 3.7 and TF 1.15, like everything in this
folder.
"""

import argparse
import itertools
import json
import sys

import numpy as np
import tensorflow.compat.v1 as tf

import bn_compat
from bn_wrapper import batch_norm_wrapper

LAYERS = {
    "wrapper": lambda x, phase, fused, decay=0.9: batch_norm_wrapper(x, phase, decay, fused=fused),
    "contrib": lambda x, phase, fused, decay=0.9: bn_compat.batch_norm(
        x, decay, is_training=phase, fused=fused, scale=True, updates_collections=None
    ),
}
LOSSES = {
    "leaky": lambda y: tf.reduce_mean(tf.maximum(y, 0.2 * y) ** 2),
    "square": lambda y: tf.reduce_mean(y**2),
    "cross-entropy": lambda y: tf.reduce_mean(
        tf.nn.softmax_cross_entropy_with_logits_v2(labels=tf.one_hot([0] * 8, 3), logits=y)
    ),
    "product": lambda y: tf.reduce_mean(tf.matmul(y, tf.ones([3, 2])) ** 2),
}
SHAPES = {2: (8, 3), 4: (8, 1, 1, 3)}
PHASES = ("constant", "placeholder", "placeholder, control flow v2")
FUSED = (False, True)
RESOURCE = (False, True)


DTYPES = ("float32", "float16", "bfloat16")
_ERRORS = (TypeError, ValueError, tf.errors.OpError)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--every", type=int, default=1)
    every = parser.parse_args().every
    tf.disable_v2_behavior()
    count, failures = 0, []
    for case in list(itertools.product(LAYERS, LOSSES, SHAPES, PHASES, FUSED, RESOURCE))[::every]:
        try:
            moved = moves(*case)
        except _ERRORS as error:
            moved = {str(error).splitlines()[0]: False}
        count += len(moved)
        for fetched, is_moved in sorted(moved.items()):
            if not is_moved:
                failures.append("forgets its batch: %s, %s" % (case, fetched))
    for case in list(itertools.product(LAYERS, SHAPES, PHASES, (None, False), DTYPES))[::every]:
        count += 1
        try:
            wrong = what_is_wrong(*case)
        except _ERRORS as error:
            wrong = str(error).splitlines()[0]
        if wrong:
            failures.append("%s: %s" % (case, wrong))
    print("\n".join(failures))
    print(json.dumps({"cases": count, "failures": len(failures)}))
    return 1 if failures else 0


def choose_control_flow(phase):
    """Sets the kind of control flow; returns the phase."""
    if phase.endswith("v2"):
        tf.enable_control_flow_v2()
    else:
        tf.disable_control_flow_v2()
    return True if phase == "constant" else tf.placeholder_with_default(True, [])


def what_is_wrong(layer, rank, phase, fused, dtype):
    """Runs a training step, with a scale below the layer and decay 0; returns None or a text."""
    values = np.random.RandomState(0).normal(1.0, 2.0, SHAPES[rank]).astype(np.float32)
    with tf.Graph().as_default(), tf.Session() as session:
        phase_train = choose_control_flow(phase)
        below = tf.get_variable("below", initializer=np.float32([1.0, 2.0, 3.0]))
        inputs = tf.cast(values * below, dtype)
        outputs = LAYERS[layer](inputs, phase_train, fused, decay=0)
        weights = np.random.RandomState(1).normal(size=SHAPES[rank]).astype(np.float32)
        loss = tf.reduce_sum(tf.cast(outputs, tf.float32) ** 3 * weights)
        beta = [v for v in tf.trainable_variables() if v.op.name.endswith("beta")]
        gradients = tf.gradients(loss, [below] + beta)
        if None in gradients:
            return "no gradient"
        session.run(tf.global_variables_initializer())
        normalized, gradients = session.run([tf.cast(outputs, tf.float32), gradients])
        means = [v for v in tf.global_variables() if v.op.name.endswith("_mean")]
        (average,) = session.run(means)
    seen = values * np.float32([1.0, 2.0, 3.0])
    axes = tuple(range(rank - 1))
    expected = (seen - seen.mean(axes)) / np.sqrt(seen.var(axes))
    tolerance = 1e-2 if dtype == "float32" else 0.1
    for name, found, wanted in (
        ("outputs", normalized, expected),
        ("average", average, seen.mean(axes)),
        ("gradient of beta", gradients[1], (3 * expected**2 * weights).sum(axes)),
    ):
        if not np.allclose(found, wanted, rtol=tolerance, atol=tolerance):
            return "%s %s, not %s" % (name, found, wanted)
    return None if np.all(np.isfinite(gradients[0])) else "gradient %s" % gradients[0]


def moves(layer, loss, rank, phase, fused, use_resource):
    """Whether one step moves the averages; returns a dict by what the step fetches."""
    with tf.Graph().as_default():
        phase_train = choose_control_flow(phase)
        inputs = tf.placeholder(tf.float32, SHAPES[rank])
        with tf.variable_scope("net", use_resource=use_resource):
            outputs = LAYERS[layer](inputs, phase_train, fused)
        loss = LOSSES[loss](tf.reshape(outputs, [8, 3]))
        # As in `minimize`: TensorFlow gates each op's gradients, which the graph optimizer sees.
        optimizer = tf.train.GradientDescentOptimizer(0.1)
        gradients = optimizer.compute_gradients(loss)
        train_op = optimizer.apply_gradients(gradients)
        initializer = tf.global_variables_initializer()
        averages = [
            v for v in tf.global_variables() if v.op.name.endswith(("_mean", "_var", "_variance"))
        ]
        steps = {
            "train op": train_op,
            "gradients": [gradient for gradient, _ in gradients],
            "loss": loss,
            "train op and loss": [train_op, loss],
        }
        moved = {}
        with tf.Session() as session:
            for fetched, step in sorted(steps.items()):
                session.run(initializer)
                before = session.run(averages)
                batch = np.random.RandomState(0).normal(5.0, 2.0, SHAPES[rank])
                session.run(step, {inputs: batch})
                after = session.run(averages)
                moved[fetched] = all(np.all(a != b) for a, b in zip(before, after))
        return moved


if __name__ == "__main__":
    sys.exit(main())
