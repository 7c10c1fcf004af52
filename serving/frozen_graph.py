"""A frozen graph: a GraphDef whose weights are constants, for a session."""

import pathlib

import numpy as np
import tensorflow.compat.v1 as tf

from serving.formats import Classify
from serving.graph import Served, add_to_default_graph

FILE = "frozen_graph.pb"


def write(served: Served, folder: pathlib.Path, calibration: np.ndarray) -> None:
    """Writes the GraphDef; its tensors are called as inputs and outputs are."""
    (folder / FILE).write_bytes(served.graph_def.SerializeToString(deterministic=True))


def in_session(folder: pathlib.Path) -> Classify:
    """Loads it into a session."""
    with tf.Graph().as_default() as graph:
        graph_def = tf.GraphDef.FromString((folder / FILE).read_bytes())
        images, outputs = add_to_default_graph(graph_def)
    # Less is done for each call than in `Session.run`.
    call = tf.Session(graph=graph).make_callable(list(outputs.values()), [images])
    return lambda batch: dict(zip(outputs, call(batch), strict=True))


RUNTIMES = {"a session": in_session}
