"""What a training minimizes and shows, from the logits; in the graph.

Logits are float [batch, classes], labels integers [batch].
"""

import tensorflow.compat.v1 as tf


def mean_and_objective(
    logits: tf.Tensor, labels: tf.Tensor, label_smoothing: float
) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns the mean cross-entropy, which is shown, and what is minimized, with smoothed labels.

    Args:
        logits, labels: of a batch.
        label_smoothing: share of the label spread evenly over all classes.
    """
    with tf.name_scope("loss"):
        loss = tf.reduce_mean(cross_entropy(logits, labels))
        if not label_smoothing:
            return loss, loss
        return loss, _smooth_cross_entropy(logits, labels, label_smoothing)


def cross_entropy(logits: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
    """Returns that of each image in nats, float [batch]."""
    # From logits, never log(softmax): that is -inf as soon as a probability underflows.
    return tf.nn.sparse_softmax_cross_entropy_with_logits(
        labels=tf.cast(labels, tf.int32), logits=logits
    )


def accuracy(logits: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
    """Returns the share of the batch classified correctly, float32 scalar."""
    with tf.name_scope("accuracy"):
        is_right = tf.equal(predictions(logits), tf.cast(labels, tf.int64))
        return tf.reduce_mean(tf.cast(is_right, tf.float32))


def predictions(logits: tf.Tensor) -> tf.Tensor:
    """Returns the likeliest class of each image, int64 [batch]."""
    return tf.argmax(logits, axis=1, name="predictions")


def _smooth_cross_entropy(logits: tf.Tensor, labels: tf.Tensor, share: float) -> tf.Tensor:
    """Mean cross-entropy with smoothed labels (Szegedy et al. 2016, arXiv 1512.00567)."""
    classes = logits.shape.as_list()[-1]
    smooth = (1 - share) * tf.one_hot(labels, classes) + share / classes
    return tf.reduce_mean(tf.nn.softmax_cross_entropy_with_logits_v2(labels=smooth, logits=logits))
