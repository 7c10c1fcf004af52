"""What a graph has to have to be trained, and to be evaluated. `model` builds them."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import tensorflow.compat.v1 as tf

from bn_wrapper import Layer

# From the values of variables to those of others, by name.
Fold = Callable[[dict[str, np.ndarray]], dict[str, np.ndarray]]


class TrainingGraph(NamedTuple):
    """A graph that learns. Its placeholders take one batch; a run of `train_op` is one step."""

    graph: tf.Graph
    images: tf.Tensor  # placeholder, uint8 [batch, 28, 28]
    labels: tf.Tensor  # placeholder, uint8 [batch]
    loss: tf.Tensor  # float32 scalar: mean cross-entropy of the batch, labels as they are, in nats
    accuracy: tf.Tensor  # float32 scalar: share of the batch that is classified right
    learning_rate: tf.Tensor  # float32 scalar: the rate of the step
    rate_factor: tf.Tensor  # float32 scalar, 1 unless fed: the rate is multiplied by it
    train_op: tf.Operation  # takes the step; `loss` and `accuracy` are from before it
    global_step: tf.Variable  # int64 scalar: steps taken so far
    is_finite: tf.Tensor  # bool scalar: whether no variable is infinite or not a number
    initializer: tf.Operation


class InferenceGraph(NamedTuple):
    """A graph that only answers. Unless it distorts, the rest of the batch plays no part in it."""

    graph: tf.Graph
    images: tf.Tensor  # placeholder, uint8 [batch, 28, 28]
    labels: tf.Tensor  # placeholder, uint8 [batch]
    embedding: tf.Tensor  # float32 [batch, units]: the last hidden layer
    logits: tf.Tensor  # float32 [batch, 10]: unnormalized log-probabilities
    probabilities: tf.Tensor  # float32 [batch, 10]: of each class; they add up to 1
    predictions: tf.Tensor  # int64 [batch]: the likeliest class
    cross_entropy: tf.Tensor  # float32 [batch], in nats
    batch_norms: list[Layer]  # in the order in which data passes them
    histograms: tf.Tensor  # string scalar: a serialized Summary of statistics and activations
    filters: tf.Tensor  # float32 [height, width, count]: the first layer's weights as pictures
    distortion: tf.Tensor | None  # placeholder, int64 scalar: which one, if images are distorted
    fold: Fold | None  # makes the variables of those in a checkpoint, if its batch norms are folded
