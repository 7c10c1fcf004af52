"""A frozen graph: a GraphDef whose weights are constants, for a session."""

import pathlib

import numpy as np
import tensorflow.compat.v1 as tf
from tensorflow.core.protobuf import config_pb2

from serving.formats import Classify
from serving.graph import Served, add_to_default_graph

FILE = "frozen_graph.pb"


def write(served: Served, folder: pathlib.Path, calibration: np.ndarray) -> None:
    """Writes the GraphDef; its tensors are called as inputs and outputs are."""
    (folder / FILE).write_bytes(served.graph_def.SerializeToString(deterministic=True))


def in_session(folder: pathlib.Path) -> Classify:
    """Loads it into a session, set up for one image at a time; as fast with many."""
    with tf.Graph().as_default() as graph:
        graph_def = tf.GraphDef.FromString((folder / FILE).read_bytes())
        images, outputs = add_to_default_graph(graph_def)
    # The ops are a chain, which the caller's thread takes faster than threads that wait in turn.
    config = tf.ConfigProto(inter_op_parallelism_threads=-1)
    config.experimental.executor_type = "SINGLE_THREADED_EXECUTOR"
    session = tf.Session(graph=graph, config=config)
    options = config_pb2.CallableOptions(
        feed=[images.name], fetch=[output.name for output in outputs.values()]
    )
    # What the public `make_callable` returns is `Session.run`, once there is something to feed.
    call = session._make_callable_from_options(options)
    return lambda batch: dict(zip(outputs, call(batch), strict=True))


RUNTIMES = {"a session": in_session}
