"""SavedModel: for TensorFlow Serving, and for programs in TensorFlow 1 or 2."""

import pathlib

import numpy as np
import tensorflow.compat.v1 as tf

from serving import warm_up
from serving.formats import IMAGES, Classify
from serving.graph import Served, add_to_default_graph

SIGNATURE = tf.saved_model.signature_constants.DEFAULT_SERVING_SIGNATURE_DEF_KEY
TAG = tf.saved_model.tag_constants.SERVING


def write(served: Served, folder: pathlib.Path, calibration: np.ndarray) -> None:
    """Writes `saved_model.pb`, and requests with which TensorFlow Serving warms up."""
    write_model(served, folder)
    warm_up.write(folder / "assets.extra", SIGNATURE, calibration)


def write_model(served: Served, folder: pathlib.Path) -> None:
    """Writes `saved_model.pb`: a graph of constants with one signature, and no variables."""
    # It wants to make the folder itself, unless that is there and empty.
    builder = tf.saved_model.Builder(str(folder))
    with tf.Graph().as_default() as graph, tf.Session(graph=graph) as session:
        images, outputs = add_to_default_graph(served.graph_def)
        signature = tf.saved_model.predict_signature_def({IMAGES: images}, outputs)
        builder.add_meta_graph_and_variables(
            session, [TAG], {SIGNATURE: signature}, strip_default_attrs=True
        )
    builder.save()


def in_session(folder: pathlib.Path) -> Classify:
    """Loads it as a program in TensorFlow 1 does."""
    session = tf.Session(graph=tf.Graph())
    with session.graph.as_default():
        signature = tf.saved_model.load(session, [TAG], str(folder)).signature_def[SIGNATURE]
    outputs = {name: info.name for name, info in signature.outputs.items()}
    images = signature.inputs[IMAGES].name
    return lambda batch: session.run(outputs, {images: batch})


def as_function(folder: pathlib.Path) -> Classify:
    """Loads it as a program in TensorFlow 2 does."""
    import tensorflow

    loaded = tensorflow.saved_model.load(str(folder))
    function = loaded.signatures[SIGNATURE]

    def classify(batch: np.ndarray) -> dict[str, np.ndarray]:
        # A signature does not keep alive what was loaded.
        assert loaded is not None
        answers = function(**{IMAGES: tensorflow.constant(batch)})
        return {name: tensor.numpy() for name, tensor in answers.items()}

    return classify


RUNTIMES = {"TensorFlow 1": in_session, "TensorFlow 2": as_function}
