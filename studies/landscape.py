"""The loss as a function of the weights: how it and its gradient change along a step.

Santurkar et al. (2018), How Does Batch Normalization Help Optimization?, arXiv 1805.11604
"""

from collections.abc import Sequence

import numpy as np
import tensorflow.compat.v1 as tf

from mnist.datasets import Split
from model import TrainingGraph
from networks.architectures import AFTER_NORMALIZATION

Weights = list[np.ndarray]  # a value for each trainable variable, or a gradient


class Landscape:
    """The loss of a training graph, in a session of its own: looking changes nothing in training.

    It is the loss with the batch's own statistics, as in training, and with the noise of the step,
    if there is any.
    """

    def __init__(self, graph: TrainingGraph):
        """Adds the ops that it needs to the graph; `names` are of the trainable variables."""
        self._graph = graph
        with graph.graph.as_default(), tf.name_scope("landscape"):
            trainable = tf.trainable_variables()
            self.names = [v.op.name for v in trainable]
            self._gradients = tf.gradients(graph.loss, trainable)
            self._assigned, self._moved = _Assignment(tf.global_variables()), _Assignment(trainable)
        activations = graph.graph.get_collection(tf.GraphKeys.ACTIVATIONS)
        self._last_inputs = [t for t in activations if AFTER_NORMALIZATION in t.op.name][-1]

    def __enter__(self) -> "Landscape":
        self._session = tf.Session(graph=self._graph.graph)
        return self

    def __exit__(self, *exception: object) -> None:
        self._session.close()

    def load(self, values: dict[str, np.ndarray]) -> Weights:
        """Goes to the place of all of a training's variables, by name; returns the trainable."""
        self._assigned.run(self._session, list(values.values()))
        return [values[name] for name in self.names]

    def gradient(self, weights: Weights, batch: Split) -> tuple[float, Weights]:
        """Goes to `weights`; returns the loss on a batch and its gradient there."""
        self._moved.run(self._session, weights)
        return self._session.run((self._graph.loss, self._gradients), self._feed(batch))

    def last_inputs(self, batch: Split) -> np.ndarray:
        """Returns the inputs of the last hidden layer's activation, [batch, units]."""
        return self._session.run(self._last_inputs, self._feed(batch))

    def accuracy(self, batch: Split) -> float:
        """Returns the share of a batch classified correctly, with its own statistics."""
        return float(self._session.run(self._graph.accuracy, self._feed(batch)))

    def _feed(self, batch: Split) -> dict[tf.Tensor, np.ndarray]:
        images, labels = batch
        return {self._graph.images: images, self._graph.labels: labels}


class _Assignment:
    """An op that gives variables new values."""

    def __init__(self, variables: Sequence[tf.Variable]):
        self._values = [tf.placeholder(v.dtype.base_dtype, v.shape) for v in variables]
        pairs = zip(variables, self._values, strict=True)
        self._op = tf.group(*(variable.assign(value) for variable, value in pairs))

    def run(self, session: tf.Session, values: Sequence[np.ndarray]) -> None:
        session.run(self._op, dict(zip(self._values, values, strict=True)))


def along_the_gradient(
    landscape: Landscape, weights: Weights, batch: Split, sizes: Sequence[float]
) -> dict[str, float]:
    """Measures the loss and its gradient from `weights` along the gradient, as in figure 4.

    Args:
        landscape, weights, batch: where to look.
        sizes: of the steps, as multiples of the gradient, so a learning rate is one.

    Returns:
        `range`: the highest minus the lowest loss in nats, that at `weights` among them; of the
        gradients' differences from the one at `weights`, `change`: the largest, relative to its
        length; `cosine`: the smallest cosine; `beta`: the largest relative to the distance, the
        effective beta-smoothness.
    """
    loss, gradient = landscape.gradient(weights, batch)
    length = norm(gradient)
    losses, changes, cosines, betas = [loss], [], [], []
    for size in sizes:
        loss, there = landscape.gradient(moved(weights, gradient, size), batch)
        losses.append(loss)
        change = norm(moved(there, gradient, 1))
        changes.append(change / length)
        cosines.append(cosine(there, gradient))
        betas.append(change / (size * length))
    return {
        "range": float(max(losses) - min(losses)),
        "change": max(changes),
        "cosine": min(cosines),
        "beta": max(betas),
    }


def shift_of_gradients(
    landscape: Landscape, weights: Weights, batch: Split, rate: float
) -> dict[str, float]:
    """Measures the internal covariate shift of a step, as in definition 2.1 of the paper.

    It is how much the gradient of a layer changes when the layers before it take the step.

    Returns:
        Means over all layers but the first: `change`, the length of the difference relative to the
        gradient before, and `cosine` of the angle between the two.
    """
    _, gradient = landscape.gradient(weights, batch)
    stepped = moved(weights, gradient, rate)
    changes, cosines = [], []
    layers = [name.partition("/")[0] for name in landscape.names]
    for layer in list(dict.fromkeys(layers))[1:]:
        start = layers.index(layer)
        own = [i for i, name in enumerate(layers) if name == layer]
        _, there = landscape.gradient(stepped[:start] + weights[start:], batch)
        before, after = [gradient[i] for i in own], [there[i] for i in own]
        changes.append(norm(moved(after, before, 1)) / norm(before))
        cosines.append(cosine(before, after))
    return {"change": float(np.mean(changes)), "cosine": float(np.mean(cosines))}


def shift_of_inputs(before: np.ndarray, after: np.ndarray) -> float:
    """Measures how far the distributions of a layer's inputs have moved, as the 2015 paper draws.

    Args:
        before, after: the inputs of its units for the same images, [images, units].

    Returns:
        The mean over units of the distance that the median moved, in units of the distance from
        the 15th to the 85th percentile before.
    """
    low, median, high = np.percentile(before, (15, 50, 85), axis=0)
    return float(np.mean(np.abs(np.median(after, axis=0) - median) / (high - low)))


def moved(weights: Weights, direction: Weights, by: float) -> Weights:
    """Returns the weights after a step against a direction."""
    return [w - by * d for w, d in zip(weights, direction, strict=True)]


def norm(weights: Weights) -> float:
    """Returns the Euclidean length, over all variables together."""
    return float(np.sqrt(sum(np.sum(np.square(w, dtype=np.float64)) for w in weights)))


def cosine(one: Weights, other: Weights) -> float:
    """Returns the cosine of the angle between two gradients."""
    product = sum(np.sum(a * b, dtype=np.float64) for a, b in zip(one, other, strict=True))
    return float(product / (norm(one) * norm(other)))
