"""How weights change in a step: optimizers, learning rates, decay, averages; in the graph."""

import math
from collections.abc import Sequence

import tensorflow.compat.v1 as tf

from networks.architectures import Product, Replica

# So many numbers are multiplied and added up in the time that it takes to exchange one: 411 million
# in 6.4 ms, and 3.3 million in 33 ms, by two processes with a core of its own each.
MULTIPLIED_WHILE_ONE_IS_SENT = 640


def learning_rate(schedule: str, peak: float, train_steps: int) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns the learning rate of the step, and the placeholder of a factor, 1 unless it is fed.

    Args:
        schedule: a key of `LR_SCHEDULES`.
        peak: the highest rate.
        train_steps: the length of the schedule.
    """
    with tf.name_scope("learning_rate"):
        progress = tf.cast(tf.train.get_global_step(), tf.float32) / train_steps
        factor = tf.placeholder_with_default(1.0, [], name="factor")
        return factor * peak * LR_SCHEDULES[schedule](progress), factor


def minimize(
    optimizer: tf.train.Optimizer,
    objective: tf.Tensor,
    means: list[tf.Tensor],
    stop_wish: tf.Tensor,
    replica: Replica,
    products: Sequence[Product],
) -> tuple[tf.Operation, list[tf.Tensor], tf.Tensor]:
    """Returns the op that takes a step; and its means and its stop wishes, over all workers.

    Args:
        optimizer: applies the gradients.
        objective: float scalar, what to minimize, of the worker's own images.
        means: scalars, such as the loss, over the worker's own images.
        stop_wish: float32 [reasons], 1 for that for which this worker wants to stop.
        replica: the worker's part.
        products: of the network.

    Returns:
        The op; the means over the whole batch; and for each reason how many workers want to stop.

    No variable changes before all sums have arrived: if a worker is lost, the others have either
    taken this step or not begun it.
    """
    own = [replica.share * tf.cast(mean, tf.float32) for mean in means]
    factored = [product for product in products if _is_sent_as_factors(product, replica)]
    multiplied = [product.weights for product in factored]
    # The gradients of the last layers are computed first.
    added = [v for v in tf.trainable_variables()[::-1] if all(v is not w for w in multiplied)]
    # All at once, since a second backward pass would exchange its statistics again.
    gradients = tf.gradients(
        replica.share * objective, [product.outputs for product in factored] + added
    )
    of_outputs, of_weights = gradients[: len(factored)], gradients[len(factored) :]
    arrived = [
        _multiplied(product, gradient, replica)
        for product, gradient in zip(factored, of_outputs, strict=True)
    ]
    arrived += replica.add_up_all([*of_weights, tf.concat([own, stop_wish], axis=0)])
    updates = tf.get_collection(tf.GraphKeys.UPDATE_OPS)
    replica.hold_back(updates, arrived)
    with tf.control_dependencies(arrived):
        applied = optimizer.apply_gradients(
            zip(arrived[:-1], multiplied + added, strict=True), tf.train.get_global_step()
        )
    sums = arrived[-1]
    return tf.group(applied, *updates), tf.unstack(sums[: len(own)]), sums[len(own) :]


def _is_sent_as_factors(product: Product, replica: Replica) -> bool:
    """Whether workers exchange the factors of a gradient, instead of the gradient.

    That of a product's weights is itself a product, of the inputs and the outputs' gradients
    (sufficient factors, Xie et al. 2015, arXiv 1511.08486). There are fewer of these, if the batch
    is small. But then each worker multiplies the rows of all images, and not just its own.
    """
    if replica.gather_rows is None or replica.batch_size is None:
        return False
    inputs, outputs = product.weights.shape.as_list()
    cost_of_row = inputs + outputs + inputs * outputs / MULTIPLIED_WHILE_ONE_IS_SENT
    return replica.batch_size * cost_of_row <= inputs * outputs


def _multiplied(product: Product, of_outputs: tf.Tensor, replica: Replica) -> tf.Tensor:
    """The gradient of a product's weights over all workers, from those of its own outputs."""
    assert replica.gather_rows is not None, "see `_is_sent_as_factors`"
    factors = replica.gather_rows(product.inputs), replica.gather_rows(of_outputs)
    return tf.cast(tf.matmul(*factors, transpose_a=True), product.weights.dtype.base_dtype)


def decay_weights(share: tf.Tensor, after: tf.Operation) -> tf.Operation:
    """Shrinks the weights, but not scale, beta and biases, by a share.

    Decoupled from the gradient, as in AdamW (Loshchilov & Hutter 2019, arXiv 1711.05101).
    """
    weights = [v for v in tf.trainable_variables() if v.op.name.endswith("/weights")]
    with tf.control_dependencies([after]):
        share = tf.cast(share, weights[0].dtype.base_dtype)
        return tf.group(*(v.assign_sub(share * v.read_value()) for v in weights))


def average_weights(
    average: tf.train.ExponentialMovingAverage, after: tf.Operation
) -> tf.Operation:
    """Updates the moving averages of all trainable variables (Polyak & Juditsky 1992)."""
    with tf.control_dependencies([after]):
        return average.apply(tf.trainable_variables())


def start_average(average: tf.train.ExponentialMovingAverage, after: tf.Operation) -> tf.Operation:
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
