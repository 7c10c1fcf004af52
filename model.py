"""The networks, and the two graphs that each of them lives in.

The training graph holds the batch statistics, the loss and the optimizer; the inference graph
holds the weights and the population statistics, and nothing that only training needs. What joins
the two is a checkpoint: the variables that they share have the same names.
"""

import math
import zlib
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import tensorflow.compat.v1 as tf

from bn_wrapper import batch_norm_wrapper, fold_batch_norm

IMAGE_SIZE = 28
CLASSES = 10
# The collection of (inputs, pop_mean, pop_var) of every batch norm in a graph.
BATCH_NORMS = "batch_norms"


class Network(NamedTuple):
    """Which network, with which batch normalization (see `batch_norm_wrapper`)."""

    name: str  # a key of `NETWORKS`
    batch_norm: bool
    bn_decay: float
    bn_epsilon: float
    precision: str  # of activations, float32 or bfloat16; variables, statistics, loss are float32


def network_of(flags: dict[str, Any]) -> Network:
    """Returns the network that the flags of `train.py` describe, such as those in a run's record.

    Raises:
        ValueError: a flag is missing, or it is not one that `train.py` takes.
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
            raise ValueError(f"expected a value that --{name} takes, found {flags.get(name)!r}")
    return Network(*(flags[name] for name in sound))


class Recipe(NamedTuple):
    """How a network is trained."""

    seed: int  # initial weights and dropout are functions of it and of names and steps
    train_steps: int  # length of the schedule
    optimizer: str  # a key of `OPTIMIZERS`
    learning_rate: float  # the schedule's highest
    lr_schedule: str  # a key of `LR_SCHEDULES`
    dropout: float = 0.0  # share of the units of each dense layer that a step leaves out
    init_stddev: float | None = (
        None  # of all initial weights; None follows from each layer's fan-in
    )


def recipe_of(flags: dict[str, Any]) -> Recipe:
    """Returns the recipe that the flags of `train.py`, and a number of steps, describe."""
    return Recipe(*(flags[name] for name in Recipe._fields))


class TrainingGraph(NamedTuple):
    """A graph that learns. Its placeholders take one batch; a run of `train_op` is one step."""

    graph: tf.Graph
    images: tf.Tensor  # placeholder, uint8 [batch, 28, 28]
    labels: tf.Tensor  # placeholder, uint8 [batch]
    loss: tf.Tensor  # float32 scalar: mean cross-entropy of the batch, in nats
    accuracy: tf.Tensor  # float32 scalar: share of the batch that is classified right
    learning_rate: tf.Tensor  # float32 scalar: the rate of the step
    rate_factor: tf.Tensor  # float32 scalar, 1 unless fed: the rate is multiplied by it
    train_op: tf.Operation  # takes the step; `loss` and `accuracy` are from before it
    global_step: tf.Variable  # int64 scalar: steps taken so far
    is_finite: tf.Tensor  # bool scalar: whether no variable is infinite or not a number
    initializer: tf.Operation


class InferenceGraph(NamedTuple):
    """A graph that only answers. An answer does not depend on the rest of the batch."""

    graph: tf.Graph
    images: tf.Tensor  # placeholder, uint8 [batch, 28, 28]
    labels: tf.Tensor  # placeholder, uint8 [batch]
    embedding: tf.Tensor  # float32 [batch, units]: the last hidden layer
    logits: tf.Tensor  # float32 [batch, 10]: unnormalized log-probabilities
    probabilities: tf.Tensor  # float32 [batch, 10]: of each class; they add up to 1
    predictions: tf.Tensor  # int64 [batch]: the likeliest class
    cross_entropy: tf.Tensor  # float32 [batch], in nats
    batch_norms: list  # of (inputs, pop_mean, pop_var), in the order in which data passes them
    histograms: tf.Tensor  # string scalar: a serialized Summary of statistics and activations
    filters: tf.Tensor  # float32 [height, width, count]: the first layer's weights as pictures


def training_graph(network: Network, recipe: Recipe) -> TrainingGraph:
    """Builds the graph that trains `network` as `recipe` says."""
    with tf.Graph().as_default() as graph:
        global_step = tf.train.get_or_create_global_step()
        images, labels = _placeholders()
        layers = _Layers(recipe.seed, recipe.init_stddev, recipe.dropout)
        logits = layers.logits(_embedding(network, images, phase_train=True, layers=layers))
        with tf.name_scope("loss"):
            loss = tf.reduce_mean(_cross_entropy(logits, labels))
        with tf.name_scope("accuracy"):
            is_right = tf.equal(_predictions(logits), tf.cast(labels, tf.int64))
            accuracy = tf.reduce_mean(tf.cast(is_right, tf.float32))
        with tf.name_scope("learning_rate"):
            progress = tf.cast(global_step, tf.float32) / recipe.train_steps
            factor = tf.placeholder_with_default(1.0, [], name="factor")
            rate = factor * recipe.learning_rate * LR_SCHEDULES[recipe.lr_schedule](progress)
        with tf.name_scope("train"):
            train_op = OPTIMIZERS[recipe.optimizer](rate).minimize(loss, global_step)
        with tf.name_scope("is_finite"):
            floats = [v for v in tf.global_variables() if v.dtype.is_floating]
            is_finite = tf.reduce_all([tf.reduce_all(tf.is_finite(v)) for v in floats])
        initializer = tf.global_variables_initializer()
    return TrainingGraph(
        graph,
        images,
        labels,
        loss,
        accuracy,
        rate,
        factor,
        train_op,
        global_step,
        is_finite,
        initializer,
    )


def inference_graph(network: Network) -> InferenceGraph:
    """Builds the graph that classifies with the weights of a checkpoint of `network`.

    Its variables are exactly the weights and the population statistics; nothing initializes them
    but a checkpoint.
    """
    return _inference_graph(network, _Layers())


def folded_inference_graph(network: Network) -> InferenceGraph:
    """Builds the graph that classifies with what `fold_batch_norms` makes of a checkpoint.

    It is the network without batch norm, and its weights are kept in the precision that they are
    multiplied in.
    """
    without = network._replace(batch_norm=False)
    return _inference_graph(without, _Layers(is_folded=True))


def fold_batch_norms(variables: dict[str, np.ndarray], bn_epsilon: float) -> dict[str, np.ndarray]:
    """Turns the variables of an inference graph into those of the folded one.

    Args:
        variables: values by name. Those that only training needs are left out.
        bn_epsilon: of the network.
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


def _inference_graph(network: Network, layers: "_Layers") -> InferenceGraph:
    with tf.Graph().as_default() as graph:
        images, labels = _placeholders()
        embedding = _embedding(network, images, phase_train=None, layers=layers)
        logits = layers.logits(embedding)
        probabilities = tf.nn.softmax(logits, name="probabilities")
        predictions = _predictions(logits)
        with tf.name_scope("loss"):
            cross_entropy = _cross_entropy(logits, labels)
        histograms = _histograms()
        batch_norms = tf.get_collection(BATCH_NORMS)
        filters = _filters()
    return InferenceGraph(
        graph,
        images,
        labels,
        embedding,
        logits,
        probabilities,
        predictions,
        cross_entropy,
        batch_norms,
        histograms,
        filters,
    )


def _placeholders() -> tuple[tf.Tensor, tf.Tensor]:
    images = tf.placeholder(tf.uint8, [None, IMAGE_SIZE, IMAGE_SIZE], name="images")
    labels = tf.placeholder(tf.uint8, [None], name="labels")
    return images, labels


def _embedding(
    network: Network, images: tf.Tensor, phase_train: bool | None, layers: "_Layers"
) -> tf.Tensor:
    """The network's last hidden layer, float32 [batch, units]."""

    def normalize(inputs: tf.Tensor) -> tf.Tensor:
        """Batch normalization or, in a network without it, the bias that it makes needless."""
        if network.batch_norm:
            outputs = batch_norm_wrapper(inputs, phase_train, network.bn_decay, network.bn_epsilon)
            scope = f"{tf.get_variable_scope().name}/batch_norm/pop_"
            population = tf.get_collection(tf.GraphKeys.GLOBAL_VARIABLES, scope)[:2]
            tf.add_to_collection(BATCH_NORMS, (inputs, *population))
        else:
            outputs = _add_bias(inputs)
        what = "batch_norm" if network.batch_norm else "bias"
        tf.add_to_collection(tf.GraphKeys.ACTIVATIONS, tf.identity(inputs, f"before_{what}"))
        tf.add_to_collection(tf.GraphKeys.ACTIVATIONS, tf.identity(outputs, f"after_{what}"))
        return outputs

    with tf.name_scope("scale_pixels"):
        pixels = tf.expand_dims(tf.cast(images, tf.float32) / 255.0, axis=-1)
        pixels = tf.cast(pixels, network.precision)
    hidden = NETWORKS[network.name](pixels, layers, normalize)
    # The layer after it is small, and float32 whatever the others are.
    return tf.cast(hidden, tf.float32, name="embedding")


class _Layers:
    """The layers that multiply by weights: without a bias, which `normalize` adds where needed."""

    def __init__(
        self,
        seed: int = 0,
        init_stddev: float | None = None,
        dropout: float = 0.0,
        is_folded: bool = False,
    ):
        """Takes what a `Recipe` says, and whether the weights are made by folding."""
        self._seed = seed
        self._init_stddev = init_stddev
        self._dropout = dropout
        self._is_folded = is_folded

    def convolve(self, inputs: tf.Tensor, channels: int, gain: float) -> tf.Tensor:
        """A 5x5 convolution that keeps height and width."""
        weights = self._weights([5, 5, inputs.shape.as_list()[-1], channels], inputs.dtype, gain)
        return tf.nn.conv2d(inputs, weights, strides=1, padding="SAME", name="convolution")

    def multiply(self, inputs: tf.Tensor, units: int, gain: float) -> tf.Tensor:
        """A matrix product with a vector of features for each example."""
        weights = self._weights([inputs.shape.as_list()[-1], units], inputs.dtype, gain)
        # A batch of one product: that kernel's gradient takes half the time of `MatMul`'s.
        product = tf.matmul(tf.expand_dims(inputs, 0), tf.expand_dims(weights, 0), name="product")
        return tf.squeeze(product, 0)

    def drop_out(self, inputs: tf.Tensor) -> tf.Tensor:
        """Sets a share of the units to 0 and makes up for it, in training (Srivastava et al. 2014,
        JMLR 15). Which ones is a function of the seed, the layer's name and the step.
        """
        if not self._dropout:
            return inputs
        # A pair of seeds is all that there is room for: the first stands for two of the three.
        seeds = [(self._seed * 2**32 + _checksum_of_scope()) % 2**63, tf.train.get_global_step()]
        return tf.nn.experimental.stateless_dropout(inputs, self._dropout, tf.stack(seeds))

    def logits(self, inputs: tf.Tensor) -> tf.Tensor:
        """The last layer, which has a bias: unnormalized log-probabilities, float32 [batch, 10]."""
        with tf.variable_scope("logits"):
            return _add_bias(self.multiply(inputs, CLASSES, gain=1.0))

    def _weights(self, shape: list[int], dtype: tf.DType, gain: float) -> tf.Tensor:
        """Initially normal with variance `gain` / fan-in: 2 keeps the scale of a signal through
        layers of ReLU (He et al. 2015, arXiv 1502.01852), 1 through linear ones.

        Seeded by name as well: the values do not change when another variable is added.
        """
        fan_in = 1
        for dimension in shape[:-1]:
            fan_in *= dimension
        seeds = [self._seed, _checksum_of_scope()]

        def initializer(shape, dtype, partition_info=None):
            deviation = self._init_stddev or (gain / fan_in) ** 0.5
            return tf.random.stateless_normal(shape, seeds, stddev=deviation, dtype=dtype)

        # Those that are trained take steps too small for bfloat16; folded ones are only read.
        kept_in = dtype if self._is_folded else tf.float32
        return tf.cast(tf.get_variable("weights", shape, kept_in, initializer), dtype)


def _checksum_of_scope() -> int:
    return zlib.crc32(tf.get_variable_scope().name.encode())


def _cnn(pixels: tf.Tensor, layers: _Layers, normalize: Callable) -> tf.Tensor:
    """TensorFlow's old tutorial "Deep MNIST for Experts", with batch normalization."""
    return _convolutional(pixels, layers, normalize, channels=(32, 64), units=1024)


def _small(pixels: tf.Tensor, layers: _Layers, normalize: Callable) -> tf.Tensor:
    """The tutorial's with half the channels and an eighth of the units: a quarter of the work."""
    return _convolutional(pixels, layers, normalize, channels=(16, 32), units=128)


def _convolutional(
    pixels: tf.Tensor,
    layers: _Layers,
    normalize: Callable,
    channels: tuple[int, int],
    units: int,
) -> tf.Tensor:
    hidden = pixels
    for name, channels_out in zip(("conv1", "conv2"), channels, strict=True):
        with tf.variable_scope(name):
            hidden = normalize(layers.convolve(hidden, channels_out, gain=2.0))
            # ReLU after pooling is the same function, and has a quarter of the values to do.
            hidden = tf.nn.relu(tf.nn.max_pool2d(hidden, ksize=2, strides=2, padding="SAME"))
    with tf.variable_scope("dense"):
        hidden = tf.nn.relu(normalize(layers.multiply(_flatten(hidden), units, gain=2.0)))
        return layers.drop_out(hidden)


def _mlp(pixels: tf.Tensor, layers: _Layers, normalize: Callable) -> tf.Tensor:
    """The network of the batch-norm paper's own MNIST experiment (section 4.1)."""
    hidden = _flatten(pixels)
    for name in ("dense1", "dense2", "dense3"):
        with tf.variable_scope(name):
            hidden = tf.nn.sigmoid(normalize(layers.multiply(hidden, 100, gain=1.0)))
            hidden = layers.drop_out(hidden)
    return hidden


NETWORKS = {"cnn": _cnn, "small": _small, "mlp": _mlp}


def _add_bias(inputs: tf.Tensor) -> tf.Tensor:
    channels = inputs.shape.as_list()[-1]
    bias = tf.get_variable("bias", [channels], initializer=tf.zeros_initializer())
    return tf.nn.bias_add(inputs, tf.cast(bias, inputs.dtype))


def _flatten(inputs: tf.Tensor) -> tf.Tensor:
    size = 1
    for dimension in inputs.shape.as_list()[1:]:
        size *= dimension
    return tf.reshape(inputs, [-1, size])


def _predictions(logits: tf.Tensor) -> tf.Tensor:
    return tf.argmax(logits, axis=1, name="predictions")


def _cross_entropy(logits: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
    # From logits, never log(softmax): that is -inf as soon as a probability underflows.
    return tf.nn.sparse_softmax_cross_entropy_with_logits(
        labels=tf.cast(labels, tf.int32), logits=logits
    )


def _constant(progress: tf.Tensor) -> tf.Tensor:
    return tf.ones_like(progress)


def _cosine(progress: tf.Tensor) -> tf.Tensor:
    """From 1 to 0 along half a cosine (Loshchilov & Hutter 2017, arXiv 1608.03983)."""
    return 0.5 * (1.0 + tf.cos(3.141592653589793 * progress))


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
    """What batch normalization, or a bias, does: its variables, and the activations around it."""
    variables = [v for v in tf.global_variables() if not v.op.name.endswith("weights")]
    activations = tf.get_collection(tf.GraphKeys.ACTIVATIONS)
    # `tf.summary.histogram` would call them `scale_1` and so on, since the names are in use.
    return tf.summary.merge(
        [tf.raw_ops.HistogramSummary(tag=t.op.name, values=t) for t in variables + activations]
    )


def _filters() -> tf.Tensor:
    """The weights of the first layer as pictures, one for each of its outputs.

    A convolution's are as large as what it looks at, a dense layer's as large as an image.
    """
    weights = tf.trainable_variables()[0]
    *inputs, outputs = weights.shape.as_list()
    side = math.isqrt(math.prod(inputs))
    with tf.name_scope("filters"):
        return tf.cast(tf.reshape(weights, [side, side, outputs]), tf.float32)
