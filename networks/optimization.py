"""How weights change in a step: optimizers, learning rates, decay, averages; in the graph."""

import math

import tensorflow.compat.v1 as tf

from networks.architectures import Replica


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
) -> tuple[tf.Operation, list[tf.Tensor], tf.Tensor]:
    """Returns the op that takes a step, and what it is known by, of all workers together.

    Args:
        optimizer: applies the gradients.
        objective: float scalar, what to minimize, of the worker's own images.
        means: scalars, such as the loss, over the worker's own images.
        stop_wish: float32 [reasons], 1 for that for which this worker wants to stop.
        replica: the worker's part.

    Returns:
        The op; the means over the whole batch; and for each reason how many workers want to stop.

    No variable changes before all sums have arrived: if a worker is lost, the others have either
    taken this step or not begun it.
    """
    own = [replica.share * tf.cast(mean, tf.float32) for mean in means]
    # The gradients of the last layers, and so of the largest one, are computed first.
    weights = tf.trainable_variables()[::-1]
    gradients = tf.gradients(replica.share * objective, weights)
    arrived = replica.add_up_all([*gradients, tf.concat([own, stop_wish], axis=0)])
    updates = tf.get_collection(tf.GraphKeys.UPDATE_OPS)
    replica.hold_back(updates, arrived)
    with tf.control_dependencies(arrived):
        applied = optimizer.apply_gradients(
            zip(arrived[:-1], weights, strict=True), tf.train.get_global_step()
        )
    sums = arrived[-1]
    return tf.group(applied, *updates), tf.unstack(sums[: len(own)]), sums[len(own) :]


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
