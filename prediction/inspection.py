"""What batch normalization does with one image of a batch, in inference and in training.

A training graph normalizes with the statistics of the batch, an inference graph with those of the
population. Here both read the same weights, so that whatever differs is due to the statistics.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import tensorflow.compat.v1 as tf

import model
from bn_tools import Layer, layers_of
from networks.architectures import InTraining, Layers, Network, Replica
from storage import variables
from storage.checkpoints import Checkpoint


class Moments(NamedTuple):
    """Mean and standard deviation of each channel, both float32 [channels]."""

    mean: np.ndarray
    deviation: np.ndarray


class LayerValues(NamedTuple):
    """What a layer of batch normalization does with one image.

    The moments of an image are over its positions: a unit of a dense layer has one value, and no
    deviation.
    """

    statistics: Moments  # what its channels are normalized with
    before: Moments  # of the image, before normalization
    after: Moments  # of the image, after it


class Look(NamedTuple):
    """What becomes of an image under one kind of statistics."""

    probabilities: np.ndarray  # float32 [classes]
    layers: list[LayerValues]  # in the order in which data passes through them


class BothLooks(NamedTuple):
    """What becomes of the same image under both."""

    population: Look  # as in inference
    batch: Look  # as in training


class LayerParameters(NamedTuple):
    """What a layer of batch normalization has learned."""

    name: str  # its variable scope, such as `conv1`
    shape: list[int]  # of its inputs for one image: [height, width, channels] or [units]
    beta: np.ndarray  # float32 [channels]: the mean that it gives to a channel
    scale: np.ndarray  # float32 [channels]: its absolute value is the deviation, likewise


class Inspector:
    """A graph with both kinds of statistics, and its session. It changes no variable."""

    def __init__(self, network: Network):
        """Builds the graph and opens the session; `restore` comes next."""
        self.network = network
        self._graph = model.inference_graph(network)
        with self._graph.graph.as_default() as graph:
            # The variables are only those of the inference graph by now.
            self._saver = tf.train.Saver()
            layers = self._graph.batch_norms
            by_population = _look(self._graph.probabilities, layers, by_batch=False)
            probabilities = _as_in_training(network, self._graph.pixels)
            by_batch = _look(probabilities, layers_of(graph)[len(layers) :], by_batch=True)
            self._looks = BothLooks(by_population, by_batch)
        self._session = tf.Session(graph=graph)

    def __enter__(self) -> "Inspector":
        return self

    def __exit__(self, *exception: object) -> None:
        self._session.close()

    def restore(self, checkpoint: Checkpoint) -> None:
        """Loads the weights of a checkpoint.

        Raises:
            InputError: the checkpoint is missing, damaged, or from another network.
        """
        with self._graph.graph.as_default():
            variables.restore(self._saver, self._session, checkpoint)

    def look(self, images: np.ndarray) -> BothLooks:
        """Returns what becomes of the first of these images, uint8 [batch, height, width]."""
        return self._session.run(self._looks, {self._graph.images: images})

    def parameters(self) -> list[LayerParameters]:
        """Returns what each layer of batch normalization has learned; an empty list if none is."""
        layers = self._graph.batch_norms
        values = self._session.run([(each.variables.beta, each.variables.scale) for each in layers])
        return [
            LayerParameters(
                each.variables.pop_mean.op.name.rsplit("/", 2)[0],
                each.inputs.shape.as_list()[1:],
                *of_layer,
            )
            for each, of_layer in zip(layers, values, strict=True)
        ]


def _as_in_training(network: Network, pixels: tf.Tensor) -> tf.Tensor:
    """The probabilities if `is_training` were left on: the training graph's layers, same weights.

    The ops that would update the population statistics are put into a collection that nobody runs.
    """
    training = InTraining(replica=Replica(updates_collection="never_run"))
    # Training has one variable more a layer, which only those updates read.
    with tf.variable_scope(tf.get_variable_scope(), reuse=tf.AUTO_REUSE):
        layers = Layers(network, training)
        return tf.nn.softmax(layers.logits(layers.embedding(pixels)))


def _look(probabilities: tf.Tensor, layers: Sequence[Layer], *, by_batch: bool) -> Look:
    """The tensors of a `Look` at the first image."""
    values = []
    for layer in layers:
        assert layer.outputs is not None  # as of every layer in the graph that built it
        statistics = _moments(layer.inputs)
        if not by_batch:
            pop_mean, pop_var = layer.variables.pop_mean, layer.variables.pop_var
            statistics = Moments(tf.identity(pop_mean), tf.sqrt(pop_var))
        values.append(
            LayerValues(statistics, _moments(layer.inputs[:1]), _moments(layer.outputs[:1]))
        )
    return Look(probabilities[0], values)


def _moments(values: tf.Tensor) -> Moments:
    """The tensors of `Moments`, over all dimensions but the last."""
    mean, var = tf.nn.moments(tf.cast(values, tf.float32), list(range(values.shape.ndims - 1)))
    return Moments(mean, tf.sqrt(var))
