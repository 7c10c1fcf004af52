"""What training and evaluation need from a graph. `model` builds the graphs."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import tensorflow.compat.v1 as tf

from bn_tools import Layer

# Maps the values of variables, by name, to the values of others.
Fold = Callable[[dict[str, np.ndarray]], dict[str, np.ndarray]]


class Replica(NamedTuple):
    """One of several workers that train a network on parts of each batch."""

    first_image: int  # the place of its first one in the batch
    images: int  # how many it takes
    batch_size: int  # of all workers together
    sync_batch_norm: bool  # whether statistics are those of the whole batch
    gather: Callable[[tf.Tensor], tf.Tensor]  # from a vector [k] to all workers', [workers, k]
    add_up_all: Callable[[Sequence[tf.Tensor]], list[tf.Tensor]]  # over all workers
    hold_back: Callable[[Sequence[tf.Tensor], Sequence[tf.Tensor]], None]  # see `cluster`


class SharedStep(NamedTuple):
    """What the step of several workers has besides."""

    stop_wish: tf.Tensor  # float32 scalar, 0 unless fed: 1 if this worker wants to stop
    stop_wishes: tf.Tensor  # float32 scalar: how many workers want to stop


class TrainingGraph(NamedTuple):
    """A graph that learns. Its placeholders take one batch; a run of `train_op` is one step."""

    graph: tf.Graph
    images: tf.Tensor  # placeholder, uint8 [batch, height, width]
    labels: tf.Tensor  # placeholder, uint8 [batch]
    loss: tf.Tensor  # float32 scalar: mean cross-entropy of the batch in nats, labels not smoothed
    accuracy: tf.Tensor  # float32 scalar: share of the batch classified correctly
    learning_rate: tf.Tensor  # float32 scalar: the rate of the step
    rate_factor: tf.Tensor  # float32 scalar, 1 unless fed: the rate is multiplied by it
    train_op: tf.Operation  # takes the step; `loss` and `accuracy` are those before it
    global_step: tf.Variable  # int64 scalar: steps taken so far
    is_finite: tf.Tensor  # bool scalar: whether no variable is infinite or not a number
    initializer: tf.Operation
    shared: SharedStep | None  # what else a worker has that is not alone


class InferenceGraph(NamedTuple):
    """A graph for inference only. Unless it distorts, a batch's images do not affect each other."""

    graph: tf.Graph
    images: tf.Tensor  # placeholder, uint8 [batch, height, width]
    labels: tf.Tensor  # placeholder, uint8 [batch]
    embedding: tf.Tensor  # float32 [batch, units]: the last hidden layer
    logits: tf.Tensor  # float32 [batch, classes]: unnormalized log-probabilities
    probabilities: tf.Tensor  # float32 [batch, classes]: of each class; they sum to 1
    predictions: tf.Tensor  # int64 [batch]: the likeliest class
    cross_entropy: tf.Tensor  # float32 [batch], in nats
    batch_norms: list[Layer]  # in the order in which data passes through them
    histograms: tf.Tensor  # string scalar: a serialized Summary of statistics and activations
    filters: tf.Tensor  # float32 [height, width, count]: the first layer's weights as pictures
    distortion: tf.Tensor | None  # placeholder, int64 scalar: which distortion, if any
    fold: Fold | None  # derives its variables from a checkpoint's, if batch norms are folded
