"""The networks, from the pixels to the logits."""

import math
import zlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import tensorflow.compat.v1 as tf

from bn_wrapper import batch_norm_wrapper

BatchNormOptions = Callable[[], Mapping[str, Any]]


class Network(NamedTuple):
    """Which network, with which batch normalization (see `batch_norm_wrapper`)."""

    name: str  # a key of `NETWORKS`
    batch_norm: bool
    bn_decay: float
    bn_epsilon: float
    precision: str  # of activations, float32 or bfloat16 (float64 in tests); the rest is float32
    image_size: tuple[int, int] = (28, 28)  # height and width, in pixels
    classes: int = 10
    # Of `mlp` only: the number of its hidden layers, and a key of `ACTIVATIONS`.
    hidden_layers: int = 3
    activation: str = "sigmoid"


def _identity(tensors: Sequence[tf.Tensor]) -> list[tf.Tensor]:
    return list(tensors)


def _no_wait(updates: Sequence[tf.Tensor], until: Sequence[tf.Tensor]) -> None:
    pass


class Replica(NamedTuple):
    """A worker's part in the training of a network; by default that of one that is alone.

    Of several, each takes a part of every batch, and they exchange statistics and gradients.
    """

    first_image: int = 0  # the place of its first one in the batch
    batch_size: int | None = None  # of all workers together; None if it has the whole batch
    share: float = 1.0  # of the batch's images that are its own
    # From a vector [k] to those of all workers, [workers, k]; None if each normalizes by itself.
    gather: Callable[[tf.Tensor], tf.Tensor] | None = None
    # The sums over all workers.
    add_up_all: Callable[[Sequence[tf.Tensor]], list[tf.Tensor]] = _identity
    # From a row for each of its images to those for the whole batch, in the same order on each
    # worker and with rows of 0 between them; None if workers might multiply these to other bits.
    gather_rows: Callable[[tf.Tensor], tf.Tensor] | None = None
    # The collection for updates of statistics that `hold_back` holds back; None if nothing does.
    updates_collection: str | None = None
    # Makes assignments wait for what arrives from other workers.
    hold_back: Callable[[Sequence[tf.Tensor], Sequence[tf.Tensor]], None] = _no_wait


# The only worker of a training.
ALONE = Replica()


class InTraining(NamedTuple):
    """What the layers of a training graph know that those of an inference graph need not."""

    seed: int = 0
    init_stddev: float | None = None  # of initial weights; None: derived from each layer's fan-in
    dropout: float = 0.0  # share of each dense layer's units that a step drops
    replica: Replica = ALONE
    # Returns further arguments of a layer's `batch_norm_wrapper`, in whose scope it is called.
    bn_options: BatchNormOptions = dict


# By name, with the gain of the weights before it.
ACTIVATIONS = {"sigmoid": (tf.nn.sigmoid, 1.0), "relu": (tf.nn.relu, 2.0)}
BEFORE_NORMALIZATION, AFTER_NORMALIZATION = (
    "before_batch_norm_or_bias",
    "after_batch_norm_or_bias",
)


class Product(NamedTuple):
    """A product of the images' features with a matrix of weights."""

    inputs: tf.Tensor  # [images, k]
    weights: tf.Variable  # [k, n]
    outputs: tf.Tensor  # [images, n]


class Layers:
    """The building blocks of the networks."""

    def __init__(
        self, network: Network, training: InTraining | None = None, *, is_folded: bool = False
    ):
        """Takes the network, what training needs, and whether the weights are folded ones.

        Without `training`, the layers are those of an inference graph.
        """
        self.network = network
        # float64 is for tests that tell rounding from other differences.
        self._wide = tf.float64 if network.precision == "float64" else tf.float32
        self._phase_train = None if training is None else True
        # Of an inference graph, the initial weights are never used.
        self._training = training or InTraining()
        self._is_folded = is_folded
        self.products: list[Product] = []  # that have been built

    def convolve(self, inputs: tf.Tensor, size: int, channels: int, gain: float) -> tf.Tensor:
        """A convolution with `size` x `size` weights that keeps height and width. No bias."""
        shape = [size, size, inputs.shape.as_list()[-1], channels]
        weights = self._weights(shape, inputs.dtype, gain)
        return tf.nn.conv2d(inputs, weights, strides=1, padding="SAME", name="convolution")

    def multiply(self, inputs: tf.Tensor, units: int, gain: float) -> tf.Tensor:
        """A matrix product with a vector of features for each example. No bias."""
        weights = self._variable([inputs.shape.as_list()[-1], units], inputs.dtype, gain)
        # As a batch of one product, since that kernel's gradient takes half the time of `MatMul`'s.
        factors = [tf.expand_dims(factor, 0) for factor in (inputs, tf.cast(weights, inputs.dtype))]
        outputs = tf.squeeze(tf.matmul(*factors, name="product"), 0)
        self.products.append(Product(inputs, weights, outputs))
        return outputs

    def normalize(self, inputs: tf.Tensor) -> tf.Tensor:
        """Batch normalization or, in a network without it, the bias that it makes redundant."""
        if self.network.batch_norm:
            outputs = batch_norm_wrapper(
                inputs,
                self._phase_train,
                self.network.bn_decay,
                epsilon=self.network.bn_epsilon,
                updates_collections=self._training.replica.updates_collection,
                cross_replica=self._training.replica.gather,
                **self._training.bn_options(),
            )
        else:
            outputs = _add_bias(inputs)
        # The same names with and without batch norm, so that their histograms share an axis.
        for name, values in ((BEFORE_NORMALIZATION, inputs), (AFTER_NORMALIZATION, outputs)):
            tf.add_to_collection(tf.GraphKeys.ACTIVATIONS, tf.identity(values, name))
        return outputs

    def rectify(self, inputs: tf.Tensor, is_pooled: bool) -> tf.Tensor:
        """ReLU, and max pooling that halves height and width.

        Pooled first, which gives the same for a quarter of the work.
        """
        return tf.nn.relu(halve(inputs) if is_pooled else inputs)

    def drop_out(self, inputs: tf.Tensor) -> tf.Tensor:
        """Dropout, in training only (Srivastava et al. 2014, JMLR 15).

        Scales the other units up to compensate. Which units are dropped is a function of the seed,
        the layer's name and the step.
        """
        rate, replica = self._training.dropout, self._training.replica
        if not rate:
            return inputs
        # Only two seeds fit, so the first combines the run's seed and the layer.
        of_layer = (self._training.seed * 2**32 + _checksum_of_scope()) % 2**63
        seeds = [of_layer, tf.train.get_global_step()]
        with tf.name_scope("stateless_dropout"):
            # Not in bfloat16, whose random numbers are multiples of 1/128: 0.3 would drop 30.5 %.
            exact = tf.cast(inputs, self._wide)
            images, units = tf.shape(inputs)[0], inputs.shape.as_list()[-1]
            # For the whole batch, so that what is dropped does not depend on the number of workers.
            shape = [images if replica.batch_size is None else replica.batch_size, units]
            uniform = tf.random.stateless_uniform(shape, tf.stack(seeds), dtype=exact.dtype)
            own = uniform[replica.first_image : replica.first_image + images]
            kept = tf.where_v2(own >= rate, exact * (1 / (1 - rate)), tf.zeros_like(exact))
            return tf.cast(kept, inputs.dtype)

    def embedding(self, pixels: tf.Tensor) -> tf.Tensor:
        """The last hidden layer, float32 [batch, units], for float32 [batch, height, width]."""
        pixels = tf.cast(tf.expand_dims(pixels, axis=-1, name="channel"), self.network.precision)
        hidden = NETWORKS[self.network.name](pixels, self)
        # The next layer is small, and never computed in bfloat16.
        return tf.cast(hidden, self._wide, name="embedding")

    def logits(self, inputs: tf.Tensor) -> tf.Tensor:
        """The last layer: unnormalized log-probabilities, float32 [batch, classes]. Has a bias."""
        with tf.variable_scope("logits"):
            return _add_bias(self.multiply(inputs, self.network.classes, gain=1.0))

    def _weights(self, shape: list[int], dtype: tf.DType, gain: float) -> tf.Tensor:
        """The values of `_variable` in the precision of the product."""
        return tf.cast(self._variable(shape, dtype, gain), dtype)

    def _variable(self, shape: list[int], dtype: tf.DType, gain: float) -> tf.Variable:
        """Weights, initially normal with variance `gain` / fan-in.

        A gain of 2 preserves the scale of a signal through ReLU layers (He et al. 2015, arXiv
        1502.01852), 1 through linear ones. Seeded by name as well, so that adding another variable
        does not change the values.
        """
        fan_in = math.prod(shape[:-1])
        seeds = [self._training.seed, _checksum_of_scope()]

        def initializer(shape, dtype, partition_info=None):
            deviation = self._training.init_stddev or (gain / fan_in) ** 0.5
            return tf.random.stateless_normal(shape, seeds, stddev=deviation, dtype=dtype)

        # Training takes steps too small for bfloat16; folded weights are only read.
        kept_in = dtype if self._is_folded else self._wide
        return tf.get_variable("weights", shape, kept_in, initializer)


def _checksum_of_scope() -> int:
    return zlib.crc32(tf.get_variable_scope().name.encode())


class Convolution(NamedTuple):
    """A convolution with batch normalization and ReLU."""

    name: str
    size: int  # height and width of its weights
    channels: int
    is_pooled: bool = True  # whether max pooling halves height and width


def cnn(pixels: tf.Tensor, layers: Layers) -> tf.Tensor:
    """TensorFlow's old tutorial "Deep MNIST for Experts", with batch normalization."""
    convolutions = Convolution("conv1", 5, 32), Convolution("conv2", 5, 64)
    return _convolutional(pixels, layers, convolutions, units=1024)


def small(pixels: tf.Tensor, layers: Layers) -> tf.Tensor:
    """`cnn` with half the channels and an eighth of the units: a quarter of the work."""
    convolutions = Convolution("conv1", 5, 16), Convolution("conv2", 5, 32)
    return _convolutional(pixels, layers, convolutions, units=128)


def deep(pixels: tf.Tensor, layers: Layers) -> tf.Tensor:
    """Five convolutions.

    Only the first is 5x5, since 3x3 ones allow more layers for the same work (Simonyan and
    Zisserman 2015, arXiv 1409.1556).
    """
    convolutions = (
        Convolution("conv1", 5, 32),
        Convolution("conv2a", 3, 64, is_pooled=False),
        Convolution("conv2b", 3, 64),
        Convolution("conv3a", 3, 128, is_pooled=False),
        Convolution("conv3b", 3, 128),
    )
    return _convolutional(pixels, layers, convolutions, units=256)


def _convolutional(
    pixels: tf.Tensor, layers: Layers, convolutions: Sequence[Convolution], units: int
) -> tf.Tensor:
    """Convolutions, followed by a dense layer of `units`."""
    hidden = pixels
    for name, size, channels, is_pooled in convolutions:
        with tf.variable_scope(name):
            hidden = layers.normalize(layers.convolve(hidden, size, channels, gain=2.0))
            hidden = layers.rectify(hidden, is_pooled)
    with tf.variable_scope("dense"):
        hidden = tf.nn.relu(layers.normalize(layers.multiply(_flatten(hidden), units, gain=2.0)))
        return layers.drop_out(hidden)


def mlp(pixels: tf.Tensor, layers: Layers) -> tf.Tensor:
    """The network of the batch-norm paper's MNIST experiment (section 4.1).

    It has three layers of sigmoids, but studies stack more, or others.
    """
    activate, gain = ACTIVATIONS[layers.network.activation]
    hidden = _flatten(pixels)
    for number in range(1, layers.network.hidden_layers + 1):
        with tf.variable_scope(f"dense{number}"):
            hidden = activate(layers.normalize(layers.multiply(hidden, 100, gain)))
            hidden = layers.drop_out(hidden)
    return hidden


def _add_bias(inputs: tf.Tensor) -> tf.Tensor:
    """Adds a bias variable to each channel, the last axis of `inputs`."""
    channels = inputs.shape.as_list()[-1]
    kept_in = tf.float64 if inputs.dtype == tf.float64 else tf.float32
    bias = tf.get_variable("bias", [channels], kept_in, tf.zeros_initializer())
    return tf.nn.bias_add(inputs, tf.cast(bias, inputs.dtype))


def halve(inputs: tf.Tensor) -> tf.Tensor:
    """Max pooling that halves height and width."""
    return tf.nn.max_pool2d(inputs, ksize=2, strides=2, padding="SAME")


def _flatten(inputs: tf.Tensor) -> tf.Tensor:
    return tf.reshape(inputs, [-1, math.prod(inputs.shape.as_list()[1:])])


NETWORKS = {"cnn": cnn, "small": small, "deep": deep, "mlp": mlp}
