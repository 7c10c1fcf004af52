"""Checkpoints that one implementation writes and another restores.

    python -m tests.originals.checkpoints write original FOLDER        # in the project's root
    python -m tests.originals.checkpoints read face FOLDER

`write` trains a layer of each kind for some steps, saves it, and trains it for one more step.
`read` restores it, repeats that step, and expects the same outputs and statistics; it prints a line
of JSON as `compare` does, and likewise exits with 1 if anything differs.
"""

import collections
import json
import pathlib
import sys

import numpy as np
import tensorflow.compat.v1 as tf

from tests.originals import cases, implementations, runner

STEPS_BEFORE = 5

# These options determine what a layer's checkpoint contains.
LAYERS = {
    "contrib": {"scale": True, "decay": 0.8},
    "contrib-in-place": {"scale": True, "decay": 0.8, "updates_collections": None},
    "contrib-renorm": {"scale": True, "decay": 0.8, "renorm": True, "renorm_decay": 0.7},
    "contrib-zero-debias": {"decay": 0.8, "zero_debias_moving_mean": True},
    "layers": {"momentum": 0.8},
    "layers-axes": {"momentum": 0.8, "axis": [1, 3]},
    "layers-renorm": {"momentum": 0.8, "renorm": True, "renorm_momentum": 0.7},
    "layers-virtual-batch-size": {"momentum": 0.8, "virtual_batch_size": 4},
}
SHAPE = cases.SHAPES[4]

Network = collections.namedtuple("Network", "inputs train inferred")


def write(functions, folder):
    """Writes, for each layer, a checkpoint and what the layer did afterwards."""
    for name in LAYERS:
        (folder / name).mkdir(parents=True, exist_ok=True)
        with tf.Graph().as_default(), tf.Session() as session:
            network = _build(name, functions)
            session.run(tf.global_variables_initializer())
            for step in range(STEPS_BEFORE):
                session.run(network.train, _feeds(network, step))
            path = str(folder / name / "model")
            tf.train.Saver().save(session, path, write_meta_graph=False, write_state=False)
            afterwards = _go_on(network, session)
        np.savez_compressed(str(folder / name / "afterwards.npz"), **afterwards)


def read(functions, folder):
    """Restores each layer; returns the largest difference in what it does afterwards, by name."""
    largest = {}
    for name in LAYERS:
        with tf.Graph().as_default(), tf.Session() as session:
            network = _build(name, functions)
            tf.train.Saver().restore(session, str(folder / name / "model"))
            found = _go_on(network, session)
        with np.load(str(folder / name / "afterwards.npz")) as expected:
            differences = runner.differences(dict(expected), found)
        largest[name] = max(differences.values())
    return largest


def _build(name, functions):
    """Builds a network of just this layer, for training and once more for inference."""
    batch_norm, options = functions[name.split("-")[0]], LAYERS[name]
    inputs = tf.placeholder(tf.float32, SHAPE)
    with tf.variable_scope("network"):
        outputs = batch_norm(inputs, True, name="norm", **options)
        inferred = batch_norm(inputs, False, name="norm", reuse=True, **options)
    loss = tf.reduce_mean(tf.square(outputs - 1.0))
    with tf.control_dependencies(tf.get_collection(tf.GraphKeys.UPDATE_OPS)):
        train = tf.train.GradientDescentOptimizer(0.1).minimize(loss)
    return Network(inputs, train, inferred)


def _feeds(network, step):
    return {network.inputs: cases.batch(SHAPE, "float32", step)}


def _go_on(network, session):
    """Infers, trains for a step, and infers again; returns the outputs, and all variables."""
    feeds = _feeds(network, STEPS_BEFORE)
    found = {"inferred at once": session.run(network.inferred, feeds)}
    session.run(network.train, feeds)
    found["inferred after a step"] = session.run(network.inferred, feeds)
    for variable in tf.global_variables():
        found[variable.op.name.replace("/", " ")] = session.run(variable)
    return found


def main(action, implementation, folder):
    functions = {"original": implementations.originals, "face": implementations.faces}
    functions, folder = functions[implementation](), pathlib.Path(folder)
    if action == "write":
        write(functions, folder)
        return 0
    largest = read(functions, folder)
    print(json.dumps(largest, sort_keys=True))
    return 0 if max(largest.values()) <= runner.LIMITS["fused"] else 1


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
