"""A training graph as a `Saver` of TF 1.15 exports it, and what a session makes of it."""

import json

import numpy as np
import tensorflow.compat.v1 as tf

SHAPE = (8, 4, 4, 3)


def batch(step):
    return np.random.RandomState(step).normal(2.0, 3.0, SHAPE).astype(np.float32)


def write(layers, path):
    """Writes a training graph with a placeholder for its phase to PATH.meta, losses to PATH.json.

    Args:
        layers: `tf.contrib.layers`.
        path: str.
    """
    with tf.Graph().as_default(), tf.Session() as session:
        inputs = tf.placeholder(tf.float32, [None, 4, 4, 3], name="inputs")
        phase = tf.placeholder(tf.bool, [], name="phase")
        options = {"is_training": phase, "scale": True, "decay": 0.5}
        weights = tf.get_variable("weights", initializer=[1.0, 2.0, 3.0])
        outputs = layers.batch_norm(inputs * weights, updates_collections=None, **options)
        outputs = layers.batch_norm(tf.nn.relu(outputs), **options)
        # Its shape is recorded, and nowhere else to be found.
        outputs = tf.placeholder_with_default(outputs, None, name="reshaped")
        outputs.set_shape([None, 4, 4, 3])
        loss = tf.reduce_mean(tf.square(outputs - tf.nn.relu(inputs)), name="loss")
        with tf.control_dependencies(tf.get_collection(tf.GraphKeys.UPDATE_OPS)):
            tf.train.GradientDescentOptimizer(0.1).minimize(loss)
        tf.add_to_collection("notes", b"of the program's own")
        saver = tf.train.Saver()
        session.run(tf.global_variables_initializer())
        saver.export_meta_graph(path + ".meta")
        with open(path + ".json", "w") as file:
            file.write(json.dumps(losses(session)) + "\n")


def losses(session):
    """Initializes, trains for three steps, and evaluates; returns the losses."""
    (train_op,) = tf.get_collection(tf.GraphKeys.TRAIN_OP)
    session.run(tf.global_variables_initializer())
    found = []
    for step in range(3):
        fetches = ["loss:0", train_op]
        found.append(session.run(fetches, {"inputs:0": batch(step), "phase:0": True})[0])
    found.append(session.run("loss:0", {"inputs:0": batch(3), "phase:0": False}))
    return [float(loss) for loss in found]
