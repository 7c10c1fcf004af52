"""What can be watched of the network in the default graph, for curves and pictures."""

import tensorflow.compat.v1 as tf


def histograms() -> tf.Tensor:
    """Returns a serialized Summary, string scalar.

    It holds the variables of batch normalization, or of biases, and the activations around them.
    """
    variables = [v for v in tf.global_variables() if not v.op.name.endswith("weights")]
    activations = tf.get_collection(tf.GraphKeys.ACTIVATIONS)
    # `tf.summary.histogram` would call them `scale_1` and so on, since the names are taken.
    with tf.name_scope("summaries"):
        return tf.summary.merge(
            [tf.raw_ops.HistogramSummary(tag=t.op.name, values=t) for t in variables + activations]
        )


def filters(image_size: tuple[int, int]) -> tf.Tensor:
    """Returns the weights of the first layer as pictures, float32 [height, width, outputs].

    A convolution's are the size of its kernel, a dense layer's the size of an image.
    """
    weights = tf.trainable_variables()[0]
    *inputs, outputs = weights.shape.as_list()
    height, width = image_size if len(inputs) == 1 else inputs[:2]
    with tf.name_scope("filters"):
        return tf.cast(tf.reshape(weights, [height, width, outputs]), tf.float32)
