"""The two graphs of each network.

The training graph holds the batch statistics, the loss and the optimizer; the inference graph
holds the weights and the population statistics, and nothing that only training needs. A checkpoint
connects the two: the variables that they share have the same names.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import tensorflow.compat.v1 as tf

from bn_tools import Layer, fold_batch_norm, layers_of
from networks import losses, monitoring, optimization
from networks.architectures import (
    ALONE,
    NETWORKS,
    BatchNormOptions,
    InTraining,
    Layers,
    Network,
    Replica,
)
from networks.augmentation import AUGMENTATIONS

# Maps the values of variables, by name, to the values of others.
Fold = Callable[[dict[str, np.ndarray]], dict[str, np.ndarray]]

# Why a worker may want to stop: one for each of `console.interruption.SIGNALS`.
STOP_REASONS = 3


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
    stop_wish: tf.Tensor  # float32 [STOP_REASONS], 0 unless fed: 1 for why this worker would stop
    stop_wishes: tf.Tensor  # float32 [STOP_REASONS]: how many workers want to stop after the step


class InferenceGraph(NamedTuple):
    """A graph for inference only. Unless it distorts, a batch's images do not affect each other."""

    graph: tf.Graph
    images: tf.Tensor  # placeholder, uint8 [batch, height, width]
    labels: tf.Tensor  # placeholder, uint8 [batch]
    pixels: tf.Tensor  # float32 [batch, height, width], 0 to 1: the images, perhaps distorted
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


def network_of(flags: dict[str, Any], data: dict[str, Any]) -> Network:
    """Returns the network that a run's record describes.

    Args:
        flags: those of `train.py`.
        data: the `form` or `description` of the data set.

    Raises:
        ValueError: a flag is missing, or its value is not one that `train.py` accepts; or the data
            have no pixels or no classes.
    """
    sound: dict[str, Callable[[Any], bool]] = {
        "model": lambda name: isinstance(name, str) and name in NETWORKS,
        "batch_norm": lambda is_there: isinstance(is_there, bool),
        "bn_decay": lambda decay: isinstance(decay, float | int) and 0 <= decay < 1,
        "bn_epsilon": lambda epsilon: isinstance(epsilon, float | int) and epsilon > 0,
        "precision": lambda precision: precision in ("float32", "bfloat16"),
    }
    for name, is_sound in sound.items():
        if not is_sound(flags.get(name)):
            raise ValueError(f"expected a valid value for --{name}, found {flags.get(name)!r}")
    form = [*data["image_size"], data["classes"]]
    is_sound_form = len(form) == 3 and all(type(size) is int and size > 0 for size in form)
    # IDX files have labels of a byte, and no images this large.
    if not is_sound_form or form[2] > 256 or max(form) > 2**15:
        raise ValueError(
            f"expected height and width of images and a number of classes, found {form}"
        )
    height, width, classes = form
    return Network(
        name=flags["model"],
        batch_norm=flags["batch_norm"],
        bn_decay=flags["bn_decay"],
        bn_epsilon=flags["bn_epsilon"],
        precision=flags["precision"],
        image_size=(height, width),
        classes=classes,
        **{name: flags[name] for name in ("hidden_layers", "activation") if name in flags},
    )


class Recipe(NamedTuple):
    """How a network is trained."""

    seed: int  # with names and steps, determines initial weights, dropout and distortions
    train_steps: int  # length of the schedule
    optimizer: str  # a key of `optimization.OPTIMIZERS`
    learning_rate: float  # the schedule's peak
    lr_schedule: str  # a key of `optimization.LR_SCHEDULES`
    dropout: float = 0.0  # share of each dense layer's units that a step drops
    augment: str = "none"  # or a key of `AUGMENTATIONS`
    label_smoothing: float = 0.0  # share of the label spread evenly over all classes
    weight_decay: float = 0.0  # each step shrinks the weights by the learning rate times this share
    weight_average: float = 0.0  # decay of the weights' moving average; 0 keeps none
    init_stddev: float | None = None  # of initial weights; None: derived from each layer's fan-in


def recipe_of(flags: dict[str, Any]) -> Recipe:
    """Returns the recipe that the flags of `train.py` describe."""
    return Recipe(**{name: flags[name] for name in Recipe._fields})


def training_graph(
    network: Network,
    recipe: Recipe,
    replica: Replica = ALONE,
    bn_options: BatchNormOptions = dict,
) -> TrainingGraph:
    """Builds the graph that trains `network` as described by `recipe`.

    A `replica` takes its part of each batch, and the same step as the others: the loss, the
    accuracy and the gradients are those of the whole batch. `bn_options` returns further
    arguments of `batch_norm_wrapper`, such as `renorm`.
    """
    with tf.Graph().as_default() as graph:
        global_step = tf.train.get_or_create_global_step()
        images, labels = _placeholders(network.image_size)
        pixels = _distorted(_pixels(images), recipe, replica)
        layers = Layers(
            network,
            InTraining(recipe.seed, recipe.init_stddev, recipe.dropout, replica, bn_options),
        )
        logits = layers.logits(layers.embedding(pixels))
        loss, objective = losses.mean_and_objective(logits, labels, recipe.label_smoothing)
        accuracy = losses.accuracy(logits, labels)
        rate, rate_factor = optimization.learning_rate(
            recipe.lr_schedule, recipe.learning_rate, recipe.train_steps
        )
        with tf.name_scope("train"):
            optimizer = optimization.OPTIMIZERS[recipe.optimizer](rate)
            stop_wish = tf.placeholder_with_default(
                tf.zeros([STOP_REASONS]), [STOP_REASONS], "stop_wish"
            )
            train_op, (loss, accuracy), stop_wishes = optimization.minimize(
                optimizer, objective, [loss, accuracy], stop_wish, replica, layers.products
            )
            if recipe.weight_decay:
                train_op = optimization.decay_weights(rate * recipe.weight_decay, after=train_op)
            if recipe.weight_average:
                # The step lowers the decay early on, so that the initial weights fade quickly.
                average = tf.train.ExponentialMovingAverage(recipe.weight_average, global_step)
                train_op = optimization.average_weights(average, after=train_op)
        with tf.name_scope("checkpoint/is_finite"):
            floats = [v for v in tf.global_variables() if v.dtype.is_floating]
            is_finite = tf.reduce_all([tf.reduce_all(tf.is_finite(v)) for v in floats])
        with tf.name_scope("initialize"):
            initializer = tf.global_variables_initializer()
            if recipe.weight_average:
                initializer = optimization.start_average(average, after=initializer)
    return TrainingGraph(
        graph=graph,
        images=images,
        labels=labels,
        loss=loss,
        accuracy=accuracy,
        learning_rate=rate,
        rate_factor=rate_factor,
        train_op=train_op,
        global_step=global_step,
        is_finite=is_finite,
        initializer=initializer,
        stop_wish=stop_wish,
        stop_wishes=stop_wishes,
    )


def inference_graph(
    network: Network, augment: str = "none", fold: Fold | None = None
) -> InferenceGraph:
    """Builds the graph that classifies with the weights of a checkpoint of `network`.

    Its variables are exactly the weights and the population statistics, whose values come from
    elsewhere: a checkpoint, or a training in progress. With one of `AUGMENTATIONS`, it distorts its
    images. `fold` is for `folded_inference_graph`.
    """
    with tf.Graph().as_default() as graph:
        images, labels = _placeholders(network.image_size)
        pixels, distortion = _pixels(images), None
        if augment != "none":
            distortion = tf.placeholder(tf.int64, [], name="distortion")
            pixels = AUGMENTATIONS[augment](pixels, tf.stack([0, distortion]))
        layers = Layers(network, is_folded=fold is not None)
        embedding = layers.embedding(pixels)
        logits = layers.logits(embedding)
        probabilities = tf.nn.softmax(logits, name="probabilities")
        predictions = losses.predictions(logits)
        with tf.name_scope("loss"):
            cross_entropy = losses.cross_entropy(logits, labels)
        histograms = monitoring.histograms()
        batch_norms = layers_of(graph)
        filters = monitoring.filters(network.image_size)
    return InferenceGraph(
        graph=graph,
        images=images,
        labels=labels,
        pixels=pixels,
        embedding=embedding,
        logits=logits,
        probabilities=probabilities,
        predictions=predictions,
        cross_entropy=cross_entropy,
        batch_norms=batch_norms,
        histograms=histograms,
        filters=filters,
        distortion=distortion,
        fold=fold,
    )


def folded_inference_graph(network: Network, augment: str = "none") -> InferenceGraph:
    """Builds the graph that classifies with a checkpoint folded by `fold_batch_norms`.

    It is the network without batch norm, and its weights are stored in the precision in which they
    are multiplied.
    """
    without = network._replace(batch_norm=False)
    fold = functools.partial(fold_batch_norms, bn_epsilon=network.bn_epsilon)
    return inference_graph(without, augment, fold)


def fold_batch_norms(variables: dict[str, np.ndarray], bn_epsilon: float) -> dict[str, np.ndarray]:
    """Turns the variables of an inference graph into those of the folded one.

    Args:
        variables: values by name. Those that only training needs are ignored.
        bn_epsilon: the network's epsilon.
    """
    folded: dict[str, np.ndarray] = {}
    for name, weights in variables.items():
        layer, _, kind = name.rpartition("/")
        if kind != "weights":
            continue
        if f"{layer}/bias" in variables:
            bias = variables[f"{layer}/bias"]
        else:
            scale, beta, pop_mean, pop_var = (
                variables[f"{layer}/batch_norm/{parameter}"]
                for parameter in ("scale", "beta", "pop_mean", "pop_var")
            )
            weights, bias = fold_batch_norm(weights, scale, beta, pop_mean, pop_var, bn_epsilon)
        folded |= {f"{layer}/weights": weights, f"{layer}/bias": bias}
    return folded


def _placeholders(image_size: tuple[int, int]) -> tuple[tf.Tensor, tf.Tensor]:
    images = tf.placeholder(tf.uint8, [None, *image_size], name="images")
    labels = tf.placeholder(tf.uint8, [None], name="labels")
    return images, labels


def _pixels(images: tf.Tensor) -> tf.Tensor:
    """Images from 0 to 1, float32 [batch, height, width]."""
    with tf.name_scope("scale_pixels"):
        return tf.cast(images, tf.float32) / 255.0


def _distorted(pixels: tf.Tensor, recipe: Recipe, replica: Replica) -> tf.Tensor:
    if recipe.augment == "none":
        return pixels
    with tf.name_scope("augment"):
        seeds = tf.stack([recipe.seed, tf.train.get_global_step()])
        distort = AUGMENTATIONS[recipe.augment]
        return distort(pixels, seeds, replica.first_image, replica.batch_size)
