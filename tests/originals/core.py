"""Trains a `bn_wrapper.batch_norm_wrapper` layer for two steps, on each path and kind of phase.

    python -m tests.originals.core          # any TensorFlow, in the project's root

Prints a line of JSON with, for each configuration, the names of the variables and, after the two
steps, the inference outputs, the gradient of the inputs and all variables. It must be the same on
every TensorFlow. Runs on Python 3.7 and TF 1.15, like everything in this folder.
"""

import itertools
import json

import numpy as np
import tensorflow.compat.v1 as tf

from bn_wrapper import batch_norm_wrapper

SHAPE = (8, 2, 2, 3)


def main():
    # As TF1 programs do on TF 2, where `tf.cond` otherwise can't assign to reference variables.
    tf.disable_v2_behavior()
    results = {}
    for fused, is_placeholder, use_resource in itertools.product((False, True), repeat=3):
        name = f"fused={fused} placeholder={is_placeholder} use_resource={use_resource}"
        with tf.Graph().as_default(), tf.Session() as session:
            results[name] = trained(session, fused, is_placeholder, use_resource)
    print(json.dumps(results))


def trained(session, fused, is_placeholder, use_resource):
    inputs = tf.placeholder(tf.float32, SHAPE)
    phase_train = tf.placeholder_with_default(True, []) if is_placeholder else True
    with tf.variable_scope("net", use_resource=use_resource):
        outputs = batch_norm_wrapper(inputs, phase_train, fused=fused)
    gradient = tf.gradients(tf.reduce_sum(outputs**3), inputs)
    session.run(tf.global_variables_initializer())
    for seed in range(2):
        batch = np.random.RandomState(seed).normal(seed, 1 + seed, SHAPE)
        found = {"gradient": session.run(gradient, {inputs: batch})[0]}
    if is_placeholder:
        found["inference"] = session.run(outputs, {inputs: batch, phase_train: False})
    found.update({v.op.name: session.run(v) for v in tf.global_variables()})
    return {name: np.asarray(value).tolist() for name, value in found.items()}


if __name__ == "__main__":
    main()
