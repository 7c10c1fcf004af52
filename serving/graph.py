"""A trained network as what is exported: a graph of constants and TensorFlow's own ops."""

from typing import NamedTuple

import numpy as np
import tensorflow.compat.v1 as tf

import model
from networks.architectures import Layers, Network, halve
from serving.formats import IMAGES, OUTPUTS


class Served(NamedTuple):
    """A network with its weights, which takes `IMAGES` and returns `OUTPUTS`."""

    graph_def: tf.GraphDef
    precision: str  # one of the format's


class _ServedLayers(Layers):
    """The layers of an inference graph, as runtimes compute them fastest."""

    def multiply(self, inputs: tf.Tensor, units: int, gain: float) -> tf.Tensor:
        """A plain product: the batched one of `Layers` is for its gradient.

        TFLite can't change the number of images of a batched one, and others take longer for it.
        """
        weights = self._weights([inputs.shape.as_list()[-1], units], inputs.dtype, gain)
        return tf.matmul(inputs, weights, name="product")

    def rectify(self, inputs: tf.Tensor, is_pooled: bool) -> tf.Tensor:
        """ReLU first, which then is a part of the convolution."""
        rectified = tf.nn.relu(inputs)
        return halve(rectified) if is_pooled else rectified


def served(
    network: Network, values: dict[str, np.ndarray], *, folded: bool, precision: str
) -> Served:
    """Returns a network with the values of a checkpoint.

    Args:
        network: the network that the checkpoint is of; it computes in its own precision.
        values: the checkpoint's values by name. Those that only training needs are ignored.
        folded: whether to fold batch norms into the weights before them, and the division of
            pixels by 255 into the weights after it.
        precision: that of the export.
    """
    if folded:
        values = model.fold_batch_norms(values, network.bn_epsilon)
        network = network._replace(batch_norm=False)
    with tf.Graph().as_default() as graph, tf.Session(graph=graph) as session:
        images = tf.placeholder(tf.uint8, [None, *network.image_size], name=IMAGES)
        # In a scope, which leaves the outputs' names to the outputs.
        with tf.name_scope("network"):
            layers = _ServedLayers(network, is_folded=folded)
            pixels = tf.cast(images, tf.float32)
            logits = layers.logits(layers.embedding(pixels if folded else pixels / 255.0))
        tf.argmax(logits, axis=1, name="classes")
        tf.nn.softmax(logits, name="probabilities")
        tf.identity(logits, name="logits")
        for variable in tf.global_variables():
            variable.load(values[variable.op.name], session)
        if folded:
            first = tf.trainable_variables()[0]
            first.load(values[first.op.name] / 255, session)
        frozen = tf.graph_util.convert_variables_to_constants(
            session, graph.as_graph_def(), list(OUTPUTS)
        )
    # What remains of reading the variables, and of names for TensorBoard.
    return Served(tf.graph_util.remove_training_nodes(frozen, list(OUTPUTS)), precision)


def add_to_default_graph(graph_def: tf.GraphDef) -> tuple[tf.Tensor, dict[str, tf.Tensor]]:
    """Adds a network to the default graph; returns its images and its outputs by name."""
    images, *outputs = tf.import_graph_def(
        graph_def, return_elements=[f"{name}:0" for name in (IMAGES, *OUTPUTS)], name=""
    )
    return images, dict(zip(OUTPUTS, outputs, strict=True))
