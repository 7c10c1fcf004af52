"""The two graphs of each network.

The training graph holds the batch statistics, the loss and the optimizer; the inference graph
holds the weights and the population statistics, and nothing that only training needs. A checkpoint
connects the two: the variables that they share have the same names.
"""

import functools
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import tensorflow.compat.v1 as tf

from augmentation import AUGMENTATIONS
from bn_tools import fold_batch_norm, layers_of
from networks import NETWORKS, Layers, Network
from runtime.graphs import Fold, InferenceGraph, Replica, SharedStep, TrainingGraph


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
    network = Network(*(flags[name] for name in sound))
    return network._replace(image_size=(height, width), classes=classes)


class Recipe(NamedTuple):
    """How a network is trained."""

    seed: int  # with names and steps, determines initial weights, dropout and distortions
    train_steps: int  # length of the schedule
    optimizer: str  # a key of `OPTIMIZERS`
    learning_rate: float  # the schedule's peak
    lr_schedule: str  # a key of `LR_SCHEDULES`
    dropout: float = 0.0  # share of each dense layer's units that a step drops
    augment: str = "none"  # or a key of `AUGMENTATIONS`
    label_smoothing: float = 0.0  # share of the label spread evenly over all classes
    weight_decay: float = 0.0  # each step shrinks the weights by the learning rate times this share
    weight_average: float = 0.0  # decay of the weights' moving average; 0 keeps none
    init_stddev: float | None = None  # of initial weights; None: derived from each layer's fan-in


def recipe_of(flags: dict[str, Any]) -> Recipe:
    """Returns the recipe that the flags of `train.py` and a number of steps describe."""
    return Recipe(**{name: flags[name] for name in Recipe._fields})


def training_graph(
    network: Network, recipe: Recipe, replica: Replica | None = None
) -> TrainingGraph:
    """Builds the graph that trains `network` as described by `recipe`.

    As a `replica`, it takes its part of each batch, and the same step as the others: the loss, the
    accuracy and the gradients are those of the whole batch.
    """
    with tf.Graph().as_default() as graph:
        global_step = tf.train.get_or_create_global_step()
        images, labels = _placeholders(network.image_size)
        pixels = _pixels(images)
        part = (replica.first_image, replica.batch_size) if replica else (0, None)
        if recipe.augment != "none":
            with tf.name_scope("augment"):
                seeds = tf.stack([recipe.seed, global_step])
                pixels = AUGMENTATIONS[recipe.augment](pixels, seeds, *part)
        layers = Layers(
            network,
            True,
            recipe.seed,
            recipe.init_stddev,
            recipe.dropout,
            cross_replica=replica.gather if replica and replica.sync_batch_norm else None,
            updates_collections=tf.GraphKeys.UPDATE_OPS if replica else None,
            first_image=part[0],
            batch_size=part[1],
        )
        logits = layers.logits(layers.embedding(pixels))
        with tf.name_scope("loss"):
            loss = tf.reduce_mean(_cross_entropy(logits, labels))
            objective = loss
            if recipe.label_smoothing:
                objective = _smooth_cross_entropy(logits, labels, recipe.label_smoothing)
        with tf.name_scope("accuracy"):
            is_right = tf.equal(_predictions(logits), tf.cast(labels, tf.int64))
            accuracy = tf.reduce_mean(tf.cast(is_right, tf.float32))
        with tf.name_scope("learning_rate"):
            progress = tf.cast(global_step, tf.float32) / recipe.train_steps
            factor = tf.placeholder_with_default(1.0, [], name="factor")
            rate = factor * recipe.learning_rate * LR_SCHEDULES[recipe.lr_schedule](progress)
        with tf.name_scope("train"):
            optimizer = OPTIMIZERS[recipe.optimizer](rate)
            if replica is None:
                shared = None
                train_op = optimizer.minimize(objective, global_step)
            else:
                train_op, loss, accuracy, shared = _shared_step(
                    optimizer, objective, loss, accuracy, replica
                )
            if recipe.weight_decay:
                train_op = _decay_weights(rate * recipe.weight_decay, after=train_op)
            if recipe.weight_average:
                # The step lowers the decay early on, so that the initial weights fade quickly.
                average = tf.train.ExponentialMovingAverage(recipe.weight_average, global_step)
                train_op = _average_weights(average, after=train_op)
        with tf.name_scope("checkpoint/is_finite"):
            floats = [v for v in tf.global_variables() if v.dtype.is_floating]
            is_finite = tf.reduce_all([tf.reduce_all(tf.is_finite(v)) for v in floats])
        with tf.name_scope("initialize"):
            initializer = tf.global_variables_initializer()
            if recipe.weight_average:
                initializer = _start_average(average, after=initializer)
    return TrainingGraph(
        graph=graph,
        images=images,
        labels=labels,
        loss=loss,
        accuracy=accuracy,
        learning_rate=rate,
        rate_factor=factor,
        train_op=train_op,
        global_step=global_step,
        is_finite=is_finite,
        initializer=initializer,
        shared=shared,
    )


def inference_graph(
    network: Network, augment: str = "none", fold: Fold | None = None
) -> InferenceGraph:
    """Builds the graph that classifies with the weights of a checkpoint of `network`.

    Its variables are exactly the weights and the population statistics; only a checkpoint
    initializes them. With one of `AUGMENTATIONS`, it distorts its images. `fold` is for
    `folded_inference_graph`.
    """
    with tf.Graph().as_default() as graph:
        images, labels = _placeholders(network.image_size)
        pixels, distortion = _pixels(images), None
        if augment != "none":
            distortion = tf.placeholder(tf.int64, [], name="distortion")
            pixels = AUGMENTATIONS[augment](pixels, tf.stack([0, distortion]))
        layers = Layers(network, phase_train=None, is_folded=fold is not None)
        embedding = layers.embedding(pixels)
        logits = layers.logits(embedding)
        probabilities = tf.nn.softmax(logits, name="probabilities")
        predictions = _predictions(logits)
        with tf.name_scope("loss"):
            cross_entropy = _cross_entropy(logits, labels)
        histograms = _histograms()
        batch_norms = layers_of(graph)
        filters = _filters(network.image_size)
    return InferenceGraph(
        graph=graph,
        images=images,
        labels=labels,
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


def _predictions(logits: tf.Tensor) -> tf.Tensor:
    return tf.argmax(logits, axis=1, name="predictions")


def _cross_entropy(logits: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
    # From logits, never log(softmax): that is -inf as soon as a probability underflows.
    return tf.nn.sparse_softmax_cross_entropy_with_logits(
        labels=tf.cast(labels, tf.int32), logits=logits
    )


def _smooth_cross_entropy(logits: tf.Tensor, labels: tf.Tensor, share: float) -> tf.Tensor:
    """Mean cross-entropy with smoothed labels (Szegedy et al. 2016, arXiv 1512.00567)."""
    classes = logits.shape.as_list()[-1]
    smooth = (1 - share) * tf.one_hot(labels, classes) + share / classes
    return tf.reduce_mean(tf.nn.softmax_cross_entropy_with_logits_v2(labels=smooth, logits=logits))


def _shared_step(
    optimizer: tf.train.Optimizer,
    objective: tf.Tensor,
    loss: tf.Tensor,
    accuracy: tf.Tensor,
    replica: Replica,
) -> tuple[tf.Operation, tf.Tensor, tf.Tensor, SharedStep]:
    """Returns the step of all workers, the loss and accuracy of the whole batch, and the rest.

    No variable changes before all sums have arrived: if a worker is lost, the others have either
    taken this step or not begun it.
    """
    share = replica.images / replica.batch_size
    stop_wish = tf.placeholder_with_default(0.0, [], name="stop_wish")
    own = tf.stack([share * tf.cast(loss, tf.float32), share * accuracy, stop_wish])
    # The gradients of the last layers, and so of the largest one, are computed first.
    weights = tf.trainable_variables()[::-1]
    gradients = tf.gradients(share * objective, weights)
    *gradients, of_all = replica.add_up_all([*gradients, own])
    arrived = [*gradients, of_all]
    updates = tf.get_collection(tf.GraphKeys.UPDATE_OPS)
    replica.hold_back(updates, arrived)
    with tf.control_dependencies(arrived):
        step = optimizer.apply_gradients(
            zip(gradients, weights, strict=True), tf.train.get_global_step()
        )
    loss, accuracy, stop_wishes = tf.unstack(of_all)
    return tf.group(step, *updates), loss, accuracy, SharedStep(stop_wish, stop_wishes)


def _decay_weights(share: tf.Tensor, after: tf.Operation) -> tf.Operation:
    """Shrinks the weights, but not scale, beta and biases, by a share.

    Decoupled from the gradient, as in AdamW (Loshchilov & Hutter 2019, arXiv 1711.05101).
    """
    weights = [v for v in tf.trainable_variables() if v.op.name.endswith("/weights")]
    with tf.control_dependencies([after]):
        share = tf.cast(share, weights[0].dtype.base_dtype)
        return tf.group(*(v.assign_sub(share * v.read_value()) for v in weights))


def _average_weights(
    average: tf.train.ExponentialMovingAverage, after: tf.Operation
) -> tf.Operation:
    """Updates the moving averages of all trainable variables (Polyak & Juditsky 1992)."""
    with tf.control_dependencies([after]):
        return average.apply(tf.trainable_variables())


def _start_average(average: tf.train.ExponentialMovingAverage, after: tf.Operation) -> tf.Operation:
    """Starts the averages at the initial weights.

    By default they start at the current weights, which would be infinite when a session is
    initialized again because training diverged.
    """
    with tf.control_dependencies([after]):
        weights = tf.trainable_variables()
        return tf.group(*(average.average(v).assign(v.read_value()) for v in weights))


def _constant(progress: tf.Tensor) -> tf.Tensor:
    return tf.ones_like(progress)


def _cosine(progress: tf.Tensor) -> tf.Tensor:
    """From 1 to 0 along half a cosine (Loshchilov & Hutter 2017, arXiv 1608.03983)."""
    return 0.5 * (1.0 + tf.cos(math.pi * progress))


def _onecycle(progress: tf.Tensor) -> tf.Tensor:
    """From 0.1 to 1 in the first quarter, then to 0 (Smith & Topin 2018, arXiv 1708.07120)."""
    up = 0.1 + 0.9 * progress / 0.25
    down = (1.0 - progress) / 0.75
    return tf.minimum(up, down)


LR_SCHEDULES = {"constant": _constant, "cosine": _cosine, "onecycle": _onecycle}

OPTIMIZERS = {
    "adam": tf.train.AdamOptimizer,
    "momentum": lambda rate: tf.train.MomentumOptimizer(rate, momentum=0.9),
    "sgd": tf.train.GradientDescentOptimizer,
}


def _histograms() -> tf.Tensor:
    """The variables of batch normalization, or of biases, and the activations around them."""
    variables = [v for v in tf.global_variables() if not v.op.name.endswith("weights")]
    activations = tf.get_collection(tf.GraphKeys.ACTIVATIONS)
    # `tf.summary.histogram` would call them `scale_1` and so on, since the names are taken.
    with tf.name_scope("summaries"):
        return tf.summary.merge(
            [tf.raw_ops.HistogramSummary(tag=t.op.name, values=t) for t in variables + activations]
        )


def _filters(image_size: tuple[int, int]) -> tf.Tensor:
    """The weights of the first layer as pictures, one per output.

    A convolution's are the size of its kernel, a dense layer's the size of an image.
    """
    weights = tf.trainable_variables()[0]
    *inputs, outputs = weights.shape.as_list()
    height, width = image_size if len(inputs) == 1 else inputs[:2]
    with tf.name_scope("filters"):
        return tf.cast(tf.reshape(weights, [height, width, outputs]), tf.float32)
